"""What detectors learnt, as arrays in a bundle, and the scores that they give from it: with numpy alone.

Every function here gives what the detector of that name in `asdkit.detectors` gives; `export/learnt.py` takes out of a
fitted one what is read here.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from asdkit.detectors.knn import KNN
from asdkit.detectors.rescale import Rescaled
from asdkit.detectors.tables import table
from asdkit.detectors.whitening import Whitening

Arrays = dict[str, np.ndarray]


class Learnt:
    """One domain's detector. Raises ValueError for settings and arrays that are not those of `detector`."""

    def __init__(self, detector: str, settings: dict[str, Any], arrays: Arrays) -> None:
        self.detector, self.settings, self.arrays = detector, settings, arrays
        self.knn = _restored(settings, arrays) if detector == "knn" else None
        if detector == "iforest":
            _check_forest(arrays)

    def score(self, x: np.ndarray) -> np.ndarray:
        """Scores [M] float64 of arrays x [M, D], with bands [M, F, D]; raises ValueError for unusable ones."""
        if self.knn:
            return self.knn.anomaly_score(x)
        if self.detector == "given":
            return x.min(axis=1).astype(np.float64)
        return SCORES[self.detector](table(x, "embeddings", self._columns()), self.settings, self.arrays)

    def nearest(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Distance [M] of x [M, ...] to the nearest training clip, and its number among the machine's [M].

        By the detector's distance, as it is before it is rescaled; of several bands by the mean or largest of theirs.
        None: the detector keeps no clips.
        """
        if not self.knn:
            return None
        queries = self.knn.bands(x)
        found = [distances(bank, band) for bank, band in zip(self.knn.banks, queries, strict=True)]
        joined = np.max(found, axis=0) if self.knn.join == "max" else np.mean(found, axis=0)  # [M, R]
        rows = self.arrays["rows"]
        joined[:, rows < 0] = np.inf  # what was made between clips is no clip
        place = joined.argmin(axis=1)
        return joined[np.arange(len(x)), place], rows[place]

    @property
    def nothing(self) -> float:
        """Distances up to this are those of copies."""
        return max(bank.copied for bank in self.knn.banks) if self.knn else -np.inf

    def _columns(self) -> int:
        kept = {"kmeans": "means", "gmm": "means", "lof": "x", "mahalanobis": "precision"}
        return self.arrays[kept[self.detector]].shape[1] if self.detector in kept else int(self.settings["columns"])


def _restored(settings: dict[str, Any], arrays: Arrays) -> KNN:
    knn = KNN(int(settings["k"]), settings["distance"], settings["join"])
    x, units = arrays["x"], arrays.get("units")
    if arrays["rows"].shape != x.shape[:1] or (units is not None and units.shape != x.shape[1:]):
        raise ValueError("knn: rows or units are not those of x")
    whitening = _whitening(arrays, x.shape) if knn.distance == "whitened" else None
    knn.restore(x, units, whitening, _rescaled(settings, arrays))
    return knn


def _whitening(arrays: Arrays, shape: tuple[int, ...]) -> Whitening:
    found = Whitening(*(arrays[name] for name in Whitening._fields))
    bands, columns = (1, *shape[1:])[-2:]
    size = (bands, len(found.gains.T), columns)
    if (found.axes.shape, found.gains.shape, found.rest.shape) != (size, size[:2], size[:1]):
        raise ValueError("knn: axes, gains or rest are not those of x")
    return found


def learnt_again(settings: dict[str, Any], arrays: Arrays) -> Arrays:
    """A whitened memory's `units` and Whitening from its embeddings `x`, as they are now."""
    knn = KNN(1, settings["distance"], settings["join"]).fit(arrays["x"])
    assert knn.units is not None and knn.whitening is not None
    return {"units": knn.units, **knn.whitening._asdict()}


def _rescaled(settings: dict[str, Any], arrays: Arrays) -> list[Rescaled]:
    count = int(settings["memories"])
    names = ("times", "minus")
    return [
        Rescaled(*(arrays[name][number] if name in arrays else None for name in names), bool(settings["log"]))
        for number in range(count)
    ]


def distances(bank: Any, x: np.ndarray) -> np.ndarray:
    """Distances [M, R] of x [M, D] to all embeddings of a memory, without what products lose of small ones."""
    rows, train = x.astype(np.float64), bank.x.astype(np.float64)
    if bank.distance == "euclid":
        return np.sqrt([np.square(train - row).sum(axis=1) for row in rows])
    norms = np.linalg.norm(rows, axis=1)
    train /= np.where(bank.norms == 0, 1, bank.norms)[:, None]
    rows /= np.where(norms == 0, 1, norms)[:, None]
    found = np.array([np.square(train - row).sum(axis=1) / 2 for row in rows])
    return np.where((norms == 0)[:, None] | (bank.norms == 0), 1.0, found)


def _kmeans(x: np.ndarray, settings: dict[str, Any], arrays: Arrays) -> np.ndarray:
    means = arrays["means"]
    if settings["distance"] == "euclid":
        return np.sqrt([np.square(x - mean).sum(axis=1) for mean in means]).min(axis=0)
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    if (norms == 0).any():
        raise ValueError("a zero vector, which has no direction")
    return np.maximum(1 - x / norms @ means.T, 0).min(axis=1)


def _mahalanobis(x: np.ndarray, settings: dict[str, Any], arrays: Arrays) -> np.ndarray:
    away = x - arrays["mean"]
    return np.sqrt(np.maximum(np.einsum("md,md->m", away @ arrays["precision"], away), 0))


def _gmm(x: np.ndarray, settings: dict[str, Any], arrays: Arrays) -> np.ndarray:
    """-log sum_k w_k N(x; m_k, S_k), with `factors` the Cholesky factors of the precisions, or their roots."""
    found = []
    for number, (weight, mean) in enumerate(zip(arrays["weights"], arrays["means"], strict=True)):
        factor = arrays["factors"][number if settings["covariance_type"] != "tied" else slice(None)]
        if factor.ndim == 2:
            y, log_root = (x - mean) @ factor, np.log(np.diagonal(factor)).sum()
        else:  # a number for each dimension, or one for all of them
            roots = np.broadcast_to(factor, mean.shape)
            y, log_root = (x - mean) * roots, np.log(roots).sum()
        found.append(np.log(weight) + log_root - (np.square(y).sum(1) + x.shape[1] * np.log(2 * np.pi)) / 2)
    highest = np.max(found, axis=0)
    return -(highest + np.log(np.exp(found - highest).sum(axis=0)))


def _lof(x: np.ndarray, settings: dict[str, Any], arrays: Arrays) -> np.ndarray:
    train, k = arrays["x"].astype(np.float64), int(settings["n_neighbors"])
    distances = np.sqrt([np.square(train - row).sum(axis=1) for row in x])  # [M, R]
    near = np.argpartition(distances, k - 1, axis=1)[:, :k]
    reach = np.maximum(np.take_along_axis(distances, near, axis=1), arrays["reach"][near])
    density = 1 / (reach.mean(axis=1) + 1e-10)
    return (arrays["density"][near] / density[:, None]).mean(axis=1)


def _iforest(x: np.ndarray, settings: dict[str, Any], arrays: Arrays) -> np.ndarray:
    """2^(-depth / depth of a search tree), of trees whose nodes lie one after the other; `value`: a leaf's depth."""
    x, roots = x.astype(np.float32), arrays["roots"]
    node = np.broadcast_to(roots, (len(x), len(roots))).copy()  # [M, trees]
    rows = np.arange(len(x))[:, None]
    while (inside := arrays["left"][node] > 0).any():
        below = x[rows, arrays["feature"][node]] <= arrays["limit"][node]
        node = np.where(inside, np.where(below, arrays["left"][node], arrays["right"][node]), node)
    whole = len(roots) * float(settings["depth"])
    return 2.0 ** -(arrays["value"][node].sum(axis=1) / whole if whole else np.ones(len(x)))


def _check_forest(arrays: Arrays) -> None:
    """Raise ValueError unless every way through the trees ends."""
    left, right, node = arrays["left"], arrays["right"], np.arange(len(arrays["left"]))
    for child in (left, right):
        inside = left > 0
        if len(child) != len(node) or ((child <= node) | (child >= len(node)))[inside].any():
            raise ValueError("iforest: a tree that has no end")


SCORES: dict[str, Callable[[np.ndarray, dict[str, Any], Arrays], np.ndarray]] = {
    "kmeans": _kmeans,
    "mahalanobis": _mahalanobis,
    "gmm": _gmm,
    "lof": _lof,
    "iforest": _iforest,
}
