"""The logarithm of the magnitude spectrum, frame by frame, without a filterbank."""

import torch
from torch import Tensor, nn

from asdkit.layers.fbank import SAMPLES
from asdkit.layers.spectrum import by_parts, magnitude, short_time
from asdkit.utils.device import float32_throughout

FLOOR = 1e-10


class LogSpectrum(nn.Module):
    """ln(|STFT| + 1e-10) of a clip without its mean: frames of `n_fft` samples every `hop` samples, only whole ones.

    Periodic Hann window. Where a clip is silent, what is left of its mean by rounding is heard, as in any logarithm.
    """

    def __init__(self, n_fft: int, hop: int) -> None:
        super().__init__()
        self.n_fft, self.hop, self.bins = n_fft, hop, n_fft // 2 + 1
        with torch.device("cpu"):  # even where a network is built on the meta device: the values are never loaded
            self.register_buffer("taper", torch.hann_window(n_fft), persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        """wav [B, T] -> [B, 1 + (T - n_fft) // hop, n_fft // 2 + 1], float32 also under autocast.

        Raises ValueError for samples that are not [B, T] or clips shorter than one frame.
        """
        if wav.ndim != 2:
            raise ValueError(f"spectrum: samples of shape {tuple(wav.shape)}, expected [clips, samples]")
        if wav.shape[1] < self.n_fft:
            raise ValueError(
                f"spectrum: clip of {wav.shape[1]} samples, at least {self.n_fft} are needed; leave it out or make it "
                "longer"
            )
        return by_parts(self._levels, wav.float(), SAMPLES)

    def memory(self, samples: int) -> int:
        """Bytes that the steps hold at once for a clip of so many samples, at least: spectra and their magnitudes."""
        return 4 * 3 * self.bins * max(samples // self.hop, 0)

    def _levels(self, wav: Tensor) -> Tensor:
        with float32_throughout(wav):
            wav = wav - wav.mean(1, keepdim=True)
            return magnitude(short_time(wav, self.hop, self.taper)).add(FLOOR).log_()  # [B, F, bins]
