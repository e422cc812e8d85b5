"""Zip archives from elsewhere: nothing leaves its folder, nothing grows without bound, all of it or nothing."""

import filecmp
import os
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from asdkit.utils.files import disk_full_told, needs_space

SUFFIXES = (".wav", ".flac", ".csv", ".txt")
MEMBERS = 100_000
GROWTH = 100  # bytes unpacked per byte of the archive; recordings need less than 2
SMALL = 64 << 20  # bytes unpacked that are no danger, whatever the growth
BLOCK = 1 << 20

Select = Callable[[PurePosixPath], PurePosixPath | None]
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


def machine_files(machine: str, where: str) -> Select:
    """Chooses the recordings and tables below the folder `machine`; any other folder is an error (ValueError)."""

    def select(path: PurePosixPath) -> PurePosixPath | None:
        if path.parts[0] == "__MACOSX" or path.name.startswith("."):
            return None
        if path.parts[0] != machine or len(path.parts) < 2:
            raise ValueError(f"{where}: holds {str(path)!r}, expected everything below {machine}/. Unpack it by hand")
        return path if path.suffix.lower() in SUFFIXES else None

    return select


@contextmanager
def unpacked(source: Path | BinaryIO, where: str, into: Path, select: Select) -> Iterator[tuple[Path, list[str]]]:
    """Give a temporary folder below `into` with the members that `select` names, and the names that it left out.

    `select` maps a member's path to its place in that folder, or to None. The folder is gone when the block ends:
    `move_in` what it holds. Raises ValueError, with nothing unpacked, when a member has an absolute name or one with
    `..`, is a link, encrypted or given twice, when the archive is broken, too large unpacked or empty.
    """
    folder = into / f".unpack.{Path(where).name}"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
        with zipfile.ZipFile(source) as archive:
            chosen, left_out = _choose(archive, where, select)
            _check_growth(archive, chosen, where, into)
            for path, member in chosen.items():
                _extract(archive, member, folder / path, where)
        yield folder, left_out
    except _BROKEN as error:
        raise ValueError(f"{where}: not readable: {error}. Delete it and fetch it again") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def move_in(new: Path, old: Path) -> None:
    """Move a file, or what lies in a folder, from `new` to `old`; files that are there already must be the same.

    Raises ValueError naming the first file that differs, before anything is moved.
    """
    for path in [new] if new.is_file() else sorted(path for path in new.rglob("*") if path.is_file()):
        there = old / path.relative_to(new)
        if there.exists() and not (there.is_file() and filecmp.cmp(path, there, shallow=False)):
            raise ValueError(f"{there}: there already, and not what the archive holds. Move its folder away")
    _move(new, old)


def _move(new: Path, old: Path) -> None:
    if new.is_dir() and old.is_dir():
        for path in sorted(new.iterdir()):
            _move(path, old / path.name)
    else:
        os.replace(new, old)


def _choose(
    archive: zipfile.ZipFile, where: str, select: Select
) -> tuple[dict[PurePosixPath, zipfile.ZipInfo], list[str]]:
    members = archive.infolist()
    if len(members) > MEMBERS:
        raise ValueError(f"{where}: {len(members)} members, allowed are {MEMBERS}")
    if len({member.filename for member in members}) < len(members):
        raise ValueError(f"{where}: a member occurs twice. Fetch it again")
    chosen: dict[PurePosixPath, zipfile.ZipInfo] = {}
    left_out = []
    for member in members:
        path = _safe_path(member, where)
        if member.is_dir():
            continue
        place = select(path)
        if place is None:
            left_out.append(str(path))
        else:
            chosen[place] = member
    if not chosen:
        raise ValueError(f"{where}: holds nothing of what is wanted from it")
    return chosen, left_out


def _safe_path(member: zipfile.ZipInfo, where: str) -> PurePosixPath:
    name = member.orig_filename
    parts = name.removesuffix("/").split("/")
    if (
        name != member.filename
        or re.search(r"[\\:\x00-\x1f\x7f]", name)
        or any(part in ("", ".", "..") or len(part.encode()) > 255 for part in parts)
    ):
        raise ValueError(f"{where}: the member {name!r} has an unsafe name; nothing is unpacked")
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ValueError(f"{where}: the member {name!r} is a link or device; nothing is unpacked")
    if member.flag_bits & 1:
        raise ValueError(f"{where}: the member {name!r} is encrypted; nothing is unpacked")
    return PurePosixPath(*parts)


def _check_growth(
    archive: zipfile.ZipFile, chosen: dict[PurePosixPath, zipfile.ZipInfo], where: str, into: Path
) -> None:
    size = sum(member.file_size for member in chosen.values())
    packed = archive.fp.seek(0, os.SEEK_END)
    if size > max(SMALL, GROWTH * packed):
        raise ValueError(f"{where}: {packed} bytes would unpack to {size}: too many to be recordings")
    needs_space(into, size, f"what {where} unpacks to", "Make room and run again")


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, where: str) -> None:
    """zipfile reads no more than the size that the archive declares, and checks the CRC of what it read."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with disk_full_told(target), archive.open(member) as packed, open(target, "xb") as file:
            shutil.copyfileobj(packed, file, BLOCK)
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"{where}: the member {member.filename!r} is a file and a folder") from None
