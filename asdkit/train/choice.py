"""The step of a training that is best by Pseudo AUC: no label is read for it, and no test clip."""

import logging
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asdkit.config import Config, KnnConfig
from asdkit.corpus.description import load_dataset
from asdkit.corpus.manifest import Row, read_manifest
from asdkit.data.chain import training_sets
from asdkit.data.held_out import held_out
from asdkit.data.levels import at_level
from asdkit.data.lists import Clip, training_clips
from asdkit.detectors.measured import best_step, read_measured, write_measured
from asdkit.detectors.notes import some
from asdkit.detectors.pseudo import Estimate, estimate, mean_estimate
from asdkit.detectors.scoring import groups, recordings_of, title
from asdkit.models.system import System
from asdkit.signals.audio import AudioReader
from asdkit.train.distributed import World
from asdkit.train.inside import embed_inside
from asdkit.train.loop import Between, Trainer
from asdkit.utils.files import atomic_path

BEST = "best.pt"  # beside final.pt
DETECTOR = KnnConfig()


class PseudoAuc:
    """Measures the network between steps: how well pseudo-anomalies are told from training clips that are held out.

    rows: those of all training clips in a manifest; clips: the same, as the network reads them; held: ids of those that
    are held out. It scores the embedding by nearest neighbours, a detector for each machine, whatever `score` is, so
    that the choice of a step belongs to the training. Means over machines go into the curve, all else into
    seed<K>/pseudo_auc.tsv; `step`: the training starts after it. Raises ValueError where no machine has two clips that
    are held out.
    """

    def __init__(
        self,
        config: Config,
        system: System,
        world: World,
        rows: Sequence[Row],
        clips: Sequence[Clip],
        held: frozenset[str],
        reader: AudioReader,
        folder: Path,
        step: int = 0,
    ) -> None:
        self.config, self.system, self.world, self.reader = config, system, world, reader
        self.rows, self.clips, self.folder = list(rows), list(clips), folder
        self.held = np.array([row["utt"] in held for row in rows])
        self.machines = np.array([row["machine"] for row in rows])
        few = sorted(name for name in set(self.machines) if (self.held & (self.machines == name)).sum() < 2)
        if len(few) == len(set(self.machines)):
            raise ValueError(
                "data.held_out: no machine has two training clips that can be held out: set a larger "
                "data.held_out.fraction, or data.held_out to null"
            )
        if few:
            logging.warning("data.held_out: too few clips of %s: left out of the Pseudo AUC", ", ".join(few))
        self.measured = [key for key in groups(DETECTOR, self.rows) if key[0] not in few]
        self.table = read_measured(folder, step)
        self.told: set[str] = set()  # machines of which what is refused was logged

    def __call__(self, step: int) -> dict[str, float]:
        """Measure the network after `step`: `pseudo_auc` and `pseudo_bound`, in process 0 alone."""
        x = embed_inside(self.system, self.config, self.clips, self.reader, self.world)["embedding"]
        if self.world.rank:
            return {}
        try:
            found = self._estimates(x)
        except ValueError as error:
            logging.warning("step %d: no Pseudo AUC: %s", step, error)
            found = {}
        if found:
            self.table[step] = found
        write_measured(self.folder, self.table)
        mean = mean_estimate(list(found.values())) if found else Estimate(math.nan, math.nan, ())
        return {"pseudo_auc": mean.pseudo_auc, "pseudo_bound": mean.bound}

    def _estimates(self, x: np.ndarray) -> dict[str, Estimate]:
        """The estimate of each machine by the embeddings x [N, D]."""
        recordings, found = recordings_of(self.rows, x), {}
        for key, chosen in sorted(groups(DETECTOR, self.rows).items()):
            if key not in self.measured:
                continue
            others = self.held & (self.machines != key[0]) & ~np.isin(recordings, recordings[chosen])
            own = [self.rows[i] for i in chosen]
            try:
                found[title(key)] = estimate(DETECTOR, own, x[chosen], recordings[chosen], x[others], self.held[chosen])
            except ValueError as error:
                raise ValueError(f"{title(key)}: {error}") from None
            if (refused := found[title(key)].refused) and title(key) not in self.told:
                self.told.add(title(key))
                logging.warning("%s: Pseudo AUC without %s", title(key), some(refused))
        return found


def choose_by_held_out(
    trainer: Trainer, config: Config, folder: Path, data: Path, dump: Path, exp: Path
) -> frozenset[str]:
    """Let a training measure itself after the steps of train.save_steps and the last one; where clips are held out.

    folder: exp/<tag>/seed<K>. Returns the ids of the clips that are held out. Raises ValueError as `training_clips` and
    `PseudoAuc` do.
    """
    held = held_out(config, data)
    if config.data.held_out and config.train.steps:
        if trainer.world.rank == 0:
            (folder / "checkpoint" / BEST).unlink(missing_ok=True)  # of an earlier training
        rows = [row for name in training_sets(config, data) for row in read_manifest(data / name / "manifest.tsv")]
        clips = at_level(training_clips(config, data, dump, exp), config, exp)
        reader = load_dataset(data).reader()
        measure = PseudoAuc(config, trainer.system, trainer.world, rows, clips, held, reader, folder, trainer.step)
        trainer.between.append(Between({*config.train.save_steps, config.train.steps}, measure))
    return held


def keep_best(folder: Path, last: int) -> None:
    """Write seed<K>/checkpoint/best.pt, the weights of the best step under another name; `last`: that of final.pt."""
    found = read_measured(folder)
    step = best_step(found)
    if step is None:
        logging.warning("%s: no step could be measured: the last one counts as the best", folder)
    else:
        logging.info("best step by Pseudo AUC: %d of %s", step, ", ".join(map(str, sorted(found))))
    own = folder / "checkpoint" / ("final.pt" if step in (None, last) else f"step{step}.pt")
    with atomic_path(folder / "checkpoint" / BEST) as temporary:
        temporary.unlink()
        try:
            os.link(own, temporary)
        except OSError:  # some file systems have no second names
            shutil.copyfile(own, temporary)
