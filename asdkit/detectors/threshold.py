"""The decision threshold of a detector, from scores of normal training clips alone."""

from statistics import NormalDist

import numpy as np


def threshold(scores: np.ndarray, percentile: float, non_negative: bool) -> float:
    """Score above which a clip counts as anomalous: a percentile (0..100) of normal clips' scores [N].

    non_negative: scores that are distances are taken for gamma distributed, as by the challenge's baselines; of scores
    that may be negative, such as log likelihoods, the percentile is the empirical one. Infinite scores are left out.
    Raises ValueError for fewer than two finite scores, and for a negative one that cannot be.
    """
    finite = scores[np.isfinite(scores)]
    if len(finite) < 2:
        raise ValueError(f"a threshold needs two training clips or more, got {len(scores)} (copies count as one)")
    if not non_negative:
        return float(np.percentile(finite, percentile))
    if finite.min() < 0:
        raise ValueError(f"a score that is said never to be negative is {finite.min():g}")
    return gamma_percentile(finite, percentile)


def gamma_percentile(scores: np.ndarray, percentile: float) -> float:
    """A percentile of the gamma distribution with the mean and variance of `scores` [N] >= 0, finite.

    Equal scores give that score. Source: Wilson and Hilferty 1931; their cube of a normal variable is within 3% of a
    gamma distribution's upper percentiles for shapes above 1/2, within 0.2% above 4.
    """
    mean, variance = float(scores.mean()), float(scores.var())
    if variance == 0:
        return mean
    ninth = variance / mean**2 / 9  # 1 / (9 shape)
    return mean * max(0.0, 1 - ninth + NormalDist().inv_cdf(percentile / 100) * ninth**0.5) ** 3
