"""Looking into folders: which files are recordings, and what was left out."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from asdkit.signals.audio import SUFFIXES
from asdkit.utils.names import checked, shown

# Audio that is counted as recordings, though it is not read.
_UNREAD = (".mp3", ".m4a", ".mp4", ".aac", ".ogg", ".opus", ".wma", ".aif", ".aiff", ".au", ".caf", ".w64", ".wave")


class Left:
    """What of one folder is not read, for notes: recordings counted by reason, other files apart."""

    def __init__(self, folder: str | Path, suffixes: tuple[str, ...] = SUFFIXES) -> None:
        self.folder, self.suffixes = Path(folder), suffixes
        self.found: dict[str, list[str]] = {}

    def add(self, path: str, reason: str = "in folders that are not read") -> None:
        """Note a file; `reason` is for recordings in a format that is read."""
        name = os.path.basename(path)
        if not is_recording(name, self.suffixes):
            unread = is_other_sound(name)
            reason = f"of formats that are not read (only {told(self.suffixes)} are)" if unread else ""
        self.found.setdefault(reason, []).append(path)

    def notes(self) -> Iterator[str]:
        """A line for each reason, with the number and an example."""
        for reason, paths in sorted(self.found.items(), reverse=True):
            what = f"recordings of {self.folder} {reason}" if reason else f"other files of {self.folder}"
            yield f"ignored: {len(paths)} {what}, such as {shown(os.path.relpath(min(paths), self.folder))}"


def walk(
    folder: str | Path, closed: list[tuple[str, OSError]] | None = None
) -> Iterator[tuple[tuple[str, ...], os.DirEntry[str]]]:
    """Every file below a folder with the folders that it lies in; a folder that a link leads to twice is read once.

    closed: takes the folders that cannot be read, and why. Without it one that may not be read, such as a disk's
    lost+found, is left out, and other errors are raised.
    """
    seen: set[tuple[int, int]] = set()

    def inside(path: str | Path, folders: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], os.DirEntry[str]]]:
        try:
            there = os.stat(path)
            found = sorted(os.scandir(path), key=lambda entry: entry.name) if closed is not None else entries(path)
        except OSError as error:
            if closed is None:
                raise
            closed.append((os.fspath(path), error))
            return
        if (there.st_dev, there.st_ino) in seen:
            return
        seen.add((there.st_dev, there.st_ino))
        for entry in found:
            if not _is_folder(entry):
                yield folders, entry
            elif not is_junk(entry.name):
                yield from inside(entry.path, (*folders, entry.name))

    yield from inside(folder, ())


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def entries(folder: str | Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, sorted by name; nothing in one that may not be read, such as a disk's lost+found."""
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except PermissionError:
        logging.info("may not be read, left out: %s", folder)
        return []


def recordings(folder: str | Path, left: Left) -> Iterator[tuple[tuple[str, ...], os.DirEntry[str]]]:
    """The recordings among `walk`'s files; the others are noted in `left`.

    Raises ValueError for a recording whose name no list can hold.
    """
    for folders, entry in walk(folder):
        if is_recording(entry.name, left.suffixes):
            checked(entry.path)
            yield folders, entry
        else:
            left.add(entry.path)


def is_recording(name: str, suffixes: tuple[str, ...] = SUFFIXES) -> bool:
    """Whether a file's name is that of a recording, by its ending."""
    return name.lower().endswith(suffixes) and not is_junk(name)


def is_other_sound(name: str) -> bool:
    """Whether a file's name is that of a recording, though perhaps in a format that is not read."""
    return name.lower().endswith((*_UNREAD, *SUFFIXES)) and not is_junk(name)


def told(suffixes: tuple[str, ...]) -> str:
    """Endings in words: wav and flac."""
    return " and ".join(suffix[1:] for suffix in suffixes)


def is_junk(name: str) -> bool:
    """Whether a file or folder is one that systems leave behind."""
    return name.startswith(".") or name == "__MACOSX"
