"""Clips of 1 to 30 s beside clips of one length, and beside an older tree, in turns: how fast BEATs base embeds them.

    git worktree add ../old 822b8fc
    python3 test/benchmark/free_lengths.py [--old ../old] [--clips 16] [--longest 30] [--rounds 2]

Prints CPU seconds of one thread, which other work on the machine disturbs least, and multiplications and additions a
second: those of free lengths over those of equal ones (aim: 0.9 or more), and over those of the older tree on the same
clips (aim: 2.5). The fastest of all rounds counts.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RATE, BATCH = 16000, 8


def lengths(clips: int, longest: float) -> list[int]:
    """Samples of clips from 1 s to `longest`, evenly spread, no two alike."""
    return [round(RATE * (1 + (longest - 1) * (i + 0.5) / clips)) + i for i in range(clips)]


def gflop(samples: int) -> float:
    """Multiplications and additions of a clip through patches, positions and layers of BEATs base, in GFLOP."""
    dim, n = 768, ((samples - 400) // 160 + 1) // 16 * 8
    layer = 4 * dim * dim + 2 * dim * 3072 + 2 * n * dim
    return 2 * n * (12 * layer + 128 * dim * dim // 16 + 256 * 512 + 512 * dim) / 1e9


def work(tree: str, counts: list[int]) -> None:
    """Embed clips of so many samples for each line that comes in, as stage 4 of a tree does, and print the seconds."""
    sys.path.insert(0, tree)
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    try:
        from asdkit.infer.clips import batches_of
        from asdkit.infer.network import fold
    except ImportError:
        from asdkit.models.extraction import batches_of, fold
    from asdkit.config import Config
    from asdkit.models.embedder import Embedder
    from asdkit.utils.memory import reuse_freed_memory
    from asdkit.utils.typed_yaml import validate

    reuse_freed_memory()
    model = Embedder(validate(Config, {"model": {"group_adapter": {}}}, "-")).eval().requires_grad_(False)
    fold(model, torch.float32)
    packs = hasattr(model, "represent_each")
    clips = [argparse.Namespace(utt=f"{i:03d}", samples=samples) for i, samples in enumerate(counts)]
    batches = batches_of(clips, BATCH, True) if packs else batches_of(clips, BATCH)
    waves = [[torch.randn(clip.samples) * 0.1 for clip in batch] for batch in batches]
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.thread_time()
        with torch.inference_mode():
            for batch in waves:
                if len({len(wav) for wav in batch}) > 1:
                    model.represent_each([model.encoder.frontend(wav[None])[0] for wav in batch])
                else:
                    model(model.encoder.frontend(torch.stack(batch)))
        print(time.thread_time() - start, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", help="an older tree")
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--longest", type=float, default=30, help="seconds")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--work", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.work[0], list(map(int, args.work[1:])))
        return
    free = lengths(args.clips, args.longest)
    equal = [round(sum(free) / len(free))] * len(free)
    jobs = {"free": (str(ROOT), free), "equal": (str(ROOT), equal)}
    if args.old:
        jobs |= {"old, free": (args.old, free), "old, equal": (args.old, equal)}
    running, best = {}, dict.fromkeys(jobs, float("inf"))
    for name, (tree, counts) in jobs.items():
        words = [sys.executable, __file__, "--work", str(Path(tree).absolute()), *map(str, counts)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        running[name] = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/", env=environment
        )
        assert running[name].stdout.readline().strip() == "ready", name
    for turn in range(args.rounds + 1):
        for name, program in running.items():
            program.stdin.write("\n")
            program.stdin.flush()
            seconds = float(program.stdout.readline())
            best[name] = min(best[name], seconds if turn else float("inf"))  # the first round warms up
    for program in running.values():
        program.stdin.close()
        program.wait()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {args.clips} clips of 1 to {args.longest:g} s")
    rates = {name: sum(map(gflop, jobs[name][1])) / best[name] for name in jobs}
    for name, seconds in best.items():
        print(f"{name:10} {seconds:7.2f} s CPU {rates[name]:6.0f} GFLOP/s")
    print(f"free / equal: {rates['free'] / rates['equal']:.2f}")
    if args.old:
        print(f"free / old, free: {rates['free'] / rates['old, free']:.2f}")
        print(f"old: free / equal: {rates['old, free'] / rates['old, equal']:.2f}")


if __name__ == "__main__":
    main()
