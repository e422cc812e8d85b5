"""What vision transformers over spectrograms are made of.

Dosovitskiy et al., 'An Image is Worth 16x16 Words', ICLR 2021. Blocks are pre-norm, x + attention(norm(x)), then
x + mlp(norm(x)), or post-norm, norm(x + attention(x)), then norm(x + mlp(x)), as in EAT and FISHER. Attribute names are
those that the published files of AST, ATST, CED and others share.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asdkit.layers.block import Block
from asdkit.layers.spectrum import by_parts, exporting

EPS = 1e-6  # of the layer norms
STD = 0.02  # of random weights, positions and special tokens
LINEARS = ("qkv", "proj", "fc1", "fc2")

# Tokens that go through the blocks together on a CPU, where larger activations than these only miss the caches.
ROWS = 1024


class Patches(nn.Conv2d):
    """Patches of a spectrogram to tokens, time-major: index = column * bands + band.

    size and stride: (frames, mel bands). The weight is [dim, 1, frames, mel bands]; published ones, whose images have
    frequency first, are transposed when they are loaded.
    """

    def __init__(
        self, mels: int, dim: int, size: tuple[int, int], stride: tuple[int, int] | None = None, bias: bool = True
    ) -> None:
        super().__init__(1, dim, size, stride or size, bias=bias)
        self.mels = mels
        self.bands = (mels - size[1]) // self.stride[1] + 1
        _initialise(self)

    def columns(self, frames: int) -> int:
        """Number of patches in time that so many frames give: 0 below the size of one."""
        return max((frames - self.kernel_size[0]) // self.stride[0] + 1, 0)

    def forward(self, feats: Tensor) -> Tensor:
        """feats [B, F, mels] -> [B, columns * bands, dim]"""
        if not exporting():
            return super().forward(feats.unsqueeze(1)).flatten(2).transpose(1, 2)
        # A graph has to take what gives no patch as well.
        size, (stride, _) = self.kernel_size[0], self.stride
        columns = (feats.shape[1] + stride - size) // stride
        longer = F.pad(feats, (0, 0, 0, size))
        return super().forward(longer.unsqueeze(1))[:, :, :columns].flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head self-attention; query, key and value come from one linear layer.

    extra: one more key and value that every query sees, the same for all clips (`bias_k`, `bias_v`).
    """

    def __init__(self, dim: int, heads: int, qkv_bias: bool = True, extra: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        if extra:
            self.bias_k, self.bias_v = (nn.Parameter(STD * torch.randn(1, 1, dim)) for _ in range(2))
        self.extra = extra

    def forward(self, x: Tensor) -> Tensor:
        """x [B, N, D] -> [B, N, D]"""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # [B, heads, N, d] each
        if self.extra:
            k, v = (self._longer(own, more) for own, more in ((k, self.bias_k), (v, self.bias_v)))
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def _longer(self, own: Tensor, more: Tensor) -> Tensor:
        more = more.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [1, heads, 1, d]
        return torch.cat([own, more.to(own.dtype).expand(own.shape[0], -1, -1, -1)], 2)  # [B, heads, N + 1, d]


class Mlp(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, N, D] -> [B, N, D]"""
        return self.fc2(F.gelu(self.fc1(x)))


class VitBlock(nn.Module):
    """A pre-norm block, or a post-norm one (`post`); `qkv_bias` and `extra` as for `Attention`."""

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        qkv_bias: bool = True,
        extra: bool = False,
        eps: float = EPS,
        post: bool = False,
    ) -> None:
        super().__init__()
        self.post = post
        self.norm1 = nn.LayerNorm(dim, eps)
        self.attn = Attention(dim, heads, qkv_bias, extra)
        self.norm2 = nn.LayerNorm(dim, eps)
        self.mlp = Mlp(dim, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, N, D] -> [B, N, D]"""
        if self.post:
            x = self.norm1(x + self.attn(x))
            return self.norm2(x + self.mlp(x))
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))

    def block(self) -> Block:
        """Where this block can be changed."""
        linears = {name: (self.attn if name in ("qkv", "proj") else self.mlp, name) for name in LINEARS}
        return Block(self, linears, {"mha": (self, "attn"), "ffn": (self, "mlp")})


class Trunk(nn.ModuleList):
    """`depth` blocks, one after the other; further arguments as for `VitBlock`."""

    def __init__(self, depth: int, dim: int, heads: int, hidden: int, **options: Any) -> None:
        super().__init__(VitBlock(dim, heads, hidden, **options) for _ in range(depth))
        self.width = dim + 2 * hidden
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, N, D] -> [B, N, D]"""
        if torch.is_grad_enabled() or exporting() or len(x) * x.shape[1] <= ROWS:
            return self._run(x)
        return by_parts(self._run, x, ROWS)

    def memory(self, tokens: int, clips: int, device: str, precision: str) -> int:
        """Bytes that a block holds at once for so many clips of so many tokens: a stream and the hidden units, twice.

        Attention keeps no value for each pair of tokens. On CPUs long clips go through one by one.
        """
        together = min(clips, max(1, ROWS // max(tokens, 1))) if device == "cpu" else clips
        return together * tokens * self.width * (2 if precision == "bfloat16" else 4)

    def _run(self, x: Tensor) -> Tensor:
        for block in self:
            x = block(x)
        return x


def sine_table(columns: int, bands: int, dim: int) -> Tensor:
    """Fixed positions of a grid of patches, row = column * bands + band: [1, columns * bands, dim], float32.

    The first half of a row tells the band, the second half the column: sines, then cosines, of the number times
    10000^(-i / (dim / 4)). As in He et al., 'Masked Autoencoders Are Scalable Vision Learners', CVPR 2022.
    """
    with torch.device("cpu"):  # even where a network is built on the meta device
        speed = 10000 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
        band, column = (torch.arange(count, dtype=torch.float64)[:, None] * speed for count in (bands, columns))
    halves = [torch.cat([angle.sin(), angle.cos()], 1) for angle in (band, column)]  # [bands, dim / 2], [columns, ...]
    grid = (columns, bands, dim // 2)
    return torch.cat([halves[0].expand(grid), halves[1][:, None].expand(grid)], 2).flatten(0, 1)[None].float()


def _initialise(module: nn.Module) -> None:
    """Random weights of all linear layers and convolutions in `module`, biases at zero."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(part.weight, std=STD)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
