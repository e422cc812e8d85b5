"""Centre loss: embeddings of a class near the centre of their class (Wen et al., 2016)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asdkit.losses.terms import mean


class CentreLoss(nn.Module):
    """Half the squared distance to the centre of the own class, mean over clips (Eq. 2).

    A centre is no parameter: after each batch it moves by `rate` times sum(x - centre) / (1 + n) over the n clips of
    its class (Eq. 4, alpha); with weights, to the weighted sum, n being that of the weights. Centres start at 0.
    """

    def __init__(self, dim: int, classes: int, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("centres", torch.zeros(classes, dim))

    def forward(self, x: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """x [B, D], labels [B], weights [B] of the mean -> mean loss; zero (with gradient zero) for an empty batch."""
        if len(x) == 0:
            return x.sum()
        apart = x - self.centres[labels]  # [B, D]
        if self.training:
            self._move(apart.detach(), labels, weights)
        return mean(apart.square().sum(dim=1), weights) / 2

    def _move(self, apart: Tensor, labels: Tensor, weights: Tensor | None) -> None:
        own = F.one_hot(labels, len(self.centres)).to(apart.dtype)  # [B, classes]; a product is the same in every run
        own = own if weights is None else own * weights[:, None]
        self.centres += self.rate * (own.T @ apart) / (1 + own.sum(dim=0))[:, None]
