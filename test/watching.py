"""asdkit-detect as a process that watches a folder, for tests: with levels in place of a network."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from asdkit.monitor.alarms import ANOMALY
from asdkit.monitor.calibration import Rule
from asdkit.monitor.episodes import Timed, find_episodes

ROOT = Path(__file__).parents[1]
RULE = Rule(10.0, 10.0, 0.0, 2, 3, *[0.0] * 4)  # of `--alarm-after 2/3` and the bundle of the tests
PROGRAM = """
import os, sys, time
real, shift = time.time, float(os.environ.get("SHIFT", 0))
time.time = lambda: real() + shift
from detecting import {network}
from asdkit.bin import detect
from asdkit.monitor import folder, watching
from asdkit.monitor.detector import Detector
Detector.network = {network}()
folder.PATIENCE = watching.PATIENCE = {patience}
sys.argv = ["asdkit-detect", *sys.argv[1:]]
detect.program()
"""


class Monitor:
    """A process that watches; started anew by `start`."""

    def __init__(self, bundle, folder, db, *options, patience=1.0, poll=0.05, network="Levels"):
        self.words = [bundle, "--watch", folder, "--db", db, "--poll", poll, *options]
        self.program, self.db, self.process = PROGRAM.format(patience=patience, network=network), db, None

    def start(self, shift=0.0, **pipes):
        """shift: of its clock, seconds."""
        path = os.pathsep.join([str(ROOT), str(ROOT / "test")])
        environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "SHIFT": str(shift)}
        command = [sys.executable, "-c", self.program, *map(str, self.words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | (pipes or {"text": True})
        self.process = subprocess.Popen(command, env=environment, **pipes)
        return self

    def kill(self):
        self.process.kill()
        return self.process.communicate()

    def end(self):
        """Ask it to end; its exit code, and what it said."""
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err

    def wait(self, question, wanted, seconds=30):
        """Wait until the database answers a question so; returns the answer."""
        end, got = time.monotonic() + seconds, None
        while time.monotonic() < end:
            assert self.process.poll() is None, self.process.communicate()
            got = ask(self.db, question)
            if got == wanted or (callable(wanted) and wanted(got)):
                return got
            time.sleep(0.02)
        raise AssertionError(f"{question}: {got}, wanted {wanted}")


def ask(db, question, *values):
    """A single value, the values of a column, or rows; None where nothing is there yet."""
    if not Path(db).exists():
        return None
    connection = sqlite3.connect(f"file:{db}?mode=ro", uri=True, timeout=10)
    try:
        rows = connection.execute(question, values).fetchall()
    except sqlite3.OperationalError:
        return None
    finally:
        connection.close()
    return rows[0][0] if len(rows) == 1 and len(rows[0]) == 1 else [row[0] if len(row) == 1 else row for row in rows]


def episodes_of(db, rule):
    """The episodes of the clips in a database, counted at once."""
    clips = ask(db, "SELECT score, verdict, time, time + seconds FROM clips WHERE number IS NOT NULL ORDER BY id")
    return find_episodes(rule, [Timed(None if clip[1] == "doubtful" else clip[0], *clip[2:]) for clip in clips])


def check_whole(db, paths, rule):
    """Each file once; the episodes those that the clips make when they are counted at once."""
    recordings = ask(db, "SELECT recording FROM clips")
    assert sorted(recordings if isinstance(recordings, list) else [recordings]) == sorted(map(str, paths))
    numbers = ask(db, "SELECT number FROM clips WHERE number IS NOT NULL ORDER BY id")
    assert numbers == list(range(len(numbers)))
    wanted = episodes_of(db, rule)
    select = "SELECT {} FROM episodes JOIN clips AS c ON c.id = {} WHERE kind = ? ORDER BY episodes.id"
    kept = ask(db, "SELECT ordinal, start, raised, end, peak_score, over, open FROM episodes WHERE kind = ?", ANOMALY)
    got = [(n, e.start, e.raised, e.end, e.peak_score, e.over, int(e.open)) for n, e in enumerate(wanted, 1)]
    assert (kept if isinstance(kept, list) else [kept]) == got and got
    found = ask(db, select.format("c.score, episodes.peak_score, episodes.open", "episodes.peak"), ANOMALY)
    assert all(one[0] == one[1] for one in found)
    ends = ask(db, select.format("c.time + c.seconds, episodes.end, 1", "episodes.last"), ANOMALY)
    assert all(one[0] == one[1] for one in ends)
    assert ask(db, "PRAGMA integrity_check") == "ok"
