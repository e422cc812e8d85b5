"""Stage 1 on a corpus of the largest year's size: header-only stubs, one file each; or recordings that are read whole.

    python3 test/benchmark/prepare.py [--clips 54254] [--folder DIR]
    python3 test/benchmark/prepare.py --check-content true --clips 2000 --seconds 10

Prints wall and CPU seconds and peak memory of the program (aims: under 60 s, under 1 GiB) and of a second run, which
finds everything done; with --check-content true also how fast as many threads decode the same recordings (aim: stage 1
reads at 0.8 of that rate or more).
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).parents[2]
MACHINES = ("fan", "pump", "slider", "valve", "ToyCar", "ToyConveyor")
DESCRIPTION = """name: benchmark
name_style: dcase2020
protocol: dcase2020
sets: {dev: {path: dev_data}}
"""


def make(corpus: Path, clips: int, seconds: float) -> None:
    """Six machines with seven ids; a quarter are test clips. seconds: of noise in each; 0: one sample."""
    stub = corpus.parent / "stub.wav"
    with wave.open(str(stub), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", "not compressed"))
        file.writeframes(bytes(2))
    content = stub.read_bytes()
    for machine in MACHINES:
        for split in ("train", "test"):
            (corpus / "dev_data" / machine / split).mkdir(parents=True)
    for number in range(clips):
        split = "test" if number // 42 % 4 == 0 else "train"
        name = f"normal_id_{number // 6 % 7:02d}_{number:08d}.wav"
        path = corpus / "dev_data" / MACHINES[number % 6] / split / name
        path.write_bytes(content)
        if seconds:
            samples = np.random.default_rng(number).integers(-9999, 9999, round(16000 * seconds), dtype=np.int16)
            soundfile.write(path, samples, 16000)


def decode_all(corpus: Path) -> float:
    """Seconds that threads, as many as stage 1 has, take to decode all recordings."""
    paths, start = sorted(corpus.rglob("*.wav")), time.perf_counter()
    with ThreadPoolExecutor(min(16, len(os.sched_getaffinity(0)))) as pool:
        for _ in pool.map(lambda path: len(soundfile.read(path, dtype="float32")[0]), paths):
            pass
    return time.perf_counter() - start


def stage_1(root: Path, check_content: str) -> float:
    """Seconds of one run."""
    words = ["--dataset", "dataset.yaml", "--corpus", "corpus", "--data", "data", "--check-content", check_content]
    start = time.perf_counter()
    command = [sys.executable, "-m", "asdkit.bin.prepare_data", *words]
    subprocess.run(command, cwd=root, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--clips", type=int, default=54254)
    parser.add_argument("--check-content", default="false", choices=("true", "false"))
    parser.add_argument("--seconds", type=float, default=0, help="of noise in each recording; 0: one sample")
    parser.add_argument("--folder", help="where to make the stubs (default: the folder for temporary files)")
    args = parser.parse_args()
    if args.check_content == "true" and not args.seconds:
        parser.error("--check-content true refuses recordings without signal: give --seconds")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        root = Path(folder)
        make(root / "corpus", args.clips, args.seconds)
        (root / "dataset.yaml").write_text(DESCRIPTION)
        if args.check_content == "true":
            decode_all(root / "corpus")  # into the page cache
            decoded = decode_all(root / "corpus")
        wall, used = stage_1(root, args.check_content), resource.getrusage(resource.RUSAGE_CHILDREN)
        again = stage_1(root, args.check_content)
        rows = sum(len(path.read_text().splitlines()) - 1 for path in root.glob("data/*/manifest.tsv"))
        assert rows == args.clips, rows
    print(
        f"{args.clips} clips: {wall:.1f} s ({used.ru_utime + used.ru_stime:.1f} CPU), again {again:.1f} s, "
        f"peak {used.ru_maxrss / 1024:.0f} MiB, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    if args.check_content == "true":
        print(f"decoding alone: {decoded:.1f} s, {decoded / wall:.2f} of the time of stage 1")


if __name__ == "__main__":
    main()
