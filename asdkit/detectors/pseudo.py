"""How well a detector may tell anomalies apart, estimated from normal clips alone.

Source: Wilkinghoff and Tan, "Can we predict anomaly detection performance from embedding-space geometry?".
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from asdkit.config import ScoreConfig
from asdkit.corpus.manifest import Row
from asdkit.corpus.names import UNKNOWN
from asdkit.detectors.domains import PerDomain

FEATURE = "mixed features"
SMALLEST = 1e-12  # distances below it have this one's logarithm


PUBLISHED = """\
How sure is it? On 174 published tasks (87 sections, nearest neighbours with and without local density; 208 systems) the
system with the highest Pseudo AUC was 3.8 AUC points below the best one, the highest bound 4.5, the best on labelled
development machines 4.3, a random one 7.9; of two systems the better one was named in 66 of 100 cases. With mixed
features alone Pseudo AUC lost 6.3, the bound 5.0: the bound decides then.
Source: Wilkinghoff and Tan, "Can we predict anomaly detection performance from embedding-space geometry?"
"""


class Estimate(NamedTuple):
    """pseudo_auc: share of pairs in which the pseudo-anomaly scores higher; bound: by means and variances alone.

    parts: the kinds of pseudo-anomalies that there were; refused: which of them a detector could not do without, and
    why, a sentence each.
    """

    pseudo_auc: float
    bound: float
    parts: tuple[str, ...]
    refused: tuple[str, ...] = ()

    @property
    def order(self) -> tuple[float, float]:
        """What is compared: Pseudo AUC, the bound where it is equal; the other way round of mixed features alone."""
        both = (self.pseudo_auc, self.bound)
        return both[::-1] if self.parts == (FEATURE,) else both


def mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """The mean over seeds, or over machines; the parts are those of all of them."""
    parts = [part for part in estimates[0].parts if all(part in one.parts for one in estimates)]
    values = np.array([(one.pseudo_auc, one.bound) for one in estimates]).mean(axis=0)
    return Estimate(float(values[0]), float(values[1]), tuple(parts))


def pseudo_auc(inside: np.ndarray, outside: np.ndarray) -> float:
    """AUC of pseudo-anomalies' scores [P] over those of training clips [N], each scored without itself."""
    ordered = np.sort(inside)
    below, upto = np.searchsorted(ordered, outside, "left"), np.searchsorted(ordered, outside, "right")
    return float((below + upto).mean() / 2 / len(inside))


def auc_bound(inside: np.ndarray, outside: np.ndarray) -> float:
    """m^2 / (Var outside + Var inside + m^2), m the difference of the means; 0 where nothing differs."""
    squared = float(outside.mean() - inside.mean()) ** 2
    total = float(outside.var() + inside.var()) + squared
    return squared / total if total > 0 else 0.0


def feature_pseudo_anomalies(x: np.ndarray, seed: int = 0) -> np.ndarray:
    """As many as there are rows in x [N, ...]: each number drawn from that dimension of a random row."""
    random = np.random.default_rng(seed)
    flat = x.reshape(len(x), -1)
    return flat[random.integers(len(x), size=flat.shape), np.arange(flat.shape[1])].reshape(x.shape)


def estimate(
    config: ScoreConfig,
    rows: Sequence[Row],
    x: np.ndarray,
    recordings: np.ndarray,
    others: np.ndarray,
    held_out: np.ndarray | None = None,
) -> Estimate:
    """Judge a detector by the training clips of one machine: `rows`, x [N, ...], recordings [N]; others [M, ...]: those
    of other machines.

    Pseudo-anomalies ("diverse"): rows whose numbers are mixed (feature), the other domain's clips, other machines' and
    those of each attribute, scored by detectors that were fitted without them. A part that there cannot be is left out,
    and `refused` tells what a detector cannot do without.
    held_out [N], bool: these clips alone are the normal ones and what pseudo-anomalies are made of, and no detector is
    fitted on any of them. Raises ValueError where the detector refuses the clips.
    """
    domains = np.array([row["domain"] for row in rows])
    learnt = np.ones(len(x), bool) if held_out is None else ~held_out
    asked = learnt if held_out is None else held_out
    detector = PerDomain(config).fit(x[learnt], domains[learnt].tolist(), recordings[learnt])
    inside = detector.self_scores()[1] if held_out is None else detector.anomaly_score(x[asked])
    found = {FEATURE: detector.anomaly_score(feature_pseudo_anomalies(x[asked]))}
    if len(others):
        found["other machines"] = detector.anomaly_score(others)
    refused: list[str] = []
    for part, column in (("other domain", "domain"), ("other attributes", "attr")):
        values = np.array([row[column] for row in rows])
        left_out = sorted(set(values) - {UNKNOWN, "source"}) if len(set(values)) > 1 else []
        scores = []
        for value in left_out:
            try:
                scores.append(_without(config, values == value, x, domains, recordings, learnt, asked))
            except ValueError as error:
                refused.append(f"{part} {value}: {error}")
        if any(map(len, scores)):
            found[part] = np.concatenate(scores)
    outside = np.concatenate(list(found.values()))
    finite = np.isfinite(inside)
    if finite.sum() < 2:
        which = "can be scored without themselves" if held_out is None else "are held out"
        raise ValueError(f"{int(finite.sum())} training clips {which}, two are needed")
    inside, outside = inside[finite], outside[np.isfinite(outside)]
    if np.concatenate([inside, outside]).min() >= 0:
        inside, outside = (np.log(np.maximum(scores, SMALLEST)) for scores in (inside, outside))
    return Estimate(pseudo_auc(inside, outside), auc_bound(inside, outside), tuple(found), tuple(refused))


def _without(
    config: ScoreConfig,
    part: np.ndarray,
    x: np.ndarray,
    domains: np.ndarray,
    recordings: np.ndarray,
    learnt: np.ndarray,
    asked: np.ndarray,
) -> np.ndarray:
    """Scores of the `asked` clips in `part` by a detector of the `learnt` others.

    Raises ValueError where these are too few.
    """
    kept = learnt & ~part & ~np.isin(recordings, recordings[part])
    if not (part & asked).any():
        return np.empty(0)
    if not kept.any():
        raise ValueError("no other training clips are left")
    fitted = PerDomain(config).fit(x[kept], domains[kept].tolist(), recordings[kept])
    return fitted.anomaly_score(x[part & asked])
