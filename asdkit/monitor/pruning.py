"""A monitor's database made to forget what is old, while the monitor writes to it or not."""

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from asdkit.monitor.database import as_path, check_schema, lock_of
from asdkit.signals.files import walk
from asdkit.utils.files import locked, readable

DAY = 86400.0  # seconds
BATCH = 500  # rows in a transaction: the monitor waits for no more
PATIENCE = 60.0  # seconds that a database is waited for
_USED = "its room is used again before the file grows"

_EPISODES = """DELETE FROM episodes WHERE id IN (SELECT episodes.id FROM episodes JOIN clips
ON clips.id = coalesce(episodes.last, episodes.peak, episodes.first) WHERE NOT open AND judged < ? LIMIT ?)"""
# Kept are clips of alarms, of recordings that are judged in part, those that are counted on, and the newest one, whose
# number is not to be given again.
_CLIPS = """DELETE FROM clips WHERE id IN (SELECT id FROM clips WHERE judged < ? AND id < (SELECT max(id) FROM clips)
AND id NOT IN (SELECT first FROM episodes WHERE first IS NOT NULL UNION SELECT last FROM episodes WHERE last IS NOT NULL
UNION SELECT peak FROM episodes WHERE peak IS NOT NULL)
AND (file IS NULL OR file NOT IN (SELECT id FROM files WHERE state = 'waiting'))
AND NOT (number IS NOT NULL AND EXISTS (SELECT 1 FROM temp.counted AS c WHERE c.machine = clips.machine
AND c.section = clips.section AND c.number = clips.number)) LIMIT ?)"""


class Pruned(NamedTuple):
    """How many rows were forgotten; bytes of the file before and after; notes: what was left, and why."""

    clips: int
    episodes: int
    files: int
    before: int
    after: int
    notes: list[str]


def prune(path: str | Path, days: int) -> Pruned:
    """Forget clips, alarms and recordings of more than `days` days ago.

    A recording that still lies in the folder is kept in mind, so that it is not judged again. Where no monitor writes
    to the file, it is made smaller. Raises ValueError for a file that is no database, and for one that stays locked.
    """
    path, notes = Path(path), list[str]()
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    before, when = _size(path), time.time() - days * DAY
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(lock_of(path), wait=False))
            alone = True
        except BlockingIOError:
            alone = False
        except OSError as error:
            raise ValueError(f"{path}: cannot be written: {error.strerror}") from None
        try:
            rows = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
            held.enter_context(contextlib.closing(rows))
            about = check_schema(rows, path)
            rows.execute("CREATE TEMP TABLE counted (machine, section, number, PRIMARY KEY (machine, section, number))")
            episodes = _all(rows, lambda: rows.execute(_EPISODES, (when, BATCH)).rowcount)
            clips = _all(rows, lambda: _forget_clips(rows, when))
            files = _forget_files(rows, when, about.get("folder"), notes)
            notes += (
                _smaller(rows) if alone else ["a monitor writes to it: its room is used again before the file grows"]
            )
        except sqlite3.Error as error:
            raise ValueError(f"{path}: cannot be pruned: {error}") from None
    return Pruned(clips, episodes, files, before, _size(path), notes)


def told(path: str | Path, found: Pruned, days: int) -> Iterator[str]:
    """Lines about what was forgotten."""
    counts = f"{found.clips} clips, {found.episodes} alarms, {found.files} recordings"
    sizes = f"{readable(found.before)} before, {readable(found.after)} now"
    yield f"{path}: forgotten of more than {days} days ago: {counts}; {sizes}"
    for note in found.notes:
        yield f"  {note}"


def _smaller(rows: sqlite3.Connection) -> list[str]:
    try:
        rows.execute("VACUUM")
        return []
    except sqlite3.OperationalError as error:  # a reader, or no room for both
        return [f"the file could not be made smaller ({error}): {_USED}"]


def _all(rows: sqlite3.Connection, step: Callable[[], int]) -> int:
    """Take steps, each of them a transaction, until one finds nothing; how many rows they took."""
    total = 0
    while True:
        rows.execute("BEGIN IMMEDIATE")
        try:
            count = step()
        except BaseException:
            rows.execute("ROLLBACK")
            raise
        rows.execute("COMMIT")
        total += count
        if not count:
            return total


def _forget_clips(rows: sqlite3.Connection, when: float) -> int:
    rows.execute("DELETE FROM temp.counted")
    for machine, section, state in rows.execute("SELECT machine, section, state FROM watches").fetchall():
        held = json.loads(state)
        going = held["going"] or {"clips": [], "peak": None}
        numbers = [number for number, _ in held["last"]] + going["clips"][:1] + [going["peak"]]
        counted = [(machine, section, number) for number in numbers if number is not None]
        rows.executemany("INSERT OR IGNORE INTO temp.counted VALUES (?, ?, ?)", counted)
    return rows.execute(_CLIPS, (when, BATCH)).rowcount


def _forget_files(rows: sqlite3.Connection, when: float, folder: str | bytes | None, notes: list[str]) -> int:
    """Forget recordings that lie in the folder no more, under no name."""
    old = """SELECT id, path, inode FROM files WHERE id > ? AND found < ? AND state IN ('done', 'gone') AND
    id < (SELECT max(id) FROM files) AND NOT EXISTS (SELECT 1 FROM clips WHERE file = files.id) ORDER BY id LIMIT ?"""
    if not rows.execute(old, (0, when, 1)).fetchone():
        return 0
    there = _inodes(folder)
    if not there:
        where = as_path(folder) if folder is not None else "the folder"
        notes.append(f"names of recordings are kept: {where} is empty or away, and what comes back would count as new")
        return 0
    last, total = 0, 0

    def step() -> int:
        nonlocal last, total
        found = rows.execute(old, (last, when, BATCH)).fetchall()
        if found:
            last = found[-1][0]
        gone = [(row,) for row, name, inode in found if inode not in there and not os.path.lexists(as_path(name))]
        rows.executemany("DELETE FROM files WHERE id = ?", gone)
        total += len(gone)
        return len(found)

    _all(rows, step)
    return total


def _inodes(folder: str | bytes | None) -> set[int]:
    """Of what lies in a folder; none where it, or a folder in it, cannot be read."""
    if folder is None:
        return set()
    closed: list[tuple[str, OSError]] = []
    found = {entry.inode() for _, entry in walk(as_path(folder), closed)}
    return set() if closed else found


def _size(path: Path) -> int:
    """Bytes of a database with its log."""
    parts = (path, Path(f"{path}-wal"))
    return sum(part.stat().st_size for part in parts if part.exists())
