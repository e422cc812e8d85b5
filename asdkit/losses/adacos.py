"""AdaCos and sub-cluster AdaCos: cross entropy of cosines whose scale follows the training."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asdkit.losses.terms import cross_entropy, median


class AdaCos(nn.Module):
    """Cross entropy over cosines, without a margin and with a scale that each batch sets anew (Zhang et al., 2019).

    Of several `centres` of a class the probabilities add up: sub-cluster AdaCos (Wilkinghoff, 2021). The scale starts
    at sqrt(2) log(C - 1) for C centres in all, and becomes log(B) / cos(min(pi / 4, theta)): B is the batch's mean sum
    of exp(scale cos) over the centres of wrong classes, theta the median angle to the nearest centre of the true one.
    Raises ValueError for fewer than three centres in all, whose scale would be 0.
    """

    def __init__(self, dim: int, classes: int, centres: int = 1) -> None:
        super().__init__()
        if classes * centres < 3:
            raise ValueError(f"adacos: {classes} classes have {classes * centres} centres, 3 are needed: raise centres")
        self.centres = centres
        self.weight = nn.Parameter(torch.empty(classes * centres, dim))
        nn.init.xavier_uniform_(self.weight)
        self.register_buffer("scale", torch.tensor(math.sqrt(2) * math.log(classes * centres - 1)))

    def forward(self, x: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """x [B, D], labels [B], weights [B] of the mean -> mean loss; zero (with gradient zero) for an empty batch."""
        if len(x) == 0:
            return self.weight.sum() * 0
        cosine = F.linear(F.normalize(x, dim=1), F.normalize(self.weight, dim=1))  # [B, classes * centres]
        cosine = cosine.unflatten(1, (-1, self.centres))  # [B, classes, centres]
        if self.training:
            self._follow(cosine.detach(), labels, weights)
        return cross_entropy((self.scale * cosine).logsumexp(dim=2), labels, weights)

    def _follow(self, cosine: Tensor, labels: Tensor, weights: Tensor | None) -> None:
        """Set the scale by a batch's cosines [B, classes, centres], clips counting by their weights [B]."""
        true = F.one_hot(labels, cosine.shape[1]).bool()  # [B, classes]
        wrong = (self.scale * cosine).masked_fill(true[:, :, None], -torch.inf)
        if weights is None:
            log_mean = wrong.flatten().logsumexp(dim=0) - math.log(len(cosine))
        else:
            log_mean = (wrong.flatten(1).logsumexp(dim=1) + weights.log()).logsumexp(dim=0) - weights.sum().log()
        own = cosine[torch.arange(len(cosine), device=cosine.device), labels]  # [B, centres]
        angle = median(own.max(dim=1).values.clamp(-1, 1).acos(), weights)
        self.scale.copy_(log_mean / torch.cos(angle.clamp(max=math.pi / 4)))
