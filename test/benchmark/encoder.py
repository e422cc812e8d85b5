"""Speed of the BEATs encoder beside the machine's own linear-layer rate, on this CPU, in one run.

    python3 test/benchmark/encoder.py [--rounds 10] [--threads N]

Everything is measured in turns and the fastest of all rounds counts, so that other work on the machine disturbs all
figures alike. With `--threads 1` CPU time is taken instead of wall time, which a busy machine disturbs less.
"""

import argparse
import copy
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from asdkit.config import BeatsArch, BeatsEncoder  # noqa: E402
from asdkit.encoders import build_encoder  # noqa: E402
from asdkit.infer.network import fold  # noqa: E402
from asdkit.utils.memory import reuse_freed_memory  # noqa: E402

SECONDS, FRAMES, TOKENS = 10, 998, 496
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
AIMS = {"float32": 0.9, "bfloat16": 0.75}


def clip_gflop(arch: BeatsArch) -> float:
    """Multiplications and additions of one 10-s clip through patches, positions and layers, in GFLOP."""
    dim, n = arch.encoder_embed_dim, TOKENS
    layer = 4 * dim * dim + 2 * dim * arch.encoder_ffn_embed_dim + 2 * n * dim
    position = arch.conv_pos * dim * dim // arch.conv_pos_groups
    patch = arch.input_patch_size**2 * arch.embed_dim + arch.embed_dim * dim
    return 2 * n * (arch.encoder_layers * layer + position + patch) / 1e9


def linear(dtype: torch.dtype) -> tuple[Callable[[], object], float]:
    """Ten linear layers of 1984 x 768 by 768 x 3072: as long as a clip, so that a busy machine disturbs both alike."""
    x, weight = torch.randn(4 * TOKENS, 768, dtype=dtype), torch.randn(3072, 768, dtype=dtype)

    def run() -> None:
        for _ in range(10):
            F.linear(x, weight)

    return run, 10 * 2 * 4 * TOKENS * 768 * 3072 / 1e9


def work(arch: BeatsArch) -> dict[tuple[str, str], tuple[Callable[[], object], float]]:
    """(dtype, what) -> function to time and its GFLOP."""
    torch.manual_seed(0)
    encoder = build_encoder(BeatsEncoder(arch=arch)).eval().requires_grad_(False)
    encoders = {name: copy.deepcopy(encoder) for name in DTYPES}
    for name, dtype in DTYPES.items():
        fold(encoders[name], dtype)  # as stage 4 does
    wav = torch.randn(4, SECONDS * 16000) * 0.1
    assert encoder.frontend(wav[:1]).shape[1] == FRAMES

    def encode(name: str, clips: int) -> Callable[[], object]:
        def run() -> None:
            with torch.no_grad(), torch.autocast("cpu", DTYPES[name], enabled=name != "float32"):
                assert encoders[name](encoder.frontend(wav[:clips])).shape[1] == TOKENS

        return run

    jobs = {}
    for name, dtype in DTYPES.items():
        jobs[name, "linear"] = linear(dtype)
        for clips in (1, 4):
            jobs[name, f"{clips}"] = encode(name, clips), clips * clip_gflop(arch)
    return jobs


def measure(jobs: dict, rounds: int, clock: Callable[[], float]) -> dict[tuple[str, str], float]:
    """Fastest seconds of each job over all rounds."""
    best: dict[tuple[str, str], float] = {}
    for turn in range(rounds + 1):
        for key, (run, _) in jobs.items():
            start = clock()
            run()
            if turn:  # the first round warms up
                best[key] = min(best.get(key, float("inf")), clock() - start)
        print(f"\rround {turn} of {rounds}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    reuse_freed_memory()  # as every program does
    clock = time.thread_time if args.threads == 1 else time.perf_counter
    load = os.getloadavg()
    jobs = work(BeatsArch())
    best = measure(jobs, args.rounds, clock)

    kind = "CPU" if args.threads == 1 else "wall"
    print(f"torch {torch.__version__}, {args.threads} of {os.cpu_count()} cores, {kind} time, {args.rounds} rounds")
    print(f"load average {load[0]:.2f} before, {os.getloadavg()[0]:.2f} after")
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    native = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags]
    print(f"bfloat16 instructions: {', '.join(native) or 'none, bfloat16 is emulated'}")
    print(f"{'':10}{'clips':>6}{'s/clip':>9}{'GFLOP/s':>9}{'linear':>8}{'share':>7}{'aim':>6}{'4 / 1':>7}")
    for name in DTYPES:
        rate = jobs[name, "linear"][1] / best[name, "linear"]
        for clips in (1, 4):
            seconds = best[name, f"{clips}"]
            speed = jobs[name, f"{clips}"][1] / seconds
            ratio = f"{seconds / 4 / best[name, '1']:7.2f}" if clips == 4 else ""
            columns = f"{name:10}{clips:6}{seconds / clips:9.3f}{speed:9.0f}{rate:8.0f}{speed / rate:7.2f}"
            print(f"{columns}{AIMS[name]:6.2f}{ratio}")


if __name__ == "__main__":
    main()
