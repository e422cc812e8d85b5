"""Training by steps (paper Sec. IV-F): the system, its trainer and what is done to the features."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asdkit.config import Config, RatesConfig
from asdkit.config.identity import reread_training
from asdkit.models.families import build_system
from asdkit.train.average import check_average
from asdkit.train.distributed import World
from asdkit.train.loop import Trainer
from asdkit.train.rates import part_of, rate_factors
from asdkit.train.seeding import seed_everything
from asdkit.train.specaugment import spec_augment


def fine_tuning(
    config: Config,
    classes: list[str],
    seed: int,
    folder: Path,
    inputs: dict[str, Any],
    world: World,
    reread: Callable[[dict[str, Any]], dict[str, Any]] = reread_training,
) -> Trainer:
    """The trainer of an experiment's system, new weights and all. `folder`: exp/<tag>/seed<K>.

    `inputs`: what the run is made from; `reread` brings those of an older version into today's terms. Raises ValueError
    for steps of a model of which nothing learns, and for several processes where one is the faster.
    """
    seed_everything(seed)
    system = build_system(config, classes)
    if system.vector_frames and world.size > 1:
        raise ValueError(
            f"{config.encoder.name}: {world.size} processes: its networks are small and go side by side through one "
            "call, which a single process does faster: --gpu 1"
        )
    if config.train.steps and not _trained(system.model):
        raise ValueError(
            f"train.steps is {config.train.steps}, but nothing of this model learns: set it to 0, or use "
            "encoder.train, model.lora, model.group_adapter, model.embedding_dim or attentive pooling"
        )
    check_average(config, system)
    if config.train.accumulate > 1 and not system.separable:
        raise ValueError(
            f"train.accumulate {config.train.accumulate}: a batch cannot go through {config.encoder.name} in parts, "
            "for its batch normalisation takes the mean over all clips: set it to 1, and train.batch_size to what fits"
        )
    log_parameters(system.model)
    masks = config.train.specaugment if config.encoder.spectrogram and not system.vector_frames else None

    def augment(feats: Tensor, generator: torch.Generator) -> Tensor:
        return spec_augment(feats, masks, generator) if masks else feats

    kept = config.train.save_steps
    factors = rate_factors(system, config.train.rates) if config.train.rates != RatesConfig() else ()
    trainer = Trainer(system, config.train, seed, folder, inputs, world, augment, kept, reread, factors)
    trainer.copies = config.embed.checkpoint == "average"
    return trainer


def log_parameters(model: nn.Module) -> None:
    """Log how many weights are trained, part by part."""
    parts: dict[str, int] = {}
    for name, parameter in _trained(model).items():
        part = {"lora": "lora", "group_adapter": "group adapter"}.get(part_of(f"model.{name}"), name.split(".")[0])
        parts[part] = parts.get(part, 0) + parameter.numel()
    total = sum(p.numel() for p in model.parameters())
    detail = ", ".join(f"{part} {count:,}" for part, count in parts.items()) or "nothing"
    logging.info("trainable parameters: %s of %s (%s)", f"{sum(parts.values()):,}", f"{total:,}", detail)


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
