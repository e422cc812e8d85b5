"""Watching a folder: new recordings once each, whatever comes in between."""

import contextlib
import logging
import os
import signal
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from asdkit.monitor.database import Stopped, as_path, as_text, tries_of
from asdkit.monitor.folder import PATIENCE, File, Folder, Stamp
from asdkit.monitor.heartbeat import Heart
from asdkit.monitor.inputs import Clip, Unread, find, other_sound
from asdkit.monitor.recorder import Recorder
from asdkit.monitor.tries import Tries
from asdkit.monitor.verdict import UNREAD, Verdict
from asdkit.signals.files import is_recording

SHARE = 0.1  # of the time that looking into the folder may take
SLICE = 0.1  # seconds of sleep, after which a signal is noticed
GONE = "was away before it could be judged"


class Watching(NamedTuple):
    """How a folder is watched: poll: seconds between two looks; clip_seconds, hop: how recordings are cut."""

    folder: str
    poll: float = 1.0
    clip_seconds: float | None = None
    hop: float | None = None


class Stop:
    """Whether the program was asked to end, by SIGTERM or Ctrl-C; `why` names it."""

    def __init__(self) -> None:
        self.why: str | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked)

    def __call__(self) -> bool:
        return self.why is not None

    def _asked(self, number: int, frame: Any) -> None:
        if self.why is not None:
            raise KeyboardInterrupt  # asked twice: at once
        self.why = signal.Signals(number).name


class Watcher:
    """Judges what comes into a folder, the oldest first, and keeps it. say: takes each verdict once it is kept.

    Raises ValueError for a folder that cannot be read at the start.
    """

    def __init__(
        self,
        recorder: Recorder,
        heart: Heart,
        watching: Watching,
        stopped: Callable[[], bool],
        say: Callable[[Verdict], None],
    ) -> None:
        self.recorder, self.heart, self.watching, self.stopped, self.say = recorder, heart, watching, stopped, say
        self.database, self.judge = recorder.database, recorder.judge
        try:
            os.scandir(watching.folder).close()
        except OSError as error:
            raise ValueError(f"--watch {watching.folder}: cannot be read: {error.strerror}") from None
        self.folder = Folder(os.path.abspath(watching.folder), self.judge.ears.suffixes)
        self.tries = Tries(tries_of(self.database.path))
        self.queue: deque[File] = deque()
        self.held: list[tuple[float, File]] = []
        self.next = self.beat = 0.0

    def run(self) -> None:
        """Watch until asked to end. Errors as for `Database.change`, and of a bundle that has changed."""
        try:
            self._resume()
            while not self.stopped():
                self._look()
                if self.queue:
                    self._take(self.queue.popleft())
                elif not self.stopped():
                    time.sleep(max(min(SLICE, self.next - time.monotonic()), 0.0))
        except Stopped:
            pass

    def _resume(self) -> None:
        """What waited when the monitor ended waits again, so that it is told of even where it is away by now."""
        now, folder = time.monotonic(), as_text(self.folder.path)
        self.database.change(lambda rows: rows.execute("INSERT OR REPLACE INTO about VALUES ('folder', ?)", (folder,)))
        rows = self.database.connection.execute(
            "SELECT id, path, size, mtime_ns, inode FROM files WHERE state = 'waiting' ORDER BY id"
        )
        for row, held, size, mtime_ns, inode in rows:
            path = as_path(held)
            self.folder.files[path] = File(path, Stamp(size, mtime_ns, inode), now, now, row=row)

    def _look(self) -> None:
        now = time.monotonic()
        if now >= self.next:
            news = self.folder.look(now)
            took = time.monotonic() - now
            self.next = now + max(self.watching.poll, took / SHARE)
            if news.whole or news.moved or news.gone:
                fresh = self.database.change(lambda rows: self._note(rows, news))
                self.queue.extend(fresh)
                if fresh:
                    self.heart.came(now)
            self._gone([file for file in news.gone if not file.done])
            due = [file for when, file in self.held if when <= now]
            self.held = [(when, file) for when, file in self.held if when > now]
            self.queue.extend(file for file in due if self.folder.holds(file))
            self.heart.closed = news.closed[0] if news.closed else None
        if now >= self.beat:
            self.beat = now + min(self.watching.poll, 1.0)
            waiting = [file for file in (*self.queue, *(file for _, file in self.held)) if self.folder.holds(file)]
            self.heart.beat(len(waiting), now - min((file.found for file in waiting), default=now))

    def _note(self, rows: sqlite3.Connection, news: Any) -> list[File]:
        """Write down which files are there; those that were not judged yet."""
        for before, file in news.moved:
            if file.row is not None:
                rows.execute("UPDATE files SET path = ? WHERE id = ?", (as_text(file.path), file.row))
            logging.info("%s has the name %s now", before, file.path)
        fresh = []
        for file in news.whole:
            file.row, state = self._row(rows, file)
            file.done = state == "done"
            if not file.done:
                fresh.append(file)
        return fresh

    def _row(self, rows: sqlite3.Connection, file: File) -> tuple[int, str]:
        """The file's row, and its state; made where there is none."""
        path, stamp = as_text(file.path), file.stamp
        found = rows.execute(
            "SELECT id, state FROM files WHERE path = ? AND size = ? AND mtime_ns = ? ORDER BY id DESC",
            (path, stamp.size, stamp.mtime_ns),
        ).fetchone()
        if found is None:  # named otherwise while nobody watched
            others = rows.execute(
                "SELECT id, state, path FROM files WHERE inode = ? AND mtime_ns = ? AND size = ?",
                (stamp.inode, stamp.mtime_ns, stamp.size),
            ).fetchall()
            for row, state, before in others:
                if not os.path.lexists(as_path(before)):
                    rows.execute("UPDATE files SET path = ? WHERE id = ?", (path, row))
                    found = row, state
        if found is None:  # what has changed since it was found; of what was judged in part there is another row
            begun = "EXISTS (SELECT 1 FROM clips WHERE file = files.id)"
            rows.execute(f"UPDATE files SET state = 'done' WHERE path = ? AND state = 'waiting' AND {begun}", (path,))
            select = "SELECT id, state FROM files WHERE path = ? AND state = 'waiting'"
            found = rows.execute(select, (path,)).fetchone()
            values = (stamp.size, stamp.mtime_ns, stamp.inode)
            if found is not None:
                rows.execute("UPDATE files SET size = ?, mtime_ns = ?, inode = ? WHERE id = ?", (*values, found[0]))
            else:
                insert = (
                    "INSERT INTO files (path, size, mtime_ns, inode, found, state) VALUES (?, ?, ?, ?, ?, 'waiting')"
                )
                found = rows.execute(insert, (path, *values, time.time())).lastrowid, "waiting"
        if found[1] == "gone":  # and is back
            rows.execute("UPDATE files SET state = 'waiting' WHERE id = ?", (found[0],))
        return int(found[0]), found[1]

    def _gone(self, files: list[File]) -> None:
        for file in files:
            file.row, state = self.database.change(lambda rows, file=file: self._row(rows, file))
            if state == "waiting":
                found = Verdict(file.path, UNREAD, why=GONE)
                self._keep(found, file, file.stamp.mtime_ns / 1e9, "gone")

    def _take(self, file: File) -> None:
        """Judge a file's clips, from the first one that is not kept; or put it off where it is not whole."""
        if not self.folder.holds(file):
            return
        ears, how, read = (
            self.judge.ears,
            self.watching,
            is_recording(os.path.basename(file.path), self.folder.suffixes),
        )
        pieces: list[Clip | Unread] = [other_sound(file.path, ears)]
        if read:
            with self._tried(file, 0) as ended:
                found = [Unread(file.path, ended)] if ended else find([file.path], ears, how.clip_seconds, how.hop)
                pieces = list(found)
        select = "SELECT count(*) FROM clips WHERE file = ? AND why IS NOT ?"
        kept = self.database.connection.execute(select, (file.row, GONE)).fetchone()[0]
        for number, piece in enumerate(pieces[kept:], kept + 1):
            found = self._judged(piece, file, number)
            if self._moves(file, found, read):
                return
            self._keep(found, file, self._begin(file, pieces, found), "done" if number == len(pieces) else None)
            if self.stopped():
                return
            self._look()
        file.done = True

    def _moves(self, file: File, found: Verdict, read: bool) -> bool:
        """Whether the file was not whole when it was judged: it is judged again, later."""
        stamp, now = _stamp(file.path), time.monotonic()
        if stamp is None:
            self.held.append((now + self.watching.poll, file))  # the folder says when it is gone
        elif stamp != file.stamp:
            file.stamp, file.changed, file.taken = stamp, now, False
        elif read and found.verdict == UNREAD and now - file.changed < PATIENCE:
            self.held.append((file.changed + PATIENCE, file))
        else:
            return False
        return True

    def _tried(self, file: File, number: int) -> contextlib.AbstractContextManager[str | None]:
        return self.tries.of(file.row or 0, number, file.stamp.size, file.stamp.mtime_ns)

    def _judged(self, piece: Clip | Unread, file: File, number: int) -> Verdict:
        with self._tried(file, number) as ended:
            found = self.judge.judge(Unread(piece.name, ended, piece.seconds) if ended else piece)
        if found.verdict == UNREAD:  # where the bundle has changed that is no fault of the recording
            self.judge.detector.bundle.check_unchanged()
        return found

    def _begin(self, file: File, pieces: list[Clip | Unread], found: Verdict) -> float:
        """When a clip began: its file was written last when the recording ended."""
        last, end = pieces[-1], file.stamp.mtime_ns / 1e9
        if isinstance(last, Clip) and last.count is not None:
            return end - last.seconds - last.count / self.judge.detector.rate + found.seconds
        return end - (found.length or 0.0)

    def _keep(self, found: Verdict, file: File, begin: float, state: str | None) -> None:
        self.recorder.keep(found, begin, time.monotonic() - file.found, file.row, state)
        self.say(found)


def _stamp(path: str) -> Stamp | None:
    for look in (os.stat, os.lstat):  # the second: of a link to nothing
        try:
            told = look(path)
        except OSError:
            continue
        return Stamp(told.st_size, told.st_mtime_ns, told.st_ino)
    return None
