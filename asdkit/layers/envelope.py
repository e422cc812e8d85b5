"""The spectrum of a band's envelope: how strongly what is in the band comes and goes, and how often a second."""

import math

import torch
from torch import Tensor, nn

from asdkit.layers.fbank import SAMPLES
from asdkit.layers.spectrum import by_parts
from asdkit.utils.device import float32_throughout

FLOOR = 1e-10


class EnvelopeSpectrum(nn.Module):
    """ln of the amplitude with which the envelope of a band swings at each frequency above 0 Hz.

    Frames of `window` samples, every half of which one begins, only whole ones. What lies between `low` and `high` Hz
    is kept, its envelope is the magnitude of its analytic signal (Hilbert), and the envelope less its mean goes through
    a Hann window into a spectrum of which the first `bins` above 0 Hz are kept, sample_rate / window Hz apart. A tone
    (1 + m cos(2 pi f t)) cos(2 pi c t) with both c - f and c + f in the band gives ln m at f (Randall and Antoni,
    'Rolling element bearing diagnostics - a tutorial', 2011). What the window cuts at a frame's ends rings there, where
    the Hann window hears nothing.
    """

    def __init__(self, sample_rate: int, window: int, low: float, high: float, bins: int) -> None:
        super().__init__()
        self.sample_rate, self.window, self.hop, self.bins = sample_rate, window, window // 2, bins
        # 0 Hz and half the rate have no counterpart at negative frequencies.
        self.first = max(math.ceil(low * window / sample_rate), 1)
        self.last = min(int(high * window / sample_rate), (window - 1) // 2)
        with torch.device("cpu"):  # even where a network is built on the meta device: the values are never loaded
            taper = torch.hann_window(window)
            self.register_buffer("taper", taper / taper.sum(), persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        """wav [B, T] -> [B, 1 + (T - window) // hop, bins], float32 also under autocast.

        Raises ValueError for samples that are not [B, T] or clips shorter than one frame.
        """
        if wav.ndim != 2:
            raise ValueError(f"envelope: samples of shape {tuple(wav.shape)}, expected [clips, samples]")
        if wav.shape[1] < self.window:
            raise ValueError(
                f"envelope: clip of {wav.shape[1]} samples, at least {self.window / self.sample_rate:g} s (one frame, "
                "encoder.frame_seconds) are needed; leave it out or make it longer"
            )
        return by_parts(self._levels, wav.float(), SAMPLES)

    def memory(self, samples: int) -> int:
        """Bytes that the steps hold at once for a clip of so many samples, at least: frames, analytic signals."""
        return 4 * 2 * 3 * samples

    def _levels(self, wav: Tensor) -> Tensor:
        with float32_throughout(wav):
            frames = wav.unfold(1, self.window, self.hop)  # [B, F, window]
            # Moved down to 0 Hz, which leaves the magnitude as it is.
            band = torch.fft.rfft(frames)[..., self.first : self.last + 1] * 2  # [B, F, last + 1 - first]
            envelope = torch.fft.ifft(band, self.window).abs()  # [B, F, window]
            envelope = envelope - (envelope * self.taper).sum(-1, keepdim=True)
            spectrum = torch.fft.rfft(envelope * self.taper)[..., 1 : self.bins + 1]
            return spectrum.abs().mul_(2).add_(FLOOR).log_()  # [B, F, bins]
