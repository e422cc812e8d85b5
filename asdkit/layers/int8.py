"""Linear layers in 8 bits, for CPUs: the product is made of whole numbers, so that it is the same on every machine."""

from typing import Any

import torch
from torch import Tensor, nn

LARGEST = 127  # of 8 bits with a sign: the range is symmetric, so that zero stays zero


class Int8Linear(nn.Module):
    """A linear layer whose weight has 8 bits and a scale for each output, and whose input gets them for each token.

    A token's output depends on that token alone, whatever else goes through with it. `weight` is what the 8 bits stand
    for, for networks that do not call their layers, and what a state holds under that name.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()  # [out, in]
        scale = weight.abs().amax(1).div_(LARGEST).clamp_(min=torch.finfo(torch.float32).tiny)
        self.bias = linear.bias
        self.register_buffer("scale", scale, persistent=False)  # [out]
        self.register_buffer("codes", weight.div(scale[:, None]).round_().to(torch.int8), persistent=False)

    @property
    def weight(self) -> Tensor:
        """[out, in], float32."""
        return self.codes.float().mul_(self.scale[:, None])

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] -> float32 [..., out]"""
        rows = x.reshape(-1, x.shape[-1]).float()  # [N, in]
        largest = torch.maximum(rows.amax(1, keepdim=True), -rows.amin(1, keepdim=True))
        scale = largest.div_(LARGEST).clamp_(min=torch.finfo(torch.float32).tiny)  # [N, 1]
        whole = torch._int_mm(rows.div(scale).round_().to(torch.int8), self.codes.t())  # int32 [N, out]
        y = whole.float().mul_(scale).mul_(self.scale)
        y = y if self.bias is None else y.add_(self.bias)
        return y.view(*x.shape[:-1], -1)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight"] = self.weight
