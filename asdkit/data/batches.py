"""Training batches of fixed-length chunks, from recordings or from dumped features."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from asdkit.config import Config
from asdkit.corpus.description import load_dataset
from asdkit.data.lists import Clip, training_clips
from asdkit.data.sampler import ChunkSampler
from asdkit.signals.audio import AudioReader
from asdkit.utils.ark import read_frames, split_location


class FrontEnd(Protocol):
    """What chunks are cut for: samples per second, and the samples and the distance of feature frames."""

    sample_rate: int
    window: int
    hop: int


@dataclass(frozen=True)
class Batch:
    """wavs float32 [B, T] or feats float32 [B, F, M] (the other is None), labels int64 [B], attributed bool [B]."""

    wavs: Tensor | None
    feats: Tensor | None
    labels: Tensor
    attributed: Tensor
    utts: list[str]


class ChunkDataset(Dataset[Batch]):
    """Map from step (from 1) to batch, for DataLoader(dataset, batch_size=None, sampler=range(first, last + 1)).

    clips: the sampler's clips; chunk: samples. Clips that hold dumped features give feats: the frames of `window`
    samples every sampler.hop that lie inside the chunk. Clips shorter than the chunk are repeated to its length.
    share: picks this process's part of a batch.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        sampler: ChunkSampler,
        reader: AudioReader,
        chunk: int,
        window: int = 400,
        share: Callable[[list[tuple[int, int]]], list[tuple[int, int]]] = list,
    ) -> None:
        self.clips, self.sampler, self.reader, self.chunk = clips, sampler, reader, chunk
        self.window, self.share = window, share

    def __getitem__(self, step: int) -> Batch:
        """The batch of `step`; raises ValueError naming a recording or archive that cannot be read."""
        drawn = [(self.clips[index], start) for index, start in self.share(self.sampler.batch(step))]
        from_feats = drawn[0][0].feats is not None
        read = self._feats if from_feats else self._wav
        chunks = torch.from_numpy(np.stack([read(clip, start) for clip, start in drawn]))
        return Batch(
            wavs=None if from_feats else chunks,
            feats=chunks if from_feats else None,
            labels=torch.tensor([clip.label for clip, _ in drawn]),
            attributed=torch.tensor([clip.attributed for clip, _ in drawn]),
            utts=[clip.utt for clip, _ in drawn],
        )

    def _wav(self, clip: Clip, start: int) -> np.ndarray:
        wav = self.reader.read(clip.path, start, min(self.chunk, clip.frames))
        return tile(wav, self.chunk)

    def _feats(self, clip: Clip, start: int) -> np.ndarray:
        hop = self.sampler.hop
        inside = frames_of(min(self.chunk, clip.frames), self.window, hop)
        feats = read_frames(*split_location(clip.feats or ""), start // hop, inside)
        return tile(feats, frames_of(self.chunk, self.window, hop))


def training_dataset(
    config: Config,
    frontend: FrontEnd,
    data_dir: str | Path,
    dump_dir: str | Path,
    exp_dir: str | Path,
    seed: int,
    share: Callable[[list[tuple[int, int]]], list[tuple[int, int]]] = list,
) -> ChunkDataset:
    """The training batches of an experiment; raises ValueError when lists are missing or sample rates disagree."""
    reader = load_dataset(data_dir).reader()
    reader.check_rate(frontend.sample_rate)
    clips = training_clips(config, data_dir, dump_dir, exp_dir)
    chunk = round(config.data.chunk_seconds * frontend.sample_rate)
    sampler = ChunkSampler(clips, chunk, config.train.batch_size, config.data.balance, seed, frontend.hop)
    return ChunkDataset(clips, sampler, reader, chunk, frontend.window, share)


def frames_of(samples: int, window: int, hop: int) -> int:
    """Number of whole windows in so many samples."""
    return max(1 + (samples - window) // hop, 0)


def tile(array: np.ndarray, length: int) -> np.ndarray:
    """Repeat an array along its first axis and cut it to `length`."""
    if len(array) == length:
        return array
    return np.concatenate([array] * -(-length // len(array)))[:length]
