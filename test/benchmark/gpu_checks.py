"""Parts of gpu.py: embedding, the CUDA tests, equality with a CPU, kill and resume."""

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from gpu_run import ROOT, Run, near
from torch import Tensor

from asdkit.data.batches import Framing, loader
from asdkit.detectors.knn import KNN
from asdkit.infer.clips import ClipBatches, arrays, batches_of
from asdkit.infer.network import load_system
from asdkit.models.checkpoint import read_checkpoint
from asdkit.signals.audio import AudioReader
from asdkit.train.distributed import World
from asdkit.train.loop import Trainer


def embed(run: Run) -> Iterator[dict[str, Any]]:
    """Stage 4's network over the recordings: clips a second from FLAC, by precision and batch size; and its halves."""
    run.trainer(run.config(train__steps=0, train__warmup_steps=0)).run([], {})
    clips, reader, checkpoint = run.clips(), AudioReader(), run.work / "run/checkpoint/final.pt"
    start = time.perf_counter()
    batches = batches_of(clips, 8)
    for _ in loader(ClipBatches(batches, reader, 32000, Framing(16000, 400, 160)), run.workers, run.world.device):
        pass
    yield {"reading_alone_clips_a_second": len(clips) / (time.perf_counter() - start)}
    sizes = (4, 8) if run.small else (8, 32)
    for precision, size in (*(("bfloat16", size) for size in sizes), ("tf32", sizes[0]), ("float32", sizes[0])):
        count = len(clips) if precision == "bfloat16" or run.small else len(clips) // 2
        config = run.config(train__steps=0, train__warmup_steps=0, embed__precision=precision, embed__batch_size=size)
        system = load_system(config, checkpoint, run.world.device)
        if run.cuda:
            torch.cuda.reset_peak_memory_stats()
        batches, start, times = batches_of(clips[:count], size), time.perf_counter(), []
        for _ in arrays(system, config, batches, reader, run.world.device):
            times.append(time.perf_counter())
        first = 8 if run.small else 512  # while readers start, and what they have read by then
        rate = (count - first) / (times[-1] - times[first - 1])
        found = {"clips": count, "clips_a_second": rate, "all_seconds": times[-1] - start}
        if run.cuda:
            found["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        yield {f"{precision}, batches of {size}": found}


def tests(run: Run) -> Iterator[dict[str, Any]]:
    """The CUDA tests."""
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=5", "--tb=short", "test/test_cuda.py"]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines()
    yield {"last_line": lines[-1] if lines else done.stderr[-500:], "output": done.stdout[-15000:]}
    yield {"failed": [line for line in lines if line.startswith(("FAILED", "ERROR"))]}


def equal(run: Run) -> Iterator[dict[str, Any]]:
    """The published size in float32 on CPU and GPU: a step's losses and gradients, embeddings, scores."""
    count = 4 if run.small else 8
    config = run.config(train__precision="float32", embed__precision="float32", train__batch_size=count)
    batch = next(iter(run.batches(config, [1], workers=0, cpu=True)))
    worlds = (World(0, 1, torch.device("cpu")), run.world)
    losses, gradients, embeddings = [], [], []
    for number, world in enumerate(worlds):
        trainer = run.trainer(config, f"equal{number}", world)
        trainer.step = 1
        losses.append(trainer._update(trainer.system, batch)["loss"].reshape(1))
        gradients.append(torch.cat([p.grad.flatten().cpu() for p in trainer.parameters if p.grad is not None]))
    yield {"loss": near(losses[1], losses[0]), "gradients": near(gradients[1], gradients[0])}
    config = run.config(train__steps=0, train__warmup_steps=0, embed__precision="float32")
    run.trainer(config).run([], {})
    batches = batches_of(run.clips()[: 8 if run.small else 32], 8)
    for world in worlds:
        system = load_system(config, run.work / "run/checkpoint/final.pt", world.device)
        table = dict(arrays(system, config, batches, AudioReader(), world.device))
        embeddings.append(np.stack([table[utt]["embedding"] for utt in sorted(table)]))
    yield {"embeddings": near(*map(torch.from_numpy, reversed(embeddings)))}
    half = len(embeddings[0]) // 2
    cpu, gpu = (KNN(1).fit(table[:half]).anomaly_score(table[half:]) for table in embeddings)
    yield {"scores_largest_difference": float(np.abs(cpu - gpu).max()), "scores_mean": float(cpu.mean())}


def resume(run: Run) -> Iterator[dict[str, Any]]:
    """The published size, in the recipe's precision: a run twice, killed and resumed, with CUDA graphs."""
    steps, saved, stop_at = (4, 2, 3) if run.small else (12, 5, 7)

    def weights(name: str, stop: int | None = None, **changes: Any) -> Tensor | None:
        config = run.config(train__steps=steps, train__checkpoint_every=saved, data__workers=0, **changes)
        trainer = run.trainer(config, name)
        trainer.resume()
        trainer.prepare(next(iter(run.batches(config, [1], workers=0, cpu=True))))
        batches = run.batches(config, range(trainer.step + 1, steps + 1))
        if stop:
            list(_killed(trainer, islice(batches, stop)))
            return None
        trainer.run(batches, {})
        content = read_checkpoint(run.work / name / "checkpoint/final.pt")["model"]
        return torch.cat([tensor.flatten().float() for tensor in content.values()])

    whole = weights("whole")
    assert whole is not None
    for name, changes in (("again", {}), ("killed", {}), ("graphs", {"train__graphs": "true"})):
        if name == "graphs" and not run.cuda:
            continue
        if name == "killed":
            weights(name, stop=stop_at)
        found = weights(name, **changes)
        assert found is not None
        yield {f"{name}_same_bits": torch.equal(found, whole), f"{name}_difference": near(found, whole)}


def _killed(trainer: Trainer, batches: Iterable[Any]) -> Iterator[None]:
    class Killed(Exception):
        pass

    def given() -> Iterator[Any]:
        yield from batches
        raise Killed

    try:
        trainer.run(given(), {})
    except Killed:
        yield None
