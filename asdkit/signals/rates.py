"""Sample rates of recordings that are resampled: what was recorded at a low one holds nothing above its half."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from asdkit.signals.formats import open_signal
from asdkit.signals.recording import Signal


def remarks(clips: list[tuple[str, str, str, str]], wanted: int, signal: Signal | None = None) -> list[str]:
    """Lines for the user about the rates of readable recordings, which are to be read at `wanted` Hz.

    clips: (machine, train|test, condition, path) of each; signal: what of a file is the recording. Rates with counts
    where several occur, a warning for each below the wanted one, and one for each machine whose training and test
    clips, or normal and anomalous ones, hold different bands.
    """

    def rate(path: str) -> int:
        with open_signal(path, signal) as recording:
            return recording.rate

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        rates = list(pool.map(lambda clip: rate(clip[3]), clips))
    lines = [f"sample rates: {_counts(rates)}"] if len(set(rates)) > 1 else []
    for low in sorted({own for own in rates if own < wanted}):
        held = [clip[3] for clip, own in zip(clips, rates, strict=True) if own == low]
        lines.append(
            f"WARNING: {len(held)} recordings of {low} Hz, such as {held[0]}, are read at {wanted} Hz: what lies "
            f"above {low // 2} Hz is empty in them"
        )
    machines: dict[str, dict[str, list[int]]] = {}
    for (machine, split, condition, _), rate in zip(clips, rates, strict=True):
        groups = machines.setdefault(machine, {})
        groups.setdefault(split, []).append(rate)
        if split == "test":
            groups.setdefault(condition, []).append(rate)
    return lines + [
        line for machine, groups in sorted(machines.items()) for line in _differences(machine, groups, wanted)
    ]


def _differences(machine: str, groups: dict[str, list[int]], wanted: int) -> Iterator[str]:
    for one, other, names in (
        ("train", "test", "training clips of {}, but test clips of {}"),
        ("normal", "anomaly", "normal test clips of {}, but anomalous ones of {}"),
    ):
        rates = groups.get(one, []), groups.get(other, [])
        bands = [{min(rate, wanted) for rate in own} for own in rates]
        if all(bands) and bands[0] != bands[1]:
            lowest = min(bands[0] | bands[1])
            yield (
                f"WARNING: {machine}: {names.format(*map(_counts, rates))}: its scores tell the rates apart, not "
                f"normal from anomalous, and ARE WORTHLESS. Convert all recordings of {machine} to {lowest} Hz first, "
                f"or leave those of {lowest} Hz out"
            )
            return


def _counts(rates: Iterable[int]) -> str:
    return ", ".join(f"{rate} Hz ({count})" for rate, count in sorted(Counter(rates).items()))
