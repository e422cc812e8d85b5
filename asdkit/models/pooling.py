"""Tokens to one vector per clip."""

import torch
from torch import Tensor, nn

from asdkit.config import ModelConfig


class MeanPooling(nn.Module):
    """Mean over tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D] -> [B, D]"""
        return x.float().mean(1)


class ClipPooling(nn.Module):
    """Tokens that stand for the clip: the mean over those of each of `apart` parts of the spectrum, side by side."""

    def __init__(self, dim: int, apart: int) -> None:
        super().__init__()
        self.apart, self.dim = apart, apart * dim

    def forward(self, x: Tensor) -> Tensor:
        """[B, specials, D] -> [B, apart * D]"""
        return x.float().unflatten(1, (self.apart, -1)).mean(2).flatten(1)


class MeanStdPooling(nn.Module):
    """Mean and standard deviation over tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = 2 * dim

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D] -> [B, 2 D]"""
        x = x.float()
        return torch.cat([x.mean(1), x.std(1, correction=0)], dim=1)


class AttentivePooling(nn.Module):
    """Attentive statistics pooling: one weight per token, weighted mean and deviation (Okabe et al., 2018)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.dim = 2 * dim
        # the last layer has no bias: it would cancel in the softmax
        self.attention = nn.Sequential(nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D] -> [B, 2 D]"""
        weight = torch.softmax(self.attention(x).float(), dim=1).transpose(1, 2)  # [B, 1, N]
        x = x.float()
        mean = weight @ x  # [B, 1, D]
        variance = weight @ (x - mean).square()
        return torch.cat([mean, variance.clamp(min=1e-8).sqrt()], dim=2).squeeze(1)


def build_pooling(config: ModelConfig, dim: int, apart: int = 1) -> nn.Module:
    """The pooling that `model.pooling` names, of the tokens that `heard` gives; its `dim` is the size of its result.

    dim: of a token. apart: parts of the spectrum that have special tokens of their own.
    """
    if config.pooling == "attentive":
        return AttentivePooling(dim, config.attention_dim)
    if config.pooling == "cls":
        return ClipPooling(dim, apart)
    return {"mean": MeanPooling, "mean_std": MeanStdPooling}[config.pooling](dim)


def heard(tokens: Tensor, specials: int, pooling: str) -> Tensor:
    """What a pooling takes of tokens [B, specials + N, D]: `cls` the first, all others the rest."""
    return tokens[:, :specials] if pooling == "cls" else tokens[:, specials:]
