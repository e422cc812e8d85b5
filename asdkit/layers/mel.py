"""Mel spectrograms in decibels from a centred STFT, for whole batches and on the device of the samples."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from asdkit.layers.fbank import SAMPLES
from asdkit.layers.spectrum import by_parts, short_time
from asdkit.utils.device import float32_throughout

POWER_FLOOR = 1e-10  # of torchaudio's AmplitudeToDB and of librosa's power_to_db
BATCH_NORM_EPS = 1e-5  # torch's default


class MelSpectrogram(nn.Module):
    """Mel energies in dB at one frame every `hop` samples, centred: frame i lies around sample i * hop.

    Periodic Hann window of `n_fft` samples, the clip reflected at both ends (`zeros`: zeros there), power spectrum, mel
    `filters` [n_fft / 2 + 1, mels] (`htk_filters`, `slaney_filters`; published weights may bring their own: assign
    them), 10 log10 floored at `floor`, and, with `top_db`, no value more than that below the loudest of its own clip.
    With `htk_filters` these are the numbers of torchaudio's MelSpectrogram and AmplitudeToDB.
    """

    def __init__(
        self,
        n_fft: int,
        hop: int,
        filters: Tensor,
        top_db: float | None = None,
        floor: float = POWER_FLOOR,
        zeros: bool = False,
    ) -> None:
        super().__init__()
        self.n_fft, self.hop, self.top_db, self.floor = n_fft, hop, top_db, floor
        self.pad_mode = "constant" if zeros else "reflect"
        self.mels = filters.shape[1]
        assert filters.shape[0] == n_fft // 2 + 1
        with torch.device("cpu"):  # even where a network is built on the meta device: the values are never loaded
            self.register_buffer("taper", torch.hann_window(n_fft), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        """wav [B, T] -> dB [B, 1 + T // hop, mels], float32 also under autocast.

        Raises ValueError for samples that are not [B, T] and for clips of n_fft / 2 samples or fewer, which have
        nothing to reflect.
        """
        if wav.ndim != 2:
            raise ValueError(f"mel spectrogram: samples of shape {tuple(wav.shape)}, expected [clips, samples]")
        if wav.shape[1] <= self.n_fft // 2 and self.pad_mode == "reflect":
            raise ValueError(
                f"mel spectrogram: clip of {wav.shape[1]} samples, at least {self.n_fft // 2 + 1} are needed; "
                "leave it out or make it longer"
            )
        return by_parts(self._decibels, wav.float(), SAMPLES)

    def memory(self, samples: int) -> int:
        """Bytes that the steps hold at once for a clip of so many samples, at least: the frames and their spectra."""
        return 4 * (2 * self.n_fft + 2) * (samples // self.hop)

    def _decibels(self, wav: Tensor) -> Tensor:
        with float32_throughout(wav):
            parts = short_time(wav, self.hop, self.taper, self.pad_mode).square()  # [B, F, n_fft / 2 + 1, 2]
            level = ((parts[..., 0] + parts[..., 1]) @ self.filters).clamp_(min=self.floor).log10_().mul_(10)
            if self.top_db is None:
                return level
            return level.maximum(level.amax((1, 2), keepdim=True) - self.top_db)


class Standardise(nn.Module):
    """Batch normalisation of each band by statistics that stay as they are, in training too.

    level and spread: mean and standard deviation of every band, in dB, until weights are loaded.
    """

    def __init__(self, bands: int, level: float, spread: float) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(bands)), nn.Parameter(torch.zeros(bands))
        self.register_buffer("running_mean", torch.full((bands,), level))
        self.register_buffer("running_var", torch.full((bands,), spread**2))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., bands] -> [..., bands]"""
        return (x - self.running_mean) * (self.weight * (self.running_var + BATCH_NORM_EPS).rsqrt()) + self.bias


def htk_filters(n_fft: int, sample_rate: int, mels: int, low: float, high: float) -> Tensor:
    """Triangles between points equally far apart on the scale 2595 log10(1 + f / 700): [n_fft / 2 + 1, mels].

    Their sides are straight over hertz, their peaks 1. low and high in Hz: torchaudio's filters without norm.
    """
    return _triangles(
        _points(mels, low, high, lambda f: 2595 * torch.log10(1 + f / 700), lambda m: 700 * (10 ** (m / 2595) - 1)),
        n_fft,
        sample_rate,
    ).float()


def slaney_filters(n_fft: int, sample_rate: int, mels: int, low: float, high: float) -> Tensor:
    """Triangles on the scale that is linear up to 1 kHz and logarithmic above, each of area 1: [n_fft / 2 + 1, mels].

    librosa's default filters (Slaney, 'Auditory Toolbox', 1998): 200 / 3 Hz a step, then 27 steps for a factor 6.4.
    """

    def to_mel(f: Tensor) -> Tensor:
        return torch.where(f < 1000, f / (200 / 3), 15 + 27 * torch.log(f.clamp(min=1000) / 1000) / _LOG_6_4)

    def to_hertz(m: Tensor) -> Tensor:
        return torch.where(m < 15, m * (200 / 3), 1000 * torch.exp((m - 15).clamp(min=0) * _LOG_6_4 / 27))

    points = _points(mels, low, high, to_mel, to_hertz)
    return (_triangles(points, n_fft, sample_rate) * 2 / (points[2:] - points[:-2])).float()


_LOG_6_4 = torch.tensor(6.4, dtype=torch.float64).log().item()


def _points(
    mels: int, low: float, high: float, to_mel: Callable[[Tensor], Tensor], to_hertz: Callable[[Tensor], Tensor]
) -> Tensor:
    with torch.device("cpu"):
        ends = to_mel(torch.tensor([low, high], dtype=torch.float64)).tolist()
        return to_hertz(torch.linspace(*ends, mels + 2, dtype=torch.float64))


def _triangles(points: Tensor, n_fft: int, sample_rate: int) -> Tensor:
    with torch.device("cpu"):
        bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64)[:, None] * sample_rate / n_fft
    up = (bins - points[:-2]) / (points[1:-1] - points[:-2])
    down = (points[2:] - bins) / (points[2:] - points[1:-1])
    return torch.minimum(up, down).clamp(min=0)  # [n_fft / 2 + 1, mels]
