"""Training batches of single vectors of frames, drawn from all clips of each machine."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from asdkit.config import Config
from asdkit.corpus.description import load_dataset
from asdkit.data.batches import Framing, tile
from asdkit.data.levels import at_level, read_clip
from asdkit.data.lists import Clip, training_clips
from asdkit.utils.ark import matrix_shape, read_frames, split_location
from asdkit.utils.cli import progress
from asdkit.utils.device import to_device
from asdkit.utils.memory import gigabytes, total_memory

_VECTORS, _ONCE = 2, 3  # random streams of their own beside those of `ChunkSampler`


@dataclass(frozen=True)
class FrameBatch:
    """feats float32 [machines, N, frames, M]; of one machine alone [N, frames, M], with target bool [N]."""

    feats: Tensor
    machine: int | None = None
    target: Tensor | None = None
    wavs: None = None
    utts: tuple[str, ...] = ()

    def pin_memory(self) -> "FrameBatch":
        """The same in memory from which a GPU copies by itself; DataLoader's `pin_memory` asks for it."""
        return replace(self, feats=self.feats.pin_memory())


class Listener(Protocol):
    """What hears recordings, and the machines that it has networks of."""

    machines: list[str]

    def frontend(self, wav: Tensor) -> Tensor:
        """Recordings [B, T] -> features [B, F, M]."""


class FrameDataset(Dataset[FrameBatch]):
    """Map from step (from 1) to a batch of `size` vectors of each machine, for DataLoader as `ChunkDataset`.

    A vector is `frames` rows in a row of one clip's features, `table[starts[i] : starts[i] + frames]`. machines [V]:
    the number of each vector's machine; target [V]: whether its clip is of the target domain. Each machine's vectors
    come once per epoch, in a new random order, batches running across the borders of epochs.
    """

    def __init__(
        self, table: np.ndarray, starts: np.ndarray, machines: np.ndarray, target: np.ndarray, frames: int, size: int,
        seed: int,
    ) -> None:  # fmt: skip
        self.table, self.frames, self.size, self.seed = table, frames, size, seed
        chosen = [np.flatnonzero(machines == number) for number in range(machines.max() + 1)]
        self.starts = [starts[rows] for rows in chosen]
        self.target = [target[rows] for rows in chosen]
        self._orders: dict[int, tuple[int, np.ndarray]] = {}

    def __getitem__(self, step: int) -> FrameBatch:
        """The batch of `step`: a pure function of (seed, step)."""
        places = np.arange((step - 1) * self.size, step * self.size)
        drawn = [own[self._turn(machine, places)] for machine, own in enumerate(self.starts)]
        return FrameBatch(torch.from_numpy(self._gather(np.stack(drawn))))

    def once(self) -> Iterator[FrameBatch]:
        """All vectors once, in a random order, machine after machine."""
        for machine, (starts, target) in enumerate(zip(self.starts, self.target, strict=True)):
            order = np.random.default_rng((self.seed, _ONCE, machine)).permutation(len(starts))
            for first in range(0, len(order), self.size):
                rows = order[first : first + self.size]
                feats = torch.from_numpy(self._gather(starts[rows]))
                yield FrameBatch(feats, machine, torch.from_numpy(target[rows]))

    def _turn(self, machine: int, places: np.ndarray) -> np.ndarray:
        total = len(self.starts[machine])
        epochs = places // total
        drawn = np.empty_like(places)
        for epoch in np.unique(epochs).tolist():
            there = epochs == epoch
            drawn[there] = self._order(machine, epoch)[places[there] % total]
        return drawn

    def _order(self, machine: int, epoch: int) -> np.ndarray:
        if machine not in self._orders or self._orders[machine][0] != epoch:
            rng = np.random.default_rng((self.seed, _VECTORS, machine, epoch))
            self._orders[machine] = (epoch, rng.permutation(len(self.starts[machine])))
        return self._orders[machine][1]

    def _gather(self, starts: np.ndarray) -> np.ndarray:
        return self.table[starts[..., None] + np.arange(self.frames)]


def training_frames(
    config: Config,
    framing: Framing,
    system: Listener,
    device: torch.device,
    data_dir: str | Path,
    dump_dir: str | Path,
    exp_dir: str | Path,
    seed: int,
) -> FrameDataset:
    """The vectors of an experiment's training clips, all in memory. device: where the system's front end is.

    Clips shorter than a chunk are repeated to its length, as stage 4 does. Raises ValueError as `training_dataset`, for
    clips that are too short, and where memory does not suffice.
    """
    reader = load_dataset(data_dir).reader()
    reader.check_rate(framing.rate)
    clips = at_level(training_clips(config, data_dir, dump_dir, exp_dir), config, exp_dir)
    chunk, frames = round(config.data.chunk_seconds * framing.rate), config.encoder.frames
    least = framing.frames(chunk)

    def features(clip: Clip) -> np.ndarray:
        if clip.feats:
            ark, offset = split_location(clip.feats)
            found = read_frames(ark, offset, 0, matrix_shape(ark, offset)[0])
            return tile(found, max(least, len(found)))
        wav = tile(read_clip(reader, clip), max(chunk, clip.samples))
        with torch.inference_mode():
            return system.frontend(to_device(torch.from_numpy(wav)[None], device))[0].cpu().numpy()

    counts = np.array([framing.frames(max(chunk, clip.samples)) for clip in clips])
    if counts.min() < frames:
        raise ValueError(
            f"data.chunk_seconds {config.data.chunk_seconds}: fewer than {frames} frames; set a larger one"
        )
    begins = np.cumsum(counts) - counts
    table = None
    for clip, begin, count in zip(progress(clips, "frames", len(clips)), begins, counts, strict=True):
        found = features(clip)
        assert len(found) == count, (clip.path, len(found), count)
        if table is None:
            table = _table(int(counts.sum()), found.shape[1])
        table[begin : begin + count] = found
    assert table is not None
    inside = counts - frames + 1  # vectors of each clip
    starts = np.concatenate([begin + np.arange(n) for begin, n in zip(begins, inside, strict=True)])
    numbers = np.repeat([system.machines.index(clip.machine) for clip in clips], inside)
    target = np.repeat([clip.domain == "target" for clip in clips], inside)
    return FrameDataset(table, starts, numbers, target, frames, config.train.batch_size, seed)


def _table(rows: int, columns: int) -> np.ndarray:
    need, there = 4 * rows * columns, total_memory()
    if need > there:
        raise ValueError(
            f"the features of all training clips need {gigabytes(need)} of memory, there are {gigabytes(there)}: train "
            "on one of data.sets, or on fewer machines (--machines, from stage 1)"
        )
    return np.empty((rows, columns), np.float32)
