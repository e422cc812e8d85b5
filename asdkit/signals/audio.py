"""Reading recordings: parts of them, one channel, one sample rate, and nothing that is broken."""

import io
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from asdkit.utils.cli import progress

SUFFIXES = (".wav", ".flac")
_UNKNOWN_SIZE = 0xFFFFFFFF  # length field of a wav that was written to a pipe


@dataclass(frozen=True)
class AudioInfo:
    """A recording's header. frames: samples at the reader's rate; rate: Hz, of the file; is_float: may hold NaN."""

    frames: int
    rate: int
    channels: int
    is_float: bool


@dataclass(frozen=True)
class AudioReader:
    """Reads wav and flac files of one rate (Hz).

    channel: None takes mono files only, N takes that channel. resample: other rates are resampled, else refused.
    """

    sample_rate: int = 16000
    channel: int | None = None
    resample: bool = False

    def check_rate(self, rate: int) -> None:
        """Raise ValueError unless recordings are read at `rate`, the encoder's (Hz)."""
        if self.sample_rate != rate:
            raise ValueError(
                f"the encoder works at {rate} Hz, the dataset description says {self.sample_rate} Hz: "
                f"set 'sample_rate: {rate}' and 'resample: true' there and run stage 1 again"
            )

    def info(self, path: str | Path) -> AudioInfo:
        """Check a recording's header and size without reading samples; raises ValueError naming the file."""
        with self._open(path) as file:
            new, old = self._ratio(file.samplerate)
            frames = -(-file.frames * new // old)
            return AudioInfo(frames, file.samplerate, file.channels, file.subtype in ("FLOAT", "DOUBLE"))

    def read(self, path: str | Path, start: int = 0, frames: int = -1) -> np.ndarray:
        """Samples [start, start + frames) at the reader's rate as float32 [T] in [-1, 1]; frames -1: to the end.

        Reads only that part of the file. Raises ValueError naming the file when it is broken, ends early, holds NaN
        or infinity, or has another rate or number of channels than asked for.
        """
        with self._open(path) as file:
            new, old = self._ratio(file.samplerate)
            total = -(-file.frames * new // old)
            stop = total if frames < 0 else start + frames
            if not 0 <= start <= stop <= total:
                raise ValueError(f"{path}: samples {start} to {stop} asked for, the recording has {total}")
            if new == old:
                return self._samples(file, path, start, stop)
            return self._resampled(file, path, start, stop, new, old)

    def _resampled(
        self, file: soundfile.SoundFile, path: str | Path, start: int, stop: int, new: int, old: int
    ) -> np.ndarray:
        # The filter maps each block of `old` samples to `new` samples and reaches `width` samples to either side:
        # whole blocks read with that much around them give exactly what resampling the whole file gives.
        import torch
        from torchaudio.functional import resample

        width = math.ceil(6 * old / (0.99 * min(old, new)))  # torchaudio's default low-pass width and roll-off
        margin = -(-width // old)
        first = max(start // new - margin, 0)
        last = min((-(-stop // new) + margin) * old, file.frames)
        samples = torch.from_numpy(self._samples(file, path, first * old, last))
        offset = start - first * new
        return resample(samples, old, new).numpy()[offset : offset + stop - start]

    def _samples(self, file: soundfile.SoundFile, path: str | Path, start: int, stop: int) -> np.ndarray:
        try:
            file.seek(start)
            samples = file.read(stop - start, dtype="float32")  # [T] or [T, C]
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{path}: broken at sample {start} or later: {error.error_string}") from None
        if len(samples) != stop - start:
            raise ValueError(f"{path}: ends early: {len(samples)} of {stop - start} samples from {start} on")
        if samples.ndim == 2:
            samples = np.ascontiguousarray(samples[:, self.channel])
        if not np.isfinite(samples).all():
            raise ValueError(f"{path}: holds NaN or infinite samples")
        return samples

    def _ratio(self, rate: int) -> tuple[int, int]:
        common = math.gcd(self.sample_rate, rate)
        return self.sample_rate // common, rate // common

    @contextmanager
    def _open(self, path: str | Path) -> Iterator[soundfile.SoundFile]:
        _check_file(path)
        try:
            file = soundfile.SoundFile(path)
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{path}: not a readable wav or flac file: {error.error_string}") from None
        with file:
            self._check_header(file, path)
            yield file

    def _check_header(self, file: soundfile.SoundFile, path: str | Path) -> None:
        if file.frames == 0:
            raise ValueError(f"{path}: holds no samples")
        if file.channels > 1 and self.channel is None:
            raise ValueError(
                f"{path}: has {file.channels} channels: choose one with 'channel' in the dataset description "
                "(./run.sh --channel 0, in egs/pretrain --set sound.channel=0 or --probe-channel 0)"
            )
        if self.channel is not None and self.channel >= file.channels:
            raise ValueError(
                f"{path}: channel {self.channel} asked for, the recording has {file.channels} (0 is first)"
            )
        if file.samplerate != self.sample_rate and not self.resample:
            raise ValueError(
                f"{path}: {file.samplerate} Hz, expected {self.sample_rate} Hz: set 'resample: true' in the dataset "
                "description (./run.sh --resample true), or convert the recordings"
            )


def frame_counts(reader: AudioReader, paths: list[str], content: bool = False) -> list[int]:
    """Samples (at the reader's rate) of each recording, from their headers, several at a time.

    `content`: also read floating-point recordings whole, for only they can hold NaN, and the last sample of a flac,
    whose header does not tell whether it is cut. Raises ValueError naming the first broken file.
    """

    def count(path: str) -> int:
        info = reader.info(path)
        if content and info.is_float:
            reader.read(path)
        elif content and not path.lower().endswith(".wav"):
            reader.read(path, info.frames - 1)
        return info.frames

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(progress(pool.map(count, paths), "reading headers", len(paths)))


def _check_file(path: str | Path) -> None:
    """Raise ValueError for a file that is missing, empty, or a wav shorter than its header says.

    libsndfile reads such a wav without complaint as far as it goes.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise ValueError(f"{path}: an empty file (0 bytes)")
            if str(path).lower().endswith(".wav"):
                _check_wav_length(file, size, path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be opened: {error.strerror}") from None


def _check_wav_length(file: io.FileIO, size: int, path: str | Path) -> None:
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return
    position = len(head)
    while len(chunk := file.read(8)) == 8:
        length = int.from_bytes(chunk[4:], "little")
        position += 8
        if chunk[:4] == b"data":
            if length != _UNKNOWN_SIZE and position + length > size:
                held = size - position
                raise ValueError(
                    f"{path}: truncated: the header promises {length} bytes of samples, the file holds {held}"
                )
            return
        position += length + length % 2
        file.seek(position)
