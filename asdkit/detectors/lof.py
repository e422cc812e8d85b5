"""Local outlier factor (Breunig et al. 2000), by scikit-learn."""

import numpy as np

from asdkit.detectors.tables import at_least, one_thread, table


class LOF:
    """Anomaly score = local outlier factor: how much thinner the training clips lie around a clip than around them.

    About 1 is normal.
    """

    non_negative = False  # a factor, not a distance

    def __init__(self, n_neighbors: int) -> None:
        self.n_neighbors = n_neighbors

    def fit(self, x: np.ndarray, recordings: np.ndarray | None = None) -> "LOF":
        """Learn from training embeddings x [N, D].

        Raises ValueError for unusable arrays, n_neighbors clips or fewer, and a clip that occurs more than n_neighbors
        times: its density is infinite, and all scores beside it are billions.
        """
        from sklearn.neighbors import LocalOutlierFactor

        x = table(x, "training embeddings")
        at_least(x, self.n_neighbors + 1, f"n_neighbors = {self.n_neighbors}", "lower it, add clips")
        most = int(np.unique(x, axis=0, return_counts=True)[1].max())
        if most > self.n_neighbors:
            raise ValueError(
                f"an embedding occurs {most} times, n_neighbors is {self.n_neighbors}: leave copies of recordings out, "
                "or raise n_neighbors above that"
            )
        self.columns = x.shape[1]
        with one_thread():
            self.model = LocalOutlierFactor(n_neighbors=self.n_neighbors, novelty=True).fit(x)
        return self

    def anomaly_score(self, x: np.ndarray) -> np.ndarray:
        """Embeddings x [M, D] -> [M]."""
        with one_thread():
            return -self.model.score_samples(table(x, "embeddings", self.columns))
