"""One detector per machine, section and domain as configured, and the scores of training and test clips."""

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from asdkit.config import ScoreConfig
from asdkit.corpus.manifest import Row
from asdkit.detectors import DETECTORS, Detector
from asdkit.utils.cli import progress

SELF_SCORED = 1000  # training clips of a detector: enough for a percentile, and quicker than the scores themselves
PARTS = 5  # of the training clips, where a detector cannot leave single ones out

Embedded = tuple[list[Row], np.ndarray]  # manifest rows, arrays [clips, D]
Key = tuple[str, str]  # machine, section (`-`: all of the machine's)
Grouped = dict[str, dict[Key, list[int]]]  # set -> detector -> numbers of its rows


class Scored(NamedTuple):
    """scores: set -> utt -> score. train: (machine, section) -> utt -> score of a training clip by the others.

    A detector for all sections of a machine has the section `-`. train is empty where scores are transductive.
    """

    scores: dict[str, dict[str, float]]
    train: dict[Key, dict[str, float]]


class PerDomain:
    """A detector per domain of the training clips; the score is the smallest of theirs (paper Eq. 13)."""

    def __init__(self, config: ScoreConfig) -> None:
        self.config = config
        self.detectors: dict[str, Detector] = {}
        self.train = np.empty((0, 0))
        self.domains = np.empty(0, str)

    def fit(self, x: np.ndarray, domains: list[str]) -> "PerDomain":
        """Fit on x [N, D] with a domain for each row; a domain without rows has no detector.

        Raises ValueError, naming the domain, where the detector refuses.
        """
        self.train, self.domains = x, np.array(domains)
        for domain in sorted(set(domains)):
            try:
                self.detectors[domain] = self._new().fit(x[self.domains == domain])
            except ValueError as error:
                raise ValueError(f"{error} (domain {domain})") from None
        return self

    def anomaly_score(self, x: np.ndarray) -> np.ndarray:
        """Smallest score over the domains, x [M, D] -> [M].

        With normalise: test_zscore the scores of each domain's detector are brought to mean 0, deviation 1 over x.
        """
        scores = np.array([detector.anomaly_score(x) for detector in self.detectors.values()])  # [domains, M]
        if self.config.normalise == "test_zscore":
            deviation = scores.std(axis=1, keepdims=True)
            scores = (scores - scores.mean(axis=1, keepdims=True)) / np.where(deviation > 0, deviation, 1)
        return scores.min(axis=0)

    def self_scores(self) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of training rows, and their scores when none is compared with itself; infinity where nothing is left.

        Of many training clips these are SELF_SCORED, evenly spaced.
        """
        count = len(self.train)
        rows = np.unique(np.linspace(0, count - 1, min(count, SELF_SCORED)).round().astype(int))
        scores = np.empty((len(self.detectors), len(rows)))
        for found, (domain, detector) in zip(scores, self.detectors.items(), strict=True):
            own = self.domains[rows] == domain
            if not own.all():
                found[~own] = detector.anomaly_score(self.train[rows[~own]])
            members = np.flatnonzero(self.domains == domain)
            inside = np.searchsorted(members, rows[own])
            found[own] = self._left_out(detector, self.train[members], inside)
        return rows, scores.min(axis=0)

    def _left_out(self, detector: Detector, x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Scores [R] of the rows of a domain's training arrays x [N, D], each as if it had not been among them."""
        if hasattr(detector, "leave_one_out"):
            return detector.leave_one_out(rows)
        scores = np.full(len(rows), np.inf)
        part = np.arange(len(x)) % PARTS
        for number in range(PARTS):
            asked = part[rows] == number
            if asked.any() and (part != number).any():
                scores[asked] = self._new().fit(x[part != number]).anomaly_score(x[rows[asked]])
        return scores

    def _new(self) -> Detector:
        return DETECTORS[self.config.detector](self.config)


def fit_detector(config: ScoreConfig, train: dict[str, Embedded], key: Key) -> PerDomain:
    """The detector of a machine (and section), fitted on the training clips of all sets.

    Raises ValueError, naming the machine, for one without training clips or whose detector refuses them.
    """
    known = {name: groups(config, rows) for name, (rows, _) in train.items()}
    return _fit(config, train, known, key)


def score_sets(config: ScoreConfig, train: dict[str, Embedded], tests: dict[str, Embedded]) -> Scored:
    """Score test clips by detectors fitted on the training clips of their machine (and section).

    train, tests: sets by name; the training clips of all of them serve each test set. Only utt, machine and section are
    read of a test row. Raises ValueError, naming set and machine, when dimensions differ, a machine (section) under
    test has no training clips, or a detector refuses.
    """
    sizes = {name: x.shape[1] for name, (_, x) in {**train, **tests}.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"embeddings of different dimensions: {sizes}; run stage 4 again")
    known, tested = ({name: groups(config, rows) for name, (rows, _) in sets.items()} for sets in (train, tests))
    scored = Scored({name: {} for name in tests}, {})
    keys = sorted({key for found in tested.values() for key in found})
    for key in progress(keys, f"score by {config.detector}", unit="machine"):
        where = [name for name, found in tested.items() if key in found]
        try:
            detector = _fit(config, train, known, key)
        except ValueError as error:
            raise ValueError(f"{where[0]}: {error}") from None
        try:
            if config.normalise == "none":
                scored.train[key] = _self_scored(detector, train, known, key)
            for name in where:
                (rows, x), chosen = tests[name], tested[name][key]
                found = detector.anomaly_score(x[chosen]).tolist()
                scored.scores[name].update((rows[i]["utt"], score) for i, score in zip(chosen, found, strict=True))
        except ValueError as error:
            raise ValueError(f"{title(key)}: {error}") from None
    return scored


def groups(config: ScoreConfig, rows: list[Row]) -> dict[Key, list[int]]:
    """Numbers of the rows that each detector serves."""
    found: dict[Key, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        found[row["machine"], row["section"] if config.per_section else "-"].append(i)
    return found


def title(key: Key) -> str:
    """A detector's machine and, where it has one of its own, section."""
    return " ".join(key).removesuffix(" -")


def _fit(config: ScoreConfig, train: dict[str, Embedded], known: Grouped, key: Key) -> PerDomain:
    own = [(*train[name], found[key]) for name, found in known.items() if key in found]
    if not own:
        unit = "machine and section" if config.per_section else "machine"
        there = ", ".join(map(title, sorted({key for found in known.values() for key in found})))
        raise ValueError(f"no training clips for the {unit} {title(key)}; there are some for {there}")
    domains = [rows[i]["domain"] if config.per_domain else "all" for rows, _, chosen in own for i in chosen]
    try:
        return PerDomain(config).fit(np.concatenate([x[chosen] for _, x, chosen in own]), domains)
    except ValueError as error:
        raise ValueError(f"{title(key)}: {error}") from None


def _self_scored(detector: PerDomain, train: dict[str, Embedded], known: Grouped, key: Key) -> dict[str, float]:
    utts = [rows[i]["utt"] for name, (rows, _) in train.items() for i in known[name].get(key, ())]
    numbers, scores = detector.self_scores()
    return {utts[i]: float(score) for i, score in zip(numbers, scores, strict=True)}
