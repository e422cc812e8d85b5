"""Anomaly detectors over the arrays of stage 4."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from asdkit.config import GivenConfig, KnnConfig
from asdkit.detectors.given import Given
from asdkit.detectors.knn import KNN


class Detector(Protocol):
    """What a detector offers; a higher score is more anomalous. All raise ValueError for unusable arrays.

    It may also offer `leave_one_out(x [R, D], own [R], recordings [N]) -> [R]`: scores of x, each as if the training
    rows n with recordings[n] == own[r], which are made from the same recording, had not been among the N that it was
    fitted on; infinity where nothing is left to compare with. Without it, parts of the training clips are scored by
    detectors that are fitted on the others. And `nothing`, a number: scores up to it are those of copies.
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
