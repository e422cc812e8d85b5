"""The log-mel spectrogram itself as an encoder: tokens without a network."""

from torch import Tensor

from asdkit.config import LogmelEncoder
from asdkit.encoders.base import Encoder
from asdkit.layers.block import Block
from asdkit.layers.fbank import Fbank


class Logmel(Encoder):
    """One token per 25-ms frame: its 128 natural-log mel energies, of samples in [-1, 1] times 2^15."""

    sample_rate, window, hop = Fbank.sample_rate, Fbank.window, Fbank.hop
    dim = 128

    def __init__(self) -> None:
        super().__init__()
        self.fbank = Fbank(self.dim)

    def frontend(self, wav: Tensor) -> Tensor:
        """wav [B, T], floats in [-1, 1] -> log-mel energies [B, 1 + (T - 400) // 160, 128].

        Raises ValueError for clips shorter than one frame (25 ms).
        """
        return self.fbank(wav.float() * 2**15)

    def forward(self, feats: Tensor) -> Tensor:
        """feats [B, F, 128] -> the same as tokens."""
        return feats

    def memory(self, samples: int, clips: int, device: str, precision: str) -> int:
        """What the filterbank holds; it grows with the length alone."""
        return Fbank.memory(samples)

    def blocks(self) -> list[Block]:
        """No blocks."""
        return []


def build_logmel(config: LogmelEncoder) -> Logmel:
    """The encoder of a configuration, which has nothing to choose."""
    return Logmel()
