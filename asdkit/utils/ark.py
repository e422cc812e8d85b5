"""Kaldi archives of float32 matrices from which ranges of rows can be read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import kaldiio
import numpy as np

from asdkit.utils.files import atomic_path, remove_stale, write_text

# "\0B" "FM " then each of rows and columns as the byte 4 and a 32-bit integer
_HEADER = np.dtype([("mark", "S5"), ("four", "i1"), ("rows", "<i4"), ("four2", "i1"), ("cols", "<i4")])


class ArkWriter:
    """Appends matrices or vectors to an open archive and remembers where each begins."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.offsets: dict[str, int] = {}

    def write(self, utt: str, matrix: np.ndarray) -> None:
        """Append float32 [rows, columns] or [values]."""
        self.offsets[utt] = self.file.tell() + len(f"{utt} ".encode())
        kaldiio.save_ark(self.file, {utt: matrix})


@contextmanager
def open_ark(path: str | Path) -> Iterator[ArkWriter]:
    """Write `path` and the index beside it (.scp, absolute paths); both appear when the block ends well.

    Temporary archives that killed runs left, which can be large, are removed.
    """
    path = Path(path).absolute()
    remove_stale(path)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        writer = ArkWriter(file)
        yield writer
    lines = [f"{utt} {path}:{offset}\n" for utt, offset in writer.offsets.items()]
    write_text(path.with_suffix(".scp"), "".join(lines))


def split_location(location: str) -> tuple[str, int]:
    """`path:offset` of an scp line -> (path, offset in bytes)."""
    path, _, offset = location.rpartition(":")
    if not path or not offset.isdigit():
        raise ValueError(f"{location!r} is no archive:offset")
    return path, int(offset)


def matrix_shape(ark_path: str | Path, offset: int) -> tuple[int, int]:
    """(rows, columns) of the float32 matrix at `offset` (bytes); raises ValueError when there is none."""
    with _at(ark_path, offset) as (_, rows, cols):
        return rows, cols


def read_frames(ark_path: str | Path, offset: int, start: int, frames: int) -> np.ndarray:
    """Rows [start, start + frames) of the float32 matrix at `offset` (bytes), as [frames, columns].

    Reads only these rows. Raises ValueError naming the archive when there is no such matrix or it is shorter.
    """
    with _at(ark_path, offset) as (file, rows, cols):
        if not 0 <= start <= start + frames <= rows:
            raise ValueError(f"{ark_path}:{offset}: frames {start} to {start + frames} asked for, it has {rows}")
        file.seek(4 * cols * start, 1)
        data = file.read(4 * cols * frames)
    if len(data) != 4 * cols * frames:
        raise ValueError(f"{ark_path}:{offset}: ends early: dump the features again")
    return np.frombuffer(data, "<f4").reshape(frames, cols)


@contextmanager
def _at(ark_path: str | Path, offset: int) -> Iterator[tuple[BinaryIO, int, int]]:
    try:
        file = open(ark_path, "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise ValueError(f"{ark_path}: cannot be opened: {error.strerror}") from None
    with file:
        file.seek(offset)
        head = file.read(_HEADER.itemsize)
        if len(head) < _HEADER.itemsize or not head.startswith(b"\0BFM "):
            raise ValueError(f"{ark_path}:{offset}: no uncompressed float matrix there: dump the features again")
        fields = np.frombuffer(head, _HEADER)[0]
        yield file, int(fields["rows"]), int(fields["cols"])
