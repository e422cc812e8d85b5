"""An encoder as someone adds one: a network as libraries write them, and a wrapper that makes an `Encoder` of it.

The network takes recordings, gives a token every 20 ms, returns tuples and hands the weights of its attention to a
function instead of calling the layers.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from asdkit.config import AnyEncoder
from asdkit.encoders.base import Encoder
from asdkit.layers.block import Block

DIM, HEADS = 24, 4


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(DIM, DIM) for _ in range(4))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.transpose(0, 1)
        biases = torch.cat([self.q_proj.bias, self.k_proj.bias, self.v_proj.bias])
        y, weights = F.multi_head_attention_forward(
            x, x, x, DIM, HEADS, torch.empty(0), biases, None, None, False, 0.0, self.out_proj.weight,
            self.out_proj.bias, use_separate_proj_weight=True, q_proj_weight=self.q_proj.weight,
            k_proj_weight=self.k_proj.weight, v_proj_weight=self.v_proj.weight,
        )  # fmt: skip
        return y.transpose(0, 1), weights


class FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.intermediate, self.output = nn.Linear(DIM, 2 * DIM), nn.Linear(2 * DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(F.gelu(self.intermediate(x)))


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.feed_forward = SelfAttention(), FeedForward()
        self.norm1, self.norm2 = nn.LayerNorm(DIM), nn.LayerNorm(DIM)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, weights = self.attention(x)
        x = self.norm1(x + y)
        return self.norm2(x + self.feed_forward(x)), weights


class Network(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(1, DIM, 400, stride=320)
        self.layers = nn.ModuleList(Layer() for _ in range(depth))

    def forward(self, wav: Tensor) -> Tensor:
        x = F.gelu(self.convolution(wav.unsqueeze(1))).transpose(1, 2)
        for layer in self.layers:
            x, _ = layer(x)
        return x


class LibraryEncoder(AnyEncoder):
    """The section of the configuration."""

    LINEARS = ("q_proj", "k_proj", "v_proj", "out_proj", "intermediate", "output")
    spectrogram = False

    name: Literal["library"] = Field("library", description="library")
    depth: int = Field(2, ge=1, description="blocks")


class Library(Encoder):
    """What makes the network an encoder."""

    sample_rate, window, hop, dim = 16000, 1, 1, DIM

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def frontend(self, wav: Tensor) -> Tensor:
        return wav.float()

    def forward(self, feats: Tensor) -> Tensor:
        if feats.shape[1] < 400:
            raise ValueError(f"library: clip of {feats.shape[1]} samples, at least 400 are needed")
        return self.network(F.layer_norm(feats, feats.shape[1:]))

    def blocks(self) -> list[Block]:
        return [_block(layer) for layer in self.network.layers]


def _block(layer: Layer) -> Block:
    linears = {name: (layer.attention, name) for name in ("q_proj", "k_proj", "v_proj", "out_proj")}
    linears |= {name: (layer.feed_forward, name) for name in ("intermediate", "output")}
    return Block(layer, linears, {"mha": (layer, "attention"), "ffn": (layer, "feed_forward")})


def build_library(config: LibraryEncoder) -> Library:
    """The line of the registry names this."""
    return Library(Network(config.depth))
