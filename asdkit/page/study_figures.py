"""Figures of a study, from its experiments: scores over steps, weights of group adapters, embeddings."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asdkit.corpus.names import sets_of, split_set
from asdkit.infer.experiment import Experiment
from asdkit.page.plane import FEWEST, components, tsne, unit
from asdkit.page.style import HUES, MARKS, WIDTHS, new_figure, over_steps
from asdkit.report.steps import read_steps, spread, steps_table
from asdkit.report.study import Row, Study
from asdkit.report.tables import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLIPS = 8  # test clips of a machine that tell of its group weights
POINTS = 150  # training clips of a machine in a picture of embeddings
TITLES = {"dev": "Dev set", "eval": "Eval set", "all": "All"}
Drawn = tuple["Figure", str]  # and its numbers, as Markdown


def draw(study: Study, exp: Path, data: Path) -> Drawn:
    """The figure of a study and a table of what it shows; to be called within `style.paper`.

    exp: folder of the experiments; data: what stage 1 wrote. Raises ValueError, naming the experiment, for one that is
    not there or lacks what is drawn.
    """
    return {"steps": _steps, "groups": _groups, "maps": _maps}[study.figure](study, exp, data)


def _steps(study: Study, exp: Path, data: Path) -> Drawn:
    found = [[one for one in read_steps(exp / row.tag) if one["score"] == row.score] for row in study.rows]
    sets = [name for name in TITLES if any(one["set"] == name for rows in found for one in rows)][:2]
    figure, panels = _panels(len(sets), WIDTHS["single"], 1.7 * len(sets))
    text = []
    for number, (row, rows) in enumerate(zip(study.rows, found, strict=True)):
        steps = sorted({one["step"] for one in rows})
        own = [[one for one in rows if one["step"] == step] for step in steps]
        look = {"color": HUES[number % len(HUES)], "marker": MARKS[number % len(MARKS)], "ms": 3}
        for panel, name in zip(panels, sets, strict=True):
            values = [spread(at, name) or {"mean": np.nan, "std": None} for at in own]
            mean, std = (100 * np.array([value[key] or 0.0 for value in values]) for key in ("mean", "std"))
            panel.plot(steps, mean, label=row.model, **look)
            panel.fill_between(steps, mean - std, mean + std, color=look["color"], alpha=0.15, linewidth=0)
            panel.set(title=TITLES[name], ylabel="Hmean (%)")
        text += [f"{row.model}:\n", steps_table(rows, row.score)]
    for panel in panels:
        over_steps(panel)
    panels[-1].set_xlabel("step")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure, "\n".join(text)


def _groups(study: Study, exp: Path, data: Path) -> Drawn:
    from asdkit.infer.groups import group_weights

    row = study.rows[0]
    experiment = _open(exp, row, data)
    tests = [name for name in sets_of("test", experiment.sets()) if study.columns in ("sets", split_set(name)[0])]
    rows = [one for name in tests for one in experiment.rows(name)]
    machines = row.machines or sorted({one["machine"] for one in rows})
    weights = []  # of the last adapter, [machines, groups]
    for machine in machines:
        own = [one for one in rows if one["machine"] == machine]
        if not own:
            raise ValueError(f"{exp / row.tag}: no test clips of machine {machine!r} ({study.columns})")
        chosen = [own[i] for i in np.unique(np.linspace(0, len(own) - 1, CLIPS).round().astype(int))]
        heard = [found for _, found in group_weights(experiment, chosen)]
        if faults := [found for found in heard if isinstance(found, str)]:
            raise ValueError(faults[0])
        weights.append(np.mean([found[-1] for found in heard], axis=0))
    shown = np.stack(weights)
    figure, (panel,) = _panels(1, WIDTHS["single"], 0.9 + 0.17 * len(machines))
    image = panel.imshow(shown, cmap="Blues", vmin=0, aspect="auto")
    panel.set_yticks(range(len(machines)), machines)
    panel.set_xlabel("group")
    figure.colorbar(image, ax=panel, pad=0.02).outline.set_linewidth(0.5)
    lines = []
    for machine, own in zip(machines, shown, strict=True):
        used = own[own > 0]
        even = float(np.exp(-(used * np.log(used)).sum()))
        lines.append([machine, str(int(own.argmax())), f"{100 * own.max():.1f}", f"{even:.1f}"])
    return figure, table(["machine", "largest group", "its weight", "groups in use"], lines)


def _maps(study: Study, exp: Path, data: Path) -> Drawn:
    across = min(2, len(study.rows))
    down = -(-len(study.rows) // across)
    figure, panels = _panels(down, WIDTHS["double" if across > 1 else "single"], 2.6 * down, across)
    lines = []
    for row, panel in zip(study.rows, panels, strict=False):
        names, x = _embedded(row, _open(exp, row, data))
        if len(x) < FEWEST:
            raise ValueError(f"{exp / row.tag}: {len(x)} training clips of {', '.join(row.machines)}: too few to draw")
        points = tsne(components(unit(x.astype(np.float64)))[0])
        for number, name in enumerate(sorted(set(names))):
            own = points[[one == name for one in names]]
            look = {"color": HUES[number % len(HUES)], "marker": MARKS[number // len(HUES) % len(MARKS)]}
            panel.scatter(*own.T, s=5, linewidths=0, label=name, **look)
        panel.set(title=row.model, xticks=[], yticks=[])
        panel.legend(fontsize=5, markerscale=1.5, loc="center left", bbox_to_anchor=(1, 0.5), handletextpad=0.1)
        lines.append([row.model, str(len(x)), str(len(set(names))), f"{100 * _alike(x, names):.1f}"])
    for panel in panels[len(study.rows) :]:
        panel.set_visible(False)
    return figure, table(["panel", "clips", "colours", "nearest clip of its colour, %"], lines)


def _embedded(row: Row, experiment: Experiment) -> tuple[list[str], np.ndarray]:
    """Colours and embeddings [N, D] of the training clips of a panel's machines, evenly spaced where there are many."""
    names: list[str] = []
    found = []
    for name in sets_of("train", experiment.sets()):
        rows, x = experiment.load(name, zeros=True)
        for machine in row.machines:
            own = [i for i, one in enumerate(rows) if one["machine"] == machine]
            own = [own[i] for i in np.unique(np.linspace(0, len(own) - 1, POINTS).round().astype(int))] if own else []
            found.append(x.reshape(len(x), -1)[own])
            attributes = [f" {rows[i]['attr']}" if row.colour == "attribute" else "" for i in own]
            names += [f"{machine}{attribute}" for attribute in attributes]
    if not names:
        raise ValueError(
            f"{experiment.exp}: no training clips of {', '.join(row.machines) or 'the machines of its row'}"
        )
    return names, np.concatenate(found)


def _alike(x: np.ndarray, names: Sequence[str]) -> float:
    """Share of clips whose nearest other one, by cosine, has the same colour."""
    near = unit(x.astype(np.float64))
    near = near @ near.T
    np.fill_diagonal(near, -np.inf)
    return float(np.mean([names[i] == names[j] for i, j in enumerate(near.argmax(axis=1))]))


def _open(exp: Path, row: Row, data: Path) -> Experiment:
    first = next((seed for seed in range(100) if (exp / row.tag / f"seed{seed}").is_dir()), 0)
    return Experiment.open(exp / row.tag, first, data)


def _panels(down: int, width: float, height: float, across: int = 1) -> tuple["Figure", list[Any]]:
    figure = new_figure(width, height)
    return figure, list(figure.subplots(down, across, squeeze=False).flat)
