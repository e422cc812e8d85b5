"""The envelope spectrum itself as an encoder, as bearings are diagnosed with: tokens without a network."""

from torch import Tensor

from asdkit.config import EnvelopeEncoder
from asdkit.encoders.base import Encoder
from asdkit.layers.block import Block
from asdkit.layers.envelope import EnvelopeSpectrum


class Envelope(Encoder):
    """One token per frame: how strongly what sounds in a band swings at each frequency (`EnvelopeSpectrum`)."""

    def __init__(self, config: EnvelopeEncoder) -> None:
        super().__init__()
        self.spectrum = EnvelopeSpectrum(config.sample_rate, config.window, config.low, config.top, config.bins)
        self.sample_rate, self.window, self.hop = config.sample_rate, self.spectrum.window, self.spectrum.hop
        self.dim = config.bins

    def frontend(self, wav: Tensor) -> Tensor:
        """wav [B, T], floats -> logarithms of amplitudes [B, 1 + (T - window) // hop, bins].

        Raises ValueError for clips shorter than one frame.
        """
        return self.spectrum(wav)

    def forward(self, feats: Tensor) -> Tensor:
        """feats [B, F, bins] -> the same as tokens."""
        return feats

    def memory(self, samples: int, clips: int, device: str, precision: str) -> int:
        """What the spectra hold; it grows with the length alone."""
        return self.spectrum.memory(samples)

    def blocks(self) -> list[Block]:
        """No blocks."""
        return []


def build_envelope(config: EnvelopeEncoder) -> Envelope:
    """The encoder of a configuration."""
    return Envelope(config)
