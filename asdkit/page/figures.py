"""The page's pictures as figures for a paper."""

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asdkit.page import inner_plots, plots
from asdkit.page.style import WIDTHS, paper, write_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def make_figures(told: dict[str, Any], out: Path, width: str, score: str | None, colour: str) -> list[str]:
    """Write all figures for which there is something to show, as PDF and PNG files in the folder `out`.

    told: what the page tells, from `write.gather`; width: a key of WIDTHS; score: of one name (None: the first);
    colour: what embeddings are coloured by, of inner_plots.COLOURS. Returns what is not there, a line each.
    Raises ValueError for a score that is not there, and without matplotlib.
    """
    names = [one["score"] for one in told["scores"]]
    if score is not None and score not in names:
        raise ValueError(f"--score {score}: there are results of {', '.join(names)}")
    one, inches = told["scores"][names.index(score) if score else 0], WIDTHS[width]
    missing: list[str] = []

    def write(name: str, figure: "Figure | None", why: str = "") -> None:
        if figure is None:
            missing.append(f"{name}: {why}")
        else:
            write_figure(figure, out / name)
            logging.info("%s", out / name)

    out.mkdir(parents=True, exist_ok=True)
    with paper():
        for name, found in one["sets"].items():
            if found["machines"]:
                write(f"machines-{name}", plots.machines(told, one, name, inches))
                write(f"trade-{name}", plots.trade(one, name, inches), "no AUC of two domains")
            else:
                missing.append(f"machines-{name}: the truth of the test clips is not known (no ref.tsv)")
            _of_machines(told, one, name, inches, colour, write)
        if told["compared"]:
            write("compare", plots.compared(told["compared"], inches))
        curves, steps, groups = told["curves"], told["steps"], told["groups"]
        write(
            "training", inner_plots.training(curves, inches), curves["said"] or "nothing was trained, or no train.tsv"
        )
        said = steps["said"] or "no steps.json: utils/steps.sh makes it"
        write("steps", inner_plots.steps(steps["rows"], one["score"], inches), said)
        if isinstance(groups, str):
            missing.append(f"groups: {groups}")
        else:
            write("groups", inner_plots.groups(groups, inches))
    return missing


def scores_by_kind(told: dict[str, Any], score: dict[str, Any], name: str, machine: str) -> dict[str, np.ndarray]:
    """A machine's scores in a set by kind of clip: training, and condition and domain, or all test clips."""
    test, values = told["sets"][name], score["clips"][name]
    kinds: dict[str, list[float]] = {}
    for own, section in ((row[3], row[:2]) for row in score["training"]):
        if section[0] == machine:
            kinds.setdefault("training", []).extend(own)
    for whose, condition, domain, value in zip(test["machine"], test["condition"], test["domain"], values, strict=True):
        if whose == machine:
            kinds.setdefault(f"{condition} {domain}" if test["labelled"] else "test clips", []).append(value)
    return {kind: np.array(values) for kind, values in kinds.items()}


def file_names(machines: list[str]) -> dict[str, str]:
    """What each machine is called in names of files: letters, digits, . + - and _, no two alike."""
    found: dict[str, str] = {}
    for machine in sorted(set(machines)):
        plain = re.sub(r"[^A-Za-z0-9.+-]+", "_", machine)
        alike = [one for one in found.values() if one.partition("~")[0].lower() == plain.lower()]
        found[machine] = f"{plain}~{len(alike) + 1}" if alike else plain
    return found


def _of_machines(
    told: dict[str, Any], score: dict[str, Any], name: str, inches: float, colour: str, write: Any
) -> None:
    maps = told["maps"] or {"sets": {}, "said": "without --data"}
    names = file_names(told["sets"][name]["machine"]) if name in score["clips"] else {}
    for machine, short in names.items():
        found = scores_by_kind(told, score, name, machine)
        own = [value for whose, _, value in score["thresholds"] if whose == machine]
        limit = own[0] if len(own) == 1 else None  # thresholds of sections: none holds for the machine
        write(f"scores-{name}-{short}", plots.distributions(found, limit, machine, inches))
        write(f"roc-{name}-{short}", plots.roc(told, found, limit, machine, inches), "one condition alone")
        points = maps["sets"].get(name, {}).get(machine)
        figure = points and inner_plots.embeddings(points, told["sets"][name], colour, machine, inches)
        write(f"embeddings-{name}-{short}", figure, maps["said"] or "too few clips, or all the same")
