"""Sample rates of recordings that are resampled: what was recorded at a low one holds nothing above its half."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import soundfile


def remarks(clips: list[tuple[str, str, str]], wanted: int) -> list[str]:
    """Lines for the user about the rates of readable recordings, which are to be read at `wanted` Hz.

    clips: (machine, train|test, path) of each. Rates with counts where several occur, a warning for each below the
    wanted one, and one for each machine whose training and test clips hold different bands.
    """
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        rates = list(pool.map(lambda clip: soundfile.info(clip[2]).samplerate, clips))
    lines = [f"sample rates: {_counts(rates)}"] if len(set(rates)) > 1 else []
    for rate in sorted({rate for rate in rates if rate < wanted}):
        held = [path for (_, _, path), own in zip(clips, rates, strict=True) if own == rate]
        lines.append(
            f"WARNING: {len(held)} recordings of {rate} Hz, such as {held[0]}, are read at {wanted} Hz: what lies "
            f"above {rate // 2} Hz is empty in them"
        )
    machines: dict[str, dict[str, list[int]]] = {}
    for (machine, split, _), rate in zip(clips, rates, strict=True):
        machines.setdefault(machine, {}).setdefault(split, []).append(rate)
    return lines + list(_differences(machines, wanted))


def _differences(machines: dict[str, dict[str, list[int]]], wanted: int) -> Iterator[str]:
    for machine, splits in sorted(machines.items()):
        train, test = splits.get("train", []), splits.get("test", [])
        bands = [{min(rate, wanted) for rate in own} for own in (train, test)]
        if train and test and bands[0] != bands[1]:
            lowest = min(bands[0] | bands[1])
            yield (
                f"WARNING: {machine}: training clips of {_counts(train)}, but test clips of {_counts(test)}: its "
                f"scores tell the rates apart, not normal from anomalous, and ARE WORTHLESS. Convert all recordings of "
                f"{machine} to {lowest} Hz first, or leave those of {lowest} Hz out"
            )


def _counts(rates: Iterable[int]) -> str:
    return ", ".join(f"{rate} Hz ({count})" for rate, count in sorted(Counter(rates).items()))
