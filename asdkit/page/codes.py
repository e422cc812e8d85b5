"""The vectors of DLCL's quantiser: which is nearest to each clip, how many are in use, and how evenly."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from asdkit.corpus.names import sets_of
from asdkit.data.lists import read_labels
from asdkit.infer.experiment import Experiment
from asdkit.page.plane import unit

EPS = 1e-5  # of batch normalisation


@dataclass(frozen=True)
class Codes:
    """size: vectors of the quantiser; of: utt -> the nearest one; trained: clips that it was trained by."""

    size: int
    of: dict[str, int]
    trained: set[str]


def assigned(experiment: Experiment) -> Codes | None:
    """The nearest quantiser vector (Eq. 8) of every clip that stage 4 embedded; None where there is no quantiser.

    As the loss sees embeddings: where `loss.normalise` is set, normalised, here over all training clips in place of a
    batch. Raises ValueError for weights or embeddings that are not there.
    """
    if experiment.config.encoder.family == "autoencoder" or not experiment.config.loss.dlcl:
        return None
    if not experiment.config.train.steps:  # weights of chance
        return None
    from asdkit.models.checkpoint import read_checkpoint

    objective = {name: t.double().numpy() for name, t in read_checkpoint(experiment.checkpoint)["objective"].items()}
    known = {name: experiment.load(name, zeros=True) for name in experiment.sets()}
    own = np.concatenate([known[name][1] for name in sets_of("train", list(known))]).astype(np.float64)
    codes, found = unit(objective["dlcl.codes"]), {}
    for rows, x in known.values():
        seen = x.astype(np.float64)
        if "norm.weight" in objective:
            seen = (seen - own.mean(axis=0)) / np.sqrt(own.var(axis=0) + EPS)
            seen = seen * objective["norm.weight"] + objective["norm.bias"]
        nearest = (unit(seen) @ codes.T).argmax(axis=1)  # [N]
        found |= {row["utt"]: int(code) for row, code in zip(rows, nearest, strict=True)}
    labels = read_labels(experiment.exp)
    return Codes(len(codes), found, {utt for utt, (_, attributed) in labels.items() if not attributed})


def usage(experiment: Experiment, codes: Codes) -> dict[str, Any]:
    """How often each code is the nearest one, by machine, of training clips that have no attribute."""
    machines = []
    for name in sets_of("train", experiment.sets()):
        own: dict[str, list[int]] = {}
        for row in experiment.rows(name):
            if row["utt"] in codes.trained:
                own.setdefault(row["machine"], []).append(codes.of[row["utt"]])
        for machine, found in sorted(own.items()):
            counts = np.bincount(found, minlength=codes.size)
            machines.append({"set": name.removesuffix("_train"), "machine": machine, **told(counts)})
    total = np.sum([one["counts"] for one in machines], axis=0) if machines else np.zeros(codes.size, int)
    return {"codes": codes.size, "machines": machines, "all": told(total)}


def told(counts: np.ndarray) -> dict[str, Any]:
    """Counts of each code, those in use, and as how many evenly used ones they are: exp of the entropy."""
    shares = counts[counts > 0] / max(1, counts.sum())
    even = float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0
    return {"counts": counts.tolist(), "used": int((counts > 0).sum()), "even": round(even, 3)}
