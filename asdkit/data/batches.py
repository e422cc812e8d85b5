"""Training batches of fixed-length chunks, from recordings or from dumped features."""

import itertools
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from asdkit.config import Config
from asdkit.corpus.description import load_dataset
from asdkit.data.augment import Augmenter, augmenter
from asdkit.data.held_out import held_out
from asdkit.data.levels import at_level, read_clip
from asdkit.data.lists import Clip, training_clips
from asdkit.data.noise import noise_mixer
from asdkit.data.sampler import ChunkSampler
from asdkit.signals.audio import AudioReader
from asdkit.signals.heard import tile
from asdkit.utils.ark import read_frames, split_location

_EXCHANGE = 8  # a random stream of its own beside those of `Augmenter` and the samplers
Share = Callable[[list[Any]], list[Any]]


class Framing(NamedTuple):
    """How an encoder cuts recordings into feature frames: of `window` samples, every `hop` samples, at `rate` Hz.

    window 0: centred frames, one around each multiple of `hop` that is no later than the recording's end.
    """

    rate: int
    window: int
    hop: int

    def frames(self, samples: int) -> int:
        """Number of frames of so many samples."""
        return max(1 + (samples - self.window) // self.hop, 0)


class Mixed(NamedTuple):
    """What mixup mixed into the clips of a batch: labels int64 [B] and attributed bool [B] of the other clips.

    share float32 [B]: how much of the sum is the clip itself; 1: nothing was mixed in.
    """

    labels: Tensor
    attributed: Tensor
    share: Tensor


@dataclass(frozen=True)
class Batch:
    """wavs float32 [B, T] or feats float32 [B, F, M] (the other is None), labels int64 [B], attributed bool [B].

    mixed, exchanged bool [B] (clips that take something from another): None where that is not done.
    """

    wavs: Tensor | None
    feats: Tensor | None
    labels: Tensor
    attributed: Tensor
    utts: list[str]
    mixed: Mixed | None = None
    exchanged: Tensor | None = None

    def pin_memory(self) -> "Batch":
        """The same in memory from which a GPU copies by itself; DataLoader's `pin_memory` asks for it."""
        wavs, feats = (None if x is None else x.pin_memory() for x in (self.wavs, self.feats))
        return replace(self, wavs=wavs, feats=feats)


class ChunkDataset(Dataset[Batch]):
    """Map from step (from 1) to batch, for DataLoader(dataset, batch_size=None, sampler=range(first, last + 1)).

    clips: the sampler's clips; chunk: samples. Clips that hold dumped features give feats: the frames that lie inside
    the chunk. Clips shorter than the chunk are repeated to its length. share: picks this process's part of a batch.
    augment: what changes recordings. exchange: probability of a clip to take something from another of its batch.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        sampler: ChunkSampler,
        reader: AudioReader,
        chunk: int,
        framing: Framing,
        share: Share = list,
        augment: Augmenter | None = None,
        exchange: float = 0.0,
    ) -> None:
        self.clips, self.sampler, self.reader, self.chunk = clips, sampler, reader, chunk
        self.framing, self.share, self.augment, self.exchange = framing, share, augment, exchange

    def __getitem__(self, step: int) -> Batch:
        """The batch of `step`; raises ValueError naming a recording or archive that has changed or cannot be read."""
        whole = self.sampler.batch(step)
        own = self.share(list(enumerate(whole)))
        drawn = [(self.clips[index], start) for _, (index, start) in own]
        from_feats = drawn[0][0].feats is not None
        mixed = None
        if self.augment:
            found, mixed = self._augmented(self.augment, step, whole, [place for place, _ in own])
        else:
            read = self._feats if from_feats else self._wav
            found = [read(clip, start) for clip, start in drawn]
        chunks = torch.from_numpy(np.stack(found))
        return Batch(
            wavs=None if from_feats else chunks,
            feats=chunks if from_feats else None,
            labels=torch.tensor([clip.label for clip, _ in drawn]),
            attributed=torch.tensor([clip.attributed for clip, _ in drawn]),
            utts=[clip.utt for clip, _ in drawn],
            mixed=mixed,
            exchanged=self._exchanged(step, [place for place, _ in own]),
        )

    def relabel(self, labels: Mapping[str, int]) -> None:
        """Give the clips with these ids other classes, in batches that are read from now on."""
        self.clips = [replace(clip, label=labels.get(clip.utt, clip.label)) for clip in self.clips]
        if self.sampler.balance == "class":
            self.sampler.group(self.clips)

    def _exchanged(self, step: int, own: list[int]) -> Tensor | None:
        if not self.exchange:
            return None
        keys = [(self.sampler.seed, _EXCHANGE, step, place) for place in own]
        return torch.tensor([np.random.default_rng(key).random() < self.exchange for key in keys])

    def _augmented(
        self, augment: Augmenter, step: int, whole: list[tuple[int, int]], own: list[int]
    ) -> tuple[list[np.ndarray], Mixed | None]:
        """Chunks at the places `own` of the batch `whole`, changed, and what was mixed into them."""

        @cache
        def heard(place: int) -> np.ndarray:
            index, start = whole[place]
            return augment.read(self.clips[index], start, self.chunk, step, place)

        found, others, shares = [], [], []
        for place in own:
            other, share = augment.partner(len(whole), step, place)
            wav = heard(place)
            if share < 1:
                wav = wav * np.float32(share) + heard(other) * np.float32(1 - share)
            found.append(augment.finish(wav, self.clips[whole[place][0]].machine, step, place))
            others.append(self.clips[whole[other][0]])
            shares.append(share)
        if augment.mixup is None:
            return found, None
        labels, attributed = ([getattr(clip, name) for clip in others] for name in ("label", "attributed"))
        return found, Mixed(torch.tensor(labels), torch.tensor(attributed), torch.tensor(shares))

    def _wav(self, clip: Clip, start: int) -> np.ndarray:
        wav = read_clip(self.reader, clip, start, min(self.chunk, clip.samples))
        return tile(wav, self.chunk)

    def _feats(self, clip: Clip, start: int) -> np.ndarray:
        inside = self.framing.frames(min(self.chunk, clip.samples))
        feats = read_frames(*split_location(clip.feats or ""), start // self.framing.hop, inside)
        return tile(feats, self.framing.frames(self.chunk))


def training_dataset(
    config: Config,
    framing: Framing,
    data_dir: str | Path,
    dump_dir: str | Path,
    exp_dir: str | Path,
    seed: int,
    share: Share = list,
) -> ChunkDataset:
    """The training batches of an experiment; raises ValueError when lists are missing or sample rates disagree.

    Errors of what is done to recordings as for `augmenter` and `noise_mixer`.
    """
    reader = load_dataset(data_dir).reader()
    reader.check_rate(framing.rate)
    held = held_out(config, data_dir)
    clips = [clip for clip in training_clips(config, data_dir, dump_dir, exp_dir) if clip.utt not in held]
    clips = at_level(clips, config, exp_dir)
    chunk = round(config.data.chunk_seconds * framing.rate)
    balance = (config.data.balance, seed, config.data.balance_temperature)
    sampler = ChunkSampler(clips, chunk, framing.hop, config.train.batch_size, *balance)
    noise = noise_mixer(config, clips, data_dir, seed)
    changed = augmenter(config.train, clips, reader, seed, noise)
    exchange = config.loss.exchange.probability if config.loss.exchange else 0.0
    return ChunkDataset(clips, sampler, reader, chunk, framing, share, changed, exchange)


class _Loader(DataLoader):
    def __iter__(self) -> Any:
        # A reader begins with this process's mask: no SIGTERM reaches it before it can outlive one.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def loader(dataset: Dataset, workers: int, device: torch.device, steps: Iterable[int] | None = None) -> DataLoader:
    """The batches of `dataset`, in order or those of `steps`, read by so many processes (0: by this one).

    What goes to a GPU is put into memory from which it copies by itself.
    """
    pinned = device.type == "cuda"
    return _Loader(
        dataset, None, sampler=steps, num_workers=workers, pin_memory=pinned, worker_init_fn=_outlive_one_term
    )


def _outlive_one_term(_: int) -> None:
    """Let this reader process ignore the first SIGTERM.

    Clusters send it to all processes of a job, and the training needs its readers for the step that it finishes then.
    Python ends readers that it wants no more with as many as it takes.
    """

    def end(*_: object) -> None:
        os._exit(0)

    def ignore(*_: object) -> None:
        signal.signal(signal.SIGTERM, end)

    signal.signal(signal.SIGTERM, ignore)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def in_rounds(
    dataset: Dataset, workers: int, device: torch.device, steps: range, ends: Iterable[int]
) -> Iterator[Batch]:
    """`loader`'s batches of `steps`, by readers that begin anew after each step of `ends`.

    So that they see what the dataset is told between that step and the next.
    """
    cuts = sorted({end + 1 for end in ends if end + 1 in steps} | {steps.start, steps.stop})
    for first, last in itertools.pairwise(cuts):
        yield from loader(dataset, workers, device, range(first, last))
