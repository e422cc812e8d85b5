"""More clips of a domain that has few, between those that it has (SMOTE, Chawla et al. 2002)."""

import numpy as np

BLOCK_BYTES = 1 << 24  # of differences that are computed together


def between(x: np.ndarray, wanted: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Clips made between neighbours, so that there are `wanted` of them and x [N, ...] together.

    Each lies at a random place between a clip and one of its k nearest. Returns the new ones [S, ...] and their parents
    [S, 2], numbers of rows of x. Raises ValueError for k clips or fewer.
    """
    if len(x) <= k:
        raise ValueError(f"smote: {len(x)} clips, more than k = {k} are needed: lower smote.k")
    count = max(0, wanted - len(x))
    random, flat = np.random.default_rng(seed), x.reshape(len(x), -1).astype(np.float64)
    near = _neighbours(flat, k)
    first = random.integers(len(x), size=count)
    second = near[first, random.integers(k, size=count)]
    place = random.random(count)[:, None]
    made = flat[first] + place * (flat[second] - flat[first])
    return made.reshape(count, *x.shape[1:]).astype(x.dtype), np.stack([first, second], axis=1)


def _neighbours(x: np.ndarray, k: int) -> np.ndarray:
    """Numbers [N, k] of the k other rows that lie nearest to each row of x [N, D], of equal ones the first."""
    near = np.empty((len(x), k), int)
    size = max(1, BLOCK_BYTES // max(1, x.nbytes))
    for start in range(0, len(x), size):
        rows = np.arange(start, min(start + size, len(x)))
        squared = ((x[rows, None] - x) ** 2).sum(axis=2)
        squared[rows - start, rows] = np.inf
        near[rows] = squared.argsort(axis=1, kind="stable")[:, :k]
    return near
