"""Official scores of resampled test clips, the same clips for every run: how far a difference of two runs is chance."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from asdkit.metrics import EPSILON, resampled
from asdkit.protocols import MAX_FPR, PROTOCOLS, Section

DRAWS, SEED = 1000, 0
BLOCK = 2_000_000  # numbers in memory at once, draws times clips of a section


class Drawn(NamedTuple):
    """Scores of runs: official [runs, draws], of each machine [runs, draws]; empty where no value is defined."""

    official: np.ndarray
    machines: dict[str, np.ndarray]


class Spread(NamedTuple):
    """A difference, its 95% interval over draws, and the shares of draws above and below 0."""

    difference: float
    low: float
    high: float
    above: float
    below: float


def official_scores(runs: Sequence[dict[str, list[Section]]], protocol: str) -> Drawn:
    """The scores of the clips themselves, as `protocols.evaluate` gives them, as one draw.

    runs: the sections of each run, from `protocols.sections_of`, of the same clips in the same order.
    """
    return _scores(runs, protocol, lambda section: iter([np.ones((1, len(section.scores)), int)]))


def bootstrap(runs: Sequence[dict[str, list[Section]]], protocol: str, draws: int = DRAWS, seed: int = SEED) -> Drawn:
    """The scores of clips drawn with replacement, in each draw the same ones for all runs.

    A draw keeps the number of clips of each machine, section, domain and condition (a stratified bootstrap: Efron and
    Tibshirani 1993), so that a value that is defined is defined in every draw. Of a stratum of one clip it draws that
    one, and knows nothing of its chance. runs: as for `official_scores`.
    """
    rng = np.random.default_rng(seed)

    def counts(section: Section) -> Iterator[np.ndarray]:
        size = max(1, BLOCK // len(section.scores))
        strata = [np.flatnonzero(mask) for mask in section.strata() if mask.any()]
        for start in range(0, draws, size):
            block = np.zeros((min(size, draws - start), len(section.scores)), int)
            for clips in strata:
                block[:, clips] = _multiplicities(rng, len(block), len(clips))
            yield block

    return _scores(runs, protocol, counts)


def spread(difference: float, draws: np.ndarray) -> Spread:
    """Sum up the differences of all draws [draws]; `difference`: that of the clips themselves."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return Spread(difference, float(low), float(high), float(np.mean(draws > 0)), float(np.mean(draws < 0)))


def _multiplicities(rng: np.random.Generator, draws: int, clips: int) -> np.ndarray:
    """How often each of `clips` is in each of `draws` samples of as many, [draws, clips]."""
    picks = rng.integers(0, clips, (draws, clips)) + clips * np.arange(draws)[:, None]
    return np.bincount(picks.ravel(), minlength=draws * clips).reshape(draws, clips)


def _scores(
    runs: Sequence[dict[str, list[Section]]], protocol: str, draw: Callable[[Section], Iterator[np.ndarray]]
) -> Drawn:
    mean, machines, every = PROTOCOLS[protocol].mean, {}, []
    for machine, sections in runs[0].items():
        values: list[np.ndarray] = []
        for number, section in enumerate(sections):
            if section.official():
                own = [run[machine][number] for run in runs]
                values.extend(np.concatenate([_values(own, counts) for counts in draw(section)], axis=-1))
        if values:
            machines[machine] = _mean(np.stack(values), mean)
            every.extend([machines[machine]] if mean == "arithmetic" else values)
    return Drawn(_mean(np.stack(every), mean) if every else np.empty((len(runs), 0)), machines)


def _values(own: list[Section], counts: np.ndarray) -> np.ndarray:
    """The official values of one section in all runs, [values, runs, draws]."""
    found = []
    for name, value in own[0].values.items():
        if value is not None:
            rule = own[0].rules[name]
            mask, max_fpr = own[0].mask(rule), MAX_FPR[rule.metric]
            chosen = counts[:, mask]
            found.append([resampled(one.scores[mask], one.anomalous[mask], chosen, max_fpr) for one in own])
    return np.array(found)


def _mean(values: np.ndarray, mean: str) -> np.ndarray:
    """The protocol's mean over the first axis."""
    if mean == "harmonic":
        return len(values) / np.sum(1 / np.maximum(values, EPSILON), axis=0)
    return np.mean(values, axis=0)
