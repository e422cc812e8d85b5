"""Kaldi archives of float32 matrices and vectors: written, read in parts, read whole. The one home of the format.

An entry: name, blank, `\\0B`, the kind (`FM ` or `FV `), each size as the byte 4 and a 32-bit integer, the values.
"""

import math
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from asdkit.utils.files import atomic_path, read_scp, remove_stale, write_text

CHUNKS = ".chunks"  # ends the name of an archive with a row for each chunk of a clip
BLOCK = 4096  # clips whose arrays are looked at together
LONGEST = 1 << 16  # bytes of a name
MATRIX, VECTOR = b"\0BFM ", b"\0BFV "


class ArkWriter:
    """Appends matrices or vectors to an open archive and remembers where each begins."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.offsets: dict[str, int] = {}

    def write(self, utt: str, array: np.ndarray) -> None:
        """Append float32 [rows, columns] or [values]."""
        assert array.dtype == np.float32 and array.ndim in (1, 2), (array.dtype, array.shape)
        name = f"{utt} ".encode()
        self.offsets[utt] = self.file.tell() + len(name)
        sizes = b"".join(b"\4" + size.to_bytes(4, "little") for size in array.shape)
        self.file.write(name + (MATRIX if array.ndim == 2 else VECTOR) + sizes)
        self.file.write(np.ascontiguousarray(array, "<f4").data)


@contextmanager
def open_ark(path: str | Path) -> Iterator[ArkWriter]:
    """Write `path` and then the index beside it (.scp, absolute paths); both appear when the block ends well.

    Temporary archives that killed runs left, which can be large, are removed.
    """
    path = Path(path).absolute()
    remove_stale(path)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        writer = ArkWriter(file)
        yield writer
    lines = [f"{utt} {path}:{offset}\n" for utt, offset in writer.offsets.items()]
    write_text(path.with_suffix(".scp"), "".join(lines))


def write_ark(path: str | Path, table: dict[str, np.ndarray]) -> None:
    """Write a whole archive and its index, sorted by name."""
    with open_ark(path) as ark:
        for utt in sorted(table):
            ark.write(utt, table[utt])


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
    return np.frombuffer(data, "<f4").reshape(frames, cols)


def read_ark(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of an archive, read in one pass: name -> float32 [values] or [rows, columns].

    Nothing but float matrices and vectors is accepted. Raises ValueError, naming file and clip, for an archive that is
    missing, cut short (between two entries: as its index tells, where there is one) or damaged, and for a name that
    occurs twice.
    """
    path = Path(path)
    with _opened(path) as file:
        content = memoryview(file.read())
        table = {
            utt: np.frombuffer(content[start : start + size], "<f4").reshape(shape)
            for utt, start, size, shape in _entries(path, file)
        }
    _check_index(path, table)
    return table


class StoredArrays:
    """The arrays of `utts`, in this order, of the archive `path` with its .scp; rows are read when they are asked for.

    `shape` [clips, ...] and `ndim` as of the whole. They are vectors, or matrices of one shape. Raises ValueError,
    naming file and clip, where `read_ark` does, when the archive differs from its index, holds arrays of several shapes
    or a row for each chunk of a clip, NaN or infinity, or lacks a clip.
    """

    def __init__(self, path: str | Path, utts: list[str]) -> None:
        self.path, self.utts = Path(path), utts
        if self.path.stem.endswith(CHUNKS):
            raise ValueError(f"{path}: holds a row for each chunk: detectors take an array of each clip")
        rows = {utt: row for row, utt in enumerate(utts)}
        self.starts, shapes = np.full(len(utts), -1), {}
        with _opened(self.path) as file:
            self.state, others = _state(file), set()
            for utt, start, _, shape in _entries(self.path, file):
                if utt in rows:
                    self.starts[rows[utt]] = start
                    shapes.setdefault(shape, rows[utt])
                    shapes[shape] = min(shapes[shape], rows[utt])
                else:
                    others.add(utt)
        _check_index(self.path, others | {utt for utt, row in rows.items() if self.starts[row] >= 0})
        if (missing := np.flatnonzero(self.starts < 0)).size:
            raise ValueError(
                f"{path}: no {self.path.stem} of {len(missing)} of {len(utts)} clips: "
                f"{', '.join(utts[row] for row in missing[:3])}{', ...' if len(missing) > 3 else ''}. Run stage 4 again"
            )
        if not utts:
            raise ValueError(f"{path}: the {self.path.stem} of no clip is asked for; the manifest has no rows")
        first, *more = sorted(shapes, key=shapes.__getitem__)
        if more:
            one, other = (" x ".join(map(str, size)) for size in (first, more[0]))
            utt = utts[shapes[more[0]]]
            raise ValueError(f"{path}: {utt!r} has {other} dimensions, {utts[0]!r} has {one}; run stage 4 again")
        self.shape, self.ndim = (len(utts), *first), 1 + len(first)
        for start, x in self.blocks():
            energy = np.einsum("nd,nd->n", *[x.reshape(len(x), -1)] * 2, dtype=np.float64)
            if not (usable := np.isfinite(energy)).all():
                raise ValueError(f"{path}: {utts[start + int(usable.argmin())]!r} holds NaN or infinity")

    def __len__(self) -> int:
        return len(self.utts)

    def __getitem__(self, rows: slice | Sequence[int] | np.ndarray) -> np.ndarray:
        """Some rows, float32 [chosen, ...]; raises ValueError where the archive has changed since it was opened."""
        starts = self.starts[rows if isinstance(rows, slice) else np.asarray(rows, int)]
        x = np.empty((len(starts), *self.shape[1:]), "<f4")
        with _opened(self.path) as file:
            if _state(file) != self.state:
                raise ValueError(f"{self.path}: written anew while it was read: run the stage again")
            for start, row in zip(starts.tolist(), x, strict=True):
                file.seek(start)
                if file.readinto(row.data.cast("B")) != row.nbytes:
                    raise ValueError(f"{self.path}: cut short while it was read; run stage 4 again")
        return x

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """All rows some at a time: where they begin, and they themselves."""
        for start in range(0, len(self), BLOCK):
            yield start, self[start : start + BLOCK]

    def check_directions(self) -> None:
        """Raise ValueError naming the first clip whose array is zeros alone."""
        for start, x in self.blocks():
            check_directions(self.path, self.utts[start:], x)


def read_arrays(path: str | Path, utts: list[str]) -> np.ndarray:
    """All rows of `StoredArrays`, [clips, ...] float32; errors as there."""
    return StoredArrays(path, utts)[:]


def check_directions(path: str | Path, utts: list[str], x: np.ndarray) -> None:
    """Raise ValueError naming the first clip whose array, of `read_arrays`, is zeros alone."""
    if not (found := x.reshape(len(x), -1).any(axis=1)).all():
        raise ValueError(
            f"{path}: {utts[int(found.argmin())]!r} is a zero vector, which has no direction; listen to the recording: "
            "is it silent? Leave it out, or take another distance than cosine"
        )


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        file = open(path, "rb", buffering=1 << 16)  # noqa: SIM115 - closed below
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}; has stage 4 been run?") from None
    with file:
        yield file


def _state(file: BinaryIO) -> tuple[int, int, int]:
    found = os.fstat(file.fileno())
    return found.st_ino, found.st_size, found.st_mtime_ns


def _check_index(path: Path, there: Collection[str]) -> None:
    index = path.with_suffix(".scp")
    if lost := [utt for utt in (read_scp(index) if index.exists() else ()) if utt not in there]:
        raise ValueError(f"{path}: {lost[0]!r}, which {index.name} lists, is not in it: cut short? Run stage 4 again")


def _entries(path: str | Path, file: BinaryIO) -> Iterator[tuple[str, int, int, tuple[int, ...]]]:
    """Name, start of the values, their bytes, and shape of each entry of an open archive."""
    whole, position, utt, seen = os.fstat(file.fileno()).st_size, 0, "", set()
    while position < whole:
        last = utt or "its start"
        file.seek(position)
        name, kind = _until_blank(file), file.read(len(MATRIX))
        if name is None or len(kind) < len(MATRIX):
            raise ValueError(f"{path}: cut short after {last}; run stage 4 again")
        utt = name.decode("utf-8", "replace")
        sizes = {MATRIX: 2, VECTOR: 1}.get(kind, 0)
        head = file.read(5 * sizes)
        if not sizes or any(byte != 4 for byte in head[::5]):
            raise ValueError(f"{path}: after {last}, {utt[:80]!r} is not followed by a float vector; run stage 4 again")
        shape = tuple(int.from_bytes(head[5 * i + 1 : 5 * i + 5], "little") for i in range(sizes))
        start, size = file.tell(), 4 * math.prod(shape)
        position = start + size
        if len(head) < 5 * sizes or position > whole or size == 0:
            raise ValueError(f"{path}: cut short within the values of {utt!r}; run stage 4 again")
        if utt in seen:
            raise ValueError(f"{path}: {utt!r} occurs twice; run stage 4 again")
        seen.add(utt)
        yield utt, start, size, shape


def _until_blank(file: BinaryIO) -> bytes | None:
    """What comes before the next blank, after which the file then stands; None where there is none.

    Of what is no name, for it is too long, the beginning.
    """
    start, found = file.tell(), b""
    while len(found) < LONGEST:
        if not (part := file.read(1 << 8)):
            return None
        found += part
        if (end := found.find(b" ")) >= 0:
            file.seek(start + end + 1)
            return found[:end]
    return found


@contextmanager
def _at(ark_path: str | Path, offset: int) -> Iterator[tuple[BinaryIO, int, int]]:
    try:
        file = open(ark_path, "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise ValueError(f"{ark_path}: cannot be opened: {error.strerror}") from None
    with file:
        file.seek(offset)
        head = file.read(len(MATRIX) + 10)
        if len(head) < len(MATRIX) + 10 or not head.startswith(MATRIX) or head[5] != 4 or head[10] != 4:
            raise ValueError(f"{ark_path}:{offset}: no uncompressed float matrix there: dump the features again")
        rows, cols = (int.from_bytes(head[start : start + 4], "little") for start in (6, 11))
        if offset + len(head) + 4 * rows * cols > os.fstat(file.fileno()).st_size:
            raise ValueError(f"{ark_path}:{offset}: ends early: dump the features again")
        yield file, rows, cols
