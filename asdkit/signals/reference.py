"""A second microphone, far from the machine: what it hears is taken out of the near one's recording."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from asdkit.signals.audio import AudioReader
from asdkit.utils.memory import memory_told

WINDOWS = {"complex": 0.064, "magnitude": 0.032}  # seconds of an STFT frame: 1024 and 512 samples at 16 kHz
SILENT = 1e-7  # RMS below a 24-bit recording's last bit
_FLOOR = 0.1  # of the near magnitude, where the far one is larger
_PEAK = 0.9  # what both microphones' peak is scaled to, so that _EPS means the same at every level
_EPS = 1e-12
_AT_ONCE = 1024  # frames in memory
_FADED = 0.05  # of the window: what a last frame is worth at the recording's end, at least


@dataclass(frozen=True)
class Levels:
    """Of a recording, as standard deviations: both microphones, and what is left of the near one."""

    near: float
    far: float
    left: float

    @property
    def left_db(self) -> float:
        """What is left of the near microphone, dB; 0 where that is silent."""
        return 0.0 if self.near <= SILENT else 20 * float(np.log10(max(self.left / self.near, 1e-10)))


@dataclass(frozen=True)
class TreatedReader(AudioReader):
    """Reads `channel` without what channel `reference` hears of it, as `treat` makes it, at the reader's rate.

    A recording is treated whole, whatever part is asked for. levels: of each recording that was read, by its path.
    """

    reference: int = 1
    how: str = "complex"
    levels: dict[str, Levels] = field(default_factory=dict, compare=False, repr=False)

    def identity(self) -> dict[str, Any]:
        """What samples depend on beside the files and `how`: for done markers."""
        return self._near().identity() | {"reference_channel": self.reference}

    def length(self, path: str | Path, content: bool = False) -> int:
        """As `AudioReader.length`; raises ValueError also for what is too short or lacks the second microphone."""
        found = super().length(path, content)
        check_length(found, self.sample_rate, self.how, path)
        return found

    def read(self, path: str | Path, start: int = 0, samples: int = -1, length: int | None = None) -> np.ndarray:
        """As `AudioReader.read`; raises ValueError also for what is too short or lacks the second microphone."""
        near = super().read(path, length=length)
        check_length(len(near), self.sample_rate, self.how, path)
        far = AudioReader(self.sample_rate, self.reference, self.resample, signal=self.signal).read(path)
        with memory_told(f"taking the second microphone out of {path}, {len(near)} samples", "cut the recording"):
            made = treat(near, far, self.sample_rate, self.how)
        self.levels[str(path)] = Levels(*(float(np.std(x, dtype=np.float64)) for x in (near, far, made)))
        return made[start : len(made) if samples < 0 else start + samples]

    def _near(self) -> AudioReader:
        return AudioReader(self.sample_rate, self.channel, self.resample, signal=self.signal)

    def _check_header(self, channels: int, rate: int, path: str | Path) -> None:
        if self.reference >= channels:
            raise ValueError(
                f"{path}: has {channels} channel{'s' * (channels > 1)}, and data.reference {self.how} takes the second "
                f"microphone from channel {self.reference} (0 is first; reference_channel in the dataset description). "
                "Set data.reference=none, or leave the recording out"
            )
        super()._check_header(channels, rate, path)


def check_length(samples: int, rate: int, how: str, path: str | Path) -> None:
    """Raise ValueError for a recording that is not longer than half a frame."""
    if samples <= (least := frame_length(rate, how) // 2):
        raise ValueError(f"{path}: {samples} samples; data.reference {how} needs more than {least}: a longer recording")


def frame_length(rate: int, how: str) -> int:
    """Samples of an STFT frame, an even number."""
    return 2 * round(WINDOWS[how] * rate / 2)


def treat(near: np.ndarray, far: np.ndarray, rate: int, how: str) -> np.ndarray:
    """`near` without what `far` hears of it: float32 [T] of [T] and [T], at `rate` Hz.

    complex: least squares, one transfer function for the whole recording (`transfer`). magnitude: the difference of the
    magnitudes, at least a tenth of the near one, with its phase (report of Chu and Qian). Neither models delays
    beyond a frame. Both as asd-experiments computes them (kasahart), but for recordings whose end the last frame hardly
    reaches: dividing by its faded window would leave a click of many times full scale there, so a frame is added.
    """
    size = frame_length(rate, how)
    hop, window, level = size // 2, _window(size), scale(near, far)
    frames = _frames(near, far, size)  # [2, N, size]
    segments = np.zeros((frames.shape[1] + 1, hop))  # halves of frames, overlapping, added up
    h = transfer(near, far, rate) if how == "complex" else None
    for start, (c, f) in _spectra(frames, level):  # [B, F] each
        kept = c - h * f if h is not None else c * _gain(np.abs(c), np.abs(f))
        made = np.fft.irfft(kept, size) * window
        segments[start : start + len(made)] += made[:, :hop]
        segments[start + 1 : start + 1 + len(made)] += made[:, hop:]
    segments[1:-1] /= window[:hop] ** 2 + window[hop:] ** 2
    segments[-1] /= window[hop:] ** 2
    return (segments.ravel()[hop : hop + len(near)] * level).astype(np.float32)


def transfer(near: np.ndarray, far: np.ndarray, rate: int) -> np.ndarray:
    """The transfer function from far to near, complex [F]: sum(C conj F) / sum(|F|^2) over all frames."""
    size = frame_length(rate, "complex")
    frames = _frames(near, far, size)[:, : 1 + len(near) // (size // 2)]  # as published: without one that was added
    both, power = 0, _EPS
    for _, (c, f) in _spectra(frames, scale(near, far)):
        both, power = both + (c * f.conj()).sum(0), power + (np.abs(f) ** 2).sum(0)
    return np.asarray(both / power)


def scale(near: np.ndarray, far: np.ndarray) -> float:
    """What both are divided by: their joint peak then is 0.9; 1 where both are silent."""
    return float(max(np.abs(near).max(), np.abs(far).max())) / _PEAK or 1.0


def _gain(near: np.ndarray, far: np.ndarray) -> np.ndarray:
    return np.where(near > far, (near - far) / np.maximum(near, 1e-300), _FLOOR)


def _window(size: int) -> np.ndarray:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)  # Hann's, periodic


def _frames(near: np.ndarray, far: np.ndarray, size: int) -> np.ndarray:
    """Frames [2, N, size] of both, half a frame apart, the first around sample 0; both ends are reflected."""
    both, hop = np.stack([near, far]), size // 2
    beyond = len(near) % hop
    added = hop - beyond if beyond and _window(size)[hop + beyond - 1] < _FADED else 0
    padded = np.pad(both, ((0, 0), (hop, hop + added)), mode="reflect")
    return sliding_window_view(padded, size, axis=1)[:, ::hop]


def _spectra(frames: np.ndarray, level: float) -> Iterator[tuple[int, np.ndarray]]:
    """Some frames at a time, the memory does not hold those of a long recording: number of the first, [2, B, F]."""
    window = _window(frames.shape[-1])
    for start in range(0, frames.shape[1], _AT_ONCE):
        yield start, np.fft.rfft(frames[:, start : start + _AT_ONCE].astype(np.float64) / level * window)
