"""Training curves, and scores of weights kept during training."""

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from asdkit.report.results import seed_folders
from asdkit.utils.files import read_json, read_text

POINTS = 150  # of a curve
STEPS = "steps.json"  # of exp/<tag>
COLUMNS = {"step": int, "seed": int, "score": str, "set": str, "official": float}


def curves(exp: Path) -> dict[str, Any]:
    """The curves of all seeds: `seeds`, {seed: {column of train.tsv: values}}, `rows` of a point, and what is `said`.

    Of long curves a point is the mean over several rows: of the numbers there are, None where there is none.
    """
    found: dict[str, Any] = {"seeds": {}, "rows": 1, "said": ""}
    for seed, folder in seed_folders(exp).items():
        if not (folder / "train.tsv").exists():
            continue
        try:
            columns, values = _read(folder / "train.tsv")
        except ValueError as error:
            found["said"] = f"{error}."
            continue
        each = -(-len(values) // POINTS)
        blocks = [values[i : i + each] for i in range(0, len(values), each)]
        means = [[block[-1, 0], *map(_mean, block[:, 1:].T)] for block in blocks]  # a row stands at its last step
        found["rows"] = max(found["rows"], each)
        found["seeds"][str(seed)] = {c: [_short(row[i]) for row in means] for i, c in enumerate(columns)}
    _leave_out_sum_of_one(found["seeds"].values())
    return found


def _leave_out_sum_of_one(seeds: Collection[dict[str, list]]) -> None:
    """Take out `loss` where it is another column to the last digit: a loss of one part."""
    if all(values.get("loss") in [own for key, own in values.items() if key != "loss"] for values in seeds):
        for values in seeds:
            del values["loss"]


def scores_over_steps(exp: Path) -> dict[str, Any]:
    """What exp/<tag>/steps.json holds of each step: `rows`, [step, seed, score, set, official], and what is `said`.

    chosen: {seed: the step that is best by Pseudo AUC}, of those that tell.
    """
    if not (exp / STEPS).exists():
        return {"rows": [], "said": "", "chosen": {}}
    try:
        rows = read_json(exp / STEPS)
        known = [row for row in rows if row["official"] is not None]
        said = "The truth of the test clips is not known: no score over steps." if rows and not known else ""
        chosen = {str(row["seed"]): int(row["step"]) for row in known if row.get("chosen")}
        found = [[kind(row[key]) for key, kind in COLUMNS.items()] for row in known]
        return {"rows": found, "said": said, "chosen": chosen}
    except (ValueError, KeyError, TypeError) as error:
        return {"rows": [], "said": f"{exp / STEPS} cannot be read: {error}.", "chosen": {}}


def _read(path: Path) -> tuple[list[str], np.ndarray]:
    """Columns of train.tsv, `step` first, and its values [rows, columns]; raises ValueError for another file."""
    lines = [line.split("\t") for line in read_text(path).splitlines()]
    if len(lines) < 2 or lines[0][0] != "step" or any(len(line) != len(lines[0]) for line in lines):
        raise ValueError(f"{path}: not a training curve")
    return lines[0], np.array(lines[1:], dtype=np.float64)


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan


def _short(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None
