"""Fully-connected multi-branch low-rank adaptation (paper Sec. III-B)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asdkit.config import LoraConfig
from asdkit.encoders.base import Encoder


class LoraLinear(nn.Linear):
    """A linear layer with `branches` low-rank branches beside its weight.

    Fully connected (Eq. 3): W x + (sum_i B_i)(sum_j A_j) x, computed as one rank-r product over the summed factors,
    so that its cost does not grow with the number of branches. Otherwise: W x + sum_i B_i A_i x.
    The factors stay separate parameters: A [branches, rank, in], B [branches, out, rank]. A starts random, B at zero,
    so that training starts from the layer as it was.
    """

    def __init__(self, linear: nn.Linear, branches: int, rank: int, fully_connected: bool) -> None:
        super().__init__(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.fully_connected = fully_connected
        like = {"device": linear.weight.device, "dtype": linear.weight.dtype}
        self.lora_a = nn.Parameter(torch.empty(branches, rank, self.in_features, **like))
        self.lora_b = nn.Parameter(torch.zeros(branches, self.out_features, rank, **like))
        bound = 1 / math.sqrt(self.in_features)
        nn.init.uniform_(self.lora_a, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] -> [..., out]"""
        a, b = self._factors()
        return F.linear(x, self.weight, self.bias) + F.linear(F.linear(x, a), b)

    def delta(self) -> Tensor:
        """The change of the weight, [out, in] (Eq. 4)."""
        a, b = self._factors()
        return b @ a

    def merged(self) -> nn.Linear:
        """A plain linear layer with the branches folded into its weight."""
        linear = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        linear.weight = nn.Parameter(self.weight.detach() + self.delta().detach(), self.weight.requires_grad)
        linear.bias = self.bias
        return linear

    def _factors(self) -> tuple[Tensor, Tensor]:
        if self.fully_connected:
            return self.lora_a.sum(0), self.lora_b.sum(0)  # [rank, in], [out, rank]
        # sum_i B_i A_i as one product of rank branches * rank
        return self.lora_a.flatten(0, 1), self.lora_b.transpose(0, 1).flatten(1)


def add_lora(encoder: Encoder, config: LoraConfig) -> int:
    """Replace the target linear layers of every block of `encoder` by LoRA layers; returns how many were replaced.

    Raises ValueError for a target that the encoder's blocks do not have.
    """
    count = 0
    for block in encoder.blocks():
        linears = block.linears()
        unknown = sorted(set(config.targets) - set(linears))
        if unknown:
            raise ValueError(f"model.lora.targets: the encoder has no {unknown[0]!r}; it has {', '.join(linears)}")
        for target in config.targets:
            parent, name = linears[target]
            layer = LoraLinear(getattr(parent, name), config.branches, config.rank, config.fully_connected)
            setattr(parent, name, layer)
            count += 1
    return count


def merge_lora(module: nn.Module) -> nn.Module:
    """Fold all LoRA branches inside `module` into plain linear layers, in place (Eq. 4); returns `module`."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LoraLinear):
                setattr(parent, name, child.merged())
    return module
