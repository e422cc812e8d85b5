"""Resampling of whole batches, on the device of the samples."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asdkit.signals.resample import filters, resampled_length
from asdkit.utils.device import float32_throughout


class Resampler(nn.Module):
    """From one sample rate to another by a windowed sinc, the samples that reading with `resample` gives.

    Each new sample is a product of its own filter and the samples around it; silence is around a clip.
    """

    def __init__(self, old: int, new: int) -> None:
        super().__init__()
        common = math.gcd(old, new)
        self.old, self.new = old // common, new // common
        self.starts: list[int] = []
        if self.old == self.new:
            return
        self.span, self.made, self.margin, pieces = filters(self.old, self.new)
        for number, piece in enumerate(pieces):
            self.starts.append(piece.start + self.margin)
            self.register_buffer(f"kernel{number}", torch.from_numpy(piece.kernel), persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        """wav [B, T] -> [B, ceil(T * new / old)], float32 also under autocast"""
        if not self.starts:
            return wav.float()
        length = resampled_length(wav.shape[1], self.old, self.new)
        periods = -(-length // self.made)
        around = F.pad(wav.float(), (self.margin, periods * self.span + self.margin + 1 - wav.shape[1]))
        parts = []
        with float32_throughout(wav), _exact_products(wav.device):
            for number, start in enumerate(self.starts):
                kernel = getattr(self, f"kernel{number}")  # [old samples, new samples]
                rows = around[:, start:].unfold(1, len(kernel), self.span)[:, :periods]
                parts.append(rows @ kernel)  # [B, periods, new samples]
        return torch.cat(parts, 2).flatten(1)[:, :length]


@contextmanager
def _exact_products(device: torch.device) -> Iterator[None]:
    # TF32 leaves noise 60 dB below a clip, in bands where it has nothing.
    before = torch.get_float32_matmul_precision()
    if device.type == "cuda":
        torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        if device.type == "cuda":
            torch.set_float32_matmul_precision(before)
