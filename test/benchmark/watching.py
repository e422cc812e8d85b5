#!/usr/bin/env python3
"""A monitor under load: how long from a file to its row, and how much memory. Levels in place of a network.

    .venv/bin/python test/benchmark/watching.py burst --files 10000     # all of them at once
    .venv/bin/python test/benchmark/watching.py steady --seconds 600    # one file a second
    .venv/bin/python test/benchmark/watching.py stream --hours 24       # standard input at 22.05 kHz, resampled to 16

Latency is from the time of a file to that of its row, seconds. `stream` compares 20 windows with files of the same
samples, and ends with 1 where a score differs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from detecting import Levels, bundle, sound, write
from watching import Monitor, ask

from asdkit.monitor.detector import Detector
from asdkit.monitor.inputs import Clip
from asdkit.monitor.verdict import Judge, Wanted

RATE, BLOCK, WINDOW, HOP = 22050, 2, 5, 4  # of the stream: Hz, seconds, and blocks of these
SAMPLE = 20  # windows that are compared


class Memory(threading.Thread):
    """Looks at how much memory a process has, MiB, each second."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.seen = pid, list[float]()
        self.start()

    def run(self) -> None:
        """Look until the process is away."""
        while found := memory(self.pid, "VmRSS"):
            self.seen.append(found)
            time.sleep(1.0)

    def told(self) -> str:
        """Memory early, in the middle and at the end, and its peak."""
        places = [self.seen[int(share * (len(self.seen) - 1))] for share in (0.1, 0.25, 0.5, 0.75, 1.0)]
        return "memory at 10, 25, 50, 75, 100 %: " + ", ".join(f"{one:.0f}" for one in places) + " MiB"


def memory(pid: int, what: str) -> float:
    """A process's memory, MiB; 0 where there is no such process."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{what}:")), 0.0)


def latency(db: Path) -> str:
    """Of all rows: median, 99th percentile and longest."""
    waits = ask(db, "SELECT judged - mtime_ns / 1e9 FROM clips JOIN files ON files.id = clips.file")
    low, high, most = np.percentile(waits, [50, 99, 100])
    return f"latency: median {low:.2f} s, 99th percentile {high:.2f} s, longest {most:.2f} s"


def watch(folder: Path, args: argparse.Namespace) -> None:
    """`burst` and `steady`."""
    contents = [write(folder / "a.wav", sound("press", 50 + n, n == 9, 1.0)).read_bytes() for n in range(10)]
    (folder / "in").mkdir()
    count = args.files if args.what == "burst" else args.seconds
    monitor = Monitor(folder / "press.asdkit", folder / "in", folder / "m.db", poll=1.0).start()
    monitor.wait("SELECT count(*) FROM heartbeat", 1)
    drains = [
        threading.Thread(target=pipe.read, daemon=True) for pipe in (monitor.process.stdout, monitor.process.stderr)
    ]
    for one in drains:
        one.start()
    seen, began = Memory(monitor.process.pid), time.monotonic()
    if args.what == "burst":
        (folder / "made").mkdir()
        for number in range(count):
            (folder / f"made/{number:06d}.wav").write_bytes(contents[number % 10])
        now = time.time()
        for entry in os.scandir(folder / "made"):
            os.utime(entry.path, (now, now))
        began = time.monotonic()
        os.rename(folder / "made", folder / "in/made")
    else:
        for number in range(count):
            time.sleep(max(began + number - time.monotonic(), 0))
            (folder / f"in/{number:06d}.wav").write_bytes(contents[number % 10])
    monitor.wait("SELECT count(*) FROM clips", count, 3600)
    took, peak = time.monotonic() - began, memory(monitor.process.pid, "VmHWM")
    print(f"{args.what}: {count} files in {took:.0f} s; {latency(folder / 'm.db')}")
    print(f"  {seen.told()}, peak {peak:.0f} MiB; database {(folder / 'm.db').stat().st_size / count:.0f} bytes a clip")
    monitor.process.terminate()
    monitor.process.wait(60)
    assert ask(folder / "m.db", "SELECT count(*) FROM files WHERE state = 'done'") == count


def block(number: int) -> np.ndarray:
    """The samples of a block of the stream, int16; a fault in ten of each two thousand."""
    at = np.arange(BLOCK * RATE) / RATE  # each tone goes on: whole periods
    wav = 0.02 * np.random.default_rng(number).standard_normal(len(at)) + 0.1 * np.sin(2 * np.pi * 400 * at)
    if number % 2000 in range(500, 510):
        wav += 0.1 * np.sin(2 * np.pi * 3000 * at)
    return np.rint(32767 * wav).astype("<i2")


def stream(folder: Path, args: argparse.Namespace) -> int:
    """The stream judged as it comes, and a sample of its windows as files."""
    count = round(args.hours * 3600) // BLOCK
    words = [folder / "press.asdkit", "-", "--raw", "s16le", "--rate", RATE, "--channels", 1, "--json"]
    words += ["--clip-seconds", BLOCK * WINDOW, "--hop", BLOCK * HOP, "--db", folder / "m.db"]
    monitor = Monitor(folder / "press.asdkit", folder, folder / "m.db")
    monitor.words = words
    began = time.monotonic()
    monitor.start(stdin=subprocess.PIPE)
    drains = [
        threading.Thread(target=pipe.read, daemon=True) for pipe in (monitor.process.stdout, monitor.process.stderr)
    ]
    for one in drains:
        one.start()
    seen = Memory(monitor.process.pid)
    for number in range(count):
        monitor.process.stdin.write(block(number).tobytes())
    peak = memory(monitor.process.pid, "VmHWM")
    monitor.process.stdin.close()
    monitor.process.wait(600)
    took = time.monotonic() - began
    got = dict(ask(folder / "m.db", "SELECT CAST(round(start) AS INTEGER), score FROM clips"))
    wanted = range(0, BLOCK * (count - WINDOW + 1), BLOCK * HOP)
    alarms = ask(folder / "m.db", "SELECT count(*) FROM episodes")
    print(f"stream: {args.hours:g} h, {len(got)} windows of {len(wanted)} in {took:.0f} s, {alarms} alarms")
    print(f"  {seen.told()}, peak {peak:.0f} MiB")
    Detector.network = Levels()
    judge = Judge(Detector.open(folder / "press.asdkit"), Wanted())
    draw, apart = np.random.default_rng(0), []
    for start in draw.choice(wanted, min(SAMPLE, len(wanted)), replace=False).tolist():
        wav = np.concatenate([block(start // BLOCK + n) for n in range(WINDOW)])
        path = write(folder / "window.wav", wav, RATE)
        apart.append(abs(judge.judge(Clip("window", str(path))).score - got[start]))
    print(f"  {len(apart)} windows as files of their own: largest difference of scores {max(apart):.3g}")
    return int(set(got) != set(wanted) or max(apart) > 0)


def main() -> int:
    """Run one of the three; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["burst", "steady", "stream"])
    parser.add_argument("--files", type=int, default=10000)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--hours", type=float, default=24.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        bundle(folder / "press.asdkit", resample=True)
        if args.what == "stream":
            return stream(folder, args)
        watch(folder, args)
        return 0


if __name__ == "__main__":
    sys.exit(main())
