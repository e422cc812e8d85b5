"""Additive angular margin softmax (paper Eq. 7), with one centre for each class or several."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asdkit.losses.terms import cross_entropy


class AamSoftmax(nn.Module):
    """Cross entropy over scaled cosines, with a margin added to the angle of the true class.

    Beyond pi - margin, where cos(theta + m) would rise again, the logit continues as cos(theta) - m sin(m), so that it
    falls with the angle everywhere. Of several `centres` of a class the nearest counts: sub-centre ArcFace
    (Deng et al., 2020, Eq. 3).
    """

    def __init__(self, dim: int, classes: int, scale: float, margin: float, centres: int = 1) -> None:
        super().__init__()
        self.scale, self.margin, self.centres = scale, margin, centres
        self.weight = nn.Parameter(torch.empty(classes * centres, dim))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """x [B, D], labels [B], weights [B] of the mean -> mean loss; zero (with gradient zero) for an empty batch."""
        if len(x) == 0:
            return self.weight.sum() * 0
        cosine = F.linear(F.normalize(x, dim=1), F.normalize(self.weight, dim=1))  # [B, classes * centres]
        if self.centres > 1:
            cosine = cosine.unflatten(1, (-1, self.centres)).max(dim=2).values  # [B, classes]
        true = cosine.gather(1, labels.unsqueeze(1))  # [B, 1]
        sine = (1 - true.square()).clamp(min=1e-12).sqrt()
        shifted = true * math.cos(self.margin) - sine * math.sin(self.margin)
        past = true <= math.cos(math.pi - self.margin)
        shifted = torch.where(past, true - self.margin * math.sin(self.margin), shifted)
        return cross_entropy(self.scale * cosine.scatter(1, labels.unsqueeze(1), shifted), labels, weights)
