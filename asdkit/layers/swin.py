"""Attention within windows of a square image of tokens (Liu et al., 'Swin Transformer', ICCV 2021)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asdkit.layers.block import Block
from asdkit.layers.vit import LINEARS, Mlp

WINDOW = 8  # side of a window, tokens
SHIFT = WINDOW // 2
AREA = WINDOW**2
STD = 0.02  # of random weights


class WindowAttention(nn.Module):
    """Multi-head attention within windows, with a learnt bias for each distance between two tokens.

    Tokens come and go window after window (`window_order`), so that only shifted windows have to be gathered. Those lie
    half a window further on, around the edges of the image; what came around does not meet what was there.
    """

    def __init__(self, dim: int, heads: int, side: int, shifted: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * WINDOW - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=STD)
        there = apart = None
        with torch.device("cpu"):  # even where a network is built on the meta device: the values are never loaded
            self.register_buffer("distances", _distances(), persistent=False)
            if shifted:
                there, apart = window_order(side).argsort()[window_order(side, SHIFT)], _apart(side)
        self.register_buffer("there", there, persistent=False)  # [N]: where each token of the shifted windows is
        self.register_buffer("back", None if there is None else there.argsort(), persistent=False)
        self.register_buffer("apart", apart, persistent=False)
        self.register_buffer("folded", None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, N, D] -> [B, N, D]"""
        if self.there is None:
            return self.proj(self._attend(self.qkv(x)))
        return self.proj(self._attend(self.qkv(x.index_select(1, self.there)))).index_select(1, self.back)

    def bias(self) -> Tensor:
        """What is added to the scores: [1, heads, 64, 64], of shifted windows [windows, heads, 64, 64]."""
        bias = self.relative_position_bias_table[self.distances].view(1, AREA, AREA, -1).permute(0, 3, 1, 2)
        return bias if self.apart is None else bias + self.apart

    def fold_for_inference(self, dtype: torch.dtype) -> None:
        """Make the bias once, in `dtype`."""
        self.folded = self.bias().detach().to(dtype).contiguous()

    def _attend(self, qkv: Tensor) -> Tensor:
        clips, tokens, width = qkv.shape
        q, k, v = qkv.view(-1, AREA, 3, self.heads, width // 3 // self.heads).permute(2, 0, 3, 1, 4)
        bias = (self.bias() if self.folded is None else self.folded).to(q.dtype)
        if len(bias) > 1:
            bias = bias.expand(clips, *bias.shape).flatten(0, 1)  # [B * windows, heads, 64, 64], as q, k and v
        y = F.scaled_dot_product_attention(q, k, v, bias)
        return y.transpose(1, 2).reshape(clips, tokens, -1)


class SwinBlock(nn.Module):
    """A pre-norm block whose attention stays within windows, of tokens that come window after window."""

    def __init__(self, dim: int, heads: int, side: int, shifted: bool) -> None:
        super().__init__()
        self.dim = dim
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, heads, side, shifted)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, N, D] -> [B, N, D]"""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))

    def block(self) -> Block:
        """Where this block can be changed."""
        linears = {name: (self.attn if name in ("qkv", "proj") else self.mlp, name) for name in LINEARS}
        return Block(self, linears, {"mha": (self, "attn"), "ffn": (self, "mlp")}, self.dim)


class Merging(nn.Module):
    """Four neighbours of an image of `side` x `side` tokens to one of twice the width; window after window, both."""

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        with torch.device("cpu"):
            self.register_buffer("fours", window_order(side).argsort()[_neighbours(side)], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, N, D] -> [B, N / 4, 2 D]"""
        joined = x.index_select(1, self.fours).view(x.shape[0], -1, 4 * x.shape[2])
        return self.reduction(self.norm(joined))


class Stage(nn.Module):
    """Blocks over an image of `side` x `side` tokens, and a merging after all but the last stage.

    Every second block has shifted windows, but where the image is a single window.
    """

    def __init__(self, dim: int, depth: int, heads: int, side: int, last: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinBlock(dim, heads, side, shifted=number % 2 == 1 and side > WINDOW) for number in range(depth)
        )
        self.downsample = None if last else Merging(dim, side)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, side^2, D] -> [B, side^2 / 4, 2 D], of the last stage [B, side^2, D]; window after window"""
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


def window_order(side: int, shift: int = 0) -> Tensor:
    """Numbers of an image's tokens, which are counted row by row, window after window: [side^2].

    With a shift the windows begin so many rows and columns further on, around the edges.
    """
    return _windows(torch.arange(side**2).view(side, side).roll((-shift, -shift), (0, 1))).flatten()


def _windows(image: Tensor) -> Tensor:
    """[side, side] -> [windows, 64]"""
    count = len(image) // WINDOW
    return image.view(count, WINDOW, count, WINDOW).transpose(1, 2).reshape(-1, AREA)


def _distances() -> Tensor:
    """Row of the bias table for each two tokens of a window, [64 * 64]."""
    row, column = torch.arange(AREA) // WINDOW, torch.arange(AREA) % WINDOW
    rows, columns = (x[:, None] - x + WINDOW - 1 for x in (row, column))
    return (rows * (2 * WINDOW - 1) + columns).flatten()


def _apart(side: int) -> Tensor:
    """-inf between tokens of a shifted window that come from opposite edges of the image: [windows, 1, 64, 64]."""
    around = (torch.arange(side) >= side - SHIFT).long()
    part = _windows(2 * around[:, None] + around)  # [windows, 64]
    strangers = part[:, None, :, None] != part[:, None, None]  # [windows, 1, 64, 64]
    return torch.zeros(strangers.shape).masked_fill_(strangers, -torch.inf)


def _neighbours(side: int) -> Tensor:
    """Numbers of the image's tokens in the order in which they are merged, for the windows of the merged image."""
    number = torch.arange(side**2).view(side // 2, 2, side // 2, 2)
    fours = number.permute(0, 2, 3, 1).reshape(-1, 4)  # top left, bottom left, top right, bottom right
    return fours[window_order(side // 2)].flatten()
