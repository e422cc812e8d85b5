"""Reading recordings: parts of them, one channel, one sample rate, and nothing that is broken."""

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from asdkit.signals.arrays import ArrayRecording
from asdkit.signals.content import Content
from asdkit.signals.formats import SOUND, open_signal
from asdkit.signals.recording import Recording, Signal
from asdkit.signals.resample import FILTER, resample, resampled_length
from asdkit.utils.cli import progress

RATE = 16000  # Hz, what everything is read at unless the dataset description says otherwise
SUFFIXES = SOUND  # what is looked for unless it says otherwise
_AT_ONCE = 64  # headers that a thread reads before it is given more


@dataclass(frozen=True)
class AudioReader:
    """Reads recordings of one rate (Hz): wav, flac, and the FORMATS of measurements.

    channel: None takes mono files only, N takes that channel. resample: other rates are resampled, else refused.
    signal: what of a file is the recording, where that was declared.
    """

    sample_rate: int = RATE
    channel: int | None = None
    resample: bool = False
    signal: Signal | None = field(default=None, kw_only=True)

    def check_rate(self, rate: int) -> None:
        """Raise ValueError unless recordings are read at `rate`, the encoder's (Hz)."""
        if self.sample_rate != rate:
            raise ValueError(
                f"the encoder works at {rate} Hz, the dataset description says {self.sample_rate} Hz: "
                f"set 'sample_rate: {rate}' and 'resample: true' there and run stage 1 again. Those that take "
                "recordings at their own rate (clap, envelope, fisher, logmel) are told it: "
                f"encoder.sample_rate={self.sample_rate}"
            )

    def length(self, path: str | Path, content: bool = False) -> int:
        """A recording's samples at the reader's rate, from its header, which is checked; raises ValueError naming it.

        The last sample of a flac is decoded, for its header does not tell whether it is cut. `content`: flac
        and floating-point recordings are decoded whole; the bytes of others are samples whatever they are.
        """
        with self._open(path) as recording:
            recording.check_end(content)
            if content and recording.coded:
                for _ in recording.blocks(0, recording.frames):
                    pass
            return self._length(recording.frames, recording.rate)

    def measured_length(self, content: Content, path: str | Path) -> int:
        """`length` of a recording that has been measured; raises ValueError naming it."""
        self._check_header(len(content.rms), content.rate, path)
        return self._length(content.samples, content.rate)

    def read(self, path: str | Path, start: int = 0, samples: int = -1, length: int | None = None) -> np.ndarray:
        """Samples [start, start + samples) at the reader's rate as float32 [T] in [-1, 1]; samples -1: to the end.

        Where a unit was declared they are in that unit, over its full scale if that was declared too.

        Reads only that part of the file. length: of the whole recording, as it was listed. Raises ValueError naming
        the file when it is broken, ends early, holds NaN or infinity, or has another rate, number of channels or
        length than asked for.
        """
        with self._open(path) as recording:
            total = self._length(recording.frames, recording.rate)
            if length not in (None, total):
                raise ValueError(
                    f"{path}: has changed: {total} samples, it had {length} when it was listed. Put the old one back, "
                    "or run stage 1 and those after it again with --force true"
                )
            stop = total if samples < 0 else start + samples
            if not 0 <= start <= stop <= total:
                raise ValueError(f"{path}: samples {start} to {stop} asked for, the recording has {total}")

            def read(first: int, last: int) -> np.ndarray:
                return self._samples(recording, first, last)

            new, old = self._ratio(recording.rate)
            return read(start, stop) if new == old else resample(read, recording.frames, start, stop, old, new)

    def identity(self) -> dict[str, Any]:
        """What samples depend on beside the files: for done markers."""
        return self.settings() | ({"filter": FILTER} if self.resample else {})

    def settings(self) -> dict[str, Any]:
        """What was declared of the recordings; without a declared signal as older versions had it."""
        told = {"sample_rate": self.sample_rate, "channel": self.channel, "resample": self.resample}
        return told | ({f"signal.{key}": value for key, value in vars(self.signal).items()} if self.signal else {})

    def _samples(self, recording: Recording | ArrayRecording, start: int, stop: int) -> np.ndarray:
        blocks = [block[:, self.channel or 0] for block in recording.blocks(start, stop)]
        samples = np.concatenate([np.empty(0, "float32"), *blocks])
        full = self.signal and self.signal.full_scale
        return samples / np.float32(full) if full else samples

    def _length(self, frames: int, rate: int) -> int:
        new, old = self._ratio(rate)
        return resampled_length(frames, old, new)

    def _ratio(self, rate: int) -> tuple[int, int]:
        common = math.gcd(self.sample_rate, rate)
        return self.sample_rate // common, rate // common

    @contextmanager
    def _open(self, path: str | Path) -> Iterator[Recording | ArrayRecording]:
        with open_signal(path, self.signal) as recording:
            self._check_header(recording.channels, recording.rate, path)
            yield recording

    def _check_header(self, channels: int, rate: int, path: str | Path) -> None:
        if channels > 1 and self.channel is None:
            raise ValueError(
                f"{path}: has {channels} channels: choose one with 'channel' in the dataset description "
                "(./run.sh --channel 0, in egs/pretrain --set sound.channel=0 or --probe-channel 0)"
            )
        if self.channel is not None and self.channel >= channels:
            raise ValueError(f"{path}: channel {self.channel} asked for, the recording has {channels} (0 is first)")
        if rate != self.sample_rate and not self.resample:
            raise ValueError(
                f"{path}: {rate} Hz, expected {self.sample_rate} Hz: set 'resample: true' in the dataset "
                "description (./run.sh --resample true), or convert the recordings"
            )


def sample_counts(reader: AudioReader, paths: list[str], content: bool = False) -> list[int]:
    """Length of each recording as by `AudioReader.length`, several at a time, each file opened once.

    Raises ValueError naming the first broken file.
    """

    def count(first: int) -> list[int]:
        return [reader.length(path, content) for path in paths[first : first + _AT_ONCE]]

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        parts = pool.map(count, range(0, len(paths), _AT_ONCE))
        return list(progress(chain.from_iterable(parts), "reading headers", len(paths)))
