"""A monitor that everything happens to: killed, without its broker, its disk, its database and the right time."""

import os
import random
import sqlite3
import subprocess
import threading
import time

import pytest
from brokers import Mosquitto, Receiver
from detecting import bundle, sound, write
from watching import RULE, Monitor, ask, check_whole

KILLS, AWAY, HELD = 30, 60.0, 5.0  # seconds that the broker is away; that the disk is full, and the database locked
FULL, LOCKED, GONE = "the disk is full", "locked by another program", "Alarms wait"


@pytest.fixture
def disk(tmp_path):
    """A disk of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True)
    if done.returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def server(tmp_path):
    """A broker that remembers what it held when it is asked to end."""
    pytest.importorskip("paho.mqtt.client")
    made = Mosquitto(tmp_path, "allow_anonymous true", "persistence true", f"persistence_location {tmp_path}/")
    yield made
    made.stop()


@pytest.mark.long
def test_thirty_kills_and_all_else_at_once(tmp_path, disk, server):
    receiver = Receiver(server.port, "factory/press")
    receiver.listens(1)
    draw, paths, over, troubles = random.Random(19), [], threading.Event(), []
    contents = [write(tmp_path / f"{n}.wav", sound("press", 50 + n, fault=n == 3)).read_bytes() for n in range(4)]
    (tmp_path / "in").mkdir()

    def arrive():
        own = random.Random(20)
        while not over.is_set():
            path = tmp_path / f"in/{len(paths):04d}.wav"
            paths.append(path)
            with open(f"{path}.part", "wb") as file:
                file.write(contents[own.choice((0, 1, 2, 3, 3, 3))])
            when = time.time() - 3600 * (len(paths) // 40)  # a clock that is set back, again and again
            os.utime(f"{path}.part", (when, when))
            os.rename(f"{path}.part", path)
            time.sleep(0.2 + own.random() * 0.5)

    said = tmp_path / "said"

    def tells(words, before, seconds=30):
        """Wait until the monitors have told of a trouble more often than before."""
        end = time.monotonic() + seconds
        while said.read_text().count(words) <= before:
            assert time.monotonic() < end, f"no monitor says {words!r}"
            time.sleep(0.05)

    def broker_is_away():
        server.process.terminate()
        server.process.wait()
        time.sleep(AWAY)
        server.start()

    def disk_is_full():
        with open(disk / "filler", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass
        time.sleep(HELD)
        told.wait(30)
        os.remove(disk / "filler")

    def database_is_locked():
        other = sqlite3.connect(disk / "m.db", isolation_level=None, timeout=30)
        other.execute("BEGIN IMMEDIATE")
        time.sleep(HELD)
        told.wait(30)
        other.execute("ROLLBACK")
        other.close()

    full, locked = (disk_is_full, FULL), (database_is_locked, LOCKED)
    plan, told = {3: (broker_is_away, GONE), 7: full, 11: locked, 16: full, 21: locked}, threading.Event()
    options = ["--mqtt", f"127.0.0.1:{server.port}", "--topic", "factory/press", "--alarm-after", "2/3"]
    monitor = Monitor(bundle(tmp_path / "press.asdkit"), tmp_path / "in", disk / "m.db", *options, patience=20)
    arriving = threading.Thread(target=arrive)
    arriving.start()
    try:
        for number in range(KILLS):
            with open(said, "a") as file:
                monitor.start(shift=-draw.choice((0.0, 0.0, 3600.0, 90000.0)), stderr=file, text=True)
            trouble, words = plan.get(number, (None, None))
            before = said.read_text().count(words) if words else 0
            if trouble:
                told.clear()
                troubles.append(threading.Thread(target=trouble))
                troubles[-1].start()
            time.sleep(draw.random() * 12)  # from the middle of the start on
            assert monitor.process.poll() is None, said.read_text()
            if trouble:
                tells(words, before)
                told.set()
            monitor.kill()
    finally:
        told.set()
        over.set()
        arriving.join()
        for one in troubles:
            one.join()
    monitor.start()
    monitor.wait("SELECT pid FROM heartbeat", monitor.process.pid, 60)  # or SIGTERM meets a program that starts
    done = "SELECT count(*) FROM files WHERE state = 'done'"
    while (ask(disk / "m.db", done) or 0) < len(paths):
        before = ask(disk / "m.db", done) or 0
        monitor.wait(done, lambda got, before=before: (got or 0) > before, 60)
    monitor.wait("SELECT count(*) FROM outbox", 0, 60)
    wanted = {
        (number, what)
        for number, opened in ask(disk / "m.db", "SELECT ordinal, open FROM episodes WHERE kind = 'anomaly'")
        for what in (("begins",) if opened else ("begins", "over"))
    }
    receiver.wait(len(wanted), 60)
    code, _, err = monitor.end()
    receiver.client.loop_stop()
    assert code == 0, err
    check_whole(disk / "m.db", paths, RULE)
    alarms = receiver.alarms()
    once = {one["id"]: (one["alarm"], one["what"]) for one in alarms}
    assert set(once.values()) == wanted and len(once) == len(wanted)
    print(f"{len(paths)} files, {len(wanted)} messages of alarms, {len(alarms) - len(once)} of them twice")
