"""Networks of one shape for several machines, side by side: what they compute goes in one call for all of them."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SideBySide(nn.Module):
    """`count` networks of the same linear layers, each with batch normalisation and ReLU behind it but the last.

    sizes: of the input, of every layer's output. Weights are drawn as `nn.Linear` draws them. Nothing in one network
    depends on another: trained by the sum of their losses with an optimiser that takes each weight by itself, they are
    what each would be alone.
    """

    def __init__(self, count: int, sizes: list[int], momentum: float, eps: float) -> None:
        super().__init__()
        self.sizes, self.momentum, self.eps = sizes, momentum, eps
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        self.scales, self.shifts = nn.ParameterList(), nn.ParameterList()
        for number, (before, size) in enumerate(zip(sizes, sizes[1:], strict=False)):
            bound = before**-0.5
            self.weights.append(torch.empty(count, size, before).uniform_(-bound, bound))
            self.biases.append(torch.empty(count, size).uniform_(-bound, bound))
            if number < len(sizes) - 2:
                self.scales.append(torch.ones(count, size))
                self.shifts.append(torch.zeros(count, size))
                self.register_buffer(f"mean_{number}", torch.zeros(count, size))
                self.register_buffer(f"variance_{number}", torch.ones(count, size))

    def forward(
        self, x: Tensor, which: Tensor | None = None, middle: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """x [K, sizes[0], N], N vectors for each network -> [K, sizes[-1], N].

        And what layer `middle` gives before its ReLU. which [K]: numbers of the networks that serve the K groups, for
        inference; None: each its own. In training the batch normalisation takes the N vectors of a network, and its
        running values follow.
        """
        assert which is None or not self.training
        kept = None
        own = partial(_chosen, which)
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(own(bias)[:, :, None], own(weight), x)
            if number < len(self.scales):
                x = self._normalised(x, number, own)
                kept = x if number == middle else kept
                x = x.relu()
        return x, kept

    def _normalised(self, x: Tensor, number: int, own: Callable[[Tensor], Tensor]) -> Tensor:
        tables = (getattr(self, f"mean_{number}"), getattr(self, f"variance_{number}"))
        tables += (self.scales[number], self.shifts[number])
        mean, variance, scale, shift = (own(table).flatten() for table in tables)
        # the channels of all networks in a row, [1, K * C, N]
        found = F.batch_norm(
            x.flatten(0, 1)[None], mean, variance, scale, shift, self.training, self.momentum, self.eps
        )
        return found.view_as(x)


def _chosen(which: Tensor | None, table: Tensor) -> Tensor:
    return table if which is None else table[which]
