"""BEATs base beside its authors' code, and the paper's training step beside peft's LoRA on that code.

    python3 test/benchmark/peers.py --beats FOLDER [--rounds 7] [--steps 3] [--batch 32] [--small]

FOLDER holds the authors' BEATs.py, backbone.py and modules.py (beats/ in github.com/microsoft/unilm). Both have the
same random weights of the published size. Embedding: 10-s clips, front end included, ours folded as stage 4 does, one
clip and four; a ratio is our fastest of `rounds` turns over theirs. Training: steps on `batch` chunks of 2 s with their
front end: the paper's system (LoRA of 8 branches, group adapter, DLCL) by the trainer of stage 3, and the authors'
network with one LoRA of rank 32 by peft at the same six layers of each block (a mean over tokens and a linear layer of
as many classes behind it), or with all its weights; in turns, the median of the ratios. Neither drops layers. --small
tries the script.
"""

import argparse
import copy
import importlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from gpu import write_clips
from gpu_run import CLASSES, TINY, Run
from torch import Tensor, nn

from asdkit.config import BeatsArch, BeatsEncoder
from asdkit.encoders import build_encoder
from asdkit.encoders.beats_checkpoint import save_beats
from asdkit.infer.network import fold
from asdkit.utils.memory import reuse_freed_memory

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LAYERS = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]


def theirs(folder: Path, file: Path) -> nn.Module:
    """The authors' network with the weights of a file of the published format."""
    sys.path.insert(0, str(folder))
    code = importlib.import_module("BEATs")
    contents = torch.load(file, weights_only=True)
    network = code.BEATs(code.BEATsConfig(contents["cfg"]))
    network.load_state_dict(contents["model"])
    return network


def embedding(network: nn.Module, encoder: Any, rounds: int, seconds: int) -> None:
    """Print seconds a clip of both, in both precisions, and how far each is from theirs in float32."""
    network.eval()
    wav = torch.randn(4, seconds * 16000) * 0.1
    for name, dtype in DTYPES.items():
        folded = copy.deepcopy(encoder).eval().requires_grad_(False)
        fold(folded, dtype)
        ways = {
            "ours": lambda given, folded=folded: folded(folded.frontend(given)),
            "theirs": lambda given: network.extract_features(given)[0],
        }
        for clips in (1, 4):
            with torch.no_grad():
                exact = ways["theirs"](wav[:clips])
            best, found = dict.fromkeys(ways, float("inf")), dict.fromkeys(ways, exact)
            with torch.no_grad(), torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16):
                for turn in range(rounds + 1):
                    for way, function in ways.items():
                        start = time.perf_counter()
                        found[way] = function(wav[:clips])
                        if turn:  # the first warms up
                            best[way] = min(best[way], time.perf_counter() - start)
            ratio = best["ours"] / best["theirs"]
            told = ", ".join(f"{way} {value / clips:.3f} s a clip" for way, value in best.items())
            apart = ", ".join(f"{way} {(out - exact).norm() / exact.norm():.1e}" for way, out in found.items())
            print(f"{name}, {clips} at once: {told}; ratio {ratio:.2f}; from theirs in float32: {apart}", flush=True)


def trained_there(network: nn.Module, wavs: Tensor, labels: Tensor, precision: str) -> Callable[[], float]:
    """A training step of the authors' network, front end included; returns the loss."""
    network.train()
    head = nn.Linear(network.cfg.encoder_embed_dim, len(CLASSES))
    parameters = [p for p in [*network.parameters(), *head.parameters()] if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, 1e-4)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = F.cross_entropy(head(network.extract_features(wavs)[0].mean(1)), labels)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def trained_here(run: Run, batch: int, precision: str) -> Callable[[], float]:
    """A step of the recipe with the paper's system, as stage 3 takes it."""
    arch = TINY["encoder.arch"][:-1] + ", " if run.small else "{"
    changes = {"encoder__arch": arch + "encoder_layerdrop: 0.0}", "train__precision": precision}
    config = run.config(**changes, train__batch_size=batch, data__workers=0)
    trainer = run.trainer(config, precision)
    given = next(iter(run.batches(config, [1], workers=0, cpu=True)))
    trainer.prepare(given)
    return lambda: float(trainer._update(trainer.system, given)["loss"].detach())


def training(network: nn.Module, run: Run, steps: int, batch: int) -> None:
    """Print seconds a step of all, and the ratios of ours to peft's."""
    from peft import LoraConfig, get_peft_model

    wavs, labels = torch.randn(batch, 2 * 16000) * 0.1, torch.arange(batch) % len(CLASSES)
    adapted = get_peft_model(copy.deepcopy(network), LoraConfig(r=32, lora_alpha=32, target_modules=LAYERS))
    count = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    print(f"peft trains {count / 1e6:.2f} M numbers", flush=True)
    ways = {
        "ours, float32": trained_here(run, batch, "float32"),
        "ours, bfloat16": trained_here(run, batch, "bfloat16"),
        "peft, float32": trained_there(adapted, wavs, labels, "float32"),
        "peft, bfloat16": trained_there(copy.deepcopy(adapted), wavs, labels, "bfloat16"),
        "all weights, float32": trained_there(copy.deepcopy(network), wavs, labels, "float32"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(steps + 1):
        for name, step in ways.items():
            start = time.perf_counter()
            step()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    for name, times in seconds.items():
        print(f"{name:21} {statistics.median(times):7.2f} s a step of {batch} chunks")
    for precision, other in (("float32", "peft, "), ("bfloat16", "peft, "), ("float32", "all weights, ")):
        pairs = zip(seconds[f"ours, {precision}"], seconds[other + precision], strict=True)
        print(f"ours over {other}{precision}: {statistics.median(a / b for a, b in pairs):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beats", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--small", action="store_true")
    args = parser.parse_args()
    reuse_freed_memory()  # as every program does
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        run = Run("cpu", Path(folder), args.small)
        write_clips(Path(folder), max(8, args.batch))
        arch = run.config().encoder.arch if args.small else BeatsArch()
        encoder = build_encoder(BeatsEncoder(arch=arch.model_copy(update={"encoder_layerdrop": 0.0})))
        save_beats(encoder, Path(folder, "beats.pt"))
        network = theirs(args.beats, Path(folder, "beats.pt"))
        print(
            f"torch {torch.__version__}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}", flush=True
        )
        embedding(network, encoder, args.rounds, 2 if args.small else 10)
        training(network, run, args.steps, args.batch)
    print(f"load {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
