"""What the recordings of a corpus hold: read once, kept by path, size and time; silent ones and copies are found."""

import logging
import os
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import log10

from asdkit.corpus.description import Dataset
from asdkit.corpus.manifest import CONTENT_COLUMNS, Row
from asdkit.corpus.names import UNKNOWN, split_set
from asdkit.signals.audio import AudioReader, sample_counts
from asdkit.signals.content import measure_all

QUIET = 2.0**-15  # RMS about the mean, full scale 1: a step of 16 bits; less is no sound
CONSTANT = 5e-6  # what is computed for the RMS about the mean of equal samples may reach this
ROOM = 50  # dB below the median of its machine's training clips a recording is no sound either
SHOWN = 5  # findings of a kind that are named; more are counted

Sets = dict[str, list[Row]]


@dataclass(frozen=True)
class Known:
    """What the last run of stage 1 found: rows of its manifests by path, and its dataset.yaml; neither: a first run.

    looked: when it looked, ns.
    """

    rows: dict[str, Row] = field(default_factory=dict)
    dataset: Dataset | None = None
    looked: int = 0

    def content(self, row: Row, dataset: Dataset, changed: int | None) -> dict[str, str]:
        """Content of a recording that is where it was, of the same size and time; empty: not known.

        dataset: how it is read now. changed: when anything of the file was changed last, its name or its times too, ns;
        None: times do not count.
        """
        old = self.rows.get(row["wav"])
        if not old or old["digest"] == UNKNOWN or old["bytes"] != row["bytes"]:
            return {}
        if self.dataset and self.dataset.signal != dataset.signal:
            return {}
        moved = self.dataset is None or self.dataset.root != dataset.root
        if changed is not None and (moved or old["mtime"] != row["mtime"] or changed > self.looked):
            return {}
        return {column: old[column] for column in CONTENT_COLUMNS}

    def length(self, row: Row, reader: AudioReader) -> str:
        """Samples of a recording of the same place and size; `-`: not known."""
        old = self.rows.get(row["wav"])
        if not old or self.dataset is None or self.dataset.reader() != reader:
            return UNKNOWN
        return old["samples"] if old["bytes"] == row["bytes"] else UNKNOWN


def measure_clips(rows: list[Row], dataset: Dataset, known: Known, wanted: bool, again: bool) -> int:
    """Put length and content of each recording into its row; what is `known` is not read again. Returns how many are.

    Not `wanted`: headers are read, and content is kept where path and size are the same. `again`: headers of all of
    them. Raises ValueError naming the first broken file.
    """
    reader = dataset.reader()
    headers, whole = [], []
    for row in rows:
        path = os.path.join(dataset.root, row["wav"])
        found = os.stat(path) if wanted else None
        if found:
            row["mtime"] = str(found.st_mtime_ns)
        kept = known.content(row, dataset, found and found.st_ctime_ns)
        if wanted and not kept:
            whole.append((row, path))
            continue
        row.update(kept)
        row["samples"] = UNKNOWN if again and not wanted else known.length(row, reader)
        if row["samples"] == UNKNOWN:
            headers.append((row, path))
    counts = sample_counts(reader, [path for _, path in headers]) if headers else []
    for (row, _), samples in zip(headers, counts, strict=True):
        row["samples"] = str(samples)
    contents = measure_all([path for _, path in whole], _threads(), dataset.signal) if whole else []
    for (row, path), found in zip(whole, contents, strict=True):
        row["samples"] = str(reader.measured_length(found, path))
        row |= {"digest": found.digest, "peak": f"{found.peak:.6g}", "rms": ",".join(f"{x:.6g}" for x in found.rms)}
    return len(whole)


def written_since(rows: list[Row], dataset: Dataset, known: Known) -> list[Row]:
    """Recordings of known size that the last run did not read, and that were written after it: perhaps other sounds."""
    unread = {wav: old["bytes"] for wav, old in known.rows.items() if old["digest"] == UNKNOWN}
    kept = [row for row in rows if unread.get(row["wav"]) == row["bytes"]]
    return [row for row in kept if os.stat(os.path.join(dataset.root, row["wav"])).st_ctime_ns > known.looked]


def find_dead(sets: Sets, channel: int | None, unit: str | None = None) -> dict[str, list[tuple[Row, str]]]:
    """Recordings without signal in the channel that is used, by set, and what each of them is.

    Without signal: below QUIET, or ROOM below the median of its machine's training clips. unit: what levels are in;
    None: full scale is 1. In a unit, what varies by less than CONSTANT of its peak is none.
    """
    levels: dict[str, list[float]] = defaultdict(list)
    for name, rows in sets.items():
        for row in rows if split_set(name)[1] == "train" else ():
            if row["rms"] != UNKNOWN:
                levels[row["machine"]].append(_levels(row)[channel or 0])
    least = 0.0 if unit else QUIET
    limits = {machine: max(least, statistics.median(found) / 10 ** (ROOM / 20)) for machine, found in levels.items()}
    dead: dict[str, list[tuple[Row, str]]] = {}
    for name, rows in sets.items():
        for row in rows:
            if row["rms"] == UNKNOWN:
                continue
            limit, level = limits.get(row["machine"], least), _levels(row)[channel or 0]
            if level < limit or level <= _still(row, unit):
                dead.setdefault(name, []).append((row, _describe(row, channel or 0, limit, unit)))
    return dead


def check_dead(sets: Sets, channel: int | None, refuse: bool = True, unit: str | None = None) -> None:
    """Raise ValueError for training clips without signal (not `refuse`: warn), warn of test clips without."""
    for name, found in sorted(find_dead(sets, channel, unit).items(), key=lambda item: "train" not in item[0]):
        told = _listed(f"{row['wav']}: {what}" for row, what in found)
        if split_set(name)[1] == "train" and refuse:
            raise ValueError(
                f"{name}: {len(found)} of {len(sets[name])} training recordings hold no signal: {told}. Take them away "
                "or record them again: thresholds and nearest neighbours come from them (--check-content false leaves "
                "this check out)"
            )
        logging.warning("%s: %d of %d recordings hold no signal: %s", name, len(found), len(sets[name]), told)


def find_copies(sets: Sets, unit: str | None = None) -> tuple[list[list[tuple[str, Row]]], list[list[tuple[str, Row]]]]:
    """(set, row) of recordings of equal content, together: those of one split alone, those in training and test.

    What stands still is alike without being a copy, and is left out.
    """
    groups: dict[str, list[tuple[str, Row]]] = defaultdict(list)
    for name, rows in sets.items():
        for row in rows:
            if row["digest"] != UNKNOWN and max(_levels(row)) >= (_still(row, unit) or QUIET):
                groups[row["digest"]].append((name, row))
    copies = [group for group in groups.values() if len(group) > 1]
    splits = [len({split_set(name)[1] for name, _ in group}) for group in copies]
    within, both = ([group for group, n in zip(copies, splits, strict=True) if n == wanted] for wanted in (1, 2))
    return within, both


def warn_of_copies(sets: Sets, conditions: dict[str, str], unit: str | None = None) -> None:
    """Warn of recordings of equal content. conditions: of test clips by utt, where known."""
    within, both = find_copies(sets, unit)
    for split in ("train", "test"):
        groups = [group for group in within if split_set(group[0][0])[1] == split]
        if groups:
            told = _listed(" = ".join(row["wav"] for _, row in group) for group in groups)
            count = sum(len(group) - 1 for group in groups)
            kind = "training" if split == "train" else "test"
            logging.warning("%d %s clips are copies of others (same sound): %s", count, kind, told)
        torn = [group for group in groups if len({conditions.get(row["utt"], "") for _, row in group} - {""}) > 1]
        if torn:
            told = _listed(" = ".join(row["wav"] for _, row in group) for group in torn)
            logging.warning("the same sound is normal and an anomaly: %s", told)
    if both:
        ordered = [sorted(group, key=lambda one: split_set(one[0])[1]) for group in both]
        tests = [row for group in both for name, row in group if split_set(name)[1] == "test"]
        told = _listed(" = ".join(row["wav"] for _, row in group) for group in ordered)
        bad = sum(conditions.get(row["utt"]) == "anomaly" for row in tests)
        logging.warning(
            "%d test clips lie in training too (same sound%s): %s",
            len(tests),
            f"; {bad} are anomalies" if bad else "",
            told,
        )


def _still(row: Row, unit: str | None) -> float:
    """What a recording's level in a unit is above if it varies at all; 0 without one, where QUIET holds."""
    return CONSTANT * float(row["peak"]) if unit else 0.0


def _describe(row: Row, channel: int, limit: float, unit: str | None) -> str:
    levels = _levels(row)
    level = levels[channel]
    if float(row["peak"]) == 0:
        what = "is silent"
    elif level <= (_still(row, unit) or CONSTANT):
        what = "is constant" if len(levels) == 1 else "is silent or constant"
    elif unit:
        what = f"is nearly still ({level:.3g} {unit}, {ROOM} dB or more below the median of its machine's training)"
    elif level < QUIET:
        what = f"is nearly silent ({_decibels(level)}, below a step of 16 bits, {_decibels(QUIET)})"
    else:
        what = f"is nearly silent ({_decibels(level)}, {ROOM} dB or more below the median of its machine's training)"
    if len(levels) == 1:
        return what
    alive = [str(number) for number, found in enumerate(levels) if found >= limit]
    there = f"signal is in channel {', '.join(alive)}: --channel {alive[0]}" if alive else "no channel has signal"
    return f"channel {channel} of {len(levels)} {what}; {there}"


def _decibels(level: float) -> str:
    return f"{20 * log10(level):.0f} dB"


def _levels(row: Row) -> list[float]:
    return [float(level) for level in row["rms"].split(",")]


def _listed(found: Iterable[str]) -> str:
    found = list(found)
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "; ".join(found[:SHOWN]) + more


def _threads() -> int:
    return min(16, len(os.sched_getaffinity(0)))
