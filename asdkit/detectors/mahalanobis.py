"""Mahalanobis distance with a shrunk covariance."""

import numpy as np

from asdkit.detectors.tables import at_least, one_thread, table


class Mahalanobis:
    """Anomaly score = Mahalanobis distance to the mean, by Ledoit and Wolf's estimate of the covariance (2004).

    Not squared: what scikit-learn calls `mahalanobis` is the square of it.
    """

    non_negative = True

    def fit(self, x: np.ndarray, recordings: np.ndarray | None = None) -> "Mahalanobis":
        """Learn from training embeddings x [N, D].

        Raises ValueError for unusable arrays, a single clip, and clips that are all alike.
        """
        from sklearn.covariance import LedoitWolf

        x = table(x, "training embeddings")
        at_least(x, 2, "a covariance")
        if (x == x[0]).all():
            raise ValueError(f"all {len(x)} training embeddings are equal: they have no covariance")
        self.columns = x.shape[1]
        with one_thread():
            self.model = LedoitWolf().fit(x)
        return self

    def anomaly_score(self, x: np.ndarray) -> np.ndarray:
        """Embeddings x [M, D] -> [M]."""
        with one_thread():
            return np.sqrt(np.maximum(self.model.mahalanobis(table(x, "embeddings", self.columns)), 0))
