"""Gaussian mixture, by scikit-learn."""

import numpy as np

from asdkit.detectors.tables import at_least, one_thread, table


class GMM:
    """Anomaly score = negative log-likelihood under a mixture of Gaussians."""

    non_negative = False

    def __init__(self, n_components: int, covariance_type: str, reg_covar: float, random_state: int) -> None:
        self.options = {
            "n_components": n_components,
            "covariance_type": covariance_type,
            "reg_covar": reg_covar,
            "random_state": random_state,
        }

    def fit(self, x: np.ndarray, recordings: np.ndarray | None = None) -> "GMM":
        """Learn from training embeddings x [N, D]; raises ValueError for unusable arrays and too few of them."""
        from sklearn.mixture import GaussianMixture

        x = table(x, "training embeddings")
        components = self.options["n_components"]
        at_least(np.unique(x, axis=0), max(2, components), f"n_components = {components}", "lower it, add clips")
        self.columns = x.shape[1]
        with one_thread():
            self.model = GaussianMixture(**self.options).fit(x)
        return self

    def anomaly_score(self, x: np.ndarray) -> np.ndarray:
        """Embeddings x [M, D] -> [M]."""
        with one_thread():
            return -self.model.score_samples(table(x, "embeddings", self.columns))
