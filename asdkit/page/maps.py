"""The embeddings of each machine as points of a plane."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from asdkit.corpus.description import load_dataset
from asdkit.corpus.manifest import Row
from asdkit.corpus.names import UNKNOWN, parse_name
from asdkit.detectors.tables import Behind, Chosen
from asdkit.infer.experiment import Experiment
from asdkit.page.codes import assigned, usage
from asdkit.page.plane import both
from asdkit.utils.files import read_json, sha256_text, write_json

CAP = 500  # points of a machine
MARKER = ".done.maps"  # of the page's folder
VERSION = 1  # another one: coordinates are made again


def add_maps(told: dict[str, Any], exp: Path, data: Path, page: Path) -> None:
    """Put `maps`, the machines' points, and `codes`, the use of DLCL's codes, into what the page tells.

    They are of the first score's seed and arrays, and kept beside the page. What is not there is said.
    """
    score = told["scores"][0]
    told["maps"] = {"said": "", "sets": {}, "cap": CAP, "seed": score["seed"], "arrays": []}
    told["codes"] = None
    try:
        experiment = Experiment.open(exp, score["seed"], data)
        settings = experiment.settings(score["score"])
        arrays = ["embedding"] if settings.detector == "given" else settings.arrays
        attributes = _attributes(told["sets"], load_dataset(data).name_style)
        names = [name for name in experiment.sets() if name.partition("_")[0] in told["sets"]]
        made_from = _made_from(experiment, names, arrays, attributes)
    except ValueError as error:
        told["maps"]["said"] = f"No embeddings to show: {error}."
        return
    marker = page / MARKER
    known = read_json(marker) if marker.exists() else {}
    if known.get("made_from") != made_from:
        try:
            known = {"made_from": made_from, **_made(experiment, names, arrays, attributes)}
        except ValueError as error:
            told["maps"]["said"] = f"No embeddings to show: {error}."
            return
        write_json(marker, known)
    told["maps"] |= {"arrays": arrays, "sets": known["maps"], "why": known["why"]}
    told["codes"] = known["codes"]


Tests = dict[str, dict[str, str]]  # set -> utt -> attribute, in the order of the page's columns


def _attributes(tests: dict[str, Any], style: str) -> Tests:
    """The attributes of test clips, as their names tell them, where their truth is known; else `-`."""

    def told(file: str) -> str:
        try:
            return parse_name(file.rpartition(".")[0], style, file).attr
        except ValueError:
            return UNKNOWN

    return {
        name: {
            utt: told(file) if test["labelled"] else UNKNOWN
            for utt, file in zip(test["utt"], test["file"], strict=True)
        }
        for name, test in tests.items()
    }


def _made(experiment: Experiment, names: list[str], arrays: list[str], tests: Tests) -> dict[str, Any]:
    found: dict[str, Any] = {"maps": {}, "codes": None, "why": "the network was trained without DLCL"}
    codes = None
    try:
        codes = assigned(experiment)
    except ValueError as error:
        found["why"] = str(error)
    if codes:
        found |= {"codes": usage(experiment, codes), "why": ""}
    of = codes.of if codes else {}
    for name in dict.fromkeys(name.partition("_")[0] for name in names):
        both_sets = [one for one in (f"{name}_train", f"{name}_test") if one in names]
        parts = [experiment.stored(one, *arrays, zeros=True) for one in both_sets]
        rows, x = [row for own, _ in parts for row in own], Behind([own for _, own in parts])
        places = {utt: i for i, utt in enumerate(tests[name])}
        whose: dict[str, list[int]] = {}
        for i, row in enumerate(rows):
            whose.setdefault(row["machine"], []).append(i)
        found["maps"][name] = {}
        for machine, own in sorted(whose.items()):
            logging.info("the plane of %s, %s: made once", machine, name)
            told = [rows[i] | {"attr": tests[name].get(rows[i]["utt"], rows[i]["attr"])} for i in own]
            found["maps"][name][machine] = _machine(told, Chosen(x, own), places, of)
    return found


def _machine(rows: list[Row], x: Chosen, places: dict[str, int], codes: dict[str, int]) -> dict[str, Any]:
    """A machine's points: training clips first, then test clips, `test` telling their places in the page's columns."""
    train = [i for i, row in enumerate(rows) if row["utt"] not in places]
    test = [i for i, row in enumerate(rows) if row["utt"] in places]
    shown_test = _spaced(test, min(len(test), max(CAP // 2, CAP - len(train))))
    shown_train = _training(rows, train, CAP - len(shown_test))
    shown = [rows[i] for i in (*shown_train, *shown_test)]
    values = {key: sorted({row[key] for row in shown}) for key in ("attr", "section")}
    return {
        "of": [len(train), len(test)],
        "shown": [len(shown_train), len(shown_test)],
        "test": [places[rows[i]["utt"]] for i in shown_test],
        "domain": [rows[i]["domain"] for i in shown_train],
        **{key: {"names": own, "of": [own.index(row[key]) for row in shown]} for key, own in values.items()},
        "code": [codes[row["utt"]] for row in shown] if codes else None,
        **both(x[[*shown_train, *shown_test]].reshape(len(shown), -1)),
    }


def _training(rows: list[Row], train: list[int], room: int) -> list[int]:
    """So many of the training clips, evenly spaced; at most a quarter of the room goes first to the rarer domain."""
    if len(train) <= room:
        return train
    domains = sorted({rows[i]["domain"] for i in train}, key=lambda d: sum(rows[i]["domain"] == d for i in train))
    found: list[int] = []
    for domain in domains:
        own, last = [i for i in train if rows[i]["domain"] == domain], domain == domains[-1]
        found += _spaced(own, min(len(own), room - len(found) if last else room // 4))
    return sorted(found)


def _spaced(values: list[int], wanted: int) -> list[int]:
    if not wanted:
        return []
    return [values[i] for i in np.unique(np.linspace(0, len(values) - 1, wanted).round().astype(int))]


def _made_from(experiment: Experiment, names: list[str], arrays: list[str], tests: Tests) -> str:
    """SHA-256 of what coordinates depend on: what stage 4 made its arrays from, or the files themselves."""

    def archive(name: str) -> list:
        folder = experiment.seed_dir / "embed" / name
        if (folder / ".done").exists():
            return [name, read_json(folder / ".done")]
        try:
            found = [(folder / f"{array}.ark").stat() for array in arrays]
        except OSError as error:
            raise ValueError(f"{error.filename} is not there: run stage 4") from None
        return [name, [[one.st_size, one.st_mtime_ns] for one in found]]

    columns = ("utt", "machine", "section", "domain", "attr")
    rows = [[row[key] for key in columns] for name in names for row in experiment.rows(name)]
    told = [VERSION, CAP, arrays, [archive(name) for name in names], rows, tests]
    return sha256_text(json.dumps(told))
