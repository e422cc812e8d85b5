"""Static pseudo-labels (paper Sec. V, Table XI): clusters of embeddings as classes of clips without attributes."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from asdkit.config import Config, PseudoLabelsConfig
from asdkit.data.batches import ChunkDataset
from asdkit.models.system import System
from asdkit.train.distributed import World
from asdkit.train.inside import embed_inside
from asdkit.train.loop import Between, Trainer
from asdkit.utils.files import read_table, write_table

COLUMNS = ("utt", "label", "class")
DIMENSIONS = 64  # principal components that are clustered
SAMPLE = 1000  # clips that a silhouette looks at


class ClassesOfClusters:
    """Which classes of a head stand for clusters.

    classes: names of an experiment's classes; open: those of unattributed clips, one for a machine and section. The
    first cluster of each takes its place, up to `most` - 1 others stand at the end, `<class>/2` and so on.
    """

    def __init__(self, classes: Sequence[str], open_classes: Sequence[int], most: int) -> None:
        self.open, self.names = sorted(open_classes), list(classes)
        self.labels: dict[int, list[int]] = {}
        for label in self.open:
            first = len(self.names)
            self.names += [f"{classes[label]}/{number}" for number in range(2, most + 1)]
            self.labels[label] = [label, *range(first, len(self.names))]


def cluster(x: np.ndarray, config: PseudoLabelsConfig, seed: int) -> tuple[np.ndarray, float]:
    """Embeddings [N, D] -> cluster of each, numbered from 0 [N], and the silhouette of that; 0.0 for one cluster.

    They are scaled to length 1, so that angles count, and reduced to 64 principal components. The number of clusters,
    from `fewest` to `most`, is that with the highest silhouette (Rousseeuw, 1987) among 1000 of the clips.
    """
    from sklearn.decomposition import PCA

    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    different = len(np.unique(unit, axis=0))
    if different < 3:
        return np.zeros(len(x), np.int64), 0.0
    some = np.random.default_rng(seed).permutation(len(unit))[:SAMPLE]
    if min(len(some), unit.shape[1]) > DIMENSIONS:
        unit = PCA(DIMENSIONS, svd_solver="randomized", random_state=seed).fit(unit[some]).transform(unit)
    fewest, most = (min(number, different - 1) for number in (config.fewest, config.most))
    if config.method == "agglomerative":
        return _best_cut(unit, some, fewest, most)
    tried = {number: _kmeans(unit[some], number, seed, 1) for number in range(fewest, most + 1)}
    number = max(tried, key=lambda number: _silhouette(unit[some], tried[number]))
    found = _kmeans(unit, number, seed, 3)
    return found, _silhouette(unit[some], found[some])


def _kmeans(x: np.ndarray, number: int, seed: int, starts: int) -> np.ndarray:
    from sklearn.cluster import KMeans

    return KMeans(number, n_init=starts, random_state=seed).fit_predict(x).astype(np.int64)


def _best_cut(x: np.ndarray, some: np.ndarray, fewest: int, most: int) -> tuple[np.ndarray, float]:
    """Ward's tree of x [N, D], cut where the silhouette of the rows `some` is highest."""
    from scipy.cluster.hierarchy import cut_tree, ward

    cuts = cut_tree(ward(x), range(fewest, most + 1)).T.astype(np.int64)
    found = max(cuts, key=lambda cut: _silhouette(x[some], cut[some]))
    return found, _silhouette(x[some], found[some])


def _silhouette(x: np.ndarray, found: np.ndarray) -> float:
    from sklearn.metrics import silhouette_score

    return float(silhouette_score(x, found)) if 1 < len(np.unique(found)) < len(x) else -1.0


def matched(found: np.ndarray, before: np.ndarray, places: Sequence[int]) -> np.ndarray:
    """Clusters [N] -> their labels among `places`, each cluster that of the round before with which it shares most.

    before [N]: labels so far, among `places`. One to one (Hungarian method), the sum of shared clips is largest.
    """
    from scipy.optimize import linear_sum_assignment

    shared = np.zeros((found.max() + 1, len(places)), np.int64)
    np.add.at(shared, (found, np.searchsorted(places, before)), 1)
    rows, columns = linear_sum_assignment(-shared)
    label = np.empty(len(shared), np.int64)
    label[rows] = np.asarray(places)[columns]
    return label[found]


class PseudoLabels:
    """Rounds of pseudo-labels; each is kept as seed<K>/pseudo_labels/step<N>.tsv (utt, label, class).

    classes: of the experiment, and which stand for clusters. Processes agree: the first one clusters.
    """

    def __init__(
        self,
        config: Config,
        system: System,
        world: World,
        dataset: ChunkDataset,
        classes: ClassesOfClusters,
        folder: Path,
        seed: int,
    ) -> None:
        assert config.train.pseudo_labels
        self.config, self.system, self.world, self.dataset = config, system, world, dataset
        self.classes, self.folder, self.seed = classes, folder / "pseudo_labels", seed
        self.rounds = config.train.pseudo_labels
        self.groups = np.array([clip.label for clip in dataset.clips])  # as the experiment has them
        self.own = np.flatnonzero(np.isin(self.groups, classes.open))

    def __call__(self, step: int) -> dict[str, float]:
        """A round after `step`: numbers for the curve, in process 0 alone."""
        clips = [self.dataset.clips[place] for place in self.own]
        x = embed_inside(self.system, self.config, clips, self.dataset.reader, self.world)["embedding"]
        labels = torch.zeros(len(clips), dtype=torch.int64, device=self.world.device)
        told: dict[str, float] = {}
        if self.world.rank == 0:
            before = np.array([clip.label for clip in clips])
            after, told = self._round(x, before, step)
            labels = torch.from_numpy(after).to(self.world.device)
        if self.world.size > 1:
            torch.distributed.broadcast(labels, 0)
        found = dict(zip((clip.utt for clip in clips), labels.tolist(), strict=True))
        if self.world.rank == 0:
            self._keep(step, found)
        self.dataset.relabel(found)
        return told

    def resume(self, step: int) -> None:
        """Take up the labels of the last round up to `step`; raises ValueError where they are not there any more."""
        done = [number for number in self.rounds.steps if number <= step]
        if not done:
            return
        path = self._path(done[-1])
        wanted = {self.dataset.clips[place].utt: int(self.groups[place]) for place in self.own}
        advice = "train again from the start (--stage 3 --force true)"
        if not path.exists():
            raise ValueError(f"{path} is not there: the training cannot go on without its pseudo-labels: {advice}")
        labels = {row["utt"]: row["label"] for row in read_table(path, COLUMNS)}
        if labels.keys() != wanted.keys():
            raise ValueError(f"{path}: other clips than those without attributes: {advice}")
        allowed = {utt: set(map(str, self.classes.labels[group])) for utt, group in wanted.items()}
        if wrong := [utt for utt, label in labels.items() if label not in allowed[utt]]:
            raise ValueError(
                f"{path}: clip {wrong[0]!r}: label {labels[wrong[0]]} is no class of its machine: {advice}"
            )
        self.dataset.relabel({utt: int(label) for utt, label in labels.items()})

    def _round(self, x: np.ndarray, before: np.ndarray, step: int) -> tuple[np.ndarray, dict[str, float]]:
        after, counts, silhouettes = before.copy(), [], []
        groups = self.groups[self.own]
        for label in self.classes.open:
            mine = groups == label
            if not mine.any():
                continue
            found, silhouette = cluster(x[mine], self.rounds, self.seed)
            after[mine] = matched(found, before[mine], self.classes.labels[label])
            counts.append(len(np.unique(found)))
            silhouettes.append(silhouette)
            logging.info(
                "pseudo-labels after step %d: %s: %d clips in %d clusters (silhouette %.2f)",
                *(step, self.classes.names[label], mine.sum(), counts[-1], silhouette),
            )
        changed = float((after != before).mean())
        return after, {"pseudo_clusters": float(sum(counts)), "pseudo_changed": changed}

    def _keep(self, step: int, labels: dict[str, int]) -> None:
        rows = [{"utt": u, "label": str(number), "class": self.classes.names[number]} for u, number in labels.items()]
        write_table(self._path(step), COLUMNS, rows)

    def _path(self, step: int) -> Path:
        return self.folder / f"step{step}.tsv"


def classes_of_clusters(
    config: Config, classes: Sequence[str], labels: dict[str, tuple[int, bool]]
) -> ClassesOfClusters | None:
    """The classes of a training with pseudo-labels; None without them. labels: {utt: (label, attributed)}.

    Raises ValueError where every training clip has an attribute.
    """
    if config.train.pseudo_labels is None:
        return None
    unknown = {label for label, attributed in labels.values() if not attributed}
    if not unknown:
        raise ValueError("train.pseudo_labels: every training clip has an attribute: leave it out")
    return ClassesOfClusters(classes, sorted(unknown), config.train.pseudo_labels.most)


def label_in_rounds(
    trainer: Trainer, config: Config, dataset: ChunkDataset, classes: ClassesOfClusters, folder: Path
) -> list[int]:
    """Let the trainer make its rounds of pseudo-labels; returns the steps after which labels change.

    The trainer is where it goes on from: labels of earlier rounds are read back. Errors as for `PseudoLabels.resume`.
    """
    assert config.train.pseudo_labels
    made = PseudoLabels(config, trainer.system, trainer.world, dataset, classes, folder, trainer.seed)
    if trainer.step:
        made.resume(trainer.step)
    trainer.between.append(Between(config.train.pseudo_labels.steps, made))
    return config.train.pseudo_labels.steps
