"""A pre-training run: its system, its sounds, its trainer."""

import logging
from collections.abc import Iterable, Iterator
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
from asdkit.train.distributed import World
from asdkit.train.loop import Trainer
from asdkit.train.seeding import generator_of, seed_everything


@dataclass(frozen=True)
class SoundBatch:
    """wavs float32 [B, T]; indices of the patches that are seen and hidden, visible [B, V], masked [B, N - V]."""

    wavs: Tensor
    visible: Tensor
    masked: Tensor
    feats: None = None
    utts: tuple[str, ...] = ()


class Sounds:
    """Batches of training sounds; the batch of a step depends on seed and step alone.

    Every process makes the whole batch, and keeps its rows. `tokens`: patches of a clip.
    """

    def __init__(self, config: PretrainConfig, corpus: Recordings | None, seed: int, tokens: int, world: World) -> None:
        self.config, self.corpus, self.seed, self.tokens, self.world = config, corpus, seed, tokens, world

    def batches(self, steps: Iterable[int]) -> Iterator[SoundBatch]:
        """This process's share of the batches of `steps`, made when they are asked for."""
        for step in steps:
            generator, clips = generator_of(self.seed, step, 0), self.config.train.batch_size
            wavs = training_sounds(clips, self.config.sound, self.corpus, generator)
            visible, masked = draw_mask(clips, self.tokens, self.config.mask, generator)
            yield SoundBatch(*map(self.world.share, (wavs, visible, masked)))


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
    frames = framing.frames(round(config.sound.crop_seconds * framing.rate))
    tokens = (frames // system.patch) * (MELS // system.patch)
    return trainer, Sounds(config, corpus, seed, tokens, world)


@torch.no_grad()
def _fit_tokenizer(
    system: Pretraining, config: PretrainConfig, corpus: Recordings | None, seed: int, world: World
) -> None:
    # Step 0, and torch's global generator too: the same sounds and first centres in every process.
    sounds = training_sounds(config.tokenizer.statistics_clips, config.sound, corpus, seed_everything(seed, 0, 0))
    system.tokenizer.fit(system.frontend(sounds.to(world.device)))
