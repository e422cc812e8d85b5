"""What a monitor found, in words, from its database."""

import json
import sqlite3
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from asdkit.monitor.alarms import ANOMALY, SENSOR
from asdkit.monitor.database import as_path, is_written, reading
from asdkit.monitor.heartbeat import BEAT, ENDED
from asdkit.monitor.verdict import ANOMALOUS, DOUBTFUL, NORMAL, UNREAD
from asdkit.utils.names import shown

LATE = 3 * BEAT  # seconds: a heartbeat that is older is missed
WEEK = 7 * 86400.0  # seconds
FEWEST = 50  # quiet clips, below which nothing is said of drift
DRIFTED = 0.1  # the median of their p-values, of which 0.5 is to be expected
MANY = 50  # normal recordings, below which scores that are lower than theirs say nothing
SHOWN = 20  # alarms, and recordings that could not be judged: the newest ones


def clock(seconds: float) -> str:
    """A time of the calendar, as clocks here show it."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")


def status(path: str | Path, days: int = 1) -> Iterator[str]:
    """Lines that tell of what was found since the beginning of the day `days` ago. Errors as for `reading`."""
    running = is_written(path)
    with reading(path) as rows:
        today = datetime.now().replace(hour=0, minute=0, second=0, microsecond=0)
        since = (today - timedelta(days=days)).timestamp()
        yield _beat(rows, running)
        yield f"Since {clock(since)[:-3]}:"
        yield from _clips(rows, since)
        yield from _alarms(rows, since)
        yield from _unread(rows, since)
        yield from _drift(rows)
        waiting = rows.execute("SELECT count(*) FROM outbox").fetchone()[0]
        if waiting:
            yield f"{waiting} message{'s' * (waiting > 1)} not taken by a broker yet"


def _beat(rows: sqlite3.Connection, running: bool) -> str:
    beat = rows.execute("SELECT * FROM heartbeat").fetchone()
    if beat is None:
        return "The monitor has just started." if running else "No monitor has run yet."
    at, now = clock(beat["time"]), time.time()
    if beat["state"] == ENDED and not running:
        return f"The monitor does not run: it ended at {at} ({beat['why']})."
    if not running:
        return f"The monitor does not run: its last sign of life is of {at}; it did not end by itself."
    if beat["time"] > now + LATE:
        return f"The monitor runs; its last sign of life is dated {at}, later than now: the clock was set back."
    if now - beat["time"] > LATE:
        return f"The monitor hangs: it runs, but its last sign of life is of {at}."
    told = {"alive": "is alive", "behind": "is BEHIND", "blind": "is BLIND"}.get(beat["state"], beat["state"])
    why = f": {beat['why']}" if beat["why"] else ""
    wait = f"{beat['waiting']} recordings wait" if beat["waiting"] > 1 else "1 recording waits"
    waiting = f", {wait}" if beat["waiting"] and not why else ""
    return f"The monitor {told}{why}{waiting} ({at})."


def _clips(rows: sqlite3.Connection, since: float) -> Iterator[str]:
    select = """SELECT coalesce(machine, '') AS machine, coalesce(section, '-') AS section, verdict, count(*) AS count
    FROM clips WHERE judged >= ? GROUP BY 1, 2, 3"""
    counts: dict[str, dict[str, int]] = {}
    for row in rows.execute(select, (since,)):
        whose = f"{row['machine']} {row['section']}".removesuffix(" -").strip() or "of no machine"
        counts.setdefault(whose, {})[row["verdict"]] = row["count"]
    if not counts:
        yield "  no recording was judged"
    for whose, found in counts.items():
        parts = [f"{found[kind]} {kind}" for kind in (NORMAL, ANOMALOUS, DOUBTFUL, UNREAD) if kind in found]
        total = sum(found.values())
        yield f"  {whose}: {total} clip{'s' * (total != 1)}: {', '.join(parts)}"


def _alarms(rows: sqlite3.Connection, since: float) -> Iterator[str]:
    select = """SELECT episodes.*, coalesce(clips.judged, 0) AS told, top.recording AS highest FROM episodes
    LEFT JOIN clips ON clips.id = episodes.last LEFT JOIN clips AS top ON top.id = episodes.peak
    WHERE clips.judged >= ? OR open ORDER BY episodes.id"""
    found = rows.execute(select, (since,)).fetchall()
    if not found:
        yield "  no alarm"
    if len(found) > SHOWN:
        yield f"  {len(found) - SHOWN} more alarms before these:"
    for row in found[-SHOWN:]:
        whose = f"{row['machine']} {row['section']}".removesuffix(" -")
        kind = {ANOMALY: "ALARM", SENSOR: "SENSOR"}.get(row["kind"], f"KNOWN FAULT {row['kind']}")
        line = f"  {kind}  {whose}  {span(row)}: {row['over']} clip{'s' * (row['over'] != 1)}"
        if row["kind"] == ANOMALY:
            line += f" above the limit, highest score {row['peak_score']:.4g} ({_name(row['highest'])})"
        elif row["kind"] == SENSOR:
            line += " that cannot be trusted: look at the microphone"
        yield line


def span(row: sqlite3.Row) -> str:
    """When an alarm began and was over."""
    start, end = clock(row["start"]), clock(row["end"])
    if row["end"] < row["start"]:
        end += " (the clock was set back in between)"
    elif end[:10] == start[:10]:
        end = end[11:]
    return f"{start} to {end}" + (", goes on" if row["open"] else "")


def _unread(rows: sqlite3.Connection, since: float) -> Iterator[str]:
    select = "SELECT recording, why FROM clips WHERE verdict = ? AND judged >= ? ORDER BY id DESC LIMIT ?"
    for row in rows.execute(select, (UNREAD, since, SHOWN)).fetchall()[::-1]:
        yield f"  NOT READ  {_name(row['recording'])}: {row['why']}"


def _drift(rows: sqlite3.Connection) -> Iterator[str]:
    """Machines whose quiet clips of the last week lie where hardly a normal recording did."""
    quiet = "p_value IS NOT NULL AND verdict IN (?, ?) AND alarm IS NULL AND fault IS NULL AND judged >= ?"
    values = (NORMAL, ANOMALOUS, time.time() - WEEK)
    held = rows.execute("SELECT value FROM about WHERE key = 'normal'").fetchone()
    normal = json.loads(held[0]) if held else {}
    groups = f"SELECT machine, section, count(*) AS count FROM clips WHERE {quiet} GROUP BY 1, 2 HAVING count >= ?"
    for machine, section, count in rows.execute(groups, (*values, FEWEST)).fetchall():
        ranks = f"SELECT p_value FROM clips WHERE {quiet} AND machine = ? AND section = ? ORDER BY p_value"
        middle = rows.execute(f"{ranks} LIMIT 1 OFFSET ?", (*values, machine, section, count // 2)).fetchone()[0]
        few = normal.get(f"{machine} {section}", MANY) < MANY  # of which a new clip is nearer to one than they are
        if middle <= DRIFTED or (middle >= 1 - DRIFTED / 5 and not few):
            whose = f"{machine} {section}".removesuffix(" -")
            side = f"higher than {100 * (1 - middle):.0f} %" if middle <= DRIFTED else "no higher than any"
            yield f"  DRIFT  {whose}: half of {count} quiet clips of the last week score {side} of the normal ones:"
            yield "         listen to some; where the machine is well, asdkit.bin.recalibrate adds them to these"


def _name(held: str | bytes | None) -> str:
    return shown(as_path(held)) if held is not None else "?"
