"""Time and memory of nearest-neighbour scoring against scikit-learn's brute force, both in this process.

    python3 test/benchmark/knn.py [--test 20000] [--train 200000] [--dim 768] [--repeat 1]

Prints seconds of each, their ratio (aim: <= 0.5), the largest difference of a distance, how many neighbours differ
other than by a tie in value, and by how much memory grew at most while
scoring (read from /proc, so on Linux only).
"""

import argparse
import re
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.neighbors import NearestNeighbors

sys.path.insert(0, str(Path(__file__).parents[2]))

from asdkit.detectors.knn import KNN  # noqa: E402


def clustered(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    """Embeddings that look like a network's: groups of near neighbours, [rows, dim] float32."""
    x = rng.standard_normal((200, dim), dtype=np.float32)[rng.integers(0, 200, rows)]
    for start in range(0, rows, 10000):
        block = x[start : start + 10000]
        block += 0.5 * rng.standard_normal(block.shape, dtype=np.float32)
    return x


def memory(line: str) -> float:
    """VmRSS (now) or VmHWM (the peak) of this process, MiB."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{line}:\s+(\d+) kB", status)[1]) / 1024


def timed(work, repeat: int) -> tuple[float, float, object]:
    """Shortest wall seconds, their CPU seconds, and the result."""
    best = (float("inf"), 0.0, None)
    for _ in range(repeat):
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        best = min(best, (time.perf_counter() - wall, time.process_time() - cpu, result), key=lambda item: item[0])
    return best


def main() -> None:
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--test", type=int, default=20000)
    parser.add_argument("--train", type=int, default=200000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--k", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=1, help="of each; the shortest counts")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    both = clustered(rng, args.train + args.test, args.dim)
    train, test = both[: args.train], both[args.train :]

    knn = KNN(args.k).fit(train)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = memory("VmRSS")
    knn.neighbours(test[:600])  # starts the threads of the matrix product
    ours, our_cpu, (distances, indices) = timed(lambda: knn.neighbours(test), args.repeat)
    grown = memory("VmHWM") - before
    print(f"{args.test} x {args.train} embeddings of {args.dim}, k = {args.k}")
    print(f"asdkit       {ours:8.2f} s wall {our_cpu:8.2f} s CPU", flush=True)
    reference = NearestNeighbors(n_neighbors=args.k, algorithm="brute", metric="cosine").fit(train)
    theirs, their_cpu, (expected, neighbours) = timed(lambda: reference.kneighbors(test), args.repeat)
    other = indices != neighbours
    untied = (other & (np.abs(distances - expected) > 1e-6)).sum()

    print(f"scikit-learn {theirs:8.2f} s wall {their_cpu:8.2f} s CPU")
    print(f"ratio        {ours / theirs:8.3f} wall   {our_cpu / their_cpu:8.3f} CPU")
    print(f"largest difference of a distance {np.abs(distances - expected).max():.1e}")
    print(f"other neighbours: {other.sum()}, of which not tied within 1e-6: {untied}")
    print(f"memory grew by at most {grown:.0f} MiB while scoring")


if __name__ == "__main__":
    main()
