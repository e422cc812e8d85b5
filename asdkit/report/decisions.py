"""From scores to decisions: thresholds, tables with file names, and the challenge's files."""

import csv
import io
import logging
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asdkit.corpus.manifest import Row, read_manifest
from asdkit.corpus.names import SETS, sets_of
from asdkit.detectors.folder import (
    THRESHOLD,
    TRAIN,
    MadeFrom,
    read_made_from,
    read_scores,
    write_thresholds,
    write_warnings,
)
from asdkit.detectors.notes import check_varied, on_threshold
from asdkit.detectors.threshold import threshold
from asdkit.report.submission import STYLES, write_submission
from asdkit.utils.files import write_text

COLUMNS = ("file", "machine", "section", "anomaly_score", "threshold", "anomaly")
Key = tuple[str, str]


def complete(
    folder: Path, rows: dict[str, list[Row]], style: str, ours: bool = True, warnings: Sequence[str] = ()
) -> None:
    """Give a folder of scores what is made from its scores alone, in place of what it held of that.

    rows: manifest of each set; style: the data set's name style. Writes threshold.tsv (where there is a train.tsv that
    serves: two clips or more of each machine under test, of all machines where there are no test sets), <set>.csv for
    each test set and, with thresholds and for names of a challenge, submission/<set>. ours: what it holds was made here
    before; otherwise thresholds and files that are not replaced are the user's, and stay. What is odd about the
    thresholds is logged and written to warnings.txt, after `warnings`.

    Raises ValueError, naming the file, for scores of other clips than the manifest's, and where all test clips of a
    machine have one score.
    """
    made_from = read_made_from(folder)
    tests = {name: read_scores(folder / f"{name}.tsv") for name in sets_of("test", rows)}
    for name, scores in tests.items():
        same_clips(scores, folder / f"{name}.tsv", {row["utt"] for row in rows[name]}, f"{name}/manifest.tsv")
        for machine, found in _by_key(rows[name], scores, False).items():
            check_varied(list(found.values()), f"{folder / name}.tsv: {_title(machine)}")
    limits, found = _thresholds(folder, rows, made_from, tests)
    warnings = [*warnings, *found]
    for warning in warnings:
        logging.warning("%s", warning)
    write_warnings(folder, warnings)
    if limits:
        write_thresholds(folder / THRESHOLD, limits)
    elif ours:
        (folder / THRESHOLD).unlink(missing_ok=True)
    submission = folder / "submission"
    for name in SETS if ours else ():
        shutil.rmtree(submission / name, ignore_errors=True)
    if submission.is_dir() and not any(submission.iterdir()):
        submission.rmdir()
    for name, scores in tests.items():
        write_text(folder / f"{name}.csv", _table(rows[name], scores, limits))
        if limits and style in STYLES:
            write_submission(submission / name, rows[name], style, scores, limits)


def read_sets(data: Path, names: list[str]) -> dict[str, list[Row]]:
    """The manifests of some sets."""
    return {name: read_manifest(data / name / "manifest.tsv") for name in names}


def same_clips(a: set[str] | dict, name_a: str | Path, b: set[str] | dict, name_b: str | Path) -> None:
    """Raise ValueError, naming files and clips, unless two files hold the same clips."""
    a, b = set(a), set(b)
    for names, present, absent in ((a - b, name_a, name_b), (b - a, name_b, name_a)):
        if names:
            some = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
            raise ValueError(f"{absent}: {len(names)} clips of {present} are not in it: {some}")


def limit_of(row: Row, limits: dict[Key, float]) -> float | None:
    """The threshold that a clip is held against: its section's, or its machine's."""
    return limits.get((row["machine"], row["section"]), limits.get((row["machine"], "-")))


def _thresholds(
    folder: Path, rows: dict[str, list[Row]], made_from: MadeFrom, tests: dict[str, dict[str, float]]
) -> tuple[dict[Key, float], list[str]]:
    """The thresholds, and what is odd about them."""
    if made_from.transductive or not (folder / TRAIN).exists():
        return {}, []
    known = [row for name in sets_of("train", rows) for row in rows[name]]
    own = read_scores(folder / TRAIN)
    if unknown := sorted(own.keys() - {row["utt"] for row in known}):
        raise ValueError(f"{folder / TRAIN}: {unknown[0]!r} is no training clip of the manifests")
    grouped = _by_key(known, own, made_from.per_section)
    decided: dict[Key, list[float]] = defaultdict(list)
    for name, scores in tests.items():
        for key, found in _by_key(rows[name], scores, made_from.per_section).items():
            decided[key] += found.values()
    if not tests:
        decided |= {(row["machine"], row["section"] if made_from.per_section else "-"): [] for row in known}
    limits, odd = {}, []
    for key, scores in sorted(decided.items()):
        train = grouped.get(key, {})
        try:
            values = np.array(list(train.values()))
            limits[key] = threshold(values, made_from.threshold_percentile, made_from.non_negative)
        except ValueError as error:
            raise ValueError(f"{folder / TRAIN}: {_title(key)}: {error}") from None
        found = on_threshold(limits[key], made_from.threshold_percentile, train, scores, made_from.non_negative)
        odd += [f"{_title(key)}: {note}" for note in found]
    return limits, odd


def _by_key(rows: list[Row], scores: dict[str, float], per_section: bool) -> dict[Key, dict[str, float]]:
    """The scores of each machine (and section), by clip; rows that have none are left out."""
    grouped: dict[Key, dict[str, float]] = defaultdict(dict)
    for row in rows:
        if row["utt"] in scores:
            grouped[row["machine"], row["section"] if per_section else "-"][row["utt"]] = scores[row["utt"]]
    return grouped


def _title(key: Key) -> str:
    return " ".join(key).removesuffix(" -")


def _table(rows: list[Row], scores: dict[str, float], limits: dict[Key, float]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        limit, score = limit_of(row, limits), scores[row["utt"]]
        decision = ("", "") if limit is None else (repr(limit), int(score > limit))
        writer.writerow([row["wav"], row["machine"], row["section"], repr(score), *decision])
    return text.getvalue()
