"""The decision threshold of a detector, from scores of normal training clips alone."""

from statistics import NormalDist

import numpy as np


def gamma_percentile(scores: np.ndarray, percentile: float) -> float:
    """A percentile of the gamma distribution with the mean and variance of `scores`.

    scores [N] >= 0, percentile in 0..100. A clip that scores higher counts as anomalous; the challenge's baselines
    choose their threshold like this, with percentile 90. Equal scores give that score. Raises ValueError for fewer than
    two finite scores: a clip without a neighbour scores infinity, and is left out.
    Source: Wilson and Hilferty 1931; their cube of a normal variable is within 3% of a gamma distribution's upper
    percentiles for shapes above 1/2, within 0.2% above 4.
    """
    finite = scores[np.isfinite(scores)]
    if len(finite) < 2:
        raise ValueError(f"a threshold needs two training clips or more, got {len(scores)}")
    mean, variance = float(finite.mean()), float(finite.var())
    if variance == 0:
        return mean
    ninth = variance / mean**2 / 9  # 1 / (9 shape)
    return mean * max(0.0, 1 - ninth + NormalDist().inv_cdf(percentile / 100) * ninth**0.5) ** 3
