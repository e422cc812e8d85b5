"""What pooling tokens in more ways costs in stage 4, starts of the programs included.

    python3 test/benchmark/arrays.py [--clips 64] [--seconds 10] [--rounds 5] [--threads 1]

Stage 4 of conf/beats_frozen.yaml (mean pooling) and of conf/beats_frozen_bands.yaml (RDP of each band, twice) of
egs/dcase2024, BEATs base with random weights, on clips of noise; in turn, so that both meet the same load. Prints the
ratio of each round and the median, of wall and CPU time (aim: at most 1.03).
"""

import argparse
import os
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ("beats_frozen", "beats_frozen_bands")


def recipe(folder: Path, config: str, threads: int, *options: str) -> tuple[float, float]:
    """Wall and CPU seconds of stages of one configuration."""
    words = ["bash", str(ROOT / "egs/custom/run.sh"), "--corpus", str(folder / "corpus"), "--tag", config, *options]
    words += ["--config", f"../dcase2024/conf/{config}.yaml", "--set", "encoder.checkpoint=null", "--nj", "1"]
    words += ["--num-threads", str(threads)]
    for key, name in (("data", "data"), ("dump", "dump"), ("expdir", "exp")):
        words += [f"--{key}", str(folder / name)]
    start, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, check=True, capture_output=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return time.perf_counter() - start, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(args.clips):
            split = "test" if number % 4 == 0 else "train"
            path = folder / f"corpus/press/{split}/normal_{number:04d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.1 * random.standard_normal(int(16000 * args.seconds)), 16000)
        for config in CONFIGS:
            recipe(folder, config, args.threads, "--stop-stage", "3")
        ratios: list[list[float]] = [[], []]
        for number in range(args.rounds):
            order = CONFIGS if number % 2 == 0 else CONFIGS[::-1]
            stage = ("--stage", "4", "--stop-stage", "4", "--force", "true")
            found = {config: recipe(folder, config, args.threads, *stage) for config in order}
            for column in (0, 1):
                ratios[column].append(found[CONFIGS[1]][column] / found[CONFIGS[0]][column])
            told = ", ".join(f"{config} {wall:.1f} s ({cpu:.1f} CPU)" for config, (wall, cpu) in found.items())
            print(f"{told}: {ratios[0][-1]:.3f} wall, {ratios[1][-1]:.3f} CPU", flush=True)
        print(f"median {statistics.median(ratios[0]):.3f} wall, {statistics.median(ratios[1]):.3f} CPU")


if __name__ == "__main__":
    main()
