"""What the challenge's autoencoder hears: log-mel frames, several in a row side by side."""

from torch import Tensor

from asdkit.config import AutoencoderConfig
from asdkit.encoders.base import Encoder
from asdkit.layers.block import Block
from asdkit.layers.mel import MelSpectrogram, slaney_filters

N_FFT, MELS = 1024, 128


class MelVectors(Encoder):
    """One token per frame but the last ones: its log-mel energies and those of the frames after it.

    librosa's melspectrogram at 16 kHz with 1024 points every 512 samples, 128 bands, the clip between zeros, as
    10 log10 of the energy, floored at the smallest difference of doubles from 1 (facts of the official baseline).
    """

    sample_rate, window, hop = 16000, 0, 512

    def __init__(self, frames: int) -> None:
        super().__init__()
        filters = slaney_filters(N_FFT, self.sample_rate, MELS, 0.0, self.sample_rate / 2)
        self.mel = MelSpectrogram(N_FFT, self.hop, filters, floor=2.0**-52, zeros=True)
        self.frames, self.mels = frames, MELS
        self.dim = frames * MELS

    def frontend(self, wav: Tensor) -> Tensor:
        """wav [B, T], floats in [-1, 1] -> dB [B, 1 + T // 512, 128].

        Raises ValueError for clips that are too short.
        """
        return self.mel(wav)

    def forward(self, feats: Tensor) -> Tensor:
        """feats [B, F, 128] -> vectors [B, F - frames + 1, frames * 128]; ValueError for clips of fewer frames."""
        if feats.shape[1] < self.frames:
            raise ValueError(
                f"autoencoder: clip of {feats.shape[1]} frames, at least {self.frames} "
                f"({(self.frames - 1) * self.hop} samples) are needed; leave it out or make it longer"
            )
        return feats.unfold(1, self.frames, 1).transpose(2, 3).flatten(2)  # from [B, N, 128, frames]

    def memory(self, samples: int, clips: int, device: str, precision: str) -> int:
        """The filterbank's, and vectors with what becomes of them; they grow with the length alone."""
        return self.mel.memory(samples) + 4 * 3 * self.dim * clips * (samples // self.hop)

    def blocks(self) -> list[Block]:
        """No blocks."""
        return []


def build_autoencoder(config: AutoencoderConfig) -> MelVectors:
    """The front end of a configuration."""
    return MelVectors(config.frames)
