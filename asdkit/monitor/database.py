"""Where a monitor keeps what it found: an SQLite file that a kill, a full disk and other readers cannot spoil.

Write-ahead log, synchronous FULL: whatever was told to somebody outlives the power, too. Times are seconds since 1970
by the computer's clock, which may be set back: order is that of `id`. Paths that are no UTF-8 are BLOBs.

about       key, value: `schema` (1), `id` (of this database, part of the messages' ids), `bundle`, `folder` (the
            last ones used), `normal` (how many normal recordings the bundle knows, by machine and section, as JSON)
files       one row for each recording that was found: id, path, size, mtime_ns, inode; found (when); state: `waiting`,
            `done`, or `gone` (before it could be judged). A file that is written anew under its name is another row
clips       one row for each clip judged: id (the order in which they were judged), file, recording, start (seconds
            within the recording), time (when it began, by the file's time), seconds, machine, section, number (of the
            machine's clips, from 0), verdict (normal, anomalous, doubtful, not read), score, threshold, p_value, sensor
            (kinds of faults, with commas), nearest, nearest_by, louder_db, low_hz, high_hz, from_s, to_s, unusual (as
            --tsv has them), alarm (begins, goes on, over), why (it was not read), fault (the known one that it sounds
            like), judged (when), waited (seconds since it was found)
episodes    one row for each alarm: id, machine, section, kind (`anomaly`, `sensor`, or the name of a known fault),
            ordinal (of its kind, from 1), first, last, peak (ids of clips: the first and the last one over the limit,
            the highest), start, raised, end (times), peak_score, over (clips over the limit), open (1: it goes on)
watches     machine, section, kind, state: where the counting of clips stands, as JSON
outbox      messages that a broker has not taken yet: id, uid (the same whenever it is sent), topic, payload, made
heartbeat   one row: time, started, pid, state (alive, behind, blind, ended), why, waiting (files), oldest (seconds that
            the first of them waits), newest (when the last file was found)
"""

import contextlib
import logging
import os
import shutil
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from asdkit.utils.files import locked

T = TypeVar("T")
SCHEMA = 1
ROOM = 1 << 20  # bytes: where fewer are free, an error of input and output is one of room
TELL = 30.0  # seconds between two lines about what is waited for
_TABLES = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE files (id INTEGER PRIMARY KEY, path, size INTEGER, mtime_ns INTEGER, inode INTEGER, found REAL,
  state TEXT);
CREATE INDEX files_path ON files (path);
CREATE INDEX files_inode ON files (inode, mtime_ns);
CREATE INDEX files_waiting ON files (state) WHERE state = 'waiting';
CREATE TABLE clips (id INTEGER PRIMARY KEY, file INTEGER, recording, start REAL, time REAL, seconds REAL, machine TEXT,
  section TEXT, number INTEGER, verdict TEXT, score REAL, threshold REAL, p_value REAL, sensor TEXT, nearest TEXT,
  nearest_by TEXT, louder_db REAL, low_hz REAL, high_hz REAL, from_s REAL, to_s REAL, unusual REAL, alarm TEXT,
  why TEXT, fault TEXT, judged REAL, waited REAL);
CREATE INDEX clips_file ON clips (file);
CREATE UNIQUE INDEX clips_number ON clips (machine, section, number) WHERE number IS NOT NULL;
CREATE INDEX clips_judged ON clips (judged);
CREATE TABLE episodes (id INTEGER PRIMARY KEY, machine TEXT, section TEXT, kind TEXT, ordinal INTEGER, first INTEGER,
  last INTEGER, peak INTEGER, start REAL, raised REAL, end REAL, peak_score REAL, over INTEGER, open INTEGER,
  UNIQUE (machine, section, kind, ordinal));
CREATE TABLE watches (machine TEXT, section TEXT, kind TEXT, state TEXT, PRIMARY KEY (machine, section, kind));
CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, uid TEXT, topic TEXT, payload TEXT, made REAL);
CREATE TABLE heartbeat (id INTEGER PRIMARY KEY CHECK (id = 1), time REAL, started REAL, pid INTEGER, state TEXT,
  why TEXT, waiting INTEGER, oldest REAL, newest REAL);
"""


class Stopped(Exception):
    """The program was asked to end while it waited."""


class Database:
    """An open database of a monitor, for the one program that writes to it; made if need be.

    stopped: asked while something is waited for. Raises ValueError for a file that is none, for one that another
    monitor writes to, and where the file system cannot hold it.
    """

    def __init__(self, path: str | Path, stopped: Callable[[], bool] = lambda: False) -> None:
        self.path, self.stopped, self._told = Path(path), stopped, -TELL
        if not self.path.parent.is_dir():
            raise ValueError(f"--db {path}: there is no folder {self.path.parent}: make it")
        self._held = contextlib.ExitStack()
        try:
            self._held.enter_context(locked(lock_of(self.path), wait=False))
        except BlockingIOError:
            raise ValueError(
                f"--db {path}: another asdkit-detect writes to it: end that, or take another file"
            ) from None
        except OSError as error:
            raise ValueError(f"--db {path}: cannot be written: {error.strerror}") from None
        try:
            self.connection = sqlite3.connect(self.path, timeout=1.0, isolation_level=None)
            self.id = self._patiently(self._prepare)
        except sqlite3.Error as error:
            self._held.close()
            raise ValueError(f"--db {path}: cannot be used: {error}") from None
        except BaseException:
            self._held.close()
            raise

    def change(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` returns, whose statements are one transaction: all of them count, or none.

        Where another program holds the database, or the disk is full, it waits, tells why, and does the work again.
        Raises Stopped when it is asked to end meanwhile; ValueError for a database that is broken.
        """

        def whole() -> T:
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                found = work(self.connection)
                self.connection.execute("COMMIT")
                return found
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

        try:
            return self._patiently(whole)
        except sqlite3.DatabaseError as error:
            raise ValueError(f"--db {self.path}: cannot be written: {error}; nothing of this clip was kept") from None

    def close(self) -> None:
        """Close it; the file holds everything."""
        self.connection.close()
        self._held.close()

    def _prepare(self) -> str:
        mode = self.connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise ValueError(f"--db {self.path}: this file system holds no write-ahead log: choose a local disk")
        self.connection.execute("PRAGMA synchronous = FULL")
        if not self.connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            identity = uuid.uuid4().hex[:12]
            rows = f"INSERT INTO about VALUES ('schema', '{SCHEMA}'), ('id', '{identity}');"
            try:
                self.connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} {rows} COMMIT;")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise
        return check_schema(self.connection, self.path)["id"]

    def _patiently(self, work: Callable[[], T]) -> T:
        waited = False
        while True:
            try:
                found = work()
            except sqlite3.OperationalError as error:
                why = self._reason(str(error))
                if why is None:
                    raise
                if time.monotonic() - self._told >= TELL:
                    self._told = time.monotonic()
                    logging.warning("%s: %s. Waiting; nothing is lost", self.path, why)
                waited = True
                if self.stopped():
                    raise Stopped from None
                time.sleep(0.2)
                continue
            if waited:
                self._told = -TELL
                logging.warning("%s: can be written again", self.path)
            return found

    def _reason(self, error: str) -> str | None:
        """Why it cannot be written now, where that may pass."""
        if "locked" in error:
            return "locked by another program"
        free = shutil.disk_usage(self.path.parent).free
        if "full" in error or ("disk I/O" in error or "unable to open" in error) and free < ROOM:
            return f"the disk is full ({free} bytes are free)"
        return None


def lock_of(path: str | Path) -> Path:
    """The file beside a database that is locked as long as a monitor writes to it."""
    return Path(f"{path}.lock")


def tries_of(path: str | Path) -> Path:
    """The file beside a database that says what is judged at this moment."""
    return Path(f"{path}.tries")


def check_schema(connection: sqlite3.Connection, path: Path) -> dict[str, str]:
    """The table `about`; raises ValueError for a file that is no database of a monitor, or of another version."""
    try:
        about = dict(connection.execute("SELECT key, value FROM about"))
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            raise
        raise ValueError(f"{path}: not a database of asdkit-detect: {error}") from None
    if about.get("schema") != str(SCHEMA):
        raise ValueError(f"{path}: a database of schema {about.get('schema')}, this asdkit writes {SCHEMA}")
    return about


@contextlib.contextmanager
def reading(path: str | Path) -> Iterator[sqlite3.Connection]:
    """A database for reading only, while a monitor writes to it or not. Raises ValueError for a file that is none."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10.0)
        connection.row_factory = sqlite3.Row
        check_schema(connection, path)
    except sqlite3.Error as error:
        raise ValueError(f"{path}: cannot be read: {error}") from None
    with contextlib.closing(connection):
        yield connection


def is_written(path: str | Path) -> bool:
    """Whether a monitor writes to it at this moment."""
    try:
        with locked(lock_of(path), wait=False):
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def as_text(path: str) -> str | bytes:
    """A path as the database holds it."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def as_path(held: str | bytes) -> str:
    """A path that the database holds."""
    return os.fsdecode(held) if isinstance(held, bytes) else held
