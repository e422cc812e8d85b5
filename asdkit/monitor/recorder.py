"""Verdicts into a monitor's database: each clip with all that follows from it, in one transaction."""

import json
import os
import sqlite3
import time
from typing import Any

from asdkit.monitor.alarms import ANOMALY, GOES_ON, Alarms, Event, told
from asdkit.monitor.database import Database, as_text
from asdkit.monitor.inputs import Key
from asdkit.monitor.output import values
from asdkit.monitor.verdict import UNREAD, Judge, Verdict

_COLUMNS = (
    *("file", "recording", "start", "time", "seconds", "machine", "section", "number", "verdict", "score", "threshold"),
    *("p_value", "sensor", "nearest", "nearest_by", "louder_db", "low_hz", "high_hz", "from_s", "to_s", "unusual"),
    *("alarm", "why", "fault", "judged", "waited"),
)
_INSERT = f"INSERT INTO clips ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_EPISODE = """INSERT INTO episodes (machine, section, kind, ordinal, first, last, peak, start, raised, end, peak_score,
over, open) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (machine, section, kind, ordinal) DO UPDATE SET
last = coalesce(excluded.last, last), peak = excluded.peak, end = excluded.end, peak_score = excluded.peak_score,
over = excluded.over, open = excluded.open"""


class Recorder:
    """Keeps the verdicts of a judge in a database and counts alarms, from where the database stands.

    topic: under which alarms wait for a broker; None: for none. The judge's own counting is switched off.
    """

    def __init__(self, database: Database, judge: Judge, topic: str | None = None) -> None:
        self.database, self.judge, self.topic = database, judge, topic
        self.alarms: dict[Key, Alarms] = {}
        for key, known in judge.known.items():
            faults = known.machine.faults
            known.watch, self.alarms[key] = None, Alarms(known.rule, faults.names if faults else ())
        held: dict[Key, dict[str, Any]] = {}
        rows = database.connection.execute("SELECT machine, section, kind, state FROM watches").fetchall()
        for machine, section, kind, state in rows:
            held.setdefault((machine, section), {})[kind] = json.loads(state)
        for key, states in held.items():
            if key in self.alarms:
                self.alarms[key].restore(states)
        counts = {" ".join(key): known.calibration.count for key, known in judge.known.items() if known.calibration}
        bundle = as_text(os.path.abspath(judge.detector.bundle.path))
        told = [("bundle", bundle), ("normal", json.dumps(counts))]
        database.change(lambda rows: rows.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", told))

    def keep(
        self, found: Verdict, begin: float, waited: float | None, file: int | None = None, state: str | None = None
    ) -> list[Event]:
        """Keep a clip's verdict; returns what it did to alarms, which `found` tells of, too.

        begin: when it began, seconds since 1970; waited: seconds since it was there; file: its row, and `state`
        that it has with this clip, None: as before.
        Errors as for `Database.change`.
        """
        key = (found.machine or "", found.section or "")
        alarms = self.alarms.get(key) if found.verdict != UNREAD else None
        number = alarms.count if alarms else None
        events = alarms.add(found, begin, begin + (found.length or 0.0)) if alarms else []
        now = time.time()
        row = values(found) | {"sensor": ",".join(one.kind for one in found.sensor) or None, "threshold": found.limit}
        row |= {"recording": as_text(found.name), "number": number, "time": begin, "file": file, "judged": now}
        row |= {"waited": None if waited is None else round(waited, 3)}

        def work(rows: sqlite3.Connection) -> None:
            clip = rows.execute(_INSERT, [row[name] for name in _COLUMNS]).lastrowid
            for event in events:
                self._keep_event(rows, key, event, int(clip or 0), now)
            if alarms:
                states = [(*key, kind, json.dumps(state)) for kind, state in alarms.held().items()]
                rows.executemany("INSERT OR REPLACE INTO watches VALUES (?, ?, ?, ?)", states)
            if state:
                rows.execute("UPDATE files SET state = ? WHERE id = ?", (state, file))

        self.database.change(work)
        return events

    def hand_back(self) -> None:
        """Let the judge tell of the alarms that go on."""
        for key, alarms in self.alarms.items():
            self.judge.known[key].watch = alarms.watches[ANOMALY]

    def _keep_event(self, rows: sqlite3.Connection, key: Key, event: Event, clip: int, now: float) -> None:
        one, where = event.episode, "machine = ? AND section = ? AND number = ?"

        def row_of(number: int) -> int | None:
            found = rows.execute(f"SELECT id FROM clips WHERE {where}", (*key, number)).fetchone()
            return found and found[0]

        first, last = row_of(one.clips[0]), clip if event.later else None
        times = one.start, one.raised, one.end, one.peak_score, one.over, int(one.open)
        rows.execute(_EPISODE, (*key, event.kind, event.ordinal, first, last, row_of(one.peak), *times))
        if self.topic and event.what != GOES_ON:
            uid = f"{self.database.id}-{event.kind}-{event.ordinal}-{event.what}-{key[0]}-{key[1]}"
            message = json.dumps({"id": uid, **told(event, *key)})
            rows.execute(
                "INSERT INTO outbox (uid, topic, payload, made) VALUES (?, ?, ?, ?)",
                (uid, f"{self.topic}/alarm", message, now),
            )
