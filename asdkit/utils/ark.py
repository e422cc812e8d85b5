"""Kaldi archives of float32 matrices and vectors: written, read in parts, read whole. The one home of the format.

An entry: name, blank, `\\0B`, the kind (`FM ` or `FV `), each size as the byte 4 and a 32-bit integer, the values.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from asdkit.utils.files import atomic_path, read_scp, remove_stale, write_text

CHUNKS = ".chunks"  # ends the name of an archive with a row for each chunk of a clip
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
    content = memoryview(_content(path))
    table = {
        utt: np.frombuffer(content[start:stop], "<f4").reshape(shape)
        for utt, start, stop, shape in _entries(path, content)
    }
    index = path.with_suffix(".scp")
    if lost := [utt for utt in (read_scp(index) if index.exists() else ()) if utt not in table]:
        raise ValueError(f"{path}: {lost[0]!r}, which {index.name} lists, is not in it: cut short? Run stage 4 again")
    return table


def read_arrays(path: str | Path, utts: list[str]) -> np.ndarray:
    """The arrays of `utts`, in this order, from the archive `path` with its .scp: [clips, ...] float32.

    They are vectors, or matrices of one shape. Raises ValueError, naming file and clip, where `read_ark` does, when the
    archive differs from its index, holds arrays of several shapes or a row for each chunk of a clip, NaN or infinity,
    or lacks a clip.
    """
    path = Path(path)
    if path.stem.endswith(CHUNKS):
        raise ValueError(f"{path}: holds a row for each chunk: detectors take an array of each clip")
    table = read_ark(path)
    missing = [utt for utt in utts if utt not in table]
    if missing:
        raise ValueError(
            f"{path}: no {path.stem} of {len(missing)} of {len(utts)} clips: {', '.join(missing[:3])}"
            f"{', ...' if len(missing) > 3 else ''}. Run stage 4 again"
        )
    if not utts:
        raise ValueError(f"{path}: the {path.stem} of no clip is asked for; the manifest has no rows")
    shape = table[utts[0]].shape
    for utt in utts:
        if table[utt].shape != shape:
            own, first = (" x ".join(map(str, size)) for size in (table[utt].shape, shape))
            raise ValueError(f"{path}: {utt!r} has {own} dimensions, {utts[0]!r} has {first}; run stage 4 again")
    x = np.stack([table[utt] for utt in utts])
    energy = np.einsum("nd,nd->n", *[x.reshape(len(x), -1)] * 2, dtype=np.float64)
    if not (usable := np.isfinite(energy)).all():
        raise ValueError(f"{path}: {utts[int(usable.argmin())]!r} holds NaN or infinity")
    return x


def check_directions(path: str | Path, utts: list[str], x: np.ndarray) -> None:
    """Raise ValueError naming the first clip whose array, of `read_arrays`, is zeros alone."""
    if not (found := x.reshape(len(x), -1).any(axis=1)).all():
        raise ValueError(
            f"{path}: {utts[int(found.argmin())]!r} is a zero vector, which has no direction; listen to the recording: "
            "is it silent? Leave it out, or take another distance than cosine"
        )


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}; has stage 4 been run?") from None


def _entries(path: str | Path, content: memoryview) -> Iterator[tuple[str, int, int, tuple[int, ...]]]:
    """Name, start and stop of the values, and shape of each entry of an archive."""
    whole, position, utt, seen = content.obj, 0, "", set()
    while position < len(whole):
        last, space = utt or "its start", whole.find(b" ", position)
        kind = whole[space + 1 : space + 1 + len(MATRIX)]
        if space < 0 or len(kind) < len(MATRIX):
            raise ValueError(f"{path}: cut short after {last}; run stage 4 again")
        utt = whole[position:space].decode("utf-8", "replace")
        sizes = {MATRIX: 2, VECTOR: 1}.get(kind, 0)
        start = space + 1 + len(kind) + 5 * sizes
        head = whole[space + 1 + len(kind) : start]
        if not sizes or any(byte != 4 for byte in head[::5]):
            raise ValueError(f"{path}: after {last}, {utt[:80]!r} is not followed by a float vector; run stage 4 again")
        shape = tuple(int.from_bytes(head[5 * i + 1 : 5 * i + 5], "little") for i in range(sizes))
        position = start + 4 * int(np.prod(shape, dtype=np.int64))
        if len(head) < 5 * sizes or position > len(whole) or position == start:
            raise ValueError(f"{path}: cut short within the values of {utt!r}; run stage 4 again")
        if utt in seen:
            raise ValueError(f"{path}: {utt!r} occurs twice; run stage 4 again")
        seen.add(utt)
        yield utt, start, position, shape


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
