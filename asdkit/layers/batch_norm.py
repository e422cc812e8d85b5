"""Batch normalisation over the whole batch, also where several processes share it."""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from asdkit.utils.device import float32_throughout


class BatchNorm(nn.Module):
    """Channels [B, C, ...] at mean 0 and deviation 1, then scaled and shifted.

    In training by the statistics of the batch of all processes, which the running ones follow; else, and where its
    weights are not trained, by the running ones: a frozen network stays as it is.
    """

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, ...] -> the same shape."""
        training = self.training and self.weight.requires_grad
        if training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            with float32_throughout(x):
                return self._shared(x.float()).to(x.dtype)
        tables = (self.running_mean, self.running_var, self.weight, self.bias)
        return F.batch_norm(x, *tables, training, self.momentum, self.eps)

    def _shared(self, x: Tensor) -> Tensor:
        shape = (1, -1, *[1] * (x.ndim - 2))
        others = [axis for axis in range(x.ndim) if axis != 1]
        count = _Sum.apply(x.new_tensor(x.numel() / x.shape[1]))
        mean = _Sum.apply(x.sum(others)) / count
        centred = x - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(others)) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale.view(shape) + self.bias.view(shape)


class _Sum(torch.autograd.Function):
    """The sum over all processes; each process's part has an effect on what all of them compute."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total
