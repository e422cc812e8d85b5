"""What a fitted detector learnt, as plain values and arrays: `monitor/learnt.py` scores with them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from asdkit.detectors.domains import PerDomain

State = tuple[dict[str, Any], dict[str, np.ndarray]]


def learnt(detector: PerDomain, domain: str) -> State:
    """Settings and arrays of a domain's detector. The arrays are of the numbers that scores are computed with."""
    kind, fitted = detector.config.detector, detector.detectors[domain]
    settings, arrays = STATES[kind](fitted, detector.config)
    if kind == "knn":
        members = detector.members(domain)
        made = len(arrays["x"]) - len(members)
        arrays["rows"] = np.concatenate([members, np.full(made, -1)]).astype(np.int64)
    return settings, arrays


def _knn(fitted: Any, config: Any) -> State:
    settings = {
        "k": fitted.k,
        "distance": fitted.distance,
        "join": fitted.join,
        "memories": len(fitted.banks),
        "log": fitted.rescaled[0].log,
    }
    arrays = {"x": np.asarray(fitted.x)}
    if fitted.units is not None:
        arrays["units"] = fitted.units
    if fitted.whitening is not None:
        arrays |= fitted.whitening._asdict()
    for name in ("times", "minus"):
        if getattr(fitted.rescaled[0], name) is not None:
            arrays[name] = np.stack([getattr(one, name) for one in fitted.rescaled])
    return settings, arrays


def _given(fitted: Any, config: Any) -> State:
    return {}, {}


def _kmeans(fitted: Any, config: Any) -> State:
    return {"distance": fitted.distance}, {"means": fitted.means}


def _mahalanobis(fitted: Any, config: Any) -> State:
    return {}, {"mean": fitted.model.location_, "precision": fitted.model.precision_}


def _gmm(fitted: Any, config: Any) -> State:
    model = fitted.model
    arrays = {"weights": model.weights_, "means": model.means_, "factors": model.precisions_cholesky_}
    return {"covariance_type": config.covariance_type}, arrays


def _lof(fitted: Any, config: Any) -> State:
    model = fitted.model
    arrays = {"x": model._fit_X, "density": model._lrd, "reach": model._distances_fit_X_[:, model.n_neighbors_ - 1]}
    return {"n_neighbors": int(model.n_neighbors_)}, arrays


def _iforest(fitted: Any, config: Any) -> State:
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("left", "right", "feature", "limit", "value")}
    roots, start = [], 0
    for tree, used in zip(fitted.model.estimators_, fitted.model.estimators_features_, strict=True):
        nodes = tree.tree_
        inside = nodes.children_left > 0
        depth = np.zeros(nodes.node_count)
        for node in np.flatnonzero(inside):  # children come after their parents
            depth[[nodes.children_left[node], nodes.children_right[node]]] = depth[node] + 1
        parts["left"].append(np.where(inside, nodes.children_left + start, 0))
        parts["right"].append(np.where(inside, nodes.children_right + start, 0))
        parts["feature"].append(np.where(inside, used[nodes.feature.clip(min=0)], 0))
        parts["limit"].append(nodes.threshold)
        parts["value"].append(depth + path_length(nodes.n_node_samples))
        roots.append(start)
        start += nodes.node_count
    arrays = {name: np.concatenate(found) for name, found in parts.items()}
    arrays |= {name: arrays[name].astype(np.int64) for name in ("left", "right", "feature")}
    settings = {"columns": fitted.columns, "depth": float(path_length(np.array([fitted.model.max_samples_]))[0])}
    return settings, arrays | {"roots": np.array(roots, np.int64)}


def path_length(samples: np.ndarray) -> np.ndarray:
    """Mean depth at which a search ends in a binary tree of so many samples [N] (Liu et al. 2008, Eq. 1): [N]."""
    n = np.maximum(samples.astype(np.float64), 2)
    found = 2 * (np.log(np.maximum(n - 1, 1)) + np.euler_gamma) - 2 * (n - 1) / n
    return np.where(samples > 2, found, np.where(samples == 2, 1.0, 0.0))


STATES: dict[str, Callable[[Any, Any], State]] = {
    "knn": _knn,
    "given": _given,
    "kmeans": _kmeans,
    "mahalanobis": _mahalanobis,
    "gmm": _gmm,
    "lof": _lof,
    "iforest": _iforest,
}
