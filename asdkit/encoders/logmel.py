"""The log-mel spectrogram itself as an encoder: tokens without a network."""

from torch import Tensor

from asdkit.config import LogmelEncoder
from asdkit.encoders.base import Encoder
from asdkit.layers.block import Block
from asdkit.layers.fbank import Fbank


class Logmel(Encoder):
    """One token per 25-ms frame: the natural logs of its bands' energies, of samples in [-1, 1] times 2^15."""

    def __init__(self, config: LogmelEncoder | None = None) -> None:
        super().__init__()
        config = config or LogmelEncoder()
        self.fbank = Fbank(
            config.bands, sample_rate=config.sample_rate, scale=config.scale, low=config.low, high=config.high
        )
        self.sample_rate, self.window, self.hop = self.fbank.sample_rate, self.fbank.window, self.fbank.hop
        self.dim = config.bands

    def frontend(self, wav: Tensor) -> Tensor:
        """wav [B, T], floats in [-1, 1] -> log energies [B, 1 + (T - window) // hop, bands].

        Raises ValueError for clips shorter than one frame (25 ms).
        """
        return self.fbank(wav.float() * 2**15)

    def forward(self, feats: Tensor) -> Tensor:
        """feats [B, F, bands] -> the same as tokens."""
        return feats

    def memory(self, samples: int, clips: int, device: str, precision: str) -> int:
        """What the filterbank holds; it grows with the length alone."""
        return Fbank.memory(samples)

    def blocks(self) -> list[Block]:
        """No blocks."""
        return []


def build_logmel(config: LogmelEncoder) -> Logmel:
    """The encoder of a configuration."""
    return Logmel(config)
