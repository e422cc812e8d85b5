"""What a whole recording holds: a digest of its samples, its peak, the level of each channel."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asdkit.signals.formats import open_signal
from asdkit.signals.recording import BLOCK, Signal
from asdkit.utils.cli import progress

_ONES = np.ones(BLOCK, np.float32)
_FEW = 64  # samples whose mean tells about where a channel lies
_AT_ONCE = 16  # recordings that a thread measures before it is given more


@dataclass(frozen=True)
class Content:
    """A recording decoded whole, at its own rate.

    digest: SHA-256 of rate, channels and samples, the same for a wav and its flac copy. samples: of each channel. rate:
    Hz. peak: largest magnitude over the channels, full scale = 1 or in the declared unit. rms: root mean square of each
    channel about its mean, so that one that stands still has 0.
    """

    digest: str
    samples: int
    rate: int
    peak: float
    rms: tuple[float, ...]


def measure(path: str | Path, signal: Signal | None = None) -> Content:
    """Decode a recording once, block by block; raises ValueError naming it when it is broken anywhere.

    signal: what of the file it is.
    """
    with open_signal(path, signal) as recording:
        recording.check_end(whole=True)
        channels, frames = recording.channels, recording.frames
        steps = recording.steps  # half the bytes to hash, and no conversion before it
        scale = 2.0**-15 if steps else 1.0
        digest = _Digest(f"{recording.rate} {channels}")
        peak, power, total, shift = 0.0, np.zeros(channels), np.zeros(channels), np.zeros(channels, np.float32)
        for number, block in enumerate(recording.blocks(0, frames, "int16" if steps else "float32")):  # [T, C]
            digest.update(block)
            peak = max(peak, float(block.max()), -float(block.min()))
            if number == 0:
                shift = block[:_FEW].mean(axis=0, dtype=np.float32)
            moved = block - shift  # an offset would take the digits of what varies about it
            power += np.einsum("tc,tc->c", moved, moved)
            total += _ONES[: len(moved)] @ moved  # quicker than a sum over the first axis
        variance = np.maximum(power / frames - (total / frames) ** 2, 0)
        rms = tuple(float(value) * scale for value in np.sqrt(variance))
        return Content(digest.hexdigest(), frames, recording.rate, peak * scale, rms)


def channel_digest(path: str | Path, channel: int) -> str:
    """The `digest` that one channel of a recording has as a recording of its own; errors as for `measure`."""
    with open_signal(path) as recording:
        digest = _Digest(f"{recording.rate} 1")
        for block in recording.blocks(0, recording.frames, "int16" if recording.steps else "float32"):  # [T, C]
            digest.update(block[:, channel : channel + 1])
        return digest.hexdigest()


class _Digest:
    """SHA-256 of samples that is the same whatever container they come from: of integers of 16 bits where all of them
    are such, of float32 otherwise, little endian, [T, C] row by row; `head`, what else counts, comes before them.
    """

    def __init__(self, head: str) -> None:
        self.steps: Any = hashlib.sha256(f"{head} int16\n".encode())
        self.floats: Any = hashlib.sha256(f"{head} float32\n".encode())

    def update(self, block: np.ndarray) -> None:
        if block.dtype == np.int16:
            self.floats = None  # of a file of 16 bits
            self.steps.update(np.ascontiguousarray(block, "<i2"))
            return
        self.floats.update(np.ascontiguousarray(block, "<f4"))
        if self.steps:
            scaled = block * np.float32(2**15)
            fits = (scaled == np.rint(scaled)).all() and scaled.min() >= -(2**15) and scaled.max() < 2**15
            if fits:
                self.steps.update(np.ascontiguousarray(scaled, "<i2"))
            else:
                self.steps = None

    def hexdigest(self) -> str:
        return (self.steps or self.floats).hexdigest()


def measure_all(paths: Sequence[str | Path], workers: int, signal: Signal | None = None) -> Iterator[Content]:
    """`measure` of each path, in their order, several at a time, with progress; raises for the first broken file."""

    def some(first: int) -> list[Content]:
        return [measure(path, signal) for path in paths[first : first + _AT_ONCE]]

    with ThreadPoolExecutor(max(workers, 1)) as pool:
        parts = pool.map(some, range(0, len(paths), _AT_ONCE))
        yield from progress((content for part in parts for content in part), "reading recordings", len(paths))
