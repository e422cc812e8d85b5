"""Which patches are hidden."""

import torch
from torch import Tensor


def draw_mask(clips: int, tokens: int, ratio: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Choose the same number of patches in every clip at random: indices (visible [B, V], masked [B, N - V]), rising.

    N - V is `ratio` of the N tokens, rounded; at least one is masked and one visible.
    """
    hidden = min(max(round(ratio * tokens), 1), tokens - 1)
    order = torch.rand(clips, tokens, generator=generator).argsort(1)
    return order[:, hidden:].sort(1).values, order[:, :hidden].sort(1).values


def take(x: Tensor, index: Tensor) -> Tensor:
    """Rows `index` [B, K] of x [B, N, D] -> [B, K, D]."""
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[2]))
