"""From scores of normal clips to p-values, and from false alarms a day to a score that raises one.

Source: conformal p-values, Vovk et al. 2005; of recordings with several clips each, Lee, Barber and Willett 2023
(arXiv 2306.06342). What holds and what does not:

* The scores of a machine's training clips are made with each clip's recording left out. A new clip is compared with
  one recording more, so nearest neighbours are never farther for it than for them: p-values err to the safe side where
  the score is a distance to the k nearest, the smaller one of two domains' too. Scores that are rescaled or
  standardised by the training clips miss this by the order of one recording in all. A whitening is learnt anew without
  the recording; of many, without several at once, which compares with fewer recordings than a new clip meets.
* A new clip must be like a training clip drawn at random: the same conditions in the same shares. Where a domain is
  rare in training and common later, more alarms than asked for are to be expected.
* Clips of one recording count as one recording: only new recordings tell how far a new recording may lie.
* A level holds on the average over machines. What one machine's clips happen to be leaves its true rate uncertain
  (`Rule.upper`).
* One clip alone: alarms a day hold however neighbouring clips depend on one another. k of n: `Rule.expected` takes
  clips for independent, given the calibration; `Rule.worst` holds whatever they are.
"""

from math import ceil, comb, lgamma
from typing import NamedTuple

import numpy as np

DAY = 86400.0  # seconds
RELEASE = 2.0  # an alarm ends where p-values are this many times the level that raised it
SURE = 0.95  # share of machines whose true rate lies below `Rule.upper`
OTHERS = ((2, 2), (2, 3), (3, 5), (4, 8))  # k of n that are proposed where one clip alone cannot do
NEGLIGIBLE = 1e-9  # of a recording: sums of shares differ by less where they are equal


class Rule(NamedTuple):
    """When clips raise an alarm: k of the last n have scores above `limit`; it ends after n at or below `release`.

    level: share of normal clips above `limit`, on the average. False alarms a day: asked for; expected of independent
    clips; worst, however clips depend on one another; upper, which one machine of twenty exceeds.
    """

    limit: float
    release: float
    level: float
    k: int
    n: int
    asked: float
    expected: float
    worst: float
    upper: float


class Calibration:
    """Scores of normal clips [N], none compared with its own recording; recordings [N]: which each is cut from.

    None: each from its own. Infinite scores, of clips with nothing to be compared with, are left out. Raises ValueError
    for NaN and where nothing is left.
    """

    def __init__(self, scores: np.ndarray, recordings: np.ndarray | None = None) -> None:
        scores = np.asarray(scores, np.float64)
        recordings = np.arange(len(scores)) if recordings is None else np.asarray(recordings)
        assert scores.ndim == 1 and scores.shape == recordings.shape
        if np.isnan(scores).any():
            raise ValueError("calibration scores hold NaN: embed and score the training clips again")
        there = np.isfinite(scores)
        if not there.any():
            raise ValueError(
                f"no calibration score of {len(scores)} is finite: a machine needs training clips of two recordings or "
                "more. Add some"
            )
        _, number, count = np.unique(recordings[there], return_inverse=True, return_counts=True)
        order = np.argsort(-scores[there], kind="stable")
        self.count = len(count)  # of recordings
        self.scores = scores[there][order]  # [N] the highest first
        self.above = np.concatenate([[0.0], np.cumsum(1 / count[number[order]])])  # [N + 1] recordings in the first j

    def pvalues(self, scores: np.ndarray) -> np.ndarray:
        """p-values [M] of new clips' scores [M]: the smallest is 1 / (recordings + 1). Raises ValueError for NaN."""
        scores = np.asarray(scores, np.float64)
        if np.isnan(scores).any():
            raise ValueError("a score is NaN, which has no p-value")
        return (1 + self.above[np.searchsorted(-self.scores, -scores, side="right")]) / (self.count + 1)

    def limit(self, level: float) -> float:
        """The score above which p-values are at most `level`; infinity where none is."""
        allowed = level * (self.count + 1) - 1 + NEGLIGIBLE
        if allowed < 0:
            return np.inf
        first = int(np.searchsorted(self.above, allowed, side="right")) - 1
        return float(self.scores[first]) if first < len(self.scores) else -np.inf

    def smallest(self, clips_per_day: float, k: int = 1, n: int = 1) -> float:
        """The fewest false alarms a day that these scores can support."""
        return float(self._expected(np.zeros(1), clips_per_day, k, n)[0])

    def rule(self, per_day: float, clips_per_day: float, k: int = 1, n: int = 1) -> Rule:
        """The lowest limit with at most `per_day` false alarms a day, k of n clips raising one.

        Raises ValueError for k, n and rates that make no sense, and for fewer alarms than the scores can support,
        naming what they can.
        """
        if not 1 <= k <= n:
            raise ValueError(f"{k} of {n} clips: allowed is 1 <= k <= n")
        if not (0 < per_day < np.inf and 0 < clips_per_day < np.inf):
            raise ValueError(f"{per_day:g} false alarms a day of {clips_per_day:g} clips: both must be above 0")
        if per_day >= clips_per_day:
            raise ValueError(f"{per_day:g} false alarms a day of {clips_per_day:g} clips: every clip would raise one")
        expected = self._expected(self.above, clips_per_day, k, n)
        allowed = int(np.searchsorted(expected, per_day * (1 + NEGLIGIBLE), side="right"))
        if allowed == 0:
            raise ValueError(self._refusal(per_day, clips_per_day, k, n))
        above = float(self.above[allowed - 1])
        level = (above + 1) / (self.count + 1)
        return Rule(
            limit=self.limit(level),
            release=self.limit(max(level, min(0.5, RELEASE * level))),
            level=level,
            k=k,
            n=n,
            asked=per_day,
            expected=float(expected[allowed - 1]),
            worst=clips_per_day * level / k,
            upper=clips_per_day * comb(n - 1, k - 1) * _quantile(round(above) + 1, self.count - round(above)) ** k,
        )

    def _expected(self, above: np.ndarray, clips_per_day: float, k: int, n: int) -> np.ndarray:
        """False alarms a day where limits leave so many recordings above [J]: [J], ascending.

        A new clip's true chance to lie above is Beta(above + 1, recordings - above) distributed; an alarm begins with a
        clip above that has k - 1 others among the n - 1 before it. Clips above that begin nothing are counted too.
        """
        chance = np.ones(len(above))
        for step in range(k):  # the k-th moment: the clips of a machine share one calibration
            chance *= (above + 1 + step) / (self.count + 1 + step)
        return clips_per_day * comb(n - 1, k - 1) * chance

    def _refusal(self, per_day: float, clips_per_day: float, k: int, n: int) -> str:
        can = self.smallest(clips_per_day, k, n)
        ways = [f"ask for {can:.3g} or more"]
        if others := [way for way in OTHERS if self.smallest(clips_per_day, *way) <= per_day]:
            best = min(others, key=lambda way: way[1])
            ways.append(
                f"let {best[0]} of {best[1]} clips raise an alarm (down to {self.smallest(clips_per_day, *best):.3g} a "
                "day, if neighbouring clips are independent)"
            )
        if k == 1:
            ways.append(f"take normal clips of {ceil(clips_per_day / per_day - 1 - NEGLIGIBLE)} recordings")
        rule = f"{k} of {n} clips" if n > 1 else "single clips"
        return (
            f"{per_day:g} false alarms a day of {clips_per_day:g} clips, raised by {rule}: normal clips of "
            f"{self.count} recordings support {can:.3g} a day and no less. " + "; or ".join(ways)
        )


def _quantile(a: int, b: int) -> float:
    """The value that a Beta(a, b) distributed chance exceeds with probability 1 - SURE; whole a >= 1, b >= 0."""
    if b == 0:
        return 1.0
    low, high, total = 0.0, 1.0, a + b - 1
    counts = np.arange(a)
    ways = np.array([lgamma(total + 1) - lgamma(j + 1) - lgamma(total - j + 1) for j in range(a)])
    for _ in range(60):
        middle = (low + high) / 2
        fewer = np.exp(ways + counts * np.log(middle) + (total - counts) * np.log1p(-middle)).sum()
        low, high = (middle, high) if fewer > 1 - SURE else (low, middle)
    return high
