"""Cross entropy of a linear layer."""

import torch.nn.functional as F
from torch import Tensor, nn


class CrossEntropy(nn.Module):
    """A linear layer, softmax and cross entropy: what margins and scales are added to."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.classes = nn.Linear(dim, classes)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """x [B, D], labels [B] -> mean loss; zero (with gradient zero) for an empty batch."""
        return F.cross_entropy(self.classes(x), labels) if len(x) else self.classes(x).sum()
