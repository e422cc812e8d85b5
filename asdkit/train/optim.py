"""Optimiser and learning rate (paper Sec. IV-F)."""

import math
from collections.abc import Iterable, Sequence

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


class AdamW(torch.optim.AdamW):
    """AdamW over parameters, each with a factor of the learning rate; none: 1. `rate` is set before every step."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], config: OptimizeConfig, factors: Sequence[float] = ()
    ) -> None:
        groups: dict[float, list[nn.Parameter]] = {}
        listed = list(parameters)
        for parameter, factor in zip(listed, factors or [1.0] * len(listed), strict=True):
            groups.setdefault(factor, []).append(parameter)
        self.factors = list(groups)
        super().__init__(
            [{"params": own} for own in groups.values()], lr=config.lr, weight_decay=config.weight_decay, fused=True
        )

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next step, which each group multiplies by its factor."""
        for group, factor in zip(self.param_groups, self.factors, strict=True):
            group["lr"] = factor * rate
