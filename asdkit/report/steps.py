"""Official scores over the steps of a training: exp/<tag>/steps.json and STEPS.md."""

import re
import statistics
from pathlib import Path
from typing import Any

from asdkit.corpus.description import load_dataset, present_sets
from asdkit.corpus.names import sets_of, split_set
from asdkit.report.evaluation import evaluate_set, over_sets
from asdkit.report.results import seed_folders
from asdkit.report.tables import cell, table
from asdkit.utils.files import read_json

STEPS = "steps"  # of seed<K>: a folder step<N>/<score>/<set>.tsv for each


def step_folders(seed_dir: Path) -> dict[int, Path]:
    """seed<K>/steps/step<N> whose scores are complete, by N, ascending."""
    found = {path: re.fullmatch(r"step(\d+)", path.name) for path in (seed_dir / STEPS).glob("step*")}
    return dict(sorted((int(of[1]), path) for path, of in found.items() if of and (path / ".done").exists()))


def evaluate_steps(exp: str | Path, data: str | Path) -> list[dict[str, Any]]:
    """Evaluate the scores of all steps and seeds of an experiment: a row for each step, seed, score and set.

    A row holds step, seed, score, set (dev, eval or all), official (0 to 1, None without labels) and values, the
    metrics that it is made of. Raises ValueError where nothing was scored, and for scores of other clips.
    """
    sets, protocol = sets_of("test", present_sets(data)), load_dataset(data).protocol
    rows: list[dict[str, Any]] = []
    for seed, seed_dir in seed_folders(exp).items():
        for step, folder in step_folders(seed_dir).items():
            for score in sorted(path for path in folder.iterdir() if path.is_dir()):
                found = {
                    split_set(name)[0]: evaluate_set(Path(data, name), score / f"{name}.tsv", protocol) for name in sets
                }
                head = {"step": step, "seed": seed, "score": score.name}
                for name, one in found.items():
                    rows.append({**head, "set": name, "official": one["official"], "values": one["values"]})
                if len(found) > 1:
                    rows.append({**head, "set": "all", "official": over_sets(found, protocol), "values": {}})
    if not rows:
        raise ValueError(f"{exp}: no scores of single steps: ../../utils/steps.sh makes them")
    return rows


def steps_table(rows: list[dict[str, Any]], score: str | None = None) -> str:
    """Markdown: official scores in percent, a line for each step and score, mean and deviation over seeds."""
    sets = list(dict.fromkeys(row["set"] for row in rows))
    keys = dict.fromkeys((row["step"], row["score"]) for row in rows if score in (None, row["score"]))
    lines = []
    for step, name in sorted(keys, key=lambda key: (key[1], key[0])):
        own = [row for row in rows if (row["step"], row["score"]) == (step, name)]
        seeds = {row["seed"] for row in own}
        lines.append([str(step), name, str(len(seeds)), *(cell(spread(own, one)) for one in sets)])
    return table(["step", "score", "seeds", *sets], lines)


def spread(rows: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    """Mean and sample deviation of a set's official scores in `rows`; None where there are none."""
    found = [row["official"] for row in rows if row["set"] == name and row["official"] is not None]
    std = statistics.stdev(found) if len(found) > 1 else None
    return {"mean": statistics.fmean(found), "std": std} if found else None


def read_steps(exp: str | Path) -> list[dict[str, Any]]:
    """What exp/<tag>/steps.json holds; raises ValueError, naming the command, where it is not there."""
    path = Path(exp) / f"{STEPS}.json"
    if not path.exists():
        raise ValueError(f"{path} does not exist: ../../utils/steps.sh --tag {Path(exp).name} writes it")
    return read_json(path)
