"""A pre-training run: its system, its sounds, its trainer."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asdkit.data.batches import Framing
from asdkit.encoders.beats import MELS
from asdkit.pretrain.config import PretrainConfig, reread_pretrain
from asdkit.pretrain.corpus import Recordings, training_sounds
from asdkit.pretrain.masking import draw_mask
from asdkit.pretrain.model import Pretraining
from asdkit.pretrain.synth import Dice
from asdkit.train.distributed import World
from asdkit.train.loop import Trainer
from asdkit.train.seeding import generator_of, seed_everything

LENGTHS = 1  # a random stream beside that of the sounds
EVEN = 0.2  # s: lengths are multiples of it, whose Fourier transforms take a tenth of the time of others


@dataclass(frozen=True)
class SoundBatch:
    """wavs float32 [B, T]; indices of the patches that are seen and hidden, visible [B, V], masked [B, N - V].

    clean [B, T]: the clips without the noise in which they are heard; None: there is none.
    """

    wavs: Tensor
    visible: Tensor
    masked: Tensor
    clean: Tensor | None
    feats: None = None
    utts: tuple[str, ...] = ()


class Sounds:
    """Batches of training sounds; the batch of a step depends on seed and step alone.

    Every process makes the whole batch, and keeps its rows. `patches`: of a clip with so many samples.
    """

    def __init__(
        self,
        config: PretrainConfig,
        corpus: Recordings | None,
        seed: int,
        patches: Callable[[int], int],
        world: World,
    ) -> None:
        self.config, self.corpus, self.seed, self.patches, self.world = config, corpus, seed, patches, world

    def batches(self, steps: Iterable[int]) -> Iterator[SoundBatch]:
        """This process's share of the batches of `steps`, made when they are asked for."""
        sound = self.config.sound
        for step in steps:
            generator = generator_of(self.seed, step, 0)
            clips, seconds = self.size(step)
            heard, clean = training_sounds(clips, sound, self.corpus, generator, seconds)
            visible, masked = draw_mask(clips, self.patches(heard.shape[1]), self.config.mask, generator)
            wavs, visible, masked, clean = map(self.world.share, (heard, visible, masked, clean))
            yield SoundBatch(wavs, visible, masked, clean if sound.noise else None)

    def size(self, step: int) -> tuple[int, float]:
        """How many clips a step has, and how many seconds each lasts."""
        sound, clips = self.config.sound, self.config.train.batch_size
        if sound.longest_seconds is None:
            return clips, sound.crop_seconds
        drawn = Dice(generator_of(self.seed, step, LENGTHS))
        seconds = float(drawn.log_uniform(sound.crop_seconds, sound.longest_seconds, 1))
        seconds = min(max(EVEN * round(seconds / EVEN), sound.crop_seconds), sound.longest_seconds)
        return max(round(clips * sound.crop_seconds / seconds), self.world.size), seconds


def pretraining(
    config: PretrainConfig, corpus: Recordings | None, seed: int, folder: Path, inputs: dict[str, Any], world: World
) -> tuple[Trainer, Sounds]:
    """Trainer and sounds, ready for the step after `trainer.step`: from last.pt, or with a tokeniser just fitted.

    `corpus` None: generated sounds alone. `inputs`: what the run is made from; a `last.pt` with others is refused
    (ValueError).
    """
    system = Pretraining(config, seed)
    trainer = Trainer(system, config.train, seed, folder, inputs, world, reread=reread_pretrain)
    weights = (sum(p.numel() for p in module) for module in (system.encoder.parameters(), trainer.parameters))
    logging.info("%s encoder weights, %s in all", *(f"{count:,}" for count in weights))
    if not trainer.resume():
        _fit_tokenizer(system, config, corpus, seed, world)
    framing = Framing(system.sample_rate, system.window, system.hop)

    def patches(samples: int) -> int:
        return (framing.frames(samples) // system.patch) * (MELS // system.patch)

    return trainer, Sounds(config, corpus, seed, patches, world)


@torch.no_grad()
def _fit_tokenizer(
    system: Pretraining, config: PretrainConfig, corpus: Recordings | None, seed: int, world: World
) -> None:
    # Step 0, and torch's global generator too: the same sounds and first centres in every process.
    _, clean = training_sounds(config.tokenizer.statistics_clips, config.sound, corpus, seed_everything(seed, 0, 0))
    system.tokenizer.fit(system.frontend(clean.to(world.device)))
