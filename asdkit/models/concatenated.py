"""All blocks' tokens side by side, and the small network that makes one token of them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Concatenated(nn.Module):
    """Tokens of every block, concatenated, through one hidden layer back to the width of a token.

    Source: Kim et al., technical report to DCASE 2025 Task 2, who concatenate the 12 blocks and put a small network
    behind. What is ours: one hidden layer, its size, GELU, and that each block's tokens are normalised first, for later
    blocks of many encoders are larger by far.

    blocks: how many. dim: width of a block's token. hidden: units of the hidden layer.
    """

    def __init__(self, blocks: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(blocks * dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, outputs: list[Tensor]) -> Tensor:
        """Each block's tokens [B, N, D] -> [B, N, D]"""
        side_by_side = torch.cat([F.layer_norm(output, output.shape[-1:]) for output in outputs], dim=2)  # [B, N, L D]
        return self.network(side_by_side)
