"""Official scores over the steps of a training: exp/<tag>/steps.json and STEPS.md."""

import re
import statistics
from pathlib import Path
from typing import Any

from asdkit.corpus.description import load_dataset, present_sets
from asdkit.corpus.names import sets_of, split_set
from asdkit.detectors.measured import best_step, over_machines, read_measured
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
    metrics that it is made of; pseudo_auc, what was measured of the step without labels (None: nothing), and chosen,
    whether that is best of all steps of the seed. Raises ValueError where nothing was scored, and for scores of other
    clips.
    """
    sets, protocol = sets_of("test", present_sets(data)), load_dataset(data).protocol
    rows: list[dict[str, Any]] = []
    for seed, seed_dir in seed_folders(exp).items():
        measured = read_measured(seed_dir)
        pseudo, best = over_machines(measured), best_step(measured)
        for step, folder in step_folders(seed_dir).items():
            for score in sorted(path for path in folder.iterdir() if path.is_dir()):
                found = {
                    split_set(name)[0]: evaluate_set(Path(data, name), score / f"{name}.tsv", protocol) for name in sets
                }
                head = {"step": step, "seed": seed, "score": score.name}
                head |= {"pseudo_auc": pseudo[step].pseudo_auc if step in pseudo else None, "chosen": step == best}
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


def choices_table(rows: list[dict[str, Any]]) -> str:
    """Markdown: scores at the step that was chosen without labels, beside the last and the best by labels, in percent.

    A line for each score and set, mean and deviation over seeds. regret: what the best by labels has more than the
    chosen one, of the same seed. Empty where no step was chosen, or no label is known.
    """
    lines = []
    for name, one in dict.fromkeys((row["score"], row["set"]) for row in rows):
        own = [row for row in rows if (row["score"], row["set"]) == (name, one) and row["official"] is not None]
        found: dict[str, list[float]] = {"chosen": [], "last": [], "best": [], "regret": []}
        steps = []
        for seed in sorted({row["seed"] for row in own if row.get("chosen")}):
            each = {row["step"]: row["official"] for row in own if row["seed"] == seed}
            steps.append(next(row["step"] for row in own if row["seed"] == seed and row.get("chosen")))
            best, chosen = max(each.values()), each[steps[-1]]
            for key, value in zip(found, (chosen, each[max(each)], best, best - chosen), strict=True):
                found[key].append(value)
        if steps:
            means = [cell(_spread(values)) for values in found.values()]
            lines.append([name, one, str(len(steps)), ", ".join(map(str, steps)), *means])
    header = ["score", "set", "seeds", "steps chosen", "there", "last step", "best by labels", "regret"]
    return table(header, lines) if lines else ""


def spread(rows: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    """Mean and sample deviation of a set's official scores in `rows`; None where there are none."""
    return _spread([row["official"] for row in rows if row["set"] == name and row["official"] is not None])


def _spread(found: list[float]) -> dict[str, Any] | None:
    std = statistics.stdev(found) if len(found) > 1 else None
    return {"mean": statistics.fmean(found), "std": std} if found else None


def read_steps(exp: str | Path) -> list[dict[str, Any]]:
    """What exp/<tag>/steps.json holds; raises ValueError, naming the command, where it is not there."""
    path = Path(exp) / f"{STEPS}.json"
    if not path.exists():
        raise ValueError(f"{path} does not exist: ../../utils/steps.sh --tag {Path(exp).name} writes it")
    return read_json(path)
