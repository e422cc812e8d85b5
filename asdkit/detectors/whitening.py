"""Half a whitening: directions in which training embeddings vary much count less, by the root of their deviation."""

from typing import NamedTuple

import numpy as np

from asdkit.detectors.tables import least_shared, one_thread

NEGLIGIBLE = 1e-9  # of the largest eigenvalue: such directions vary as all others outside the training clips do


class Whitening(NamedTuple):
    """What C^(-1/4) does, C the covariance of training embeddings, for each of their F bands.

    axes [F, R, D]: eigenvectors of C, R the smaller of D and the number of embeddings; gains [F, R]: of each; rest [F]:
    of all directions beside them. C^(-1/2) would make all deviations 1, C^(-1/4) makes roots of them.
    """

    axes: np.ndarray
    gains: np.ndarray
    rest: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Embeddings x [N, D] or [N, F, D] -> the same shape, float64."""
        bands = x[:, None] if x.ndim == 2 else x
        found = [
            self.rest[f] * bands[:, f] + bands[:, f] @ axes.T * (self.gains[f] - self.rest[f]) @ axes
            for f, axes in enumerate(self.axes.astype(np.float64))
        ]
        return np.stack(found, axis=1).reshape(x.shape)


def half_whitening(x: np.ndarray) -> Whitening:
    """Learn it from training embeddings x [N, D] or [N, F, D], so that the sum of a band's variances stays.

    The covariance is shrunk towards equal variances as by Ledoit and Wolf (2004), at least by `least_shared`. Columns
    without a number but 0 are none of the band's.
    """
    bands = x[:, None] if x.ndim == 2 else x
    with one_thread():
        return Whitening(*map(np.stack, zip(*(_of_band(bands[:, f]) for f in range(bands.shape[1])), strict=True)))


def _of_band(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    columns = max(1, int((x != 0).any(axis=0).sum()))
    away = x - x.mean(axis=0)
    variances, axes = _principal(away)
    mean = variances.sum() / columns
    if not mean:  # a silent band
        return np.zeros(axes.shape, np.float32), np.ones(len(axes)), np.ones(())
    part = max(_shrinkage(away, variances, columns), least_shared(len(x)))
    shrunk, rest = (1 - part) * variances + part * mean, part * mean
    gains = shrunk**-0.25
    whitened = np.sqrt(shrunk).sum() + (columns - len(shrunk)) * np.sqrt(rest)  # sum of variances without `scale`
    scale = np.sqrt(mean * columns / whitened)
    return axes.astype(np.float32), scale * gains, np.asarray(scale * rest**-0.25)


def _principal(away: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues [R] and eigenvectors [R, D] of the covariance of centred rows [N, D]; zeros where there is none."""
    count, columns = away.shape
    if count >= columns:
        variances, axes = np.linalg.eigh(away.T @ away / count)
        return np.maximum(variances, 0), axes.T
    variances, mixed = np.linalg.eigh(away @ away.T / count)
    there = variances > NEGLIGIBLE * max(variances[-1], 0)
    variances = np.where(there, variances, 0)
    lengths = np.sqrt(count * np.where(there, variances, 1))
    return variances, np.where(there[:, None], mixed.T @ away / lengths[:, None], 0)


def _shrinkage(away: np.ndarray, variances: np.ndarray, columns: int) -> float:
    """Ledoit and Wolf's: how much of a covariance's distance from equal variances is chance (their Eq. 14)."""
    square = np.square(variances).sum()
    distance = square - variances.sum() ** 2 / columns
    chance = (np.square(np.square(away).sum(axis=1)).mean() - square) / len(away)
    return float(min(chance, distance) / distance) if distance > 0 else 1.0
