"""Whether a monitor is alive, behind or blind: told again and again, so that silence means something."""

import os
import sqlite3
import time
from collections.abc import Callable
from typing import NamedTuple

from asdkit.monitor.database import Database

BEAT = 10.0  # seconds between two heartbeats
BEHIND = 60.0  # seconds that a recording waits
ALIVE, BEHIND_NOW, BLIND, ENDED = "alive", "behind", "blind", "ended"


class Beat(NamedTuple):
    """What a heartbeat tells, as the table of that name does."""

    time: float
    started: float
    pid: int
    state: str
    why: str
    waiting: int
    oldest: float
    newest: float | None


class Heart:
    """Writes heartbeats into the database and hands them on to `others`: every 10 s, and when the state changes.

    blind_after: seconds without a new file. closed: why the folder, or one in it, cannot be read. often: called
    whenever there is time.
    """

    def __init__(self, database: Database, blind_after: float) -> None:
        self.database, self.blind_after = database, blind_after
        self.others: list[Callable[[Beat], None]] = []
        self.often: list[Callable[[], None]] = []
        self.started = time.time()
        self.state, self._last, self._came, self._newest = "", 0.0, time.monotonic(), None
        self.closed: str | None = None

    def came(self, now: float) -> None:
        """New files came, at `now` of the clock that is never set."""
        self._came, self._newest = now, time.time()

    def beat(self, waiting: int, oldest: float) -> None:
        """Tell, where it is time to; waiting: files, `oldest`: seconds that the first one, or a stream, waits."""
        now = time.monotonic()
        state, why = ALIVE, ""
        if oldest > BEHIND:
            wait = f"{waiting} recordings wait, the first one" if waiting > 1 else "a recording waits"
            first = f"{wait} for {oldest:.0f} s"
            state, why = BEHIND_NOW, first if waiting else f"what is judged is {oldest:.0f} s old"
        elif self.closed:
            state, why = BLIND, f"cannot be read: {self.closed}"
        elif now - self._came > self.blind_after:
            state, why = BLIND, f"no new recording for {now - self._came:.0f} s"
        if state != self.state or now - self._last >= BEAT:
            self._tell(state, why, waiting, oldest)
        for other in self.often:
            other()

    def end(self, why: str) -> None:
        """The last heartbeat."""
        self._tell(ENDED, why, 0, 0.0)

    def _tell(self, state: str, why: str, waiting: int, oldest: float) -> None:
        self.state, self._last = state, time.monotonic()
        beat = Beat(time.time(), self.started, os.getpid(), state, why, waiting, round(oldest, 1), self._newest)

        def work(rows: sqlite3.Connection) -> None:
            names = ", ".join(Beat._fields)
            marks = ", ".join("?" * len(beat))
            rows.execute(f"INSERT OR REPLACE INTO heartbeat (id, {names}) VALUES (1, {marks})", beat)

        self.database.change(work)
        for other in self.others:
            other(beat)
