"""Figures of what is inside: embeddings in a plane, training curves, score over steps, weights of group adapters."""

from typing import TYPE_CHECKING, Any

import numpy as np

from asdkit.page.plots import SETS
from asdkit.page.style import AMBER, BLUE, GREY, HUES, MARKS, ORANGE, new_figure, over_steps, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("condition", "domain", "attr", "section", "code")  # what embeddings can be coloured by
NAMED = 11  # values with a colour and form of their own; the others share one
UNTOLD = "not told"
RATES = {
    "lr": "learning rate",
    "aam": "AAM-softmax",
    "dlcl": "DLCL",
    "pseudo_auc": "Pseudo AUC, held out",
    "pseudo_bound": "bound of the Pseudo AUC",
}


def embeddings(found: dict[str, Any], test: dict[str, Any], colour: str, machine: str, width: float) -> "Figure | None":
    """A machine's clips in two dimensions, t-SNE and PCA; None where neither could be made.

    found: the machine's points from `maps.add_maps`; test: the columns of the test set; colour: one of COLOURS.
    """
    planes = [
        (title, np.reshape(found[key], (-1, 2))) for title, key in (("t-SNE", "tsne"), ("PCA", "pca")) if found[key]
    ]
    if not planes:
        return None
    values = point_values(found, test, colour)
    names = sorted(set(values) - {UNTOLD}, key=lambda name: (-values.count(name), name))
    kept = sorted(names if len(names) <= NAMED + 1 else names[:NAMED], key=_natural)
    rest = f"{len(names) - len(kept)} others"
    shown = [value if value in kept or value == UNTOLD else rest for value in values]
    tested = np.arange(len(values)) >= found["shown"][0]
    groups = [*kept, *(one for one in (rest, UNTOLD) if one in shown)]
    lines = -(-len(groups) // (3 if width < 5 else 6))
    figure = new_figure(width, width / 2 + 0.3 + 0.15 * lines)
    handles = {}
    for axes, (title, places) in zip(figure.subplots(1, len(planes), squeeze=False)[0], planes, strict=True):
        for number, value in sorted(enumerate(groups), key=lambda item: -(item[1] in (rest, UNTOLD))):
            fill, mark = _sign(value, number, colour)
            own = np.array([one == value for one in shown])
            for large in (False, True):
                some = places[own & (tested == large)]
                size = 9 if large else 3.5
                handles[value] = axes.scatter(*some.T, s=size, c=fill, marker=mark, lw=0.25, ec="white")
        axes.set(xticks=[], yticks=[], aspect="equal", xlim=(-25, 1024), ylim=(-25, 1024))
        more = (
            f" ({100 * found['shares'][0]:.0f} and {100 * found['shares'][1]:.0f} % of variance)"
            if title == "PCA"
            else ""
        )
        axes.set_xlabel(title + (more if width > 5 else more.replace(" of variance", "")))
    handles = {value: handles[value] for value in groups}
    legend = figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside upper center",
        ncols=3 if width < 5 else 6,
        markerscale=1.3,
        title=f"{machine}: small training, large test clips",
        title_fontsize=8,
        handletextpad=0.2,
    )
    for handle in legend.legend_handles:
        handle.set_sizes([16])
    return figure


def point_values(found: dict[str, Any], test: dict[str, Any], colour: str) -> list[str]:
    """What each point of a machine is coloured by, training clips first."""
    trained = found["shown"][0]
    if colour == "condition":
        told = [f"test, {test['condition'][at]}" if test["condition"][at] != "-" else "test" for at in found["test"]]
        return ["training"] * trained + told
    if colour == "code":
        return [f"code {code}" for code in found["code"]] if found["code"] else [UNTOLD] * sum(found["shown"])
    if colour == "domain":
        values = [*found["domain"], *(test["domain"][at] for at in found["test"])]
    else:
        values = [found[colour]["names"][at] for at in found[colour]["of"]]
    return [UNTOLD if value == "-" else value for value in values]


def training(curves: dict[str, Any], width: float) -> "Figure | None":
    """Training curves of all seeds, a panel for each column of train.tsv; None where there are none."""
    seeds = curves["seeds"]
    if not seeds:
        return None
    columns = [key for key in next(iter(seeds.values())) if key != "step"]
    columns.sort(key=lambda key: key == "lr")
    most = 2 if width < 5 else 4
    figure = new_figure(width, 1.25 * -(-len(columns) // most) + 0.2)
    every = panels(figure, len(columns), most)
    for axes, key in zip(every, columns, strict=True):
        for number, (seed, values) in enumerate(seeds.items()):
            known = [(x, y) for x, y in zip(values["step"], values.get(key, []), strict=False) if y is not None]
            line = ("-", "--", ":", "-.")[number % 4]
            at, numbers = [x for x, _ in known], [y for _, y in known]
            axes.plot(at, numbers, line, color=HUES[number % len(HUES)], lw=0.9, label=f"seed {seed}")
        axes.set_title(RATES.get(key, key), loc="left")
        axes.grid()
        over_steps(axes)
        axes.set_xlabel("step")
    if len(seeds) > 1:
        figure.legend(*every[0].get_legend_handles_labels(), loc="outside upper center", ncols=min(len(seeds), 5))
    return figure


def steps(rows: list[list[Any]], score: str, width: float) -> "Figure | None":
    """Official score over steps, mean and range over seeds; None where nothing was scored on the way.

    rows: [step, seed, score, set, official], from steps.json.
    """
    own = [row for row in rows if row[2] == score]
    if not own:
        return None
    figure = new_figure(width, 0.62 * min(width, 3.5))
    axes = figure.subplots()
    for number, name in enumerate(dict.fromkeys(row[3] for row in own)):
        at = sorted({row[0] for row in own if row[3] == name})
        values = [[100 * row[4] for row in own if row[3] == name and row[0] == step] for step in at]
        means = [np.mean(one) for one in values]
        colour, mark = HUES[number], MARKS[number % 4]
        axes.plot(at, means, mark, ls=("-", "--", ":")[number % 3], color=colour, label=SETS.get(name, name))
        if max(map(len, values)) > 1:
            axes.fill_between(
                at, [min(one) for one in values], [max(one) for one in values], color=colour, alpha=0.15, lw=0
            )
    axes.set(xlabel="step", ylabel="official score (%)")
    over_steps(axes)
    axes.grid()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def groups(found: dict[str, Any], width: float) -> "Figure":
    """Weights of the group adapters: a panel for each layer, machines by groups, the darker the larger (Fig. 6)."""
    machines = found["machines"]
    names = [one["machine"] for one in machines]
    weights = np.array([one["weights"] for one in machines])  # [machines, layers, groups]
    layers = weights.shape[1]
    across = min(layers, 3 if width < 5 else 6)
    down = -(-layers // across)
    figure = new_figure(width, (0.115 * len(names) + 0.3) * down + 0.55)
    every = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for layer, axes in enumerate(every.ravel()):
        if layer >= layers:
            axes.remove()
            continue
        shown = axes.imshow(
            weights[:, layer], cmap="Blues", vmin=0, vmax=weights.max(), aspect="auto", interpolation="none"
        )
        axes.set_title(f"layer {layer + 1}", pad=2)
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.tick_params(length=0)
        axes.set_xticks(_spaced(weights.shape[2]))
    figure.supxlabel("group", fontsize=8)
    figure.colorbar(shown, ax=list(every.ravel()[:layers]), label="weight", fraction=0.03, aspect=40, pad=0.01)
    return figure


def _sign(value: str, number: int, colour: str) -> tuple[str, str]:
    if colour == "condition":
        looks = {
            "training": (GREY, "o"),
            "test, normal": (BLUE, "o"),
            "test, anomaly": (ORANGE, "s"),
            "test": (AMBER, "^"),
        }
        return looks[value]
    if value == UNTOLD or value.endswith(" others"):
        return GREY, "o"
    return HUES[number % len(HUES)], MARKS[(number + number // len(HUES)) % len(MARKS)]


def _natural(name: str) -> tuple[str, float]:
    head, _, last = name.rpartition(" ")
    return (head, float(last)) if last.isdecimal() else (name, 0.0)


def _spaced(count: int) -> list[int]:
    return list(range(0, count, max(1, -(-count // 4))))
