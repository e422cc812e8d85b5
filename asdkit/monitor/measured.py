"""Numbers of a monitor for Prometheus: a text file for the textfile collector of node_exporter, or for a web server."""

import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from asdkit.monitor.database import Database
from asdkit.monitor.heartbeat import ALIVE, BEHIND_NOW, BLIND, ENDED, Beat
from asdkit.utils.files import write_text

_CLIPS = """SELECT coalesce(machine, ''), coalesce(section, '-'), verdict, count(*) FROM clips WHERE id > ?
GROUP BY 1, 2, 3"""

_NEWEST = """SELECT score, threshold FROM clips WHERE machine = ? AND section = ? AND number IS NOT NULL
ORDER BY number DESC LIMIT 1"""


class Metrics:
    """Writes `path` anew with each heartbeat, whole or not at all."""

    def __init__(self, database: Database, path: str | Path) -> None:
        """Raises ValueError where there is no such folder."""
        self.database, self.path = database, Path(path)
        if not self.path.parent.is_dir():
            raise ValueError(f"--metrics {path}: there is no folder {self.path.parent}: make it")
        self._counts: dict[tuple[str, str, str], int] = {}
        self._last = 0

    def beat(self, beat: Beat) -> None:
        """Write the numbers of this moment."""
        rows = self.database.connection
        newest = rows.execute("SELECT coalesce(max(id), 0) FROM clips").fetchone()[0]
        for *key, count in rows.execute(_CLIPS, (self._last,)).fetchall():  # of those since the last time
            self._counts[tuple(key)] = self._counts.get(tuple(key), 0) + count
        self._last = newest
        try:
            write_text(self.path, "\n".join(self._lines(rows, beat)) + "\n")
        except (ValueError, OSError) as error:  # the monitor goes on: the file's age tells that it was left alone
            logging.warning("--metrics: %s", error)

    def _lines(self, rows: sqlite3.Connection, beat: Beat) -> Iterator[str]:
        yield from _head("asdkit_clips_total", "counter", "Clips judged, by verdict.")
        for (machine, section, verdict), count in sorted(self._counts.items()):
            yield f"asdkit_clips_total{_labels(machine=machine, section=section, verdict=verdict)} {count}"
        yield from _head("asdkit_alarms_total", "counter", "Alarms raised, by kind.")
        groups = "SELECT machine, section, kind, count(*), sum(open) FROM episodes GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
        alarms = rows.execute(groups).fetchall()
        for machine, section, kind, count, _ in alarms:
            yield f"asdkit_alarms_total{_labels(machine=machine, section=section, kind=kind)} {count}"
        yield from _head("asdkit_alarm", "gauge", "1 while an alarm goes on.")
        for machine, section, kind, _, going in alarms:
            yield f"asdkit_alarm{_labels(machine=machine, section=section, kind=kind)} {going}"
        yield from _head("asdkit_score", "gauge", "Score of the newest clip.")
        last = [
            (*key, *found)
            for key in dict.fromkeys((machine, section) for machine, section, _ in sorted(self._counts) if machine)
            if (found := rows.execute(_NEWEST, key).fetchone()) and found[0] is not None
        ]
        for machine, section, score, _ in last:
            yield f"asdkit_score{_labels(machine=machine, section=section)} {score!r}"
        yield from _head("asdkit_limit", "gauge", "Score above which a clip is anomalous.")
        for machine, section, _, limit in last:
            yield f"asdkit_limit{_labels(machine=machine, section=section)} {limit!r}"
        yield from _head("asdkit_state", "gauge", "1 for the state that the monitor is in.")
        for state in (ALIVE, BEHIND_NOW, BLIND, ENDED):
            yield f"asdkit_state{_labels(state=state)} {int(beat.state == state)}"
        waiting = rows.execute("SELECT count(*) FROM outbox").fetchone()[0]
        for name, told, value in (
            ("asdkit_heartbeat_seconds", "Time of this file.", repr(beat.time)),
            ("asdkit_waiting_recordings", "Recordings that were found and not judged yet.", beat.waiting),
            ("asdkit_waiting_seconds", "How long the first of them waits.", beat.oldest),
            ("asdkit_waiting_messages", "Messages that no broker has taken yet.", waiting),
        ):
            yield from _head(name, "gauge", told)
            yield f"{name} {value}"


def _head(name: str, kind: str, told: str) -> Iterator[str]:
    yield f"# HELP {name} {told}"
    yield f"# TYPE {name} {kind}"


def _labels(**labels: str) -> str:
    signs = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
    return "{" + ",".join(f'{name}="{value.translate(signs)}"' for name, value in labels.items()) + "}"
