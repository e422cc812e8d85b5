"""Anomaly detectors over the arrays of stage 4."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from asdkit.detectors.given import Given
from asdkit.detectors.gmm import GMM
from asdkit.detectors.iforest import IForest
from asdkit.detectors.kmeans import KMeans
from asdkit.detectors.knn import KNN
from asdkit.detectors.lof import LOF
from asdkit.detectors.mahalanobis import Mahalanobis
from asdkit.detectors.rescale import Rescale

if TYPE_CHECKING:  # what uses a bundle takes detectors without pydantic
    from asdkit.config import (
        GivenConfig,
        GmmConfig,
        IforestConfig,
        KmeansConfig,
        KnnConfig,
        LofConfig,
        MahalanobisConfig,
    )


class Detector(Protocol):
    """What a detector offers; a higher score is more anomalous. All raise ValueError for unusable arrays.

    It may also offer `leave_one_out(x [R, D], own [R]) -> [R]`: scores of x, each as if the training rows n with
    recordings[n] == own[r], which are made from the same recording, had not been among the N that it was fitted on;
    infinity where nothing is left to compare with. Without it, parts of the training clips are scored by detectors that
    are fitted on the others. And `nothing`, a number: scores up to it are those of copies.
    """

    non_negative: bool
    """Whether its scores are distances, never below 0: thresholds then come from a gamma distribution."""

    def fit(self, x: np.ndarray, recordings: np.ndarray | None = None) -> "Detector":
        """Learn from arrays of normal clips, x [N, D] (with frequency bands [N, F, D]).

        recordings [N]: number of the recording that each is made from, for those who compare training clips with one
        another; None: all different.
        """

    def anomaly_score(self, x: np.ndarray) -> np.ndarray:
        """Score arrays x [M, D] -> [M]."""


def _knn(config: "KnnConfig") -> Detector:
    how = config.rescale and Rescale(config.rescale.kind, config.rescale.k, config.rescale.rank, config.rescale.total)
    return KNN(config.k, config.distance, config.join, how)


def _given(config: "GivenConfig") -> Detector:
    return Given(config.non_negative)


def _kmeans(config: "KmeansConfig") -> Detector:
    return KMeans(config.n_clusters, config.distance, config.renormalise, config.random_state)


def _lof(config: "LofConfig") -> Detector:
    return LOF(config.n_neighbors)


def _gmm(config: "GmmConfig") -> Detector:
    return GMM(config.n_components, config.covariance_type, config.reg_covar, config.random_state)


def _mahalanobis(config: "MahalanobisConfig") -> Detector:
    return Mahalanobis()


def _iforest(config: "IforestConfig") -> Detector:
    return IForest(config.n_estimators, config.max_samples, config.random_state)


DETECTORS: dict[str, Callable[..., Detector]] = {
    "knn": _knn,
    "given": _given,
    "kmeans": _kmeans,
    "lof": _lof,
    "gmm": _gmm,
    "mahalanobis": _mahalanobis,
    "iforest": _iforest,
}
