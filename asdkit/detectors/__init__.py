"""Anomaly detectors over embeddings."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from asdkit.config import ScoreConfig
from asdkit.detectors.knn import KNN


class Backend(Protocol):
    """What a detector offers; a higher score is more anomalous. Both raise ValueError for unusable embeddings."""

    def fit(self, x: np.ndarray) -> "Backend":
        """Learn from embeddings of normal clips, x [N, D]."""

    def anomaly_score(self, x: np.ndarray) -> np.ndarray:
        """Score embeddings x [M, D] -> [M]."""

    def leave_one_out(self, rows: np.ndarray) -> np.ndarray:
        """Score the training embeddings number `rows` [R] as if each had not been among them -> [R].

        Infinity where nothing is left to compare with.
        """


BACKENDS: dict[str, Callable[[ScoreConfig], Backend]] = {
    "knn": lambda config: KNN(config.k),
}
