"""From scores to decisions: thresholds, tables with file names, and the challenge's files."""

import csv
import io
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np

from asdkit.corpus.manifest import Row, read_manifest
from asdkit.corpus.names import SETS, sets_of
from asdkit.detectors.folder import THRESHOLD, TRAIN, MadeFrom, read_made_from, read_scores, write_thresholds
from asdkit.detectors.threshold import threshold
from asdkit.report.submission import STYLES, write_submission
from asdkit.utils.files import write_text

COLUMNS = ("file", "machine", "section", "anomaly_score", "threshold", "anomaly")
Key = tuple[str, str]


def complete(folder: Path, rows: dict[str, list[Row]], style: str, ours: bool = True) -> None:
    """Give a folder of scores what is made from its scores alone, in place of what it held of that.

    rows: manifest of each set; style: the data set's name style. Writes threshold.tsv (where there is a train.tsv that
    serves: two clips or more of each machine), <set>.csv for each test set and, with thresholds and for names of a
    challenge, submission/<set>. ours: what it holds was made here before; otherwise thresholds and files that are not
    replaced are the user's, and stay.

    Raises ValueError, naming the file, for scores of other clips than the manifest's.
    """
    made_from = read_made_from(folder)
    tests = {name: read_scores(folder / f"{name}.tsv") for name in sets_of("test", rows)}
    for name, scores in tests.items():
        same_clips(scores, folder / f"{name}.tsv", {row["utt"] for row in rows[name]}, f"{name}/manifest.tsv")
    limits = _thresholds(folder, rows, made_from)
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


def _thresholds(folder: Path, rows: dict[str, list[Row]], made_from: MadeFrom) -> dict[Key, float]:
    if made_from.transductive or not (folder / TRAIN).exists():
        return {}
    known = {row["utt"]: row for name in sets_of("train", rows) for row in rows[name]}
    grouped: dict[Key, list[float]] = defaultdict(list)
    for utt, score in read_scores(folder / TRAIN).items():
        if utt not in known:
            raise ValueError(f"{folder / TRAIN}: {utt!r} is no training clip of the manifests")
        grouped[known[utt]["machine"], known[utt]["section"] if made_from.per_section else "-"].append(score)
    tested = [row for name in sets_of("test", rows) for row in rows[name]]
    needed = {(row["machine"], row["section"] if made_from.per_section else "-") for row in tested}
    limits = {}
    for key in sorted(needed):
        try:
            scores = np.array(grouped.get(key, ()))
            limits[key] = threshold(scores, made_from.threshold_percentile, made_from.non_negative)
        except ValueError as error:
            raise ValueError(f"{folder / TRAIN}: {' '.join(key).removesuffix(' -')}: {error}") from None
    return limits


def _table(rows: list[Row], scores: dict[str, float], limits: dict[Key, float]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        limit, score = limit_of(row, limits), scores[row["utt"]]
        decision = ("", "") if limit is None else (repr(limit), int(score > limit))
        writer.writerow([row["wav"], row["machine"], row["section"], repr(score), *decision])
    return text.getvalue()
