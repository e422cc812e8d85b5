"""What a clip is compared with: the nearest training clip, over time the nearest chunks, and memories by band."""

from typing import NamedTuple

import numpy as np

from asdkit.corpus.manifest import Row
from asdkit.corpus.names import sets_of
from asdkit.detectors.bank import Bank
from asdkit.detectors.scoring import groups
from asdkit.infer.experiment import Experiment
from asdkit.utils.ark import CHUNKS, read_ark

SELF = 50  # training clips whose chunks say what is usual


class Neighbour(NamedTuple):
    """A training clip, and its distance as the detector counts it."""

    row: Row
    distance: float


class OverTime(NamedTuple):
    """Middle of each chunk, seconds, and its distance to the nearest training chunk. usual: nine of ten training
    chunks are nearer to those of other clips."""

    times: list[float]
    distances: list[float]
    usual: float


class ByBand(NamedTuple):
    """Score of each frequency band's memory, the lowest band first, and what nine of ten training clips lie below, each
    without itself (None: there is one alone).

    arrays: what stands in place of bands, where a score reads several arrays; join: what makes one score of them.
    """

    scores: list[float]
    usual: list[float | None]
    arrays: list[str]
    join: str


def neighbours(experiment: Experiment, score: str, name: str, wanted: set[str]) -> dict[str, Neighbour]:
    """The nearest training clip of each wanted clip of the set `name`, by utt.

    By the score's own distance where it is one of nearest neighbours, else by cosine in the array that it reads; of
    scores that the network itself gives, in its embedding. Raises ValueError where embeddings are not there.
    """
    settings = experiment.settings(score)
    arrays = ["embedding"] if settings.detector == "given" else settings.arrays
    rows, x = experiment.load(name, *arrays, zeros=True)
    training, found = experiment.training(*arrays, zeros=True), {}
    for key, places in groups(settings, rows).items():
        places = [i for i in places if rows[i]["utt"] in wanted]
        own = [(known[i], table[i]) for known, table in training.values() for i in groups(settings, known).get(key, ())]
        if not places or not own:
            continue
        if settings.detector == "knn":
            distances, nearest = experiment.detector(score, *key).nearest(x[places])
        else:
            bank = Bank(_flat(np.stack([array for _, array in own])), zeros=True)
            distances, nearest = (table[:, 0] for table in bank.nearest(_flat(x[places]), 1))
        for i, distance, j in zip(places, distances, nearest, strict=True):
            if np.isfinite(distance):
                found[rows[i]["utt"]] = Neighbour(own[j][0], float(distance))
    return found


def by_band(experiment: Experiment, score: str, name: str, wanted: set[str]) -> dict[str, ByBand]:
    """The score of each wanted clip by the memory of each band, by utt; empty where the score has one memory alone.

    Raises ValueError where embeddings are not there.
    """
    settings, found = experiment.settings(score), {}
    if settings.detector != "knn":
        return {}
    rows, x = experiment.load(name, *settings.arrays, zeros=True)
    arrays = settings.arrays if len(settings.arrays) > 1 else []
    for key, places in groups(settings, rows).items():
        places = [i for i in places if rows[i]["utt"] in wanted]
        told = experiment.detector(score, *key).by_band(x[places]) if places and x.ndim == 3 else None
        if told is None:
            continue
        scores, own = told  # [F, M], [F, R]
        usual = [float(np.percentile(one[np.isfinite(one)], 90)) if np.isfinite(one).any() else None for one in own]
        for i, one in zip(places, scores.T, strict=True):
            found[rows[i]["utt"]] = ByBand(one.tolist(), usual, arrays, settings.join)
    return found


def over_time(experiment: Experiment, score: str, name: str, wanted: set[str]) -> dict[str, OverTime]:
    """How far each chunk of the wanted clips is from the chunks of the machine's training clips: cosine, by utt.

    Empty where stage 4 wrote no chunks (embed.chunks). Raises ValueError for archives that cannot be read.
    """
    array = experiment.settings(score).arrays[0]
    folder = experiment.seed_dir / "embed"
    archives = {one: folder / one / f"{array}{CHUNKS}.ark" for one in (name, *sets_of("train", experiment.sets()))}
    if not archives[name].exists():
        return {}
    tests, found = read_ark(archives[name]), {}
    known = {one: read_ark(path) for one, path in archives.items() if one != name and path.exists()}
    reader, config = experiment.dataset, experiment.config
    machines: dict[str, list[Row]] = {}
    for row in experiment.rows(name):
        if row["utt"] in wanted and row["utt"] in tests:
            machines.setdefault(row["machine"], []).append(row)
    for machine, rows in machines.items():
        own = [t[row["utt"]] for one, t in known.items() for row in experiment.rows(one) if row["machine"] == machine]
        if len(own) < 2:
            continue
        bank, usual = _unit(np.concatenate(own)), _usual(own)
        for row in rows:
            chunks = _unit(tests[row["utt"]])
            seconds = int(row["samples"]) / reader.sample_rate if row["samples"].isdecimal() else None
            starts = [i * config.embed.hop_seconds for i in range(len(chunks))]
            if seconds and len(starts) > 1:
                starts[-1] = max(0.0, seconds - config.data.chunk_seconds)
            distances = 1 - (chunks @ bank.T).max(axis=1)
            times = [start + config.data.chunk_seconds / 2 for start in starts]
            found[row["utt"]] = OverTime(times, np.maximum(distances, 0).tolist(), usual)
    return found


def _usual(own: list[np.ndarray]) -> float:
    """Nine of ten chunks of some of the clips `own`, each [chunks, D], are nearer to those of the others."""
    clip, bank = np.repeat(np.arange(len(own)), [len(one) for one in own]), _unit(np.concatenate(own))
    found = []
    for i in np.unique(np.linspace(0, len(own) - 1, min(len(own), SELF)).round().astype(int)):
        similar = bank[clip == i] @ bank.T
        similar[:, clip == i] = -1
        found += (1 - similar.max(axis=1)).tolist()
    return float(np.percentile(found, 90))


def _unit(x: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(norms == 0, 1, norms)


def _flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1)
