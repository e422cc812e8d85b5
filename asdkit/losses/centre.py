"""Centre loss: embeddings of a class near the centre of their class (Wen et al., 2016)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CentreLoss(nn.Module):
    """Half the squared distance to the centre of the own class, mean over clips (Eq. 2).

    A centre is no parameter: after each batch it moves by `rate` times sum(x - centre) / (1 + n) over the n clips of
    its class (Eq. 4, alpha). Centres start at 0.
    """

    def __init__(self, dim: int, classes: int, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("centres", torch.zeros(classes, dim))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """x [B, D], labels [B] -> mean loss; zero (with gradient zero) for an empty batch."""
        if len(x) == 0:
            return x.sum()
        apart = x - self.centres[labels]  # [B, D]
        if self.training:
            self._move(apart.detach(), labels)
        return apart.square().sum(dim=1).mean() / 2

    def _move(self, apart: Tensor, labels: Tensor) -> None:
        own = F.one_hot(labels, len(self.centres)).to(apart.dtype)  # [B, classes]; a product is the same in every run
        self.centres += self.rate * (own.T @ apart) / (1 + own.sum(dim=0))[:, None]
