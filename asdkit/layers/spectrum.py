"""Spectra of frames, and what a graph that leaves torch needs done in another way than torch does it best."""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def exporting() -> bool:
    """Whether the network is being written down as a graph, whose lengths are not known yet and have to stay open."""
    return torch.compiler.is_exporting()


def by_parts(function: Callable[[Tensor], Tensor], x: Tensor, rows: int) -> Tensor:
    """function(x) for x [B, N, ...], on a CPU for as many items at a time as have `rows` of N together (1 at least).

    What one step of the function writes is then in the cache for the next. Not in a graph, which takes all at once.
    """
    if x.device.type != "cpu" or exporting():
        return function(x)
    return torch.cat([function(part) for part in x.split(max(1, rows // x.shape[1]))])


def transform(frames: Tensor, points: int | None = None) -> Tensor:
    """frames [..., N] -> spectrum [..., points // 2 + 1, 2], real and imaginary parts, of frames with zeros behind.

    points: of the transform, N by default. In a graph it is a product with a matrix: other libraries' Fourier
    transforms take 3 to 90 times as long as torch's.
    """
    size = frames.shape[-1]
    if not exporting():
        return torch.view_as_real(torch.fft.rfft(frames, points))
    return (frames @ torch.from_numpy(_matrix(size, points or size))).unflatten(-1, (-1, 2))


def short_time(wav: Tensor, hop: int, taper: Tensor, pad_mode: str | None = None) -> Tensor:
    """wav [B, T] -> spectra of frames every `hop` samples [B, F, N // 2 + 1, 2], each times `taper` [N].

    pad_mode: how the clip goes on by half a frame at its ends, so that frames are centred; None: only whole frames.
    """
    size = len(taper)
    if not exporting():
        spectrum = torch.stft(
            wav, size, hop, window=taper, center=pad_mode is not None, pad_mode=pad_mode or "reflect",
            return_complex=True,
        )  # fmt: skip
        return torch.view_as_real(spectrum.transpose(1, 2))
    if pad_mode is not None:
        wav = F.pad(wav[:, None], (size // 2, size // 2), mode=pad_mode)[:, 0]
    return transform(wav.unfold(1, size, hop) * taper)


def magnitude(spectrum: Tensor) -> Tensor:
    """Real and imaginary parts [..., 2] -> [...]"""
    return spectrum.norm(dim=-1) if exporting() else torch.view_as_complex(spectrum).abs()


def _matrix(size: int, points: int) -> np.ndarray:
    """What a frame [N] is multiplied by for its spectrum: [N, (points // 2 + 1) * 2], cosines and sines in turns."""
    # whole turns are taken off before there is an angle: exact for any size
    parts = np.outer(np.arange(size), np.arange(points // 2 + 1)) % points
    angles = parts * (2 * math.pi / points)
    return np.stack([np.cos(angles), -np.sin(angles)], 2).reshape(size, -1).astype(np.float32)
