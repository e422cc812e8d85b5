"""The log-mel filterbank of `torchaudio.compliance.kaldi`, for whole batches and on the device of the samples."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from asdkit.layers.spectrum import by_parts, exporting, transform
from asdkit.utils.device import float32_throughout

PREEMPHASIS = 0.97
LOG_FLOOR = torch.finfo(torch.float32).eps

# Samples that go through the steps together on a CPU, so that what one step writes is in the cache for the next.
SAMPLES = 256_000


class Fbank(nn.Module):
    """Log-mel filterbank, the numbers of `torchaudio.compliance.kaldi.fbank` with its defaults and no dither.

    Up to 126 bands these are also the numbers of Kaldi's own `compute-fbank-feats`. That program refuses more: between
    the bins of 512 points some triangles then hold none. Here, as in torchaudio, such a feature is the logarithm of the
    floor whatever the sound is: of 128 bands that is feature 3, counted from 0. BEATs was trained with it. Nothing may
    divide by a feature's deviation without a floor of its own.

    25-ms frames every 10 ms, only whole frames (snip_edges), DC offset removed per frame, pre-emphasis 0.97, power
    spectrum, triangular filters from 20 Hz to half the rate or from `low` to `high`, natural logarithm floored at the
    float epsilon. `taper`: "povey", Kaldi's default, or "hann", the `window_type="hanning"` of AST and ImageBind, whose
    `htk_compat` moves no feature and whose subtraction of the clip's mean is done already, frame by frame. `scale`: of
    which all triangles have the same width, "mel" or "linear" (hertz).
    """

    sample_rate = 16000
    window = 400
    hop = 160

    def __init__(
        self,
        mels: int = 128,
        taper: Literal["povey", "hann"] = "povey",
        sample_rate: int = 16000,
        scale: Literal["mel", "linear"] = "mel",
        low: float = 20.0,
        high: float | None = None,
    ) -> None:
        super().__init__()
        self.mels, self.sample_rate = mels, sample_rate
        self.window, self.hop = 25 * sample_rate // 1000, 10 * sample_rate // 1000
        self.fft = 1 << (self.window - 1).bit_length()  # the next power of two
        position = _mel if scale == "mel" else _hertz
        edges = (low, sample_rate / 2 if high is None else high)
        # On the CPU even where a network is built on the meta device: their values are never loaded.
        with torch.device("cpu"):
            self.register_buffer("taper", _taper(self.window, taper), persistent=False)
            filters = _triangles(mels, sample_rate, self.fft, edges, position)
            self.register_buffer("filters", filters, persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        """wav [B, T] -> log-mel energies [B, 1 + (T - window) // hop, mels], float32 also under autocast.

        Raises ValueError for samples that are not [B, T] or clips shorter than one frame.
        """
        if wav.ndim != 2:
            raise ValueError(f"fbank: samples of shape {tuple(wav.shape)}, expected [clips, samples]")
        if wav.shape[1] < self.window:
            raise ValueError(
                f"fbank: clip of {wav.shape[1]} samples, at least {self.window} (25 ms at "
                f"{self.sample_rate / 1000:g} kHz) are needed; leave it out or make it longer"
            )
        return by_parts(self._energies, wav.float(), SAMPLES)

    @staticmethod
    def memory(samples: int) -> int:
        """Bytes that the steps hold at once for a clip of so many samples: measured, 42 a sample at least."""
        return 42 * samples

    def _energies(self, wav: Tensor) -> Tensor:
        with float32_throughout(wav):
            frames = wav.unfold(1, self.window, self.hop)  # [B, F, window]
            frames = frames - frames.mean(-1, keepdim=True)
            power = transform(self._emphasised(frames), self.fft).square_()  # [B, F, fft / 2 + 1, 2]
            return ((power[..., 0] + power[..., 1]) @ self.filters).clamp_(min=LOG_FLOOR).log_()

    def _emphasised(self, frames: Tensor) -> Tensor:
        """frames [B, F, window] -> the same less 0.97 of the sample before each, tapered; zeros may be behind them."""
        # Kaldi takes a frame's first sample as its own predecessor.
        if exporting():
            before = torch.cat([frames[..., :1], frames[..., :-1]], -1)
            return (frames - before * PREEMPHASIS) * self.taper
        padded = frames.new_zeros(*frames.shape[:2], self.fft)
        before = padded[..., : self.window]
        before[..., :1] = frames[..., :1]
        before[..., 1:] = frames[..., :-1]
        torch.sub(frames, before.mul_(PREEMPHASIS), out=before).mul_(self.taper)
        return padded


def _taper(length: int, name: str) -> Tensor:
    # In float32 like the features that published weights were trained on: near-silent frames show the difference.
    hann = torch.hann_window(length, periodic=False)
    return hann**0.85 if name == "povey" else hann


def _triangles(
    bands: int, sample_rate: int, fft: int, edges: tuple[float, float], scale: Callable[[Tensor], Tensor]
) -> Tensor:
    """Triangles of equal width on a scale, between two frequencies in Hz: [fft / 2 + 1, bands]."""
    ends = scale(torch.tensor(edges, dtype=torch.float64)).tolist()
    points = torch.linspace(*ends, bands + 2, dtype=torch.float64)
    bins = torch.arange(fft // 2 + 1, dtype=torch.float64) * sample_rate / fft
    step = points[1] - points[0]
    filters = (1 - (scale(bins)[:, None] - points[1:-1]).abs() / step).clamp(min=0)
    filters[-1] = 0  # Kaldi leaves out the bin at half the sample rate
    return filters.float()


def _mel(hertz: Tensor) -> Tensor:
    return 1127.0 * torch.log1p(hertz / 700.0)


def _hertz(hertz: Tensor) -> Tensor:
    return hertz
