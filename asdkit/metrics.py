"""AUC, partial AUC and means of them, and what each becomes without one clip (numpy only)."""

from typing import NamedTuple

import numpy as np

EPSILON = float(np.finfo(float).eps)


class Undefined(ValueError):
    """These clips do not define the metric: a condition is missing, or there are too few clips of one."""


class Roc(NamedTuple):
    """The ROC as a line through counted points, from the highest score down; equal scores share one step.

    fp, tp: normal and anomalous clips above each threshold, [points], both start at 0.
    area: area under the line up to each point, in clips x clips, [points].
    step: for each clip, the index of the point where its step starts, [N].
    anomalous: [N], bool.
    """

    fp: np.ndarray
    tp: np.ndarray
    area: np.ndarray
    step: np.ndarray
    anomalous: np.ndarray


def auc(scores: np.ndarray, anomalous: np.ndarray) -> float:
    """Area under the ROC curve, 0..1; a tie counts one half (Eq. 11 of the paper, which counts a tie as nothing).

    scores [N]: higher = more anomalous. anomalous [N]: true or 1 for an anomalous clip.
    Raises ValueError for unequal lengths or scores that are not finite, Undefined when a condition is missing.
    """
    roc = _roc(scores, anomalous)
    return float(roc.area[-1] / (roc.fp[-1] * roc.tp[-1]))


def pauc(scores: np.ndarray, anomalous: np.ndarray, max_fpr: float = 0.1) -> float:
    """Partial AUC for false positive rates up to `max_fpr`, standardised (McClish 1989): 0.5 = chance, 1 = perfect.

    The ROC is interpolated linearly at `max_fpr`. This is the challenge's pAUC in every year, and what scikit-learn's
    roc_auc_score(max_fpr=...) returns. Arguments and errors as for `auc`.
    """
    if not 0 < max_fpr <= 1:
        raise ValueError(f"max_fpr is {max_fpr}, allowed: above 0, up to 1")
    roc = _roc(scores, anomalous)
    area = _area(roc, max_fpr * roc.fp[-1]) / (roc.fp[-1] * roc.tp[-1])
    return float(_standardise(area, max_fpr))


def pauc_eq12(scores: np.ndarray, anomalous: np.ndarray, p: float = 0.1) -> float:
    """Partial AUC as the paper prints it (Eq. 12): not standardised, no interpolation, a tie counts as nothing.

    It is another number than the challenge's pAUC (chance is p / 2) and never part of an official score.
    Arguments and errors as for `auc`; Undefined also when floor(p * normal clips) is 0.
    """
    scores, anomalous = _check(scores, anomalous)
    normal = np.sort(scores[~anomalous])
    top = normal[len(normal) - int(p * len(normal) + 1e-9) :]  # 1e-9: 0.1 * 30 must count as 3
    if len(top) == 0:
        raise Undefined(f"Eq. 12 needs {int(np.ceil(1 / p))} normal clips or more, got {len(normal)}")
    anomaly = np.sort(scores[anomalous])
    above = len(anomaly) - np.searchsorted(anomaly, top, side="right")
    return float(above.sum() / (len(top) * len(anomaly)))


def without_each(scores: np.ndarray, anomalous: np.ndarray, max_fpr: float = 1.0) -> np.ndarray:
    """The AUC (`max_fpr` 1) or standardised pAUC that remains when one clip is left out, for each clip: [N].

    Closed form: one ROC, from which each clip's own part of the area is taken away.
    Arguments and errors as for `auc`; Undefined also when a condition has one clip only.
    """
    roc = _roc(scores, anomalous)
    normals, anomalies = roc.fp[-1], roc.tp[-1]
    if min(normals, anomalies) < 2:
        raise Undefined("leaving a clip out needs two normal and two anomalous clips")
    fp, tp = roc.fp[:-1], roc.tp[:-1]  # where each step starts
    width, height = np.diff(roc.fp), np.diff(roc.tp)

    # Without an anomalous clip, the line is lower by one from its step on, and by a growing part of one within it.
    limit = max_fpr * normals
    lost = _triangle(np.clip(limit - fp, 0, width), width) + np.maximum(limit - roc.fp[1:], 0)
    positive = (_area(roc, limit) - lost) / (normals * (anomalies - 1))

    # Without a normal clip, its step is narrower by one, and what follows moves one to the left.
    limit = max_fpr * (normals - 1)
    inside = np.clip(limit - fp, 0, width - 1)
    after = _area(roc, np.maximum(limit + 1, roc.fp[1:])) - roc.area[1:]
    area = _area(roc, np.minimum(limit, fp)) + inside * tp + height * _triangle(inside, width - 1) + after
    negative = area / ((normals - 1) * anomalies)

    return _standardise(np.where(roc.anomalous, positive[roc.step], negative[roc.step]), max_fpr)


def resampled(scores: np.ndarray, anomalous: np.ndarray, counts: np.ndarray, max_fpr: float = 1.0) -> np.ndarray:
    """The AUC (`max_fpr` 1) or standardised pAUC of samples in which each clip is there so many times: [samples].

    counts [samples, N]: how often each clip of `scores` [N] is in each sample. Ones give `auc` and `pauc`.
    Arguments and errors as for `auc`; Undefined also when a sample has no clip of a condition.
    """
    scores, anomalous = _check(scores, anomalous)
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.inf))  # of steps: equal scores share one
    counts, anomalous = counts[:, order].astype(float), anomalous[order]
    tp, fp = counts * anomalous, counts * ~anomalous  # [samples, N]
    if len(starts) < len(scores):
        tp, fp = (np.add.reduceat(part, starts, axis=1) for part in (tp, fp))  # [samples, steps]
    normals, anomalies = fp.sum(axis=1), tp.sum(axis=1)  # [samples]
    if not (normals.all() and anomalies.all()):
        raise Undefined("a sample has no clips of a condition")
    before = np.cumsum(fp, axis=1) - fp
    part = np.clip(max_fpr * normals[:, None] - before, 0, fp)  # of each step's width, up to the limit
    lower = np.cumsum(tp, axis=1) - tp
    area = (part * (lower + tp * part / np.maximum(fp, 1) / 2)).sum(axis=1)
    return _standardise(area / (normals * anomalies), max_fpr)


def harmonic_mean(values: list[float]) -> float:
    """Harmonic mean; values below machine epsilon (2.2e-16) are raised to it, as the evaluators do."""
    return float(len(values) / np.sum(1 / np.maximum(values, EPSILON)))


def _check(scores: np.ndarray, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, anomalous = np.asarray(scores, dtype=float), np.asarray(anomalous)
    if scores.ndim != 1 or scores.shape != anomalous.shape:
        raise ValueError(f"scores {scores.shape} and conditions {anomalous.shape}: expected two lists of one length")
    if not np.isin(anomalous, (0, 1)).all():
        raise ValueError("conditions: allowed are 0 (normal) and 1 (anomalous)")
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise ValueError(f"{len(bad)} of {len(scores)} scores are not finite, the first is number {bad[0]}")
    anomalous = anomalous.astype(bool)
    for name, count in (("normal", (~anomalous).sum()), ("anomalous", anomalous.sum())):
        if count == 0:
            raise Undefined(f"no {name} clips")
    return scores, anomalous


def _roc(scores: np.ndarray, anomalous: np.ndarray) -> Roc:
    scores, anomalous = _check(scores, anomalous)
    levels, step = np.unique(-scores, return_inverse=True)
    fp = np.cumsum(np.bincount(step[~anomalous] + 1, minlength=len(levels) + 1))
    tp = np.cumsum(np.bincount(step[anomalous] + 1, minlength=len(levels) + 1))
    area = np.cumsum(np.concatenate([[0], np.diff(fp) * (tp[1:] + tp[:-1])])) / 2
    return Roc(fp, tp, area, step, anomalous)


def _area(roc: Roc, limit: np.ndarray | float) -> np.ndarray:
    """Area under the ROC from 0 to `limit` normal clips, in clips x clips."""
    last = np.searchsorted(roc.fp, limit, side="right") - 1
    after = np.minimum(last + 1, len(roc.fp) - 1)
    part, width = limit - roc.fp[last], np.maximum(roc.fp[after] - roc.fp[last], 1)
    return roc.area[last] + part * (roc.tp[last] + (roc.tp[after] - roc.tp[last]) * part / width / 2)


def _triangle(part: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Area under a line that rises from 0 to 1 over `width`, from 0 to `part` <= width; 0 where the width is 0."""
    return part**2 / (2 * np.maximum(width, 1))


def _standardise(area: np.ndarray | float, max_fpr: float) -> np.ndarray | float:
    lowest = max_fpr**2 / 2
    return (1 + (area - lowest) / (max_fpr - lowest)) / 2
