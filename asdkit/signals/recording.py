"""One recording file: opened, its header checked against what it holds, read in parts."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from asdkit.signals.flac import holds_another, samples_behind
from asdkit.signals.headers import Wav, read_wav

_UNKNOWN_LENGTH = 2**63 - 1  # what libsndfile says of a flac without a length
_LOUDEST = 16  # 24 dB over full scale: no microphone's overs, but samples in other units
BLOCK = 1 << 18  # samples of all channels that are in memory at once
_OTHERS = {b"OggS": "Ogg", b"FORM": "AIFF", b"caff": "CAF", b".snd": "AU", b"\xff\xfb": "mp3", b"\xff\xf3": "mp3"}


@dataclass(frozen=True)
class Signal:
    """What of a file is the recording, as it was declared.

    variable: name of the array in files that hold several. rate: Hz, of files that tell none. unit: what samples are
    in; None: full scale is 1. scale: what 1 in the file is in that unit; None: the file says so. full_scale: what in
    that unit a network hears as 1; None: 1.
    """

    variable: str | None = None
    rate: int | None = None
    unit: str | None = None
    scale: float | None = None
    full_scale: float | None = None


@dataclass(frozen=True)
class Recording:
    """An open wav or flac file; `frames`: samples of each channel, at its own rate."""

    path: str | Path
    file: soundfile.SoundFile
    frames: int
    start: int  # byte at which the file proper begins
    scale: float | None = None  # what full scale is in the unit asked for; None: full scale is 1

    @property
    def rate(self) -> int:
        """Sample rate, Hz."""
        return self.file.samplerate

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.file.channels

    @property
    def coded(self) -> bool:
        """Whether some bytes in place of its samples are none, so that only decoding tells."""
        return self.floating or self.file.format == "FLAC"

    @property
    def floating(self) -> bool:
        """Whether its samples are floating-point numbers, which alone can be none, or beyond full scale."""
        return self.file.subtype in ("FLOAT", "DOUBLE")

    @property
    def steps(self) -> bool:
        """Whether its samples are to be had as integers of 16 bits."""
        return self.file.subtype == "PCM_16" and self.scale is None

    def read(self, start: int, stop: int, dtype: str = "float32") -> np.ndarray:
        """Samples [start, stop) of all channels: float32 [T, C], full scale 1; or `dtype` int16, full scale 2^15.

        In the unit asked for, where the file was opened with one.

        Raises ValueError naming the file where it is broken or ends early, or holds what are no samples.
        """
        try:
            if self.file.tell() != start:  # to seek in a flac is to decode
                self.file.seek(start)
            samples = self.file.read(stop - start, dtype=dtype, always_2d=True)
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{self.path}: broken at sample {start} or later: {error.error_string}") from None
        if len(samples) != stop - start:
            raise ValueError(f"{self.path}: ends early: {len(samples)} of {stop - start} samples from {start} on")
        if self.floating and samples.size:
            check_floats(samples, self.path, self.scale is not None)
        return samples if self.scale is None else samples * np.float32(self.scale)

    def blocks(self, start: int, stop: int, dtype: str = "float32") -> Iterator[np.ndarray]:
        """Samples [start, stop) as `read` gives them, in blocks of bounded size."""
        step = max(BLOCK // self.channels, 1)
        for first in range(start, stop, step):
            yield self.read(first, min(first + step, stop), dtype)

    def check_end(self, whole: bool = False) -> None:
        """Raise ValueError, naming the file, where a flac does not end where its header says.

        `whole`: nor another one lies behind it, for which all its bytes are looked at.
        """
        if self.file.format != "FLAC":
            return
        self.read(self.frames - 1, self.frames)
        if more := samples_behind(self.path, self.start, self.frames):
            raise ValueError(
                f"{self.path}: its header says {self.frames} samples, but the file holds {self.frames + more}: it was "
                "not closed, or is damaged. Make it again from the original recording"
            )
        if whole and holds_another(self.path, self.start):
            raise ValueError(f"{self.path}: another flac file lies behind its samples: take them apart")


@contextmanager
def open_recording(path: str | Path, signal: Signal | None = None) -> Iterator[Recording]:
    """Open a wav or flac file whose header agrees with what it holds; else raises ValueError naming it.

    A unit is asked for with its scale, for such files tell none. What can only be told by decoding is told by
    `Recording.check_end`.
    """
    start, wav = _read_header(path)
    if signal and signal.variable:
        raise ValueError(f"{path}: a sound file has no names: take 'variable: {signal.variable}' out of the channel")
    if signal and signal.unit and signal.scale is None:
        raise ValueError(
            f"{path}: samples are asked for in {signal.unit}, and a sound file tells no unit: declare 'scale', what "
            f"full scale is in {signal.unit}, of the channel in the dataset description"
        )
    try:
        file = soundfile.SoundFile(os.fsencode(path))  # as text, a name that is no UTF-8 cannot be opened
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path}: not a readable wav or flac file: {error.error_string}") from None
    with file:
        if file.frames == _UNKNOWN_LENGTH:
            raise ValueError(
                f"{path}: its header tells no length, as of a file written to a pipe or never closed: write it again "
                "with its length, as by: flac -d in.flac -o out.wav"
            )
        frames = wav.frames(file.frames, path) if wav else file.frames
        if frames == 0:
            raise ValueError(f"{path}: holds no samples")
        yield Recording(path, file, frames, start, signal.scale if signal and signal.unit else None)


def _read_header(path: str | Path) -> tuple[int, Wav | None]:
    """Byte at which the file proper begins, and what its header says; None: a flac. Errors as for `open_recording`."""
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise ValueError(f"{path}: an empty file (0 bytes)")
            start, head = 0, file.read(12)
            if head[:3] == b"ID3" and len(head) == 12:  # a tag of music players before the file proper
                start = 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
                file.seek(start)
                head = file.read(12)
            if head[:4] == b"fLaC":
                return start, None
            if (head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:] == b"WAVE") or head[:4] == b"riff":
                return start, read_wav(file, size, start, path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be opened: {error.strerror}") from None
    name = "mp3" if start else next((name for first, name in _OTHERS.items() if head.startswith(first)), None)
    what = f"it is {name} under another name: convert it, as by: ffmpeg -i in -c:a pcm_s16le out.wav"
    raise ValueError(f"{path}: not a readable wav or flac file: {what if name else f'it begins with {head!r}'}")


def check_regular(path: str | Path) -> None:
    """Raise ValueError naming a folder, a pipe or a device, which may be waited for or has no end."""
    with suppress(OSError):  # of what is not there the opener says more
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError(f"{path}: not a file but a folder, a pipe or a device: copy what it holds into a file")


def shown_unit(unit: str) -> str:
    """A unit in one spelling: m/s² and m/s**2 are m/s^2."""
    return unit.replace("²", "^2").replace("**", "^").replace(" ", "")


def check_floats(samples: np.ndarray, path: str | Path, physical: bool = False) -> None:
    """Raise ValueError naming the file for NaN and infinite samples, and, not `physical`, for those far over 1."""
    peak = float(max(samples.max(), -samples.min()))
    if not np.isfinite(peak):  # max and min of what holds a NaN are NaN
        raise ValueError(f"{path}: holds NaN or infinite samples")
    if physical:
        return
    whole = peak >= 2 and bool((samples == np.rint(samples)).all())
    if whole or peak > _LOUDEST:
        bits = next(bits for bits in (8, 16, 24, 32) if peak <= 2 ** (bits - 1) or bits == 32)
        what = f"integers of {bits} bits, it seems: divide them by {2 ** (bits - 1)} and write them again"
        other = "of another unit, it seems, or damaged: divide them by what full scale is and write them again"
        raise ValueError(
            f"{path}: floating-point samples up to {peak:g}, where full scale is 1: {what if whole else other}. "
            "Samples in a physical unit are declared in 'channels' of the dataset description"
        )
