"""Whether a flac file ends where its header says."""

import io
import mmap
from pathlib import Path
from typing import Any

import soundfile

_LENGTH = 18  # the first of eight bytes, of which the last 36 bits are the number of samples
_BITS = 36


class _Claiming(io.FileIO):
    """A flac file from byte `start` on whose header claims `samples` samples."""

    def __init__(self, path: str | Path, start: int, samples: int) -> None:
        super().__init__(path)
        self.seek(start + _LENGTH)
        number = int.from_bytes(self.read(8), "big")
        self.first = start + _LENGTH
        self.claim = (number >> _BITS << _BITS | samples).to_bytes(8, "big")
        self.seek(0)

    def readinto(self, buffer: Any) -> int:
        at = self.tell()
        count = super().readinto(buffer) or 0
        view = memoryview(buffer).cast("B")
        for place in range(max(at, self.first), min(at + count, self.first + 8)):
            view[place - at] = self.claim[place - self.first]
        return count


def samples_behind(path: str | Path, start: int, samples: int) -> int:
    """How many samples a flac file, which begins at byte `start`, holds behind the `samples` that its header tells.

    Only what decides is decoded. Where there are some, and some are damaged, the number may be too small.
    """
    if not _decodes(path, start, samples):
        return 0
    known, step = samples, 1  # `known` decodes
    while _decodes(path, start, known + step):
        known, step = known + step, 2 * step
    while step > 1:
        step //= 2
        known += step if _decodes(path, start, known + step) else 0
    return known + 1 - samples


def holds_another(path: str | Path, start: int) -> bool:
    """Whether a second flac file lies in one that begins at byte `start`; reads all of it."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at = start
        while (at := content.find(b"fLaC", at + 4)) >= 0:
            if content[at + 4 : at + 8] in (b"\0\0\0\x22", b"\x80\0\0\x22"):
                return True
        return False


def _decodes(path: str | Path, start: int, sample: int) -> bool:
    # libFLAC looks for samples below the number that the header claims.
    if sample + 1 >= 1 << _BITS:
        return False
    try:
        with _Claiming(path, start, sample + 1) as file, soundfile.SoundFile(file) as sound:
            sound.seek(sample)
            return len(sound.read(1, dtype="float32")) == 1
    except soundfile.LibsndfileError:
        return False
