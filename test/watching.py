"""asdkit-detect as a process that watches a folder, for tests: with levels in place of a network."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAM = """
import sys
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

    def start(self, **pipes):
        path = os.pathsep.join([str(ROOT), str(ROOT / "test")])
        environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
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
