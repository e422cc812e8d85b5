"""Resampling by a windowed sinc, of any part of a recording by itself.

Down to 16 kHz a tone up to 7.1 kHz loses less than 0.1 dB, and one of 8.3 kHz and above comes back 100 dB down or less.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

FILTER = "sinc64"  # what done markers hold: another filter makes other samples
_REACH = 64  # samples of the lower rate on either side of each new one
_CUTOFF = 0.96  # of half the lower rate
_BETA = 12.3  # of the Kaiser window: 120 dB (Kaiser 1974, A = beta / 0.1102 + 8.7)
_AT_ONCE = 1 << 17  # samples of the recording that are in memory at once


class Piece(NamedTuple):
    """Filters of the new samples `first` and following of a period; they begin at the old sample `start`."""

    first: int
    start: int
    kernel: np.ndarray  # [old samples, new samples]


def resampled_length(samples: int, old: int, new: int) -> int:
    """How many samples `samples` of rate `old` become at rate `new`; any unit of the rates."""
    return -(-samples * new // old)


def resample(
    read: Callable[[int, int], np.ndarray], total: int, start: int, stop: int, old: int, new: int
) -> np.ndarray:
    """Samples [start, stop) of a recording of rate `old` at rate `new`: float32.

    read(a, b): its samples [a, b) at the old rate, of `total`; silence is around them. old and new have no common
    factor. The same samples come, to rounding (1e-6 of the loudest), whatever part is asked for.
    """
    span, made, margin, pieces = filters(old, new)
    parts = [np.empty(0, "float32")]
    first, last = start // made, -(-stop // made)
    step = max(_AT_ONCE // span, 1)
    for period in range(first, last, step):
        count = min(step, last - period)
        begin, end = period * span - margin, (period + count) * span + margin + 1
        inside, outside = max(begin, 0), max(min(end, total), 0)
        samples = np.zeros(end - begin, "float32")
        if inside < outside:
            samples[inside - begin : outside - begin] = read(inside, outside)
        part = np.empty((count, made), "float32")
        for piece in pieces:
            taps, width = piece.kernel.shape
            rows = sliding_window_view(samples[piece.start + margin :], taps)[::span][:count]
            # a copy: BLAS takes no rows that overlap
            part[:, piece.first : piece.first + width] = np.ascontiguousarray(rows) @ piece.kernel
        parts.append(part.ravel())
    return np.concatenate(parts)[start - first * made :][: stop - start]


@lru_cache(maxsize=8)
def filters(old: int, new: int) -> tuple[int, int, int, list[Piece]]:
    """Old and new samples of a period, old samples that its filters reach beyond it, and the filters.

    old and new have no common factor. A period is long enough that neighbouring filters share most of the samples they
    read. Rates that have little in common have long periods, which are filtered piece by piece.
    """
    slower = max(1.0, old / new)  # old samples in one of the lower rate
    margin = math.ceil(_REACH * slower)
    wanted = max(round(2 * margin * new / old), 1)
    times = max(wanted // new, 1)
    span, made = times * old, times * new
    pieces = []
    for first in range(0, made, wanted if times == 1 else made):
        at = np.arange(first, min(first + wanted, made) if times == 1 else made) * (old / new)  # old samples
        start = math.floor(at[0]) - margin
        distance = np.arange(start, math.floor(at[-1]) + margin + 2)[:, None] - at
        window = np.i0(_BETA * np.sqrt(np.clip(1 - (distance / (_REACH * slower)) ** 2, 0, None)))
        window[np.abs(distance) > _REACH * slower] = 0
        kernel = np.sinc(distance * (_CUTOFF / slower)) * window
        pieces.append(Piece(first, start, (kernel / kernel.sum(0)).astype("float32")))
    return span, made, margin, pieces
