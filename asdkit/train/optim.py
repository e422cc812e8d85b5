"""Optimiser and learning rate (paper Sec. IV-F)."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from asdkit.config import OptimizeConfig


def learning_rate(config: OptimizeConfig, step: int) -> float:
    """Learning rate of step 1, 2, ..., `config.steps`: linear warm-up, then constant, linear or cosine to zero."""
    if step <= config.warmup_steps:
        return config.lr * step / config.warmup_steps
    part = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    if config.schedule == "linear":
        return config.lr * (1 - part)
    if config.schedule == "cosine":
        return config.lr * 0.5 * (1 + math.cos(math.pi * part))
    return config.lr


def adamw(parameters: Iterable[nn.Parameter], config: OptimizeConfig) -> torch.optim.AdamW:
    """AdamW over `parameters`; the learning rate is set before every step."""
    return torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay, fused=True)
