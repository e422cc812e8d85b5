"""Means of clusters in place of many training clips (Wilkinghoff, ssl4asd), by scikit-learn's k-means."""

import numpy as np

from asdkit.detectors.tables import at_least, one_thread, table


class KMeans:
    """Anomaly score = distance to the nearest of n_clusters means, or training clip, where there are no more of these.

    cosine: clustered at unit length; 1 - the product with a mean, whose length stays below 1 unless `renormalise`.
    euclid: clustered and compared as they are.
    """

    non_negative = True

    def __init__(self, n_clusters: int, distance: str, renormalise: bool, random_state: int) -> None:
        self.n_clusters, self.distance, self.renormalise = n_clusters, distance, renormalise
        self.random_state = random_state

    def fit(self, x: np.ndarray, recordings: np.ndarray | None = None) -> "KMeans":
        """Learn from training embeddings x [N, D]; raises ValueError for unusable arrays and zero vectors."""
        x = self._at_length(table(x, "training embeddings"), "training embeddings")
        at_least(x, 1, "k-means")
        means = np.unique(x, axis=0)
        if len(means) > self.n_clusters:
            from sklearn.cluster import KMeans as Clusters

            with one_thread():
                means = Clusters(self.n_clusters, n_init=10, random_state=self.random_state).fit(x).cluster_centers_
        self.means = self._at_length(means, "means") if self.renormalise else means
        return self

    def anomaly_score(self, x: np.ndarray) -> np.ndarray:
        """Embeddings x [M, D] -> [M]."""
        x = self._at_length(table(x, "embeddings", self.means.shape[1]), "embeddings")
        if self.distance == "cosine":
            with one_thread():
                return np.maximum(1 - x @ self.means.T, 0).min(axis=1)
        return np.sqrt([((x - mean) ** 2).sum(axis=1) for mean in self.means]).min(axis=0)

    def _at_length(self, x: np.ndarray, what: str) -> np.ndarray:
        if self.distance == "euclid":
            return x
        norms = np.linalg.norm(x, axis=1, keepdims=True)
        if (norms == 0).any():
            raise ValueError(f"{what}: row {int((norms == 0).argmax())} is a zero vector, which has no direction")
        return x / norms
