"""Results as Markdown tables that are readable as plain text."""

from typing import Any

from asdkit.protocols import PROTOCOLS

HEADINGS = {
    "auc": "AUC",
    "auc_source": "AUC source",
    "auc_target": "AUC target",
    "pauc": "pAUC",
    "pauc_source": "pAUC source",
    "pauc_target": "pAUC target",
    "auc_all": "AUC all clips",
    "pauc_all": "pAUC all clips",
    "auc_source_in_domain": "AUC source in-domain",
    "auc_target_in_domain": "AUC target in-domain",
    "pauc_source_in_domain": "pAUC source in-domain",
    "pauc_target_in_domain": "pAUC target in-domain",
    "pauc_eq12": "pAUC Eq. 12",
}
EXTRAS = (
    "Not part of the official score. In-domain: normal clips and anomalies of one domain. "
    "pAUC Eq. 12: the paper's formula over all clips of a section, not standardised."
)
TRANSDUCTIVE = (
    "Transductive: scores of each test clip use the statistics of all test clips of its machine "
    "(normalise: test_zscore). Not for official results."
)
REVEALED = (
    "Revealed attributes: labels of training clips are from attributes that the organisers hid until the challenge was "
    "over (stage 1, --revealed-attributes). Not to be compared with systems that had to do without."
)

UNHEARD = (
    "Not trained on: recordings of these machines came after the training, the network has not heard any. Not to be "
    "compared with networks that were trained on all machines."
)
OTHER_CLIPS = (
    "Trained on other clips: the training clips have changed since the network was trained, by an older version that "
    "did not note which it heard. Stage 3 with --force true trains it on those that are there."
)


def marks(results: dict[str, Any]) -> dict[str, str]:
    """What sets an experiment apart from official systems: short mark -> explanation."""
    found = {}
    if results["transductive"]:
        found["transductive"] = TRANSDUCTIVE
    if results.get("revealed_attributes"):
        found["revealed attributes"] = REVEALED
    unheard = results.get("unheard", [])
    if unheard is None:
        found["trained on other clips"] = OTHER_CLIPS
    elif unheard:
        found[f"not trained on {', '.join(unheard)}"] = UNHEARD
    return found


def title(results: dict[str, Any]) -> str:
    """An experiment's tag with its marks; the page of another score than `knn` says which."""
    return results["tag"] + ("" if results["score"] == "knn" else f": {results['score']}") + _marked(results)


def table(header: list[str], rows: list[list[str]]) -> str:
    """Aligned Markdown table; the first column is text, the others are numbers."""
    widths = [max(2, *map(len, column)) for column in zip(header, *rows, strict=True)]  # of `-:` at least
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [[header[0].ljust(widths[0]), *map(str.rjust, header[1:], widths[1:])], rule]
    lines += [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def cell(value: dict[str, Any] | None) -> str:
    """`mean ± std` in percent, the mean alone for one seed, `-` where nothing is defined."""
    if value is None:
        return "-"
    spread = "" if value["std"] is None else f" ± {100 * value['std']:.2f}"
    return f"{100 * value['mean']:.2f}{spread}"


def overview(results: dict[str, Any]) -> str:
    """The short table of one experiment: official score first, then the values it is made of, per set."""
    sets = results["sets"]
    names = list(dict.fromkeys(name for found in sets.values() for name in found["values"]))
    header = ["set", "official score", "95% interval", *(_heading(name) for name in names)]
    rows = []
    for name, found in sets.items():
        width = found["half_width95"]
        interval = "-" if width is None else f"± {100 * width['mean']:.2f}"
        rows.append([name, cell(found["official"]), interval, *(cell(found["values"].get(key)) for key in names)])
    if results["all"] is not None:
        rows.append(["all", cell(results["all"]), "-", *("-" for _ in names)])
    return table(header, rows)


def page(results: dict[str, Any], published: str = "") -> str:
    """RESULTS.md of one experiment from `results.over_seeds`; `published`: the part about others' results."""
    protocol, seeds = PROTOCOLS[results["protocol"]], results["seeds"]
    spread = f"mean ± sample standard deviation over {len(seeds)} seeds" if len(seeds) > 1 else "one seed"
    parts = [
        f"# {title(results)}\n",
        *(text + "\n" for text in marks(results).values()),
        f"In percent, {spread}. Official score ({results['protocol']}): {protocol.rule}. "
        f"all: the {protocol.mean} mean of dev and eval.\n",
        overview(results),
        "95% interval: how far the score of one seed may lie off because the test clips are a sample "
        "(jackknife; mean over seeds).\n",
    ]
    if results.get("warnings"):
        parts += ["## Before you trust them\n", "".join(f"- {line}\n" for line in results["warnings"])]
    for name, found in results["sets"].items():
        if found["machines"]:
            parts += [f"## {name}\n", _machines(found, protocol.mean, results.get("unheard") or [])]
            if len(found["sections"]) > len(found["machines"]):
                parts += [f"### {name}: sections\n", _sections(found)]
            parts += [f"### {name}: extras\n", EXTRAS + "\n", _extras(found)]
        if found["notes"]:
            parts += [f"### {name}: notes\n", "".join(f"- {note}\n" for note in found["notes"])]
    parts += [published] if published else []
    parts += ["## Made from\n", _origin(results)]
    return "\n".join(parts)


def pages(results: dict[str, Any], published: dict[str, str]) -> str:
    """RESULTS.md of one experiment from `results.over_seeds`: a page for each score, `knn` first, after a short table.

    published: the part about others' results, for each score.
    """
    scores = ordered(results["scores"])
    parts = [page(found, published.get(name, "")) for name, found in scores.items()]
    if len(scores) > 1:
        rows = [
            [name + _marked(found), *map(cell, (*(_official(found, part) for part in ("dev", "eval")), found["all"]))]
            for name, found in scores.items()
        ]
        parts.insert(0, f"# {results['tag']}: all scores\n\n" + table(["score", "dev", "eval", "all"], rows))
    return "\n".join(parts)


def ordered(scores: dict[str, Any]) -> dict[str, Any]:
    """Scores by name, `knn` first."""
    return dict(sorted(scores.items(), key=lambda item: (item[0] != "knn", item[0])))


def _official(results: dict[str, Any], part: str) -> dict[str, Any] | None:
    return results["sets"].get(part, {}).get("official")


def _marked(results: dict[str, Any]) -> str:
    return "".join(f" ({mark})" for mark in marks(results))


def _heading(name: str) -> str:
    return HEADINGS.get(name, name)


def _machines(found: dict[str, Any], mean: str, unheard: list[str]) -> str:
    names = list(found["values"])
    rows = [
        [
            row["machine"] + (" (not heard in training)" if row["machine"] in unheard else ""),
            cell(row["score"]),
            *(cell(row["values"].get(name)) for name in names),
        ]
        for row in found["machines"]
    ]
    rows.append(["official", cell(found["official"]), *(cell(found["values"][name]) for name in names)])
    return table(["machine", f"{mean} mean", *(_heading(name) for name in names)], rows)


def _sections(found: dict[str, Any]) -> str:
    names = list(found["values"])
    rows = [
        [f"{row['machine']} {row['section']}", str(row["normal"]), str(row["anomaly"])]
        + [cell(row["values"].get(name)) for name in names]
        for row in found["sections"]
    ]
    return table(["section", "normal clips", "anomalies", *(_heading(name) for name in names)], rows)


def _extras(found: dict[str, Any]) -> str:
    names = list(found["extras"])
    rows = [[row["machine"], *(cell(row["extras"].get(name)) for name in names)] for row in found["machines"]]
    rows.append(["mean", *(cell(found["extras"][name]) for name in names)])
    return table(["machine", *(_heading(name) for name in names)], rows)


def _origin(results: dict[str, Any]) -> str:
    lines = [
        f"- configuration: {results['config']} (SHA-256 of its settings {results['config_sha256']})",
        f"- asdkit: {', '.join(results['asdkit'])}, git: {', '.join(results['git'])}",
        f"- seeds: {', '.join(map(str, results['seeds']))}",
        f"- protocol: {results['protocol']}, score: {results['score']}, detector: {results['detector']}",
    ]
    if size := results.get("size"):
        lines.append(
            f"- network: {size['parameters']:,} parameters, {size['trained']:,} trained; {size['macs'] / 1e9:.2f} G "
            "multiply-accumulates for 10 s of sound, front end not counted"
        )
    if results.get("revealed_attributes"):
        lines.append(f"- revealed attributes: {results['revealed_attributes']}")
    if results["pending"]:
        lines.append(f"- seeds without results yet: {', '.join(map(str, results['pending']))}")
    return "\n".join(lines) + "\n"
