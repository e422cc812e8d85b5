"""One detector per machine, section and domain as configured, and the scores of test clips."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from asdkit.backends import BACKENDS, Backend
from asdkit.backends.embeddings import read_embeddings
from asdkit.config import ScoreConfig
from asdkit.data.manifest import Row, read_manifest
from asdkit.utils.files import write_text


class PerDomain:
    """A detector per domain of the training clips; the score is the smallest of theirs (paper Eq. 13)."""

    def __init__(self, config: ScoreConfig) -> None:
        self.config = config
        self.detectors: dict[str, Backend] = {}

    def fit(self, x: np.ndarray, domains: list[str]) -> "PerDomain":
        """Fit on x [N, D] with a domain for each row; a domain without rows has no detector.

        Raises ValueError, naming the domain, where the backend refuses.
        """
        names = np.array(domains)
        for domain in sorted(set(domains)):
            try:
                self.detectors[domain] = BACKENDS[self.config.backend](self.config).fit(x[names == domain])
            except ValueError as error:
                raise ValueError(f"{error} (domain {domain})") from None
        return self

    def anomaly_score(self, x: np.ndarray) -> np.ndarray:
        """Smallest score over the domains, x [M, D] -> [M]."""
        return np.min([detector.anomaly_score(x) for detector in self.detectors.values()], axis=0)


def score_clips(
    config: ScoreConfig, train: list[Row], train_x: np.ndarray, test: list[Row], test_x: np.ndarray
) -> dict[str, float]:
    """Score test clips by detectors fitted on the training clips of their machine (and section).

    train, test: manifest rows; train_x [N, D], test_x [M, D]: their embeddings. Returns utt -> score.
    Only utt, machine and section are read of a test row. Raises ValueError when dimensions differ, or a machine
    (section) under test has no training clips.
    """
    if train_x.shape[1] != test_x.shape[1]:
        raise ValueError(f"embeddings have {test_x.shape[1]} dimensions in test, {train_x.shape[1]} in training")
    groups, known = _groups(config, test), _groups(config, train)
    lacking = [" ".join(key) for key in groups if key not in known]
    if lacking:
        unit = "machine and section" if config.per_section else "machine"
        raise ValueError(f"no training clips for the {unit} {', '.join(lacking)}; there are some for {_names(known)}")
    scores = {}
    for key, rows in groups.items():
        own = known[key]
        domains = [train[i]["domain"] if config.per_domain else "all" for i in own]
        try:
            found = PerDomain(config).fit(train_x[own], domains).anomaly_score(test_x[rows])
        except ValueError as error:
            raise ValueError(f"{' '.join(key)}: {error}") from None
        scores.update((test[i]["utt"], float(score)) for i, score in zip(rows, found, strict=True))
    return scores


def load_set(data: Path, embed: Path, name: str) -> tuple[list[Row], np.ndarray]:
    """Manifest rows of one set and their embeddings [clips, D]."""
    rows = read_manifest(data / name / "manifest.tsv")
    return rows, read_embeddings(embed / name, [row["utt"] for row in rows])


def load_sets(data: Path, embed: Path, names: list[str]) -> tuple[list[Row], np.ndarray]:
    """Several sets one after another; raises ValueError when their dimensions differ."""
    parts = [load_set(data, embed, name) for name in names]
    sizes = {name: x.shape[1] for name, (_, x) in zip(names, parts, strict=True)}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"{embed}: embeddings of different dimensions: {sizes}")
    return [row for rows, _ in parts for row in rows], np.concatenate([x for _, x in parts])


def write_scores(path: str | Path, scores: dict[str, float]) -> None:
    """Write `utt score`, sorted by utt; the numbers read back exactly."""
    write_text(path, "".join(f"{utt} {score!r}\n" for utt, score in sorted(scores.items())))


def _groups(config: ScoreConfig, rows: list[Row]) -> dict[tuple[str, ...], list[int]]:
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        groups[(row["machine"], row["section"]) if config.per_section else (row["machine"],)].append(i)
    return groups


def _names(groups: dict[tuple[str, ...], list[int]]) -> str:
    return ", ".join(" ".join(key) for key in groups)
