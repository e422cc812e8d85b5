"""Cost of a training step: fully-connected 8-branch LoRA over single-branch LoRA, and over full fine-tuning.

    python test/benchmark/lora.py [--clips 16] [--rounds 20] [--threads N]

Same network (BEATs base, random weights), same batch of 2-second chunks, same optimiser. The variants take turns, the
ratio is taken within each round and its median over the rounds counts, so that a machine that is faster at one time
than at another does not matter. With `--threads 1` CPU time is taken instead of wall time, which other programs
disturb less. Aims: at most 1.05, 0.80.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

import torch

from asdkit.adapt.lora import add_lora
from asdkit.config import BeatsEncoder, LoraConfig, TrainConfig
from asdkit.encoders import build_encoder
from asdkit.train.optim import AdamW
from asdkit.utils.memory import reuse_freed_memory


def make(lora: LoraConfig | None) -> tuple[Callable[[torch.Tensor], None], int]:
    """A step of BEATs base with LoRA, or with all its weights trained, and how many numbers it trains."""
    torch.manual_seed(0)
    encoder = build_encoder(BeatsEncoder()).train()
    encoder.requires_grad_(lora is None)
    if lora:
        add_lora(encoder, lora)
    parameters = [p for p in encoder.parameters() if p.requires_grad]
    optimizer = AdamW(parameters, TrainConfig())

    def step(feats: torch.Tensor) -> None:
        torch.manual_seed(1)  # the same layers are dropped in every variant
        optimizer.zero_grad(set_to_none=True)
        encoder(feats).square().mean().backward()
        optimizer.step()

    return step, sum(p.numel() for p in parameters)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    reuse_freed_memory()  # as every program does
    clock = time.process_time if args.threads == 1 else time.perf_counter
    load = os.getloadavg()
    feats = torch.randn(args.clips, 198, 128)
    variants = {
        "LoRA, 8 branches fully connected": make(LoraConfig(branches=8)),
        "LoRA, 1 branch": make(LoraConfig(branches=1)),
        "full fine-tuning": make(None),
    }
    seconds = {name: [] for name in variants}
    for turn in range(args.rounds + 1):  # the first round warms up
        for name in sorted(variants, key=lambda name: (list(variants).index(name) + turn) % 3):  # each is first in turn
            start = clock()
            variants[name][0](feats)
            if turn:
                seconds[name].append(clock() - start)
        print(f"\rround {turn} of {args.rounds}", end="", file=sys.stderr)
    print(file=sys.stderr)
    kind = "CPU" if args.threads == 1 else "wall"
    print(f"{args.clips} chunks of 2 s, {args.threads} of {os.cpu_count()} cores, {kind} time, {args.rounds} rounds")
    print(f"load average {load[0]:.2f} before, {os.getloadavg()[0]:.2f} after")
    for name, (_, count) in variants.items():
        print(f"{name:34} {statistics.median(seconds[name]):7.3f} s a step, {count / 1e6:6.2f} M trained")
    connected, single, full = seconds.values()
    report("fully connected / single", connected, single, 1.05)
    report("fully connected / full", connected, full, 0.80)


def report(name: str, times: list[float], reference: list[float], aim: float) -> None:
    """Print the median of the ratios of two variants' steps of the same round, and their quartiles."""
    low, median, high = statistics.quantiles([a / b for a, b in zip(times, reference, strict=True)])
    print(f"{name:25} {median:.3f} (quartiles {low:.2f}, {high:.2f}; aim at most {aim:.2f})")


if __name__ == "__main__":
    main()
