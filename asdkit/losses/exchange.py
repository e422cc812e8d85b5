"""Exchanges between the clips of a batch, the first with the last and so on, and the classes that they make.

Source: Wilkinghoff, 2024 (arXiv 2312.09578): FeatEx, and StatEx after Chen et al., 2022. His halves are the embeddings
of two networks, of the spectrum and of the spectrogram, where here they are those of one embedding; his code exchanges
statistics of each frame over its frequencies, where here they are those of each band over time.
"""

import torch
from torch import Tensor, nn

from asdkit.config import ExchangeConfig
from asdkit.losses.gather import mirrored
from asdkit.losses.terms import Terms, taken
from asdkit.utils.device import to_device


class Exchange(nn.Module):
    """Loss of the classes that exchanges make: `loss`, over three times as many as the `classes`."""

    def __init__(self, loss: nn.Module, classes: int, config: ExchangeConfig) -> None:
        super().__init__()
        self.loss, self.classes, self.weight = loss, classes, config.weight
        self.halves = config.kind == "featex"

    def forward(self, x: Tensor, terms: Terms, exchanged: Tensor) -> Tensor:
        """Embeddings of a whole batch [B, D], its clips' classes, exchanged [B] (bool) -> mean loss."""
        if self.halves:
            x = exchange_halves(x, to_device(exchanged, x.device))
        return self.loss(*taken(x, exchanged_terms(terms, exchanged, self.classes)))


def exchange_statistics(feats: Tensor, exchanged: Tensor) -> Tensor:
    """Features [B, F, M] -> those of clips that are `exchanged` [B] (bool) with the other clip's statistics: StatEx.

    That is, mean and deviation over time of each band. Without gradient.
    """
    mean, deviation = feats.mean(1), feats.std(1, correction=0)  # [B, M]
    other_mean, other_deviation = mirrored(torch.cat([mean, deviation], dim=1)).chunk(2, dim=1)
    scale = other_deviation / deviation.clamp(min=1e-8)
    taken = (feats - mean[:, None]) * scale[:, None] + other_mean[:, None]
    return torch.where(exchanged[:, None, None], taken, feats)


def exchange_halves(x: Tensor, exchanged: Tensor) -> Tensor:
    """Embeddings of a whole batch [B, D] -> those of clips that are `exchanged` [B] with the other's second half."""
    half = x.shape[1] // 2
    taken = torch.cat([x[:, :half], x.flip(0)[:, half:]], dim=1)
    return torch.where(exchanged[:, None], taken, x)


def exchanged_terms(terms: Terms, exchanged: Tensor, classes: int) -> Terms:
    """Clips of `classes` classes -> of three times as many: as they are, by their own class, by the other clip's.

    terms: the clips of a whole batch; exchanged [B] (bool): those that took something. They are half of the second kind
    and half of the third.
    """
    rows, labels, weights = terms
    weights = torch.ones(len(rows), device=rows.device) if weights is None else weights
    took = exchanged[rows]
    partners = len(exchanged) - 1 - rows
    gave = exchanged[partners]
    return Terms(
        torch.cat([rows, partners[gave]]),
        torch.cat([labels + took * classes, labels[gave] + 2 * classes]),
        torch.cat([weights * (1 - took / 2), weights[gave] / 2]),
    )
