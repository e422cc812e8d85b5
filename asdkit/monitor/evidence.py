"""Where a clip's sound differs most from that of a normal one: a band, a time, and how much louder or quieter.

Levels of a clip in bands and steps of time are held against the mean level of one training clip in each band. What
varies from step to step in that clip, or from clip to clip in training, counts less: a difference is divided by both.
The times of two clips are not compared, for most recordings begin anywhere in what a machine does.
"""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

BANDS = 32  # at most
FRAME = 0.064  # seconds
SHORTEST = 1024  # samples of a frame: fewer tell no bands
POOL = 4  # frames, half of each over the next, of a step of time
BREAK = 700 / 16000  # of the rate: bands are of equal width below it, of equal ratio above, as on the mel scale
FLOOR = -120.0  # dB of full scale
RANGE = 70.0  # dB below the loudest band: what lies deeper is not heard
LEAST = 1.0  # dB: smaller variation is not believed
USUAL = (2.2, 3.5)  # largest of some tens of bands, and of some thousands of cells, where nothing differs
STEADY = 1.25  # what is there all the time is loudest at some time
WHOLE = 0.8  # of a clip: what lasts longer is there all the time
_AT_ONCE = 4096  # frames in memory


class Spectra(NamedTuple):
    """Levels in dB of training clips in bands: edges [B + 1] in Hz, mean [N, B] and deviation [N, B] over time."""

    edges: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


class Difference(NamedTuple):
    """A band (Hz) and a time (s) in which a clip is louder by so many `db` (below 0: quieter) than a training clip.

    throughout: that is so most of the clip. unusual: size over what may be expected where nothing differs; at 1 or
    below it is no evidence.
    """

    low: float
    high: float
    start: float
    end: float
    db: float
    throughout: bool
    unusual: float


def band_edges(rate: int) -> np.ndarray:
    """Where the bands of recordings at `rate` Hz begin and end, [B + 1] Hz."""
    return _bins(rate) * rate / frame(rate)


def frame(rate: int) -> int:
    """Samples of a frame, a power of two."""
    return max(SHORTEST, 1 << int(np.ceil(np.log2(FRAME * rate))))


def step(rate: int) -> float:
    """Seconds of a step of time."""
    return POOL * frame(rate) / 2 / rate


def levels(samples: np.ndarray, rate: int) -> np.ndarray:
    """Levels in dB of full scale of samples [T] at `rate` Hz: float32 [steps, B], the lowest band first."""
    size, bins = frame(rate), _bins(rate)
    if len(samples) < size:
        samples = np.resize(samples, size)  # repeated
    window = np.hanning(size).astype(np.float32)
    frames = sliding_window_view(samples, size)[:: size // 2]  # [F, size]
    power = np.empty((len(frames), len(bins) - 1))
    for first in range(0, len(frames), _AT_ONCE):
        found = np.abs(np.fft.rfft(frames[first : first + _AT_ONCE] * window)) ** 2
        power[first : first + len(found)] = np.add.reduceat(found[:, : bins[-1]], bins[:-1], axis=1)
    power *= 2 / (len(window) * np.square(window).sum())
    starts = np.arange(0, len(power), POOL)
    counts = np.diff(np.append(starts, len(power)))
    pooled = np.add.reduceat(power, starts, axis=0) / counts[:, None]
    return (10 * np.log10(np.maximum(pooled, 10 ** (FLOOR / 10)))).astype(np.float32)


def summary(course: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation over time, float32 [B] each, of `levels` [steps, B]: what is kept of a training clip."""
    return course.mean(axis=0), course.std(axis=0)


def loudness(mean: np.ndarray) -> np.ndarray:
    """Level in dB of all bands together, [...] of levels [..., B]."""
    return 10 * np.log10((10 ** (mean / 10)).sum(axis=-1))


def most_alike(course: np.ndarray, known: Spectra) -> int:
    """Number of the training clip whose mean spectrum is nearest, for detectors that name none."""
    return int(np.square(known.mean - course.mean(axis=0)).sum(axis=1).argmin())


def largest(course: np.ndarray, known: Spectra, nearest: int, seconds: float, rate: int) -> Difference:
    """Where `levels` [steps, B] of a clip of so many seconds differ most from those of training clip `nearest`."""
    own = known.mean[nearest]
    floor = max(FLOOR, float(own.max()) - RANGE)
    moved = np.maximum(course, floor) - np.maximum(own, floor)  # [steps, B]
    among = np.maximum(known.mean, floor).std(axis=0)  # [B] from clip to clip
    steady = moved.mean(axis=0) / np.hypot(among, LEAST)
    momentary = moved / np.sqrt(among**2 + known.deviation[nearest] ** 2 + LEAST**2)
    always = STEADY * np.abs(steady).max() / USUAL[0] >= np.abs(momentary).max() / USUAL[1]
    if always:
        first, last = 0, len(course)
        bands = _around(steady, int(np.abs(steady).argmax()))
        unusual = float(np.abs(steady).max()) / USUAL[0]
    else:
        t, b = np.unravel_index(int(np.abs(momentary).argmax()), momentary.shape)
        first, last = _around(momentary[:, b], int(t))
        bands = _around(momentary[first:last].mean(axis=0), int(b))
        unusual = float(abs(momentary[t, b])) / USUAL[1]
    edges = known.edges
    start, end = first * step(rate), min(last * step(rate), seconds) if last < len(course) else seconds
    return Difference(
        low=float(edges[bands[0]]),
        high=float(edges[bands[1]]),
        start=min(start, seconds),
        end=end,
        db=float(moved[first:last, bands[0] : bands[1]].mean()),
        throughout=end - start >= WHOLE * seconds,
        unusual=unusual,
    )


def _around(values: np.ndarray, peak: int) -> tuple[int, int]:
    """The stretch around `peak` [first, last) in which values [N] have its sign and at least half its size."""
    inside = values * np.sign(values[peak]) >= abs(values[peak]) / 2
    outside = np.flatnonzero(~inside)
    before, after = outside[outside < peak], outside[outside > peak]
    return int(before[-1]) + 1 if len(before) else 0, int(after[0]) if len(after) else len(values)


def _bins(rate: int) -> np.ndarray:
    """Numbers of the transform's bins at which the bands begin, and the one where the last ends: [B + 1]."""
    size, middle = frame(rate), BREAK * rate
    ends = np.log1p(np.array([rate / 320, rate / 2]) / middle)  # 50 Hz at 16 kHz
    hertz = middle * np.expm1(np.linspace(*ends, BANDS + 1))
    return np.unique(np.maximum(np.rint(hertz * size / rate), 1).astype(int))
