"""Figures of results: machines, source against target, distributions of scores, ROC, differences of experiments."""

from typing import TYPE_CHECKING, Any

import numpy as np

from asdkit.page.style import AMBER, BLUE, GREY, LIGHT_BLUE, ORANGE, SOFT, new_figure, place_labels, roc_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SETS = {"dev": "development set", "eval": "evaluation set", "all": "both sets"}
LOOKS = {  # colour, marker, line
    "source": (BLUE, "o", "-"),
    "target": (AMBER, "s", (0, (4, 1.5))),
    "other": (GREY, "D", (0, (1, 1))),
}
KINDS = {  # of clips: colour and hatch
    "training": (GREY, None),
    "normal source": (BLUE, None),
    "normal target": (LIGHT_BLUE, "////"),
    "normal -": (BLUE, None),
    "anomaly source": (ORANGE, None),
    "anomaly target": (AMBER, "////"),
    "anomaly -": (ORANGE, None),
    "test clips": (GREY, None),
}


def machines(told: dict[str, Any], score: dict[str, Any], name: str, width: float) -> "Figure":
    """The official values of each machine of a set as dots, with the 95% intervals of the clips."""
    found = score["sets"][name]
    values = [key for key in found["values"] if any(row["values"][key] for row in found["machines"])]
    lanes, rows = len(values) + 1, found["machines"]
    figure = new_figure(width, 0.75 + 0.13 * (lanes + 0.6) * len(rows))
    axes = figure.subplots()
    low = 50.0
    for number, row in enumerate(rows):
        top = -number * (lanes + 0.9)
        axes.plot(100 * row["score"]["mean"], top, "|", color="black", ms=7, mew=1.6) if row["score"] else None
        for lane, key in enumerate(values, 1):
            value, half = row["values"][key], score["half_widths95"].get(name, {}).get(row["machine"], {}).get(key)
            if value:
                mean, far = 100 * value["mean"], 100 * (half or 0)
                colour, mark, _ = look(key)
                bar = axes.errorbar(mean, top - lane, xerr=far or None, fmt=mark, color=colour, ms=3.6, elinewidth=1)
                bar.set_label("_")
                low = min(low, max(0.0, mean - far))
    axes.plot([], [], "|", color="black", ms=7, mew=1.6, label=f"{told['mean']} mean")
    for key in values:
        axes.plot([], [], look(key)[1], color=look(key)[0], ms=3.6, label=told["headings"].get(key, key))
    axes.set_yticks([-n * (lanes + 0.9) - lanes / 2 + 0.5 for n in range(len(rows))], [row["machine"] for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(10 * np.floor(low / 10), 101), ylim=(-len(rows) * (lanes + 0.9) + 0.4, 0.9))
    axes.set_xlabel(f"percent, {SETS.get(name, name)}; bars: 95% intervals over clips")
    axes.grid(axis="x")
    for number in range(1, len(rows)):
        axes.axhline(-number * (lanes + 0.9) + 0.95, color="#d8dbde", lw=0.5)
    _legend_above(figure, axes, width)
    return figure


def trade(score: dict[str, Any], name: str, width: float) -> "Figure | None":
    """AUC source against AUC target of each machine; None where there are no domains."""
    rows = [
        (r["machine"], r["values"].get("auc_source"), r["values"].get("auc_target"))
        for r in score["sets"][name]["machines"]
    ]
    points = [(machine, 100 * s["mean"], 100 * t["mean"]) for machine, s, t in rows if s and t]
    if not points:
        return None
    side = min(width, 3.5)
    figure = new_figure(side, side)
    axes = figure.subplots()
    low = min(50, 10 * np.floor(min(min(x, y) for _, x, y in points) / 10))
    axes.plot([low, 100], [low, 100], "--", color=SOFT, lw=0.7)
    axes.plot([x for _, x, _ in points], [y for _, _, y in points], "o", color=BLUE)
    axes.set(xlim=(low, 100.5), ylim=(low, 100.5), aspect="equal")
    axes.set(xlabel=f"AUC source (%), {SETS.get(name, name)}", ylabel="AUC target (%)")
    axes.grid()
    place_labels(axes, points, np.array([[low, low], [100, 100]]))
    return figure


def distributions(found: dict[str, np.ndarray], limit: float | None, machine: str, width: float) -> "Figure":
    """Histograms of a machine's scores by kind of clip, one above the other, and the threshold."""
    kinds = [kind for kind in KINDS if len(found.get(kind, ()))]
    every = np.sort(np.concatenate([found[kind] for kind in kinds]))
    log = every[0] > 0 and every[-1] > 5 * np.median(every)
    ends = np.log10(every[[0, -1]]) if log else every[[0, -1]]
    room = 0.03 * (ends[1] - ends[0]) or 1.0
    edges = np.linspace(ends[0] - room, ends[1] + room, 36)
    edges = 10**edges if log else edges
    figure = new_figure(width, 0.55 + 0.3 * len(kinds))
    axes = figure.subplots()
    for row, kind in enumerate(kinds):
        counts, _ = np.histogram(found[kind], edges)
        colour, hatch = KINDS[kind]
        axes.stairs(
            0.82 * counts / max(1, counts.max()) - row, edges, baseline=-row, fill=True, fc=colour, alpha=0.35, lw=0
        )
        axes.stairs(0.82 * counts / max(1, counts.max()) - row, edges, baseline=-row, ec=colour, lw=0.9, hatch=hatch)
    if limit is not None:
        axes.axvline(limit, color="black", lw=0.9, ls=(0, (5, 2)))
    if log:
        axes.set_xscale("log")
        _plain(axes)
    names = [f"{kind.removesuffix(' -')} ({len(found[kind])})" for kind in kinds]
    axes.set_yticks([0.35 - row for row in range(len(kinds))], names)
    axes.tick_params(axis="y", length=0)
    axes.set(ylim=(0.85 - len(kinds), 1), xlim=(edges[0], edges[-1]))
    dashed = "" if limit is None else "; dashed: threshold"
    axes.set_xlabel(f"anomaly score, {machine}{dashed}")
    axes.grid(axis="x")
    return figure


def roc(
    told: dict[str, Any], found: dict[str, np.ndarray], limit: float | None, machine: str, width: float
) -> "Figure | None":
    """A machine's ROC for each AUC of the official score and for pAUC; None without clips of both conditions."""
    side = min(width, 3.5)
    curves = []
    for key, rule in told["official"].items():
        normal, anomalous = (
            _of_rule(found, *pair) for pair in (("normal", rule["normals"]), ("anomaly", rule["anomalies"]))
        )
        other = key == "auc_all" and "normal source" in found
        if len(normal) and len(anomalous) and (rule["metric"] == "auc" or key == "pauc") and not other:
            curves.append((key, normal, anomalous))
    if not curves:
        return None
    figure = new_figure(side, side)
    axes = figure.subplots()
    axes.axvspan(0, 100 * told["max_fpr"], color=BLUE, alpha=0.1, lw=0)
    axes.plot([0, 100], [0, 100], "--", color=SOFT, lw=0.7)
    for key, normal, anomalous in curves:
        colour, mark, line = look(key)
        label = f"all clips, p = {told['max_fpr']} shaded" if key == "pauc" else told["headings"].get(key, key)
        axes.plot(*(100 * rates for rates in roc_of(normal, anomalous)), color=colour, ls=line, label=label)
        if limit is not None:
            place = 100 * (normal > limit).mean(), 100 * (anomalous > limit).mean()
            axes.plot(*place, mark, color=colour, mec="white", mew=0.6, ms=5, zorder=3)
    axes.set(xlim=(0, 100), ylim=(0, 100.5), aspect="equal")
    axes.set(xlabel=f"false alarms (%), {machine}", ylabel="detected anomalies (%)")
    axes.grid()
    axes.legend(loc="lower right")
    return figure


def compared(found: dict[str, Any], width: float) -> "Figure":
    """Differences to other experiments with their intervals, of the official score and by machine."""
    panels = [(other["other"], _lanes(other)) for other in found["differences"]]
    heights = [0.62 + 0.135 * len(lanes) for _, lanes in panels]
    figure = new_figure(width, sum(heights) + 0.1)
    every = figure.subplots(len(panels), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for axes, (other, lanes) in zip(every, panels, strict=True):
        for place, (_, one, official) in enumerate(lanes):
            sure = one["low"] > 0 or one["high"] < 0
            colour = GREY if not sure else BLUE if one["low"] > 0 else ORANGE
            axes.plot([100 * one["low"], 100 * one["high"]], [-place] * 2, color=colour, lw=1.2)
            axes.plot(
                100 * one["difference"],
                -place,
                "s" if official else "o",
                color=colour,
                ms=4 if official else 3.4,
                mfc=colour if sure else "white",
            )
        axes.axvline(0, color="black", lw=0.8)
        axes.set_yticks([-place for place in range(len(lanes))], [name for name, _, _ in lanes])
        for label, (_, _, official) in zip(axes.get_yticklabels(), lanes, strict=True):
            label.set_fontweight("bold" if official else "normal")
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(-len(lanes) + 0.4, 0.6)
        axes.set_title(f"{found['experiments'][0]['title']} less {other}", loc="left")
        axes.grid(axis="x")
    every[-1].set_xlabel("difference of the score (points) and its 95% interval")
    return figure


def look(key: str) -> tuple[Any, str, Any]:
    """Colour, marker and line of an official value."""
    return LOOKS["source" if "source" in key else "target" if "target" in key else "other"]


def _lanes(other: dict[str, Any]) -> list[tuple[str, dict[str, Any], bool]]:
    lanes: list[tuple[str, dict[str, Any], bool]] = []
    for name, one in other["sets"].items():
        lanes += [(SETS.get(name, name), one, True), *((row["machine"], row, False) for row in one["machines"])]
    return lanes


def _of_rule(found: dict[str, np.ndarray], condition: str, domain: str) -> np.ndarray:
    own = [
        values for kind, values in found.items() if kind.startswith(condition) and domain in ("any", kind.split(" ")[1])
    ]
    return np.concatenate(own) if own else np.empty(0)


def _plain(axes: "Axes") -> None:
    """Numbers of a logarithmic axis as they are, 1, 2 and 5 times powers of ten; fewer where there are many."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(10, (1, 2, 5) if high < 50 * low else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _legend_above(figure: "Figure", axes: "Axes", width: float) -> None:
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=2 if width < 5 and len(names) > 3 else len(names))
