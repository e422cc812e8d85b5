"""Time and memory of nearest-neighbour scoring against scikit-learn's brute force, both in this process.

    python3 test/benchmark/knn.py [--test 20000] [--train 200000] [--dim 768] [--repeat 1]

Prints seconds of each, their ratio (aim: <= 0.5), the largest difference of a distance, how many neighbours differ
other than by a tie in value, and by how much memory grew at most while
scoring (read from /proc, so on Linux only).

    python3 test/benchmark/knn.py --density 4 [--part 0.05]

measures local density instead: fitting (each training embedding's distance to the nearest K others) and scoring,
against the blocked float32 products of all pairs that these need, train x train and test x train (aim: at most 1.3; of
`--part` of the rows, scaled up), memory beyond the embeddings (aim: 256 MiB), and against the same by scikit-learn and,
where it is installed, faiss, on `--part` of the rows.
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
from asdkit.detectors.rescale import Rescale  # noqa: E402


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


def product(x: np.ndarray, train: np.ndarray) -> None:
    """All products of x's rows with train's, by blocks."""
    for start in range(0, len(x), 512):
        for column in range(0, len(train), 8192):
            x[start : start + 512] @ train[column : column + 8192].T


def density(train: np.ndarray, test: np.ndarray, args: argparse.Namespace) -> None:
    """Print what local density costs."""
    asked = np.concatenate([train[: max(1, int(args.part * len(train)))], test[: max(1, int(args.part * len(test)))]])
    whole = (len(train) + len(test)) / len(asked)
    detector = KNN(1, how=Rescale("ratio", args.density))
    product(asked[:600], train)  # starts the threads of the matrix product
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = memory("VmRSS")
    ours, our_cpu, _ = timed(lambda: detector.fit(train).anomaly_score(test), args.repeat)
    grown = memory("VmHWM") - before
    wall, cpu, _ = timed(lambda: product(asked, train), args.repeat)
    print(f"{len(test)} x {len(train)} embeddings of {train.shape[1]}, local density of {args.density} neighbours")
    print(f"asdkit       {ours:8.2f} s wall {our_cpu:8.2f} s CPU, {grown:.0f} MiB", flush=True)
    print(f"products     {whole * wall:8.2f} s wall {whole * cpu:8.2f} s CPU, scaled from {len(asked)} rows")
    print(f"ratio        {ours / whole / wall:8.3f} wall   {our_cpu / whole / cpu:8.3f} CPU", flush=True)
    reference = NearestNeighbors(n_neighbors=args.density + 1, algorithm="brute", metric="cosine").fit(train)
    others = {"scikit-learn": lambda: reference.kneighbors(asked)}
    try:
        import faiss

        index = faiss.IndexFlatIP(train.shape[1])
        index.add(train / np.linalg.norm(train, axis=1, keepdims=True))
        others["faiss"] = lambda: index.search(asked / np.linalg.norm(asked, axis=1, keepdims=True), args.density + 1)
    except ImportError:
        print("faiss is not installed")
    for name, work in others.items():
        wall, cpu, _ = timed(work, args.repeat)
        print(f"{name:12} {whole * wall:8.2f} s wall {whole * cpu:8.2f} s CPU, scaled; neighbours alone", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--test", type=int, default=20000)
    parser.add_argument("--train", type=int, default=200000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--k", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=1, help="of each; the shortest counts")
    parser.add_argument("--density", type=int, default=0, help="measure local density of so many neighbours instead")
    parser.add_argument("--part", type=float, default=0.05, help="of the rows, for what is scaled up")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    both = clustered(rng, args.train + args.test, args.dim)
    train, test = both[: args.train], both[args.train :]
    if args.density:
        density(train, test, args)
        return

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
