"""Distances on one scale: how densely the training clips lie around each of them.

Sources: local density, Wilkinghoff et al. 2025 (arXiv 2509.10951); variance minimisation, Matsumoto et al. 2025, in log
space arXiv 2603.04605, section IV-C.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from asdkit.detectors.bank import Bank

NEAREST = 1e-9  # distances below it are those of copies: densities and logarithms are taken from it
NEGLIGIBLE = 1e-12  # weights of neighbours, and variances of densities, that change no digit


@dataclass(frozen=True)
class Rescale:
    """How distances are rescaled; `k`, `rank`, `total` say how the density around a training clip is measured.

    kind: ratio (distance / density), difference (distance - density), variance (distance - alpha density) or
    log_variance (log distance - alpha log density), with the alpha for which the training clips' values vary least.
    """

    kind: str
    k: int = 1
    rank: float | None = None
    total: bool = False


class Rescaled(NamedTuple):
    """What a bank's distances are multiplied by or lowered by, per training clip; log: the score is their logarithm."""

    times: np.ndarray | None = None
    minus: np.ndarray | None = None
    log: bool = False
    alpha: float = 1.0

    def score(self, bank: Bank, x: np.ndarray, k: int, own: np.ndarray | None = None) -> np.ndarray:
        """Mean of the k smallest rescaled distances of x [M, D] to the bank: [M]; infinity where none is left."""
        values, found = bank.nearest(x, k, own, self.times, self.minus)
        there = np.isfinite(values)
        if self.log:
            assert self.times is not None
            values = np.log(np.maximum(values, NEAREST * self.times[found]))
        count = there.sum(axis=1)
        return np.where(count > 0, np.where(there, values, 0).sum(axis=1) / np.maximum(count, 1), np.inf)


def density(bank: Bank, k: int, rank: float | None = None, total: bool = False) -> np.ndarray:
    """Mean distance [R] of each training clip to the k nearest that are made from other recordings.

    rank: weights rank^0, rank^1, ... over all others instead; total: the sum instead of the mean.
    Raises ValueError for fewer than k others.
    """
    return _density(bank, k, rank, total)[0]


def _density(bank: Bank, k: int, rank: float | None, total: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The density [R], the distance [R] to the nearest other and which that is [R]."""
    own = np.unique(np.stack(bank.pairs(bank.recordings)), axis=1)[0]
    others = len(bank) - int(np.bincount(own, minlength=len(bank)).max())
    if rank is not None:
        k = max(1, min(others, len(bank) if rank == 1 else int(np.ceil(np.log(NEGLIGIBLE) / np.log(rank)))))
    if others < k:
        raise ValueError(f"a density of k = {k} neighbours, but {others} other training clips: lower k, or add clips")
    values, found = bank.nearest(bank.x, k, bank.recordings)
    weight = np.ones(k) if rank is None else np.power(rank, np.arange(k))
    mean = np.maximum((values * weight).sum(axis=1) / (1 if total else weight.sum()), NEAREST)
    return mean, values[:, 0], found[:, 0]


def rescale(bank: Bank, how: Rescale | None) -> Rescaled:
    """What rescales the distances to a bank's clips; None: nothing. Errors as for `density`."""
    if how is None:
        return Rescaled()
    found, nearest, donor = _density(bank, how.k, how.rank, how.total)
    if how.kind == "ratio":
        return Rescaled(times=1 / found)
    if how.kind == "difference":
        return Rescaled(minus=found)
    if how.kind == "variance":
        alpha = _slope(nearest, found[donor])
        return Rescaled(minus=alpha * found, alpha=alpha)
    alpha = _slope(np.log(np.maximum(nearest, NEAREST)), np.log(found[donor]))
    return Rescaled(times=found**-alpha, log=True, alpha=alpha)


def _slope(distance: np.ndarray, level: np.ndarray) -> float:
    """The alpha that makes distance - alpha level vary least: their covariance over the level's variance."""
    variance = level.var()
    if variance <= NEGLIGIBLE:
        return 0.0
    return float(((distance - distance.mean()) * (level - level.mean())).mean() / variance)
