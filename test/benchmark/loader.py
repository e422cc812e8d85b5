"""Chunks of 2 s per second from 10-s recordings, read in part and as whole files, one process.

python3 test/benchmark/loader.py
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from asdkit.signals.audio import AudioReader

RATE, CLIPS, ROUNDS = 16000, 64, 6


def chunks_per_second(read: Callable[[str, int], np.ndarray], paths: list[str], starts: np.ndarray) -> float:
    """Read one chunk of each path."""
    begin = time.perf_counter()
    for path, start in zip(paths, starts, strict=True):
        assert len(read(path, int(start))) == 2 * RATE
    return len(paths) / (time.perf_counter() - begin)


def main() -> None:
    """Print medians over alternating rounds, so that a busy machine slows both ways of reading."""
    reader, rng = AudioReader(RATE), np.random.default_rng(0)
    ways = {
        "part": lambda path, start: reader.read(path, start, 2 * RATE),
        "whole": lambda path, start: reader.read(path)[start : start + 2 * RATE],
    }
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, files in the page cache")
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("wav", "flac"):
            paths = [str(Path(folder, f"{i}.{suffix}")) for i in range(CLIPS)]
            for path in paths:
                soundfile.write(path, 0.1 * rng.standard_normal(10 * RATE), RATE, subtype="PCM_16")
            speeds = {way: [] for way in ways}
            for _ in range(ROUNDS):
                starts = 160 * rng.integers(0, 8 * 100 + 1, CLIPS)
                for way, read in ways.items():
                    speeds[way].append(chunks_per_second(read, paths, starts))
            part, whole = (float(np.median(speeds[way])) for way in ways)
            print(f"{suffix}: part {part:.0f} chunks/s, whole file {whole:.0f} chunks/s, ratio {part / whole:.1f}")
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
