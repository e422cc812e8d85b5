"""Stage 1 on a corpus of the largest year's size: header-only stubs, one file each.

    python3 test/benchmark/prepare.py [--clips 54254] [--folder DIR]

Prints wall and CPU seconds and peak memory of the program (aims: under 60 s, under 1 GiB).
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

ROOT = Path(__file__).parents[2]
MACHINES = ("fan", "pump", "slider", "valve", "ToyCar", "ToyConveyor")
DESCRIPTION = """name: benchmark
name_style: dcase2020
protocol: dcase2020
sets: {dev: {path: dev_data}}
"""


def make(corpus: Path, clips: int) -> None:
    """Six machines with seven ids; a quarter are test clips."""
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
        (corpus / "dev_data" / MACHINES[number % 6] / split / name).write_bytes(content)


def main() -> None:
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--clips", type=int, default=54254)
    parser.add_argument("--folder", help="where to make the stubs (default: the folder for temporary files)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        root = Path(folder)
        make(root / "corpus", args.clips)
        (root / "dataset.yaml").write_text(DESCRIPTION)
        words = ["--dataset", "dataset.yaml", "--corpus", "corpus", "--data", "data"]
        start = time.perf_counter()
        command = [sys.executable, "-m", "asdkit.bin.prepare_data", *words]
        subprocess.run(command, cwd=root, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
        wall, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        rows = sum(len(path.read_text().splitlines()) - 1 for path in root.glob("data/*/manifest.tsv"))
        assert rows == args.clips, rows
    print(
        f"{args.clips} clips: {wall:.1f} s ({used.ru_utime + used.ru_stime:.1f} CPU), "
        f"peak {used.ru_maxrss / 1024:.0f} MiB, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )


if __name__ == "__main__":
    main()
