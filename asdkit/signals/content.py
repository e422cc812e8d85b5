"""What a whole recording holds: a digest of its samples, its peak, the level of each channel."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asdkit.signals.recording import open_recording
from asdkit.utils.cli import progress

_AT_ONCE = 16  # recordings that a thread measures before it is given more


@dataclass(frozen=True)
class Content:
    """A recording decoded whole, at its own rate.

    digest: SHA-256 of rate, channels and samples, the same for a wav and its flac copy. samples: of each channel. rate:
    Hz. peak: largest magnitude over the channels, full scale = 1. rms: root mean square of each channel about its mean,
    so that one that stands still has 0.
    """

    digest: str
    samples: int
    rate: int
    peak: float
    rms: tuple[float, ...]


def measure(path: str | Path) -> Content:
    """Decode a recording once, block by block; raises ValueError naming it when it is broken anywhere."""
    with open_recording(path) as recording:
        recording.check_end(whole=True)
        channels, frames = recording.channels, recording.frames
        digest = hashlib.sha256(f"{recording.rate} {channels}\n".encode())
        peak, power, total = 0.0, np.zeros(channels), np.zeros(channels)
        for block in recording.blocks(0, frames):  # [T, C]
            digest.update(np.ascontiguousarray(block, "<f4"))
            peak = max(peak, float(block.max()), -float(block.min()))
            power += np.einsum("tc,tc->c", block, block, dtype=np.float64)
            total += block.sum(axis=0, dtype=np.float64)
        variance = np.maximum(power / frames - (total / frames) ** 2, 0)
        rms = tuple(float(value) for value in np.sqrt(variance))
        return Content(digest.hexdigest(), frames, recording.rate, peak, rms)


def measure_all(paths: Sequence[str | Path], workers: int) -> Iterator[Content]:
    """`measure` of each path, in their order, several at a time, with progress; raises for the first broken file."""

    def some(first: int) -> list[Content]:
        return [measure(path) for path in paths[first : first + _AT_ONCE]]

    with ThreadPoolExecutor(max(workers, 1)) as pool:
        parts = pool.map(some, range(0, len(paths), _AT_ONCE))
        yield from progress((content for part in parts for content in part), "reading recordings", len(paths))
