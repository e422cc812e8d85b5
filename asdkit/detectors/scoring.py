"""One detector per machine, section and domain as configured, and the scores of training and test clips."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from asdkit.config import ScoreConfig
from asdkit.corpus.manifest import Row
from asdkit.corpus.names import UNKNOWN
from asdkit.detectors import DETECTORS, Detector
from asdkit.detectors.notes import check_varied, some

SELF_SCORED = 1000  # training clips of a detector: enough for a percentile, and quicker than the scores themselves
PARTS = 5  # of the training clips, where a detector cannot leave single ones out

Embedded = tuple[list[Row], np.ndarray]  # manifest rows, arrays [clips, D]
Key = tuple[str, str]  # machine, section (`-`: all of the machine's)
Grouped = dict[str, dict[Key, list[int]]]  # set -> detector -> numbers of its rows


class Scored(NamedTuple):
    """scores: set -> utt -> score. train: (machine, section) -> utt -> score of a training clip by the others.

    A detector for all sections of a machine has the section `-`. train is empty where scores are transductive.
    notes: what a person should know of them, a sentence each.
    """

    scores: dict[str, dict[str, float]]
    train: dict[Key, dict[str, float]]
    notes: list[str]


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

    def self_scores(self, recordings: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of training rows, and their scores when none is compared with itself; infinity where nothing is left.

        recordings [N]: number of the recording that each training row is made from, by default another for each: copies
        count as the row itself. Of many training clips these are SELF_SCORED, evenly spaced.
        """
        count = len(self.train)
        recordings = np.arange(count) if recordings is None else recordings
        rows = np.unique(np.linspace(0, count - 1, min(count, SELF_SCORED)).round().astype(int))
        x, own = self.train[rows], recordings[rows]
        scores = []
        for domain, detector in self.detectors.items():
            members = self.domains == domain
            scores.append(self._left_out(detector, self.train[members], recordings[members], x, own))
        return rows, np.array(scores).min(axis=0)

    def nearest(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance [M] of x [M, D] to the nearest training row and that row's number, of detectors that tell them.

        Infinity where none does.
        """
        distances, rows = np.full(len(x), np.inf), np.zeros(len(x), int)
        for domain, detector in self.detectors.items():
            if hasattr(detector, "neighbours"):
                found, indices = (table[:, 0] for table in detector.neighbours(x))
                closer = found < distances
                distances[closer] = found[closer]
                rows[closer] = np.flatnonzero(self.domains == domain)[indices[closer]]
        return distances, rows

    @property
    def nothing(self) -> float:
        """Scores up to this are those of copies."""
        return min((getattr(detector, "nothing", -np.inf) for detector in self.detectors.values()), default=-np.inf)

    def _left_out(
        self, detector: Detector, train: np.ndarray, recordings: np.ndarray, x: np.ndarray, own: np.ndarray
    ) -> np.ndarray:
        """Scores [R] of x [R, D] by a domain's detector, fitted on train [N, D], without rows of the same recording."""
        if hasattr(detector, "leave_one_out"):
            return detector.leave_one_out(x, own, recordings)
        scores = np.full(len(x), np.inf)
        there, number = np.unique(recordings, return_inverse=True)
        inside = np.isin(own, there)
        if not inside.all():
            scores[~inside] = detector.anomaly_score(x[~inside])
        part, asked_part = number % PARTS, np.where(inside, np.searchsorted(there, own) % PARTS, -1)
        for one in range(PARTS):
            asked = asked_part == one
            if asked.any() and (part != one).any():
                scores[asked] = self._new().fit(train[part != one]).anomaly_score(x[asked])
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
    scored = Scored({name: {} for name in tests}, {}, [])
    for key in sorted({key for found in tested.values() for key in found}):
        where = [name for name, found in tested.items() if key in found]
        try:
            detector = _fit(config, train, known, key)
        except ValueError as error:
            raise ValueError(f"{where[0]}: {error}") from None
        own = [train[name][0][i] for name in train for i in known[name].get(key, ())]
        try:
            if config.normalise == "none":
                scored.train[key] = _self_scored(detector, own)
            for name in where:
                chosen = tested[name][key]
                rows, x = [tests[name][0][i] for i in chosen], tests[name][1][chosen]
                found = detector.anomaly_score(x)
                if heard := _heard(detector, own, rows, x, found):
                    scored.notes.append(f"{name}: {title(key)}: {heard}")
                check_varied(found, name, detector.nothing if config.normalise == "none" else -np.inf)
                scored.scores[name].update(zip((row["utt"] for row in rows), found.tolist(), strict=True))
        except ValueError as error:
            raise ValueError(f"{title(key)}: {error}") from None
    return scored


def recordings_of(rows: Sequence[Row], x: np.ndarray) -> np.ndarray:
    """A number for each row, the same for copies: rows with one digest, or with equal arrays x [N, D]. [N]

    Without copies these are 0, 1, 2, ...
    """
    alone = [row.get("digest", UNKNOWN) for row in rows]
    texts = [digest if digest != UNKNOWN else f"row {i}" for i, digest in enumerate(alone)]
    content = np.ascontiguousarray(x + x.dtype.type(0))  # of -0 makes 0
    bits = content.view(np.dtype((np.void, content.dtype.itemsize * content.shape[1])))[:, 0]
    keys = [np.unique(values, return_inverse=True)[1] for values in (np.array(texts), bits)]
    number = np.arange(len(rows))
    while True:  # copies of copies
        before = number
        for key in keys:
            least = np.full(len(rows), len(rows))
            np.minimum.at(least, key, number)
            number = least[key]
        if (number == before).all():
            return np.unique(number, return_inverse=True)[1]


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


def _self_scored(detector: PerDomain, own: list[Row]) -> dict[str, float]:
    """utt -> score of training clips `own`, the detector's rows."""
    numbers, scores = detector.self_scores(recordings_of(own, detector.train))
    return {own[i]["utt"]: float(score) for i, score in zip(numbers, scores, strict=True)}


def _heard(detector: PerDomain, own: list[Row], rows: list[Row], x: np.ndarray, scores: np.ndarray) -> str:
    """A sentence on the test clips `rows`, x [M, D], that are training clips as well; empty where there are none."""
    recordings = recordings_of([*own, *rows], np.concatenate([detector.train, x]))
    trained, tested = recordings[: len(own)], recordings[len(own) :]
    there, first = np.unique(trained, return_index=True)
    pairs = {int(i): int(first[np.searchsorted(there, tested[i])]) for i in np.flatnonzero(np.isin(tested, there))}
    close = np.setdiff1d(np.flatnonzero(scores <= detector.nothing), list(pairs))
    if len(close):
        distances, nearest = detector.nearest(x[close])
        near = distances <= detector.nothing
        pairs |= dict(zip(close[near].tolist(), nearest[near].tolist(), strict=True))
    if not pairs:
        return ""
    names = some([f"{rows[i]['utt']} = {own[j]['utt']}" for i, j in sorted(pairs.items())])
    return (
        f"{len(pairs)} of {len(rows)} test clips have the sound of a training clip, to which their distance is as good "
        f"as 0: {names}. Their scores say nothing: take them out of one of the two"
    )
