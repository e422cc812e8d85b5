"""Isolation forest (Liu et al. 2008), by scikit-learn."""

import numpy as np

from asdkit.detectors.tables import at_least, table


class IForest:
    """Anomaly score = how quickly random splits single a clip out: 0 to 1, the more the sooner."""

    non_negative = False  # bounded, not a distance

    def __init__(self, n_estimators: int, max_samples: int, random_state: int) -> None:
        self.options = {"n_estimators": n_estimators, "random_state": random_state}
        self.max_samples = max_samples

    def fit(self, x: np.ndarray, recordings: np.ndarray | None = None) -> "IForest":
        """Learn from training embeddings x [N, D]; raises ValueError for unusable arrays and a single clip."""
        from sklearn.ensemble import IsolationForest

        x = table(x, "training embeddings")
        at_least(x, 2, "a forest")
        self.columns = x.shape[1]
        self.model = IsolationForest(max_samples=min(self.max_samples, len(x)), **self.options).fit(x)
        return self

    def anomaly_score(self, x: np.ndarray) -> np.ndarray:
        """Embeddings x [M, D] -> [M]."""
        return -self.model.score_samples(table(x, "embeddings", self.columns))
