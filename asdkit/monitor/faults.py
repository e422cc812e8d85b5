"""Faults that are known: recordings of them, whose likeness raises an alarm by name whatever the score says."""

from typing import Any

import numpy as np

from asdkit.detectors.knn import KNN
from asdkit.detectors.rescale import Rescaled
from asdkit.monitor.learnt import Learnt, distances

# A clip that is nearer to a reference than half of what lies between that and all normal clips is nearer to it than to
# any of these; a cosine distance is half a squared one.
SHARE = {"cosine": 0.25, "euclid": 0.5, "standardised": 0.5, "whitened": 0.5}


class Faults:
    """References of a machine's known faults: `names` [F], and x [F, ...] as the detector reads it, with `radii` [F].

    Compared by the distance of `learnt`, a detector that keeps clips. Raises ValueError for another one.
    """

    def __init__(self, learnt: Learnt, names: list[str], x: np.ndarray, radii: np.ndarray) -> None:
        self.names, self.radii = names, radii
        self.knn = restored(learnt, x)

    def match(self, x: np.ndarray) -> tuple[str, int] | None:
        """The fault that a clip x [1, ...] sounds like, and its reference's number; None: no known one."""
        found = between(self.knn, x)[0] / self.radii
        best = int(found.argmin())
        return (self.names[best], best) if found[best] < 1 else None


def radii(learnt: list[Learnt], x: np.ndarray) -> np.ndarray:
    """How near a clip must come to each reference x [F, ...] to be that fault, by the distance of the first detector.

    learnt: those of all domains, whose clips are normal. Raises ValueError where they keep no clips.
    """
    distance = _knn(learnt[0]).distance
    normal = [between(restored(learnt[0], one.arrays["x"]), x).min(axis=1) for one in learnt]
    return SHARE[distance] * np.min(normal, axis=0)


def restored(learnt: Learnt, x: np.ndarray) -> KNN:
    """A memory of x that is compared as that of `learnt` is, with nothing rescaled.

    Nor whitened: that tells how a clip differs from normal ones, and takes apart clips that differ in the same way.
    """
    knn = _knn(learnt)
    made = KNN(1, knn.distance, knn.join)
    made.restore(x, knn.units, None, [Rescaled(None, None, False)] * len(knn.banks))
    return made


def between(knn: KNN, x: np.ndarray) -> np.ndarray:
    """Distances [M, R] of x [M, ...] to what a memory holds, of several bands the mean or the largest one."""
    found: list[Any] = [distances(bank, band) for bank, band in zip(knn.banks, knn.bands(x), strict=True)]
    return np.max(found, axis=0) if knn.join == "max" else np.mean(found, axis=0)


def _knn(learnt: Learnt) -> KNN:
    if learnt.knn is None:
        raise ValueError(f"the detector {learnt.detector} keeps no clips: faults are known to nearest neighbours (knn)")
    return learnt.knn
