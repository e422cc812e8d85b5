"""Nearest neighbours (paper Sec. IV-E), their distances as they are or rescaled, in one memory or one for each band."""

import numpy as np

from asdkit.detectors.bank import Bank
from asdkit.detectors.rescale import Rescale, Rescaled, rescale
from asdkit.detectors.tables import least_shared, parts_of
from asdkit.detectors.whitening import Whitening, half_whitening

SHARED = 0.01  # of a dimension's variance is the mean over its band: one that hardly varies does not decide alone


class KNN:
    """Anomaly score = mean distance to the k nearest training embeddings: cosine (1 - cosine, 0..2), Euclid's,
    standardised (Euclid's of dimensions over their `deviations` among the training embeddings) or whitened (of these
    after `half_whitening`).

    Embeddings with frequency bands, [N, F, D], have a memory for each band (BEAM, arXiv 2603.13749); `join` makes one
    score of the bands': mean, max, or coupled (one memory: of the mean over bands of cosine distances, otherwise
    Euclid's of the bands side by side). `how` rescales the distances of a memory (`rescale.Rescale`).
    """

    def __init__(self, k: int = 1, distance: str = "cosine", join: str = "mean", how: Rescale | None = None) -> None:
        if k < 1:
            raise ValueError(f"k is {k}: allowed is k >= 1")
        self.k, self.distance, self.join, self.how = k, distance, join, how
        self.banks: list[Bank] = []
        self.rescaled: list[Rescaled] = []
        self.non_negative = how is None or how.kind == "ratio"

    def fit(self, x: np.ndarray, recordings: np.ndarray | None = None) -> "KNN":
        """Keep training embeddings x [N, D] or [N, F, D]; recordings [N]: which are made from one (None: none are).

        Raises ValueError for another shape, NaN, infinity, a zero vector (a band's may be one), or fewer embeddings
        than k or than the neighbours of a density.
        """
        if len(x) < self.k:
            raise ValueError(f"k = {self.k} neighbours of {len(x)} training embeddings: lower k")
        self.units = deviations(x, self.distance) if self.distance in ("standardised", "whitened") else None
        self.whitening = half_whitening(x / self.units) if self.distance == "whitened" else None
        self._remember(x, recordings)
        self.rescaled = [rescale(bank, self.how) for bank in self.banks]
        return self

    def restore(
        self, x: np.ndarray, units: np.ndarray | None, whitening: Whitening | None, rescaled: list[Rescaled]
    ) -> None:
        """Be as one fitted on `x`, with what came of it: `units`, `whitening` and, of each memory, `rescaled`."""
        self.units, self.whitening, self.rescaled = units, whitening, rescaled
        self._remember(x, None)
        if len(rescaled) != len(self.banks):
            raise ValueError(f"{len(rescaled)} memories, of embeddings that make {len(self.banks)}")

    def anomaly_score(self, x: np.ndarray) -> np.ndarray:
        """Scores [M] float64 of x [M, D] or [M, F, D].

        Raises ValueError before `fit`, for another shape, NaN, infinity or a zero vector.
        """
        return self._scores(x, None)

    def leave_one_out(self, x: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Scores [R] of x by the training embeddings of other recordings than own [R].

        With fewer than k others, their mean distance; without others, infinity. Errors as for `anomaly_score`.
        """
        return self._scores(x, own)

    def neighbours(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distances [M, k], ascending, and indices [M, k] of the nearest training embeddings (of the first band).

        Errors as for `anomaly_score`.
        """
        return self._fitted()[0].nearest(self.bands(x)[0], self.k)

    @property
    def nothing(self) -> float:
        """Scores up to it are those of copies."""
        return max(bank.copied for bank in self.banks) if self.how is None else -np.inf

    def _remember(self, x: np.ndarray, recordings: np.ndarray | None) -> None:
        distance = "cosine" if self.distance == "cosine" else "euclid"
        self.x = x
        self.banks = [Bank(band, distance, recordings, np.ndim(x) == 3) for band in self.bands(x, True)]

    def by_band(self, x: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
        """Scores [F, M] of x [M, D] or [M, F, D] by each memory; own as for `leave_one_out`.

        Errors as for `anomaly_score`.
        """
        self._fitted()
        if self.whitening is not None and own is not None:
            return self._left_out(x, own)
        return self._by_memory(x, own)

    def _by_memory(self, x: np.ndarray, own: np.ndarray | None) -> np.ndarray:
        banks, bands = self._fitted(), self.bands(x)
        if len(bands) != len(banks):
            raise ValueError(f"embeddings have {len(bands)} bands, the training embeddings {len(banks)}")
        found = [
            how.score(bank, band, self.k, own) for how, bank, band in zip(self.rescaled, banks, bands, strict=True)
        ]
        return np.stack(found)

    def _left_out(self, x: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Scores [F, M] of x [M, D] or [M, F, D] after another fit without the recordings own [M], and others if many.

        A whitening moves the embeddings that it was learnt from away from each other, nearer together than new ones.
        """
        recordings = self.banks[0].recordings  # [N, parents]
        known, number = np.unique(recordings, return_inverse=True)
        parts = parts_of(len(known))
        part = (number % parts).reshape(recordings.shape)
        asked = np.where(np.isin(own, known), np.searchsorted(known, own) % parts, -1)
        found = np.full((len(self.banks), len(x)), np.inf)
        for one in np.unique(asked):
            kept, rows = (part != one).all(axis=1), asked == one
            if one >= 0 and kept.any() and (self.x[kept] != self.x[kept][0]).any():
                made = KNN(min(self.k, int(kept.sum())), self.distance, self.join, self.how)
                found[:, rows] = made.fit(self.x[kept], recordings[kept]).by_band(x[rows])
            else:  # what is left tells no whitening
                found[:, rows] = self._by_memory(x[rows], own[rows])
        return found

    def joined(self, bands: np.ndarray) -> np.ndarray:
        """One score of those of the memories, [F, M] -> [M]."""
        return bands.max(axis=0) if self.join == "max" else bands.mean(axis=0)

    def _scores(self, x: np.ndarray, own: np.ndarray | None) -> np.ndarray:
        return self.joined(self.by_band(x, own))

    def _fitted(self) -> list[Bank]:
        if not self.banks:
            raise ValueError("KNN: call fit before asking for scores")
        return self.banks

    def bands(self, x: np.ndarray, training: bool = False) -> list[np.ndarray]:
        """One table of embeddings for each memory."""
        if self.units is not None and np.shape(x)[1:] == self.units.shape:
            x = x / self.units
            x = x if self.whitening is None else self.whitening(x)
        if np.ndim(x) != 3:
            return [x]
        if self.join != "coupled":
            return [x[:, band] for band in range(x.shape[1])]
        if self.distance != "cosine":
            return [x.reshape(len(x), -1)]
        # Cosines of bands at unit length, side by side, are the mean of the bands' cosines. What stands for a silent
        # band meets zeros in the other table.
        norms = np.linalg.norm(x.astype(np.float64), axis=2, keepdims=True)
        silent = np.sqrt((norms[:, :, 0] == 0).sum(axis=1))
        rest = np.stack([silent, 0 * silent] if training else [0 * silent, silent], axis=1)
        return [np.hstack([(x / np.where(norms == 0, 1, norms)).reshape(len(x), -1), rest])]


def deviations(x: np.ndarray, distance: str = "standardised") -> np.ndarray:
    """What each dimension of x [N, D] or [N, F, D] is divided by, [D] or [F, D], so that its deviation is 1.

    Times the root of the band's dimensions, so that bands weigh alike (those without a number but 0 do not count);
    variances are drawn to the band's mean by a hundredth, before a whitening by `least_shared`. Raises ValueError where
    nothing varies.
    """
    variance = np.var(x, axis=0, dtype=np.float64)
    dimensions = np.maximum((np.asarray(x) != 0).any(axis=0).sum(axis=-1, keepdims=True), 1)
    shared = variance.sum(axis=-1, keepdims=True) / dimensions
    if not shared.any():
        raise ValueError(
            f"distance: {distance} needs training clips that differ, got {len(x)} that do not: add clips, or take "
            "distance: euclid"
        )
    part = least_shared(len(x)) if distance == "whitened" else SHARED
    found = np.sqrt(((1 - part) * variance + part * shared) * dimensions)
    return np.where(found > 0, found, 1)
