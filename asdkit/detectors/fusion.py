"""Scores of several systems on one scale, and as one.

Statistics come from training clips, each scored without itself. Ranks and what takes test clips for reference use other
test clips: such scores are transductive.
"""

import numpy as np

SCALES = ("zscore", "median", "minmax", "none")
JOINS = ("mean", "max", "min")


def on_scale(scores: np.ndarray, reference: np.ndarray, kind: str) -> np.ndarray:
    """Scores [M] by the statistics of reference scores [N], for one machine: [M].

    zscore: mean 0, deviation 1 (population); median: divided by the median; minmax: 0 to 1; none: as they are.
    Raises ValueError where the reference does not vary, or has no positive median, or is empty.
    """
    if kind == "none":
        return scores
    reference = reference[np.isfinite(reference)]
    if len(reference) < 2:
        raise ValueError(f"a scale needs the scores of two training clips or more, got {len(reference)}")
    if kind == "median":
        middle = float(np.median(reference))
        if middle <= 0:
            raise ValueError(f"the median of the training clips' scores is {middle:g}: take scale zscore")
        return scores / middle
    low, width = {
        "zscore": (reference.mean(), reference.std()),
        "minmax": (reference.min(), np.ptp(reference)),
    }[kind]
    if width == 0:
        raise ValueError("the training clips' scores are all equal: they give no scale")
    return (scores - low) / width


def ranks(scores: np.ndarray) -> np.ndarray:
    """Ranks of scores [M] among themselves, 0 (lowest) to 1, the mean rank where several are equal: [M]."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    middle = last - (counts + 1) / 2  # mean of the positions from 0 that equal scores share
    return middle[inverse] / max(1, len(scores) - 1)


def join(systems: np.ndarray, kind: str, weights: np.ndarray | None = None) -> np.ndarray:
    """Scores of several systems [S, M] as one, [M]: mean (weights [S]: its weights), largest or smallest."""
    if kind == "mean":
        return np.average(systems, axis=0, weights=weights)
    assert weights is None
    return systems.max(axis=0) if kind == "max" else systems.min(axis=0)
