"""Fully-connected multi-branch low-rank adaptation (paper Sec. III-B)."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from asdkit.adapt.around import replace
from asdkit.config import LoraConfig
from asdkit.encoders.base import Encoder
from asdkit.utils.device import float32_throughout


class LoraLinear(nn.Linear):
    """A linear layer with `branches` low-rank branches beside its weight.

    Fully connected (Eq. 3): W x + (sum_i B_i)(sum_j A_j) x, computed as one rank-r product over the summed factors,
    so that its cost does not grow with the number of branches. Otherwise: W x + sum_i B_i A_i x.
    The factors stay separate parameters: A [branches, rank, in], B [branches, out, rank]. A starts random, B at zero,
    so that training starts from the layer as it was.
    `weight` is W with its change, for networks that do not call their layers but hand the weights to a function; the
    W that was there before is what checkpoints name `weight`.
    """

    def __init__(self, linear: nn.Linear, branches: int, rank: int, fully_connected: bool) -> None:
        super().__init__(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        self._parameters["weight"], self.bias = linear.weight, linear.bias
        self.fully_connected = fully_connected
        self._kept: tuple[Any, list[Tensor | None]] | None = None
        like = {"device": linear.weight.device, "dtype": linear.weight.dtype}
        self.lora_a = nn.Parameter(torch.empty(branches, rank, self.in_features, **like))
        self.lora_b = nn.Parameter(torch.zeros(branches, self.out_features, rank, **like))
        bound = 1 / math.sqrt(self.in_features)
        nn.init.uniform_(self.lora_a, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] -> [..., out]"""
        weights, factors, device = [self.stored, self.bias], self._factors(), x.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            x, weights, factors = x.to(dtype), self._cast(weights, dtype), [factor.to(dtype) for factor in factors]
        return _LowRankLinear.apply(x, *weights, *factors)

    def _cast(self, weights: list[Tensor | None], dtype: torch.dtype) -> list[Tensor | None]:
        """W and bias in `dtype`. On CPUs frozen ones are kept so: a step keeps them for its backward pass anyway."""
        there = [tensor for tensor in weights if tensor is not None]
        if self.stored.device.type != "cpu" or any(tensor.requires_grad for tensor in there):
            return [None if tensor is None else tensor.to(dtype) for tensor in weights]
        state = dtype, *((tensor.data_ptr(), tensor._version) for tensor in there)
        if self._kept is None or self._kept[0] != state:
            with torch.inference_mode(False):  # training goes on with what was kept when it embedded clips in between
                self._kept = state, [None if tensor is None else tensor.detach().to(dtype) for tensor in weights]
        return self._kept[1]

    @property
    def stored(self) -> nn.Parameter:
        """W, [out, in]: the weight of the layer as it was."""
        return self._parameters["weight"]

    @property
    def weight(self) -> Tensor:
        """The weight that the layer acts with, [out, in], through which the branches get their gradient."""
        if "lora_b" not in self._parameters:  # while torch's own class sets it up
            raise AttributeError("weight")
        with float32_throughout(self.stored):
            return self.stored + self.delta()

    def delta(self) -> Tensor:
        """The change of the weight, [out, in] (Eq. 4)."""
        a, b = self._factors()
        return b @ a

    def merged(self) -> nn.Linear:
        """A plain linear layer with the branches folded into its weight."""
        linear = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        linear.weight = nn.Parameter(self.weight.detach(), self.stored.requires_grad)
        linear.bias = self.bias
        return linear

    def _factors(self) -> tuple[Tensor, Tensor]:
        if self.fully_connected:
            return self.lora_a.sum(0), self.lora_b.sum(0)  # [rank, in], [out, rank]
        # sum_i B_i A_i as one product of rank branches * rank
        return self.lora_a.flatten(0, 1), self.lora_b.transpose(0, 1).flatten(1)


class _LowRankLinear(torch.autograd.Function):
    """x W^T + bias + (x A^T) B^T, whose low-rank terms are added in place, in both directions.

    Left to autograd, each of them would be a tensor of its own as large as the output or the input.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])  # [N, in]
        low = _narrow(rows, a.t())  # [N, rank]
        ctx.save_for_backward(rows, low, weight, a, b)
        y = F.linear(rows, weight, bias).addmm_(low, b.t())  # [N, out]
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, low, weight, a, b = ctx.saved_tensors
        for_x, for_weight, for_bias, for_a, _ = ctx.needs_input_grad
        grad = gradient.reshape(-1, gradient.shape[-1])  # [N, out]
        grad_low = _narrow(grad, b)  # [N, rank]
        grad_x = (grad @ weight).addmm_(grad_low, a).view(*gradient.shape[:-1], -1) if for_x else None
        grad_weight = grad.t() @ rows if for_weight else None
        grad_bias = grad.sum(0) if for_bias else None
        grad_a = _narrow(rows.t(), grad_low).t() if for_a else None
        return grad_x, grad_weight, grad_bias, grad_a, _narrow(grad.t(), low)


def _narrow(x: Tensor, y: Tensor) -> Tensor:
    """x @ y, for few columns of y as a product of few rows, which CPUs make up to six times as fast."""
    return (y.t() @ x.t()).t() if y.shape[1] < 16 else x @ y


def add_lora(encoder: Encoder, config: LoraConfig) -> int:
    """Replace the target linear layers of every block of `encoder` by LoRA layers; returns how many were replaced.

    Raises ValueError for a target that the encoder's blocks do not have.
    """
    count = 0
    for block in encoder.blocks():
        targets = list(block.linears) if config.targets is None else config.targets
        unknown = sorted(set(targets) - set(block.linears))
        if unknown:
            names = ", ".join(block.linears)
            raise ValueError(f"model.lora.targets: the encoder has no {unknown[0]!r}; it has {names}")
        for target in targets:
            parent, name = block.linears[target]
            layer = LoraLinear(getattr(parent, name), config.branches, config.rank, config.fully_connected)
            replace(parent, name, layer)
            count += 1
    return count


def merge_lora(module: nn.Module) -> nn.Module:
    """Fold all LoRA branches inside `module` into plain linear layers, in place (Eq. 4); returns `module`."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LoraLinear):
                replace(parent, name, child.merged())
    return module
