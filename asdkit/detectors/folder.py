"""A folder of scores, the unit of stage 6: seed<K>/score/<name>, whoever wrote it.

<set>.tsv        `utt score` of a test set; needed, the rest is made from it or left out
train.tsv        `utt score` of training clips, none compared with itself: thresholds come from them
made_from.json   what the scores were made from (`MadeFrom`)
warnings.txt     what a person should know before trusting scores and thresholds, a line each; made from the rest
"""

import math
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from asdkit.utils.files import read_json, read_scp, read_table, read_text, write_table, write_text
from asdkit.utils.typed_yaml import Section, validate

MADE_FROM, TRAIN, THRESHOLD, WARNINGS = "made_from.json", "train.tsv", "threshold.tsv", "warnings.txt"
COLUMNS = ("machine", "section", "threshold")


class MadeFrom(Section):
    """What a folder of scores says of itself; whoever writes one may add keys of his own."""

    model_config = ConfigDict(extra="allow")

    made_by: str = Field("not told", description="program or person")
    detector: str = Field("not told", description="for the reports")
    non_negative: bool = Field(False, description="scores are distances: thresholds come from a gamma distribution")
    per_section: bool = Field(False, description="a threshold for each section instead of each machine")
    transductive: bool = Field(False, description="a clip's score uses other test clips: no thresholds")
    threshold_percentile: float = Field(90.0, gt=0, lt=100, description="of train.tsv, per machine or section")


def read_made_from(folder: Path) -> MadeFrom:
    """What a folder of scores was made from; the defaults where it does not tell.

    Raises ValueError for a file that is broken.
    """
    path = folder / MADE_FROM
    return validate(MadeFrom, read_json(path) if path.exists() else {}, str(path))


def write_scores(path: str | Path, scores: dict[str, float]) -> None:
    """Write `utt score`, sorted by utt; the numbers read back exactly."""
    write_text(path, "".join(f"{utt} {score!r}\n" for utt, score in sorted(scores.items())))


def read_scores(path: str | Path) -> dict[str, float]:
    """Read `utt score`; raises ValueError, naming the clip, for a score that is not a finite number."""
    scores = {}
    for utt, text in read_scp(path).items():
        try:
            scores[utt] = float(text)
        except ValueError:
            raise ValueError(f"{path}: score of {utt!r} is {text!r}, not a number") from None
        if not math.isfinite(scores[utt]):
            raise ValueError(f"{path}: score of {utt!r} is {text}, expected a finite number")
    return scores


def write_thresholds(path: str | Path, thresholds: dict[tuple[str, str], float]) -> None:
    """Write a table of machine, section (`-`: all of the machine's) and threshold."""
    rows: list[dict[str, Any]] = [
        {"machine": machine, "section": section, "threshold": repr(value)}
        for (machine, section), value in sorted(thresholds.items())
    ]
    write_table(path, COLUMNS, rows)


def read_thresholds(path: str | Path) -> dict[tuple[str, str], float]:
    """Read what `write_thresholds` wrote; raises ValueError naming file and line."""
    return {(row["machine"], row["section"]): float(row["threshold"]) for row in read_table(path, COLUMNS)}


def write_warnings(folder: Path, warnings: list[str]) -> None:
    """Write the lines of warnings.txt; no file where there are none."""
    if warnings:
        write_text(folder / WARNINGS, "".join(f"{line}\n" for line in warnings))
    else:
        (folder / WARNINGS).unlink(missing_ok=True)


def read_warnings(folder: Path) -> list[str]:
    """What `write_warnings` wrote."""
    path = folder / WARNINGS
    return read_text(path).splitlines() if path.exists() else []
