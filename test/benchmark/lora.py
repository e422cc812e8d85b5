"""Cost of a training step: fully-connected 8-branch LoRA over single-branch LoRA, and over full fine-tuning.

    python test/benchmark/lora.py [--clips 8] [--repeats 5]

Same network (BEATs base, random weights), same batch of 2-second chunks, same optimiser. Aims: at most 1.05, 0.80.
"""

import argparse
import os
import time

import torch

from asdkit.adapt.lora import add_lora
from asdkit.config import EncoderConfig, LoraConfig, TrainConfig
from asdkit.encoders import build_encoder
from asdkit.train.optim import adamw
from asdkit.utils.memory import reuse_freed_memory


def make(lora: LoraConfig | None):
    """A step function of BEATs base with LoRA, or with all its weights trained."""
    torch.manual_seed(0)
    encoder = build_encoder(EncoderConfig()).train()
    encoder.requires_grad_(lora is None)
    if lora:
        add_lora(encoder, lora)
    parameters = [p for p in encoder.parameters() if p.requires_grad]
    optimizer = adamw(parameters, TrainConfig())

    def step(feats: torch.Tensor) -> float:
        torch.manual_seed(1)  # the same layers are dropped in every variant
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        encoder(feats).square().mean().backward()
        optimizer.step()
        return time.perf_counter() - start

    return step, sum(p.numel() for p in parameters)


def main() -> None:
    """Alternate the variants, so that the machine's load meets all of them, and compare their fastest steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    reuse_freed_memory()  # as every program does
    feats = torch.randn(args.clips, 198, 128)
    variants = {
        "LoRA, 8 branches fully connected": make(LoraConfig(branches=8)),
        "LoRA, 1 branch": make(LoraConfig(branches=1)),
        "full fine-tuning": make(None),
    }
    seconds = {name: [] for name in variants}
    for _ in range(args.repeats + 1):  # the first round warms up
        for name, (step, _) in variants.items():
            seconds[name].append(step(feats))
    best = {name: min(times[1:]) for name, times in seconds.items()}
    print(f"load {os.getloadavg()[0]:.1f}, {torch.get_num_threads()} threads, {args.clips} chunks of 2 s")
    for name, (_, count) in variants.items():
        print(f"{name:34} {best[name]:7.3f} s a step, {count / 1e6:6.2f} M trained")
    connected, single, full = best.values()
    print(f"fully connected / single: {connected / single:.3f} (aim at most 1.05)")
    print(f"fully connected / full:   {connected / full:.3f} (aim at most 0.80)")


if __name__ == "__main__":
    main()
