"""The exponential moving average of a model's weights over the steps of its training (`train.ema`)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from asdkit.models.system import System

RUNNING = ("running_mean", "running_var")  # batch normalisation's, which belong to the weights


class Averaged:
    """Averages of what is trained, and of the running statistics of batch normalisation; other buffers have none.

    After step t the average moves by 1 - d towards the weights, with d = min(decay, (1 + t) / (10 + t)), so that the
    first weights, which are random, are soon forgotten.
    """

    def __init__(self, system: System, decay: float) -> None:
        self.decay = decay
        running = {name: buffer for name, buffer in system.named_buffers() if name.endswith(RUNNING)}
        self.own: dict[str, Tensor] = {**system.trainable(), **running}
        self.mean = {name: tensor.detach().clone() for name, tensor in self.own.items()}

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Take in the weights as they are after a step."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.mean.values()), list(self.own.values()), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it the system has the averages; after it, its own weights again, to the bit."""
        kept = {name: tensor.detach().clone() for name, tensor in self.own.items()}
        self._put(self.mean)
        try:
            yield
        finally:
            self._put(kept)

    def state(self) -> dict[str, Tensor]:
        """What last.pt keeps."""
        return {name: tensor.cpu().clone() for name, tensor in self.mean.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Continue from what last.pt kept."""
        assert state.keys() == self.mean.keys()
        for name, tensor in self.mean.items():
            tensor.copy_(state[name])

    @torch.no_grad()
    def _put(self, values: dict[str, Tensor]) -> None:
        for name, tensor in self.own.items():
            tensor.copy_(values[name])
