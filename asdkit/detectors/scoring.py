"""One detector per machine, section and domain as configured, and the scores of test clips."""

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asdkit.config import ScoreConfig
from asdkit.corpus.manifest import Row, read_manifest
from asdkit.detectors import BACKENDS, Backend
from asdkit.detectors.threshold import gamma_percentile
from asdkit.utils.ark import read_vectors
from asdkit.utils.files import write_table, write_text

THRESHOLD_CLIPS = 1000  # enough for a percentile of the fit, and its time stays below that of the scores

Embedded = tuple[list[Row], np.ndarray]  # manifest rows, embeddings [clips, D]


class Scored(NamedTuple):
    """scores: set -> utt -> score. thresholds: (machine, section) -> score above which a clip counts as anomalous.

    A detector for all sections of a machine has the section `-`. No thresholds where scores are transductive.
    """

    scores: dict[str, dict[str, float]]
    thresholds: dict[tuple[str, str], float]


class PerDomain:
    """A detector per domain of the training clips; the score is the smallest of theirs (paper Eq. 13)."""

    def __init__(self, config: ScoreConfig) -> None:
        self.config = config
        self.detectors: dict[str, Backend] = {}
        self.train = np.empty((0, 0))
        self.domains = np.empty(0, str)

    def fit(self, x: np.ndarray, domains: list[str]) -> "PerDomain":
        """Fit on x [N, D] with a domain for each row; a domain without rows has no detector.

        Raises ValueError, naming the domain, where the backend refuses.
        """
        self.train, self.domains = x, np.array(domains)
        for domain in sorted(set(domains)):
            try:
                self.detectors[domain] = BACKENDS[self.config.backend](self.config).fit(x[self.domains == domain])
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

    def threshold(self) -> float:
        """Score above which a clip counts as anomalous, from training clips that are not compared with themselves.

        Of many training clips it takes THRESHOLD_CLIPS, evenly spaced. Errors as for `gamma_percentile`.
        """
        count = len(self.train)
        rows = np.unique(np.linspace(0, count - 1, min(count, THRESHOLD_CLIPS)).round().astype(int))
        scores = np.empty((len(self.detectors), len(rows)))
        for found, (domain, detector) in zip(scores, self.detectors.items(), strict=True):
            own = self.domains[rows] == domain
            found[~own] = detector.anomaly_score(self.train[rows[~own]])
            found[own] = detector.leave_one_out(np.searchsorted(np.flatnonzero(self.domains == domain), rows[own]))
        return gamma_percentile(scores.min(axis=0), self.config.threshold_percentile)


def score_sets(config: ScoreConfig, train: dict[str, Embedded], tests: dict[str, Embedded]) -> Scored:
    """Score test clips by detectors fitted on the training clips of their machine (and section).

    train, tests: sets by name; the training clips of all of them serve each test set. Only utt, machine and section are
    read of a test row. Raises ValueError, naming set and machine, when dimensions differ, a machine (section) under
    test has no training clips, or a detector refuses.
    """
    sizes = {name: x.shape[1] for name, (_, x) in {**train, **tests}.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"embeddings of different dimensions: {sizes}; run stage 4 again")
    known = {name: _groups(config, rows) for name, (rows, _) in train.items()}
    groups = {name: _groups(config, rows) for name, (rows, _) in tests.items()}
    scored = Scored({name: {} for name in tests}, {})
    for key in sorted({key for found in groups.values() for key in found}):
        own = [(*train[name], found[key]) for name, found in known.items() if key in found]
        where = [name for name, found in groups.items() if key in found]
        if not own:
            unit = "machine and section" if config.per_section else "machine"
            there = ", ".join(map(_title, sorted({key for found in known.values() for key in found})))
            raise ValueError(f"{where[0]}: no training clips for the {unit} {_title(key)}; there are some for {there}")
        domains = [rows[i]["domain"] if config.per_domain else "all" for rows, _, chosen in own for i in chosen]
        try:
            detector = PerDomain(config).fit(np.concatenate([x[chosen] for _, x, chosen in own]), domains)
            if config.normalise == "none":
                scored.thresholds[key] = detector.threshold()
            for name in where:
                (rows, x), chosen = tests[name], groups[name][key]
                found = detector.anomaly_score(x[chosen]).tolist()
                scored.scores[name].update((rows[i]["utt"], score) for i, score in zip(chosen, found, strict=True))
        except ValueError as error:
            raise ValueError(f"{_title(key)}: {error}") from None
    return scored


def load_set(data: Path, embed: Path, name: str) -> Embedded:
    """Manifest rows of one set and their embeddings [clips, D]."""
    rows = read_manifest(data / name / "manifest.tsv")
    return rows, read_vectors(embed / name / "embedding.ark", [row["utt"] for row in rows])


def write_scores(path: str | Path, scores: dict[str, float]) -> None:
    """Write `utt score`, sorted by utt; the numbers read back exactly."""
    write_text(path, "".join(f"{utt} {score!r}\n" for utt, score in sorted(scores.items())))


def write_thresholds(path: str | Path, thresholds: dict[tuple[str, str], float]) -> None:
    """Write a table of machine, section (`-`: all of the machine's) and threshold."""
    rows = [
        {"machine": machine, "section": section, "threshold": repr(value)}
        for (machine, section), value in sorted(thresholds.items())
    ]
    write_table(path, ("machine", "section", "threshold"), rows)


def _groups(config: ScoreConfig, rows: list[Row]) -> dict[tuple[str, str], list[int]]:
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        groups[row["machine"], row["section"] if config.per_section else "-"].append(i)
    return groups


def _title(key: tuple[str, str]) -> str:
    return " ".join(key).removesuffix(" -")
