"""CNN10 (Kong et al., 'PANNs: Large-Scale Pretrained Audio Neural Networks', 2020, Table I), from scratch."""

import torch.nn.functional as F
from torch import Tensor, nn

from asdkit.config import Cnn10Arch, Cnn10Encoder
from asdkit.encoders.base import Encoder
from asdkit.layers.batch_norm import BatchNorm
from asdkit.layers.block import Block
from asdkit.layers.mel import MelSpectrogram, slaney_filters

MELS, FFT, BLOCKS = 64, 512, 4
LEAST = 2**BLOCKS  # frames: each block halves them


class Cnn10(Encoder):
    """Four blocks of two 3 x 3 convolutions, each with batch normalisation and ReLU, halved by averaging.

    The front end is the published one at 16 kHz: 512 points every 160 samples, 64 bands from 50 Hz to 8 kHz, in dB. The
    tokens are the last block's values, one for each of four frequency bands every 160 ms. Where the published network
    takes the mean over bands, the sum of mean and maximum over time and two linear layers, poolings and projection of
    the experiment follow here.
    """

    sample_rate, window, hop = 16000, 0, 160
    bands = MELS // LEAST

    def __init__(self, arch: Cnn10Arch) -> None:
        super().__init__()
        sizes = [1, *(arch.channels * 2**number for number in range(BLOCKS))]
        self.dim, self.channels, self.dropout = sizes[-1], arch.channels, arch.dropout
        self.mel = MelSpectrogram(FFT, self.hop, slaney_filters(FFT, self.sample_rate, MELS, 50.0, 8000.0))
        self.standardise = BatchNorm(MELS)
        self.parts = nn.ModuleList(_part(*pair) for pair in zip(sizes, sizes[1:], strict=False))

    def frontend(self, wav: Tensor) -> Tensor:
        """wav [B, T], floats in [-1, 1] -> dB [B, 1 + T // 160, 64]; ValueError for clips of 256 samples or fewer."""
        return self.mel(wav)

    def forward(self, feats: Tensor) -> Tensor:
        """feats [B, F, 64] -> tokens [B, F // 16 * 4, dim]; raises ValueError for fewer than 16 frames."""
        if feats.shape[1] < LEAST:
            raise ValueError(
                f"cnn10: clip of {feats.shape[1]} frames, at least {LEAST} "
                f"({(LEAST - 1) * self.hop / self.sample_rate:g} s) are needed; leave it out or make it longer"
            )
        x = self.standardise(feats.transpose(1, 2)).transpose(1, 2)[:, None]  # [B, 1, F, 64]
        for part in self.parts:
            x = F.dropout(F.avg_pool2d(part(x), 2), self.dropout, self.training)
        return x.permute(0, 2, 3, 1).flatten(1, 2)  # [B, F / 16 * 4, dim]

    def memory(self, samples: int, clips: int, device: str, precision: str) -> int:
        """The first block's values, twice, and the front end; they grow with the length alone."""
        return self.mel.memory(samples) + 2 * 4 * clips * self.channels * MELS * (samples // self.hop)

    def blocks(self) -> list[Block]:
        """No transformer blocks."""
        return []


def build_cnn10(config: Cnn10Encoder) -> Cnn10:
    """The network of a configuration, with random weights."""
    return Cnn10(config.size())


def _part(before: int, size: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inside in (before, size):
        convolution = nn.Conv2d(inside, size, 3, padding=1, bias=False)
        nn.init.xavier_uniform_(convolution.weight)
        layers += [convolution, BatchNorm(size), nn.ReLU()]
    return nn.Sequential(*layers)
