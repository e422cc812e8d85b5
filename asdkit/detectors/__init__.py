"""Anomaly detectors over the arrays of stage 4."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from asdkit.config import GivenConfig, KnnConfig
from asdkit.detectors.given import Given
from asdkit.detectors.knn import KNN


class Detector(Protocol):
    """What a detector offers; a higher score is more anomalous. All raise ValueError for unusable arrays.

    It may also offer `leave_one_out(rows [R]) -> [R]`: scores of the training rows number `rows`, each as if it had not
    been among them, infinity where nothing is left to compare with. Without it, parts of the training clips are scored
    by detectors that are fitted on the others.
    """

    non_negative: bool
    """Whether its scores are distances, never below 0: thresholds then come from a gamma distribution."""

    def fit(self, x: np.ndarray) -> "Detector":
        """Learn from arrays of normal clips, x [N, D]."""

    def anomaly_score(self, x: np.ndarray) -> np.ndarray:
        """Score arrays x [M, D] -> [M]."""


def _knn(config: KnnConfig) -> Detector:
    return KNN(config.k)


def _given(config: GivenConfig) -> Detector:
    return Given()


DETECTORS: dict[str, Callable[..., Detector]] = {"knn": _knn, "given": _given}
