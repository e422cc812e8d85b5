"""A folder into which recordings come: what is new and whole, by looking again and again."""

import os
from dataclasses import dataclass
from typing import NamedTuple

from asdkit.signals.files import is_other_sound, is_recording, walk

PATIENCE = 30.0  # seconds without a change, after which what cannot be read is broken, and what is away is gone


class Stamp(NamedTuple):
    """What tells a file from another one, and from itself when it has changed."""

    size: int
    mtime_ns: int
    inode: int


@dataclass
class File:
    """A recording in the folder. changed, found, missed: by a clock that is never set, in seconds.

    taken: whoever asked was told of it. missed: since when it is away. row:
    its number in the database; done: it needs no judging any more.
    """

    path: str
    stamp: Stamp
    found: float
    changed: float
    taken: bool = False
    missed: float | None = None
    row: int | None = None
    done: bool = False


class News(NamedTuple):
    """What a look at the folder has shown.

    whole: files that have not changed between two looks, the oldest first. moved: (path before, file) of those that
    have another name now. gone: files that are away for PATIENCE. closed: folders that cannot be read, and why.
    """

    whole: list[File]
    moved: list[tuple[str, File]]
    gone: list[File]
    closed: list[str]


class Folder:
    """Looks at a folder and all folders in it; no more than what lies there is kept in memory."""

    def __init__(self, path: str, suffixes: tuple[str, ...]) -> None:
        self.path, self.suffixes, self.files = path, suffixes, dict[str, File]()

    def look(self, now: float) -> News:
        """What is new at the time `now`, in seconds of a clock that is never set."""
        closed: list[tuple[str, OSError]] = []
        there = {}
        for _, entry in walk(self.path, closed):
            if is_recording(entry.name, self.suffixes) or is_other_sound(entry.name):
                try:
                    told = entry.stat()
                except OSError as error:
                    if os.path.islink(entry.path):  # to nothing, or to itself: it is judged, and the judge says so
                        told = os.lstat(entry.path)
                    elif isinstance(error, FileNotFoundError):
                        continue
                    else:
                        closed.append((entry.path, error))
                        continue
                there[entry.path] = Stamp(told.st_size, told.st_mtime_ns, told.st_ino)
        moved = self._moved(there)
        whole = [file for path, stamp in there.items() if (file := self._seen(path, stamp, now))]
        whole.sort(key=lambda file: (file.stamp.mtime_ns, file.path))
        gone = []
        for path in [path for path in self.files if path not in there]:
            file = self.files[path]
            file.missed = now if file.missed is None else file.missed
            if now - file.missed >= PATIENCE:
                gone.append(self.files.pop(path))
        return News(whole, moved, gone, [f"{path}: {error.strerror}" for path, error in closed])

    def holds(self, file: File) -> bool:
        """Whether the file is still what was told of."""
        return self.files.get(file.path) is file

    def _moved(self, there: dict[str, Stamp]) -> list[tuple[str, File]]:
        away = {file.stamp: path for path, file in self.files.items() if path not in there}
        moved = []
        for path, stamp in there.items():
            if path not in self.files and stamp in away:
                before = away.pop(stamp)
                file = self.files.pop(before)
                file.path, file.missed = path, None
                self.files[path] = file
                moved.append((before, file))
        return moved

    def _seen(self, path: str, stamp: Stamp, now: float) -> File | None:
        """The file, where it is whole and nobody was told of it."""
        file = self.files.get(path)
        if file is None or (file.taken and file.stamp != stamp):
            old = file if file and not file.done else File(path, stamp, now, now)
            self.files[path] = File(path, stamp, old.found, now, row=old.row)  # who was told of the old one forgets it
            return None
        file.missed = None
        if file.stamp != stamp:
            file.stamp, file.changed = stamp, now
            return None
        if file.taken:
            return None
        file.taken = True
        return file
