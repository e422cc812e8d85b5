"""Experiments beside one another, and beside what others published."""

import logging
from pathlib import Path
from typing import Any

from asdkit.metrics import harmonic_mean
from asdkit.protocols import PROTOCOLS
from asdkit.report.published import Figures, System
from asdkit.report.schema import TagResult, read_results
from asdkit.report.tables import cell, marks, ordered, table, title
from asdkit.utils.files import locked, write_text

ABOUT = "Rows 'published: ...' are figures of others, in percent, as their source prints them; they were not run here."


def write_comparison(folder: Path, systems: list[System]) -> None:
    """Write RESULTS.md into the folder of the experiments, from the results.json of each, and published systems."""
    scores, left_out = [], []
    # Of two experiments that end together, the later one finds what the earlier one wrote.
    with locked(folder / ".results.lock"):
        for path in sorted(folder.glob("*/results.json")):
            try:
                found = read_results(path, TagResult)["scores"]
                scores += [{**score, "tag": path.parent.name} for score in ordered(found).values()]
            except ValueError as error:
                left_out.append(str(error).replace(f"{folder}/", ""))
                logging.warning("left out of %s: %s", folder / "RESULTS.md", left_out[-1])
        write_text(folder / "RESULTS.md", comparison(scores, left_out, systems))


def comparison(experiments: list[dict[str, Any]], left_out: list[str], systems: list[System]) -> str:
    """exp/RESULTS.md: one row for each score of each tag, then published systems.

    experiments: scores of tags, from `results.over_seeds`; left_out: why other tags have no row.
    """
    rows = [
        [
            title({**results, "score": "knn"}),  # the score has a column of its own
            results["score"],
            results["protocol"],
            str(len(results["seeds"])),
            *(cell(results["sets"].get(name, {}).get("official")) for name in ("dev", "eval")),
            cell(results["all"]),
        ]
        for results in experiments
    ]
    intro = "Official scores in percent, mean ± sample standard deviation over seeds. Details: <tag>/RESULTS.md.\n"
    parts = ["# Results\n", intro, table(["tag", "score", "protocol", "seeds", "dev", "eval", "all"], rows)]
    parts += dict.fromkeys(text + "\n" for results in experiments for text in marks(results).values())
    scored = [(f"{one['data_sha256']} {_known('clips_sha256', one, experiments)}", title(one)) for one in experiments]
    trained = [(one["trained_sha256"], title(one)) for one in experiments if one.get("trained_sha256")]
    for what, told in (("scored on the same clips or labels", scored), ("trained on the same clips", trained)):
        groups: dict[str, list[str]] = {}
        for key, name in dict.fromkeys(told):
            groups.setdefault(key, []).append(name)
        if len(groups) > 1:
            listed = "; ".join(", ".join(names) for names in groups.values())
            parts.append(f"Not {what}, not to be compared: {listed}.\n")
    sizes = {title({**one, "score": "knn"}): one["size"] for one in experiments if one.get("size")}
    if sizes:
        rows = [
            [tag, f"{size['parameters'] / 1e6:.2f}", f"{size['trained'] / 1e6:.2f}", f"{size['macs'] / 1e9:.2f}"]
            for tag, size in sizes.items()
        ]
        header = ["tag", "parameters (M)", "trained (M)", "G multiply-accumulates for 10 s"]
        parts += ["## Size\n", table(header, rows)]
    if left_out:
        parts += ["## Left out\n", "".join(f"- {reason}\n" for reason in left_out)]
    if systems:
        found: dict[str, dict[str, str]] = {}
        for system in systems:
            found.setdefault(_label(system), {})[system.set] = _percent(system.official)
        rows = [
            [label, *(official.get(name, "-") for name in ("dev", "eval", "all"))] for label, official in found.items()
        ]
        parts += ["## Published\n", ABOUT + "\n", table(["system", "dev", "eval", "all"], rows)]
    return "\n".join(parts)


def _known(key: str, results: dict[str, Any], experiments: list[dict[str, Any]]) -> str | None:
    """A digest of an experiment; where it tells none, that of the first one beside it with the same data."""
    same = [results, *(one for one in experiments if one["data_sha256"] == results["data_sha256"])]
    return next((one[key] for one in same if one.get(key)), None)


def beside_published(results: dict[str, Any], systems: list[System]) -> str:
    """Part of an experiment's page: per set, this run and the published systems, the best of them first.

    results: from `results.over_seeds`. Empty when nothing was published for the sets of this run.
    """
    mean, parts = PROTOCOLS[results["protocol"]].mean, []
    for name in ("dev", "eval", "all"):
        theirs = [system for system in systems if system.set == name]
        found = results["sets"].get(name) or {"official": results["all"], "machines": []}
        if not theirs or (name != "all" and name not in results["sets"]):
            continue
        theirs.sort(key=lambda system: -1 if system.official is None else system.official, reverse=True)
        ours = {row["machine"]: cell(row["score"]) for row in found["machines"]}
        machines = list(dict.fromkeys([*ours, *(machine for system in theirs for machine in system.machines)]))
        rows = [[f"this run: {title(results)}", cell(found["official"]), *(ours.get(m, "-") for m in machines)]]
        for system in theirs:
            figures = [_machine(system.machines.get(m), results["protocol"]) for m in machines]
            rows.append([_label(system), _percent(system.official), *map(_percent, figures)])
        parts += [f"### {name}: this run and published\n", table(["system", "official score", *machines], rows)]
        lacking = [machine for machine in machines if machine not in ours]
        if lacking and name != "all":
            parts.append(f"This run has no figures of {', '.join(lacking)}: its score is of fewer machines.\n")
    if not parts:
        return ""
    about = (
        f"{ABOUT} Machines: the {mean} mean of a machine's official values; where the source prints these alone, it is "
        "computed from them.\n"
    )
    return "\n".join(["## Published results\n", about, *parts])


def _label(system: System) -> str:
    return f"published: {system.name} ({system.source})"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _machine(figures: Figures | None, protocol: str) -> float | None:
    """A machine's mean as published, or of its published values when all official ones are there."""
    if figures is None:
        return None
    harmonic = PROTOCOLS[protocol].mean == "harmonic"
    printed = figures.hmean if harmonic else figures.mean
    values = [getattr(figures, name, None) for name in PROTOCOLS[protocol].official]
    if printed is not None or None in values:
        return printed
    return harmonic_mean(values) if harmonic else sum(values) / len(values)
