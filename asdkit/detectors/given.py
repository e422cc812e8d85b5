"""Scores that a network gives itself, passed on."""

import numpy as np

from asdkit.detectors.tables import table


class Given:
    """Anomaly score = the smallest of a clip's values; nothing is learnt.

    An autoencoder gives one value for each way of measuring its error, say, or for each domain.
    """

    def __init__(self, non_negative: bool = False) -> None:
        self.non_negative = non_negative

    def fit(self, x: np.ndarray, recordings: np.ndarray | None = None) -> "Given":
        """Learn nothing; raises ValueError for unusable arrays."""
        table(x, "training scores")
        return self

    def anomaly_score(self, x: np.ndarray) -> np.ndarray:
        """Values x [M, V] -> [M] float64; raises ValueError for unusable arrays."""
        return table(x, "scores").min(axis=1)

    def leave_one_out(self, x: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Scores [R] of the training clips x [R, V]: what the network gave them."""
        return self.anomaly_score(x)
