"""Cross entropy of a linear layer."""

from torch import Tensor, nn

from asdkit.losses.terms import cross_entropy


class CrossEntropy(nn.Module):
    """A linear layer, softmax and cross entropy: what margins and scales are added to."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.classes = nn.Linear(dim, classes)

    def forward(self, x: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """x [B, D], labels [B], weights [B] of the mean -> mean loss; zero (with gradient zero) for an empty batch."""
        return cross_entropy(self.classes(x), labels, weights) if len(x) else self.classes(x).sum()
