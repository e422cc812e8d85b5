"""What the page tells of an experiment, as plain values: results, and what is known of each clip."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from asdkit import __version__
from asdkit.corpus.description import Dataset, load_dataset
from asdkit.corpus.manifest import Row, read_manifest, read_ref
from asdkit.detectors.folder import THRESHOLD, TRAIN, read_made_from, read_scores, read_thresholds
from asdkit.protocols import MAX_FPR, PROTOCOLS, ScoredClip, machine_half_widths95
from asdkit.report.published import System
from asdkit.report.results import seed_folders
from asdkit.report.tables import HEADINGS, marks, ordered

DAY = 86400  # seconds
TOLD = ("utt", "path", "machine", "section", "file", "link", "condition", "domain", "labelled", "clips_a_day")
TRAINING_SHOWN = 200  # scores of training clips that stand for all of a machine's, evenly spaced in order


def contents(exp: Path, results: dict[str, Any], systems: list[System], data: Path | None, page: Path) -> dict:
    """What the page shows, ready for JSON.

    results: from `report.results.over_seeds`; data: what stage 1 wrote (None: nothing is told of single clips); page:
    the folder that links start from. Scores of clips are those of the first seed that has results.
    """
    protocol = PROTOCOLS[next(iter(results["scores"].values()))["protocol"]]
    tests = _tests(data, page) if data else {}
    return {
        "tag": results["tag"],
        "version": __version__,
        "rule": protocol.rule,
        "mean": protocol.mean,
        "official": {
            name: {"metric": value.metric, "normals": value.normals, "anomalies": value.anomalies}
            for name, value in (protocol.official | protocol.no_domains).items()
        },
        "max_fpr": MAX_FPR["pauc"],
        "headings": HEADINGS,
        "scores": [_score(exp, found, tests) for found in ordered(results["scores"]).values()],
        "sets": {name: {key: test[key] for key in TOLD} for name, test in tests.items()},
        "published": [system.model_dump(exclude_none=True) for system in systems],
        "compared": results.get("compared"),
    }


def _score(exp: Path, found: dict[str, Any], tests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    seed = found["seeds"][0]
    folder = seed_folders(exp)[seed] / "score" / found["score"]
    known = {name: read_scores(folder / f"{name}_test.tsv") for name in tests}
    tests = {name: test for name, test in tests.items() if set(known[name]) == set(test["utt"])}  # of other clips: none
    widths = {name: _half_widths(folders(exp, found), name, test, found["protocol"]) for name, test in tests.items()}
    limits = read_thresholds(folder / THRESHOLD) if (folder / THRESHOLD).exists() else {}
    return {
        **{key: found[key] for key in ("score", "seeds", "protocol", "detector", "warnings", "sets", "all")},
        "marks": marks(found),
        "half_widths95": widths,
        "origin": _origin(found),
        "seed": seed,
        "clips": {name: [known[name][utt] for utt in test["utt"]] for name, test in tests.items()},
        "thresholds": [[machine, section, value] for (machine, section), value in limits.items()],
        "percentile": read_made_from(folder).threshold_percentile,
        "training": _training(folder, tests),
    }


def folders(exp: Path, found: dict[str, Any]) -> list[Path]:
    """The folders of a score's seeds that have results."""
    seeds = seed_folders(exp)
    return [seeds[seed] / "score" / found["score"] for seed in found["seeds"]]


def _half_widths(paths: list[Path], name: str, test: dict[str, Any], protocol: str) -> dict[str, Any]:
    """machine -> value -> half width of its 95% interval, mean over seeds; empty where the truth is not known."""
    if not test["labelled"]:
        return {}
    told = list(zip(test["machine"], test["section"], test["domain"], test["condition"], test["utt"], strict=True))
    found: list[dict[str, dict[str, float | None]]] = []
    for path in paths:
        scores = read_scores(path / f"{name}_test.tsv")
        clips = [ScoredClip(*labels, scores[utt]) for *labels, utt in told]
        found.append(machine_half_widths95(clips, protocol))
    return {
        machine: {
            value: None if (widths := [one[machine][value] for one in found]).count(None) else float(np.mean(widths))
            for value in values
        }
        for machine, values in found[0].items()
    }


def _training(folder: Path, tests: dict[str, dict[str, Any]]) -> list[list[Any]]:
    """[machine, section, clips, scores] of training clips, none compared with itself."""
    if not (folder / TRAIN).exists():
        return []
    scores, whose = read_scores(folder / TRAIN), {}
    for test in tests.values():
        whose |= test["training"]
    groups: dict[tuple[str, str], list[float]] = {}
    for utt, value in scores.items():
        if utt in whose:
            groups.setdefault(whose[utt], []).append(value)
    return [[*key, len(values), _spaced(values)] for key, values in sorted(groups.items())]


def _spaced(values: list[float]) -> list[float]:
    found = np.sort(values)
    places = np.unique(np.linspace(0, len(found) - 1, min(len(found), TRAINING_SHOWN)).round().astype(int))
    return [float(f"{value:.6g}") for value in found[places]]


def _tests(data: Path, page: Path) -> dict[str, dict[str, Any]]:
    """What is known of the clips of each test set, a list for each column."""
    dataset, found = load_dataset(data), {}
    for name in ("dev", "eval"):
        folder, train = data / f"{name}_test", data / f"{name}_train" / "manifest.tsv"
        if not (folder / "manifest.tsv").exists():
            continue
        rows = read_manifest(folder / "manifest.tsv")
        ref = read_ref(folder / "ref.tsv") if (folder / "ref.tsv").exists() else None
        known = read_manifest(train) if train.exists() else []
        found[name] = {
            **{key: [row[key] for row in rows] for key in ("utt", "machine", "section")},
            "file": [row["wav"].rpartition("/")[2] for row in rows],
            "path": [row["wav"] for row in rows],
            "link": [link(recording(dataset, row), page) for row in rows],
            "condition": [ref[row["utt"]][0] if ref else "-" for row in rows],
            "domain": [ref[row["utt"]][1] if ref else row["domain"] for row in rows],
            "labelled": ref is not None,
            "clips_a_day": _clips_a_day(rows, dataset.sample_rate),
            "training": {row["utt"]: (row["machine"], row["section"]) for row in known},
        }
    return found


def recording(dataset: Dataset, row: Row) -> Path:
    """Where a clip's recording lies."""
    return Path(dataset.root, row["wav"])


def link(path: Path, page: Path) -> str:
    """A link to a file from the folder `page`, for any name."""
    return quote(os.path.relpath(path.absolute(), page.absolute()))


def _clips_a_day(rows: list[Row], rate: int) -> int:
    """As many as follow one another without a gap."""
    lengths = [int(row["samples"]) / rate for row in rows if row["samples"].isdecimal() and int(row["samples"])]
    return max(1, round(DAY / float(np.median(lengths)))) if lengths else 8640


def _origin(found: dict[str, Any]) -> list[list[str]]:
    """Which run made it: what, and its value."""
    lines = [
        ["configuration", found["config"]],
        ["SHA-256 of its settings", found["config_sha256"]],
        ["seeds", ", ".join(map(str, found["seeds"]))],
        ["detector", found["detector"]],
        ["asdkit", ", ".join(found["asdkit"])],
        ["git", ", ".join(found["git"])],
        ["SHA-256 of the test lists", found["data_sha256"]],
    ]
    lines += [
        [f"SHA-256 of the {what} clips", found[key]]
        for what, key in (("scored", "clips_sha256"), ("training", "trained_sha256"))
        if found[key]
    ]
    if size := found["size"]:
        told = f"{size['parameters']:,} parameters, {size['trained']:,} trained"
        lines.append(["network", f"{told}; {size['macs'] / 1e9:.2f} G multiply-accumulates for 10 s of sound"])
    if found["pending"]:
        lines.append(["seeds without results yet", ", ".join(map(str, found["pending"]))])
    return lines
