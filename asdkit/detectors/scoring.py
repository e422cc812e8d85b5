"""One detector per machine, section and domain as configured, and the scores of training and test clips."""

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from asdkit.config import ScoreConfig
from asdkit.corpus.manifest import Row
from asdkit.corpus.names import UNKNOWN
from asdkit.detectors.domains import BLOCK, PerDomain
from asdkit.detectors.notes import check_varied, some
from asdkit.detectors.tables import Chosen, Together
from asdkit.utils.cli import progress

Embedded = tuple[list[Row], np.ndarray | Together]  # manifest rows, arrays [clips, D]
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


def fit_detector(config: ScoreConfig, train: dict[str, Embedded], key: Key) -> PerDomain:
    """The detector of a machine (and section), fitted on the training clips of all sets.

    Raises ValueError, naming the machine, for one without training clips or whose detector refuses them.
    """
    known = {name: groups(config, rows) for name, (rows, _) in train.items()}
    return _fit(config, train, known, key)


def score_sets(config: ScoreConfig, train: dict[str, Embedded], tests: dict[str, Embedded]) -> Scored:
    """Score test clips by detectors fitted on the training clips of their machine (and section).

    train, tests: sets by name; the training clips of all of them serve each test set. Only utt, machine and section are
    read of a test row. Without tests the training clips of all machines are scored. Raises ValueError, naming set and
    machine, when dimensions differ, a machine (section) under test has no training clips, or a detector refuses.
    """
    sizes = {name: x.shape[1] if x.ndim == 2 else x.shape[1:] for name, (_, x) in {**train, **tests}.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"embeddings of different dimensions: {sizes}; run stage 4 again")
    known, tested = ({name: groups(config, rows) for name, (rows, _) in sets.items()} for sets in (train, tests))
    scored = Scored({name: {} for name in tests}, {}, [])
    keys = sorted({key for found in (tested or known).values() for key in found})
    for key in progress(keys, f"score by {config.detector}", unit="machine"):
        asked = {name: found[key] for name, found in tested.items() if key in found}
        try:
            detector = _fit(config, train, known, key)
        except ValueError as error:
            raise ValueError(f"{next(iter(asked or train))}: {error}") from None
        own = [train[name][0][i] for name in train for i in known[name].get(key, ())]
        try:
            _score_key(scored, key, detector, own, {name: (tests[name], chosen) for name, chosen in asked.items()})
        except ValueError as error:
            raise ValueError(f"{title(key)}: {error}") from None
        del detector  # before the next one is made: there is never more than one in memory
    return scored


def _score_key(
    scored: Scored, key: Key, detector: PerDomain, own: list[Row], asked: dict[str, tuple[Embedded, list[int]]]
) -> None:
    """Put the scores of one detector into `scored`. own: its training clips; asked: of each set, which test clips."""
    if detector.config.normalise != "test_zscore":
        scored.train[key] = _self_scored(detector, own)
    for name, ((every, arrays), chosen) in asked.items():
        rows, x = [every[i] for i in chosen], Chosen(arrays, chosen)
        found = detector.anomaly_score(x)
        if heard := _heard(detector, own, rows, x, found):
            scored.notes.append(f"{name}: {title(key)}: {heard}")
        check_varied(found, name, detector.nothing)
        scored.scores[name].update(zip((row["utt"] for row in rows), found.tolist(), strict=True))


def recordings_of(rows: Sequence[Row], *arrays: np.ndarray | Chosen) -> np.ndarray:
    """A number for each row, the same for copies: rows with one digest, or with equal arrays [N, D]. [N]

    arrays: one after the other those of all rows. Without copies the numbers are 0, 1, 2, ...
    """
    alone = [row.get("digest", UNKNOWN) for row in rows]
    texts = [digest if digest != UNKNOWN else f"row {i}" for i, digest in enumerate(alone)]
    bits: list[bytes] = []
    for x in arrays:
        for start in range(0, len(x), BLOCK):
            part = x[start : start + BLOCK]
            content = np.ascontiguousarray(part.reshape(len(part), -1) + part.dtype.type(0))  # of -0 makes 0
            bits += [hashlib.blake2b(row, digest_size=16).digest() for row in content]
    keys = [_numbered(values) for values in (texts, bits)]
    number = np.arange(len(rows))
    while True:  # copies of copies
        before = number
        for key in keys:
            least = np.full(len(rows), len(rows))
            np.minimum.at(least, key, number)
            number = least[key]
        if (number == before).all():
            return np.unique(number, return_inverse=True)[1]


def _numbered(values: Sequence[Hashable]) -> np.ndarray:
    """A number for each value, the same for equal ones: [N]."""
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(value, len(known)) for value in values], int)


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
    domains = [rows[i]["domain"] for rows, _, chosen in own for i in chosen]
    try:
        x = np.concatenate([x[chosen] for _, x, chosen in own])
        return PerDomain(config).fit(x, domains, recordings_of([rows[i] for rows, _, chosen in own for i in chosen], x))
    except ValueError as error:
        raise ValueError(f"{title(key)}: {error}") from None


def _self_scored(detector: PerDomain, own: list[Row]) -> dict[str, float]:
    """utt -> score of training clips `own`, the detector's rows."""
    numbers, scores = detector.self_scores()
    return {own[i]["utt"]: float(score) for i, score in zip(numbers, scores, strict=True)}


def _heard(detector: PerDomain, own: list[Row], rows: list[Row], x: Chosen, scores: np.ndarray) -> str:
    """A sentence on the test clips `rows`, x [M, D], that are training clips as well; empty where there are none."""
    recordings = recordings_of([*own, *rows], detector.train, x)
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
