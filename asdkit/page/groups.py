"""The weights that the group adapters give each machine (the paper's Fig. 6)."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from asdkit.corpus.manifest import Row
from asdkit.infer.experiment import Experiment
from asdkit.page.contents import recording
from asdkit.utils.files import read_json, sha256_text, write_json

CLIPS = 8  # test clips of a machine that are heard
MARKER = ".done.groups"  # of the page's folder
VERSION = 1  # another one: weights are made again
# Settings, beside the trained weights, that decide how a clip is heard.
HEARD = {
    "data": {"chunk_seconds", "level", "reference"},
    "embed": {"checkpoint", "segment", "hop_seconds", "chunks", "precision"},
}


def add_groups(told: dict[str, Any], exp: Path, data: Path, page: Path) -> None:
    """Put `groups`, the group adapters' weights by machine, into what the page tells; they are kept beside the page.

    The network is opened once, where it has group adapters, and hears some test clips of each machine. What is not
    there is said: `groups` is then a text.
    """
    try:
        experiment = Experiment.open(exp, told["scores"][0]["seed"], data)
        if experiment.config.encoder.family == "autoencoder" or not experiment.config.model.group_adapter:
            told["groups"] = "The network has no group adapter (model.group_adapter)."
            return
        chosen = _chosen(experiment, told["sets"])
        marker, made_from = page / MARKER, _made_from(experiment, chosen)
        known = read_json(marker) if marker.exists() else {}
        if known.get("made_from") != made_from:
            known = {"made_from": made_from, "groups": _made(experiment, chosen)}
            write_json(marker, known)
        told["groups"] = known["groups"]
    except ValueError as error:
        told["groups"] = f"No weights of the group adapter: {error}."


Chosen = dict[tuple[str, str], list[Row]]  # by set and machine


def _chosen(experiment: Experiment, tests: dict[str, Any]) -> Chosen:
    """Test clips of each machine, evenly spaced; nothing of their truth counts."""
    found: Chosen = {}
    for name, test in tests.items():
        rows = {row["utt"]: row for row in experiment.rows(f"{name}_test")}
        whose: dict[str, list[Row]] = {machine: [] for machine in sorted(set(test["machine"]))}
        for utt, machine in zip(test["utt"], test["machine"], strict=True):
            whose[machine].append(rows[utt])
        for machine, own in whose.items():
            places = np.unique(np.linspace(0, len(own) - 1, min(len(own), CLIPS)).round().astype(int))
            found[name, machine] = [own[i] for i in places]
    return found


def _made(experiment: Experiment, chosen: Chosen) -> dict[str, Any]:
    from asdkit.infer.groups import group_weights

    logging.info("group adapters: %d clips go through the network, once", sum(map(len, chosen.values())))
    whose = {row["utt"]: key for key, rows in chosen.items() for row in rows}
    heard: dict[tuple[str, str], list[np.ndarray]] = {key: [] for key in chosen}
    faults = []
    for row, found in group_weights(experiment, [row for rows in chosen.values() for row in rows]):
        if isinstance(found, str):
            faults.append(found)
        else:
            heard[whose[row["utt"]]].append(found)
    known = {key: np.stack(own) for key, own in heard.items() if own}  # [clips, layers, groups]
    if not known:
        raise ValueError(f"no clip could be heard: {faults[0]}" if faults else "there are no test clips")
    means = {key: own.mean(axis=0) for key, own in known.items()}
    return {
        "machines": [
            {"set": name, "machine": machine, "clips": len(known[name, machine]), "weights": _rounded(mean)}
            for (name, machine), mean in means.items()
        ],
        "between": _between(list(means.values())),
        "within": _within(list(known.values())),
        "said": f"{len(faults)} clips could not be heard: {faults[0]}" if faults else "",
    }


def _rounded(weights: np.ndarray) -> list[list[float]]:
    return [[round(float(weight), 3) for weight in layer] for layer in weights]


def _between(means: list[np.ndarray]) -> list[float] | None:
    """By layer: half the sum of differences of two machines' weights, mean over pairs: 0 alike, 1 no group shared."""
    pairs = [np.abs(one - other).sum(axis=1) / 2 for i, one in enumerate(means) for other in means[:i]]
    return [round(float(value), 3) for value in np.mean(pairs, axis=0)] if pairs else None


def _within(known: list[np.ndarray]) -> list[float] | None:
    """By layer: the same of two clips of one machine."""
    pairs = [np.abs(own[i] - own[j]).sum(axis=1) / 2 for own in known for i in range(len(own)) for j in range(i)]
    return [round(float(value), 3) for value in np.mean(pairs, axis=0)] if pairs else None


def _made_from(experiment: Experiment, chosen: Chosen) -> str:
    """SHA-256 of what weights depend on: the training, and the recordings."""

    def file(row: Row) -> list:
        try:
            found = recording(experiment.dataset, row).stat()
        except OSError:
            return [row["wav"]]
        return [row["wav"], found.st_size, found.st_mtime_ns]

    weights = experiment.checkpoint.stat()
    told = [
        VERSION,
        CLIPS,
        [weights.st_size, weights.st_mtime_ns],
        experiment.config.model_dump(mode="json", include=HEARD),
        [[*key, list(map(file, rows))] for key, rows in chosen.items()],
    ]
    return sha256_text(json.dumps(told))
