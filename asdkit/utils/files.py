"""Files that are either whole or absent, and how they are hashed."""

import errno
import fcntl
import glob
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SETTLED = 2.0  # seconds after its last change from which on a file's time tells whether it has changed
COMMON = 1000  # values of a column that rows may share
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CUT_WRITES = ("PytorchStreamWriter", "unexpected pos", "No space left", "file write failed", "iostream error")
_digests: dict[tuple[str, int, int, int], str] = {}
# Read once: to ask is to set it for an instant, in which another thread may make a file.
UMASK = os.umask(0o077)
os.umask(UMASK)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` when the block ends well, remove it otherwise."""
    path = Path(path)
    with disk_full_told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with suppress(OSError):  # some network and user-space file systems have no modes
                temporary.chmod(0o666 & ~UMASK)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def disk_full_told(path: str | Path) -> Iterator[None]:
    """Raise ValueError naming `path` and the room that there is when the block fails to write for lack of room."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        number = getattr(error, "errno", None)
        # torch says what its archive writer met, not why.
        cut = isinstance(error, RuntimeError) and any(sign in str(error) for sign in _CUT_WRITES)
        if number not in _NO_ROOM and not cut:
            raise
        reason = os.strerror(number) if number else "what is written is cut short, as on a full disk"
        free = readable(_free(path))
        raise ValueError(
            f"{path}: cannot be written: {reason}; without the part that was written its disk has {free} free. "
            "Make room and give the same command again: it goes on where it was"
        ) from None


@contextmanager
def locked(path: str | Path, wait: bool = True) -> Iterator[None]:
    """Have the file `path` locked during the block; it is made if need be, never removed.

    While another has it wait, or raise BlockingIOError without `wait`. Where files cannot be locked say so and go on.
    """
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError as error:
            told = "%s: this file system has no locks (%s): start nothing else that writes to %s before this has ended"
            logging.warning(told, path, error.strerror, Path(path).parent)
        yield


def needs_space(folder: str | Path, size: float, what: str, advice: str = "Make room, or choose another disk") -> None:
    """Raise ValueError when fewer than `size` bytes are free where `folder` is or will be; `what` goes there."""
    if size > (free := _free(folder)):
        raise ValueError(f"{folder}: needs {readable(size)} for {what}, {readable(free)} are free. {advice}")


def readable(size: float) -> str:
    """A number of bytes in GB or MB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def remove_stale(path: str | Path) -> None:
    """Remove temporary files of `path` that killed runs left; only for files that have one writer at a time."""
    path = Path(path)
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        stale.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Write `text` (UTF-8) so that a reader sees the old file or the new one, never a part."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: str | Path, held: bytes) -> None:
    """Write `held` so that a reader sees the old file or the new one, never a part."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(held)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity are refused (ValueError)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; raises ValueError naming the file when it is missing or broken."""
    return _parse(path, json.loads)


def read_table(path: str | Path, columns: tuple[str, ...], *others: tuple[str, ...]) -> list[dict[str, str]]:
    """Read a tab-separated file with the header `columns`, or one of `others`; raises ValueError with file and line.

    A value that many rows have is held once: a million rows are much of a machine's memory.
    """
    lines = _lines(path)
    first = next(lines, None)
    header = tuple(first.split("\t")) if first is not None else ()
    if header not in (columns, *others):
        got = first if first is not None else "an empty file"
        raise ValueError(f"{path}:1: header is {got!r}, expected {chr(9).join(columns)!r}")
    rows, known = [], [dict[str, str]() for _ in header]
    for number, line in enumerate(lines, 2):
        fields = line.split("\t")
        if len(fields) != len(header):
            raise ValueError(f"{path}:{number}: {len(fields)} fields, expected {len(header)} separated by tabs")
        held = [
            values.setdefault(field, field) if len(values) < COMMON else field
            for values, field in zip(known, fields, strict=True)
        ]
        rows.append(dict(zip(header, held, strict=True)))
    return rows


def write_table(path: str | Path, columns: tuple[str, ...], rows: list[dict[str, str]]) -> None:
    """Write rows as tab-separated text with a header; raises ValueError on a tab or line break in a field."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write("\t".join(columns) + "\n")
        for row in rows:
            fields = [str(row[column]) for column in columns]
            if any(c in field for field in fields for c in "\t\r\n"):
                raise ValueError(f"{path}: a field holds a tab or line break: {fields}")
            file.write("\t".join(fields) + "\n")


def read_scp(path: str | Path) -> dict[str, str]:
    """Read a Kaldi two-column file `key value`; raises ValueError on a line without value or a repeated key."""
    table: dict[str, str] = {}
    for number, line in enumerate(_lines(path), 1):
        key, _, value = line.partition(" ")
        if not key or not value.strip():
            raise ValueError(f"{path}:{number}: expected 'key value' with one space between them, got {line!r}")
        if key in table:
            raise ValueError(f"{path}:{number}: key {key!r} occurs twice")
        table[key] = value.strip()
    return table


def read_text(path: str | Path) -> str:
    """Read a UTF-8 text file; raises ValueError naming the file when it cannot be read."""
    return _parse(path, str)


def sha256_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes as hex; a file that has not changed since this process read it is not read again.

    Raises ValueError naming a file that cannot be read.
    """
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            key = (os.path.abspath(path), found.st_ino, found.st_size, found.st_mtime_ns)
            if key not in _digests:
                digest = _digest(file)
                # What was written a moment ago may change again and keep its time.
                if time.time() - found.st_mtime < SETTLED:
                    return digest
                _digests[key] = digest
            return _digests[key]
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None


def sha256_path(path: str | Path) -> str:
    """SHA-256 as hex of a file, or of a folder: over the names and hashes of all files in it; hidden ones are left
    out, and `<file>.sha256`, so that what is noted of weights makes no other weights of them.

    Raises ValueError naming a path that cannot be read or a folder without files.
    """
    folder = Path(path)
    if not folder.is_dir():
        return sha256_file(path)
    names = sorted(
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*")
        if file.is_file()
        and file.suffix != ".sha256"
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )
    if not names:
        raise ValueError(f"{path}: a folder without files")
    return sha256_text("".join(f"{name}\t{sha256_file(folder / name)}\n" for name in names))


def sha256_text(text: str) -> str:
    """SHA-256 of a string's UTF-8 bytes as hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def _lines(path: str | Path) -> Iterator[str]:
    """The lines of a text file; errors as for `read_text`. Not cut at other characters than line breaks."""
    with _readable(path), open(path, encoding="utf-8") as file:
        for line in file:
            yield line.removesuffix("\n")


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}; has the stage that writes it been run?") from None
    except ValueError as error:
        raise ValueError(f"{path}: not readable: {error}") from None


def _digest(file: Any) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _parse(path: str | Path, parse: Any) -> Any:
    with _readable(path):
        return parse(Path(path).read_text(encoding="utf-8"))


def _free(path: str | Path) -> int:
    path = Path(path).absolute()
    return shutil.disk_usage(next(place for place in (path, *path.parents) if place.exists())).free
