"""Parts of gpu.py: python3 gpu_parts.py PART DEVICE CLIPS FOUND.json small|full."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_checks import embed, equal, resume, tests
from gpu_run import Run, median_seconds

from asdkit.train.loop import Trainer


def card(run: Run) -> Iterator[dict[str, Any]]:
    """The machine, and what it reaches in products and copies."""
    yield {"torch": torch.__version__, "name": torch.cuda.get_device_name() if run.cuda else "CPU"}
    size = 8192 if run.cuda else 512
    for name, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        a, b = (torch.randn(size, size, device=run.world.device).to(dtype) for _ in range(2))
        seconds = median_seconds(run, lambda a=a, b=b: a @ b, 15)
        yield {f"{name}_tflops": round(2 * size**3 / seconds / 1e12, 2)}
    a = torch.randn(2**28 if run.cuda else 2**20, device=run.world.device)
    b = torch.empty_like(a)
    yield {"copy_gb_s": round(2 * a.numel() * 4 / median_seconds(run, lambda: b.copy_(a), 10) / 1e9, 1)}


def speed(run: Run, trainer: Trainer, warm: int, steps: int) -> dict[str, Any]:
    """Steps a second of the trainer's own loop, loader included, after `warm` steps; and how long those took."""
    if run.cuda:
        torch.cuda.reset_peak_memory_stats()
    waited, marks = [0.0], [time.perf_counter()]

    def timed() -> Iterator[Any]:
        given = iter(run.batches(trainer.system.config, range(1, warm + steps + 1)))
        for step in range(1, warm + steps + 1):
            if step == warm + 1:
                run.wait()
                marks.append(time.perf_counter())
                waited[0] = 0.0
            start = time.perf_counter()
            batch = next(given)
            waited[0] += time.perf_counter() - start
            yield batch
        run.wait()
        marks.append(time.perf_counter())

    trainer.prepare(next(iter(run.batches(trainer.system.config, [1], workers=0, cpu=True))))
    trainer.run(timed(), {})
    seconds = marks[2] - marks[1]
    found = {"steps": steps, "steps_a_second": steps / seconds, "warm_up_seconds": marks[1] - marks[0]}
    found["loader_share"] = waited[0] / seconds
    if run.cuda:
        found["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        found["reserved_gib"] = torch.cuda.max_memory_reserved() / 2**30
    return found | {"last_row": trainer.curve.rows[-1]}


def train(run: Run) -> Iterator[dict[str, Any]]:
    """The recipe's training as it is; its arithmetic; where the time of a step goes."""
    warm, steps = (2, 4) if run.small else (50, 600)
    trainer = run.trainer(run.config(train__steps=warm + steps))
    yield speed(run, trainer, warm, steps)
    start, count = time.perf_counter(), 8 if run.small else 400
    for _ in run.batches(trainer.system.config, range(1, count + 1)):
        pass
    yield {"loader_alone_batches_a_second": count / (time.perf_counter() - start)}
    yield from details(run, trainer)


def details(run: Run, trainer: Trainer) -> Iterator[dict[str, Any]]:
    """Arithmetic, parts and kernels of a step."""
    from torch.utils.flop_counter import FlopCounterMode

    batches = list(run.batches(trainer.system.config, range(1, 4 if run.small else 33)))
    with FlopCounterMode(display=False) as counter:
        trainer._update(trainer.system, batches[0])
    yield {"tflop_a_step": counter.get_total_flops() / 1e12}
    yield {"step_parts_ms": parts_of_a_step(run, trainer, batches)}
    activities = [torch.profiler.ProfilerActivity.CPU]
    activities += [torch.profiler.ProfilerActivity.CUDA] if run.cuda else []
    with torch.profiler.profile(activities=activities) as profile:
        for batch in batches[:3]:
            trainer._update(trainer.system, batch)
        run.wait()
    events, key = profile.key_averages(), "self_device_time_total" if run.cuda else "self_cpu_time_total"
    kernels = [event for event in events if str(getattr(event, "device_type", "")).endswith("CUDA")]
    yield {"kernels_a_step": sum(event.count for event in kernels) / 3}
    yield {"kernel_ms_a_step": sum(getattr(event, key) for event in kernels) / 3000}
    yield {"profile": events.table(sort_by=key, row_limit=30, max_name_column_width=70)}


def parts_of_a_step(run: Run, trainer: Trainer, batches: list[Any]) -> dict[str, dict[str, float]]:
    """Milliseconds of each part: until the GPU has done it (`all`), and until it has been told (`told`); medians."""
    found: dict[str, dict[str, list[float]]] = {}

    def part(name: str, work: Callable[[], Any]) -> Any:
        run.wait()
        start = time.perf_counter()
        result = work()
        told = time.perf_counter() - start
        run.wait()
        entry = found.setdefault(name, {"all": [], "told": []})
        entry["all"].append(1000 * (time.perf_counter() - start))
        entry["told"].append(1000 * told)
        return result

    for batch in batches:
        part("copy alone", lambda batch=batch: batch.wavs.to(run.world.device, non_blocking=True))
        feats = part("copy, front end, SpecAugment", lambda batch=batch: trainer._features(batch))
        with trainer._autocast():
            losses = part("forward", lambda feats=feats, batch=batch: trainer.system(feats, batch))
        trainer.optimizer.zero_grad(set_to_none=True)
        part("backward", lambda losses=losses: losses["loss"].backward())
        part("optimiser", trainer.optimizer.step)
    return {name: {key: float(np.median(ms)) for key, ms in entry.items()} for name, entry in found.items()}


def graphs(run: Run) -> Iterator[dict[str, Any]]:
    """The same with `train.graphs`."""
    if not run.cuda:
        yield {"left_out": "CUDA graphs need a GPU"}
        return
    warm, steps = (2, 4) if run.small else (50, 1200)
    trainer = run.trainer(run.config(train__steps=warm + steps, train__graphs="true"))
    yield speed(run, trainer, warm, steps)
    batches = list(run.batches(trainer.system.config, range(1, 33)))
    yield {"step_parts_ms": parts_of_a_step(run, trainer, batches)}


def compiled(run: Run) -> Iterator[dict[str, Any]]:
    """The encoder's layers by torch.compile, which the toolkit has no option for."""
    torch._dynamo.config.recompile_limit = 64
    warm, steps = (3, 3) if run.small else (30, 300)
    trainer = run.trainer(run.config(train__steps=warm + steps))
    compile_blocks([block.module for block in trainer.system.model.encoder.blocks()], run)
    yield speed(run, trainer, warm, steps)
    yield {"compiled_graphs": dict(torch._dynamo.utils.counters["stats"])}
    yield {"graph_breaks": [text[:200] for text in torch._dynamo.utils.counters["graph_break"]]}


def compiled_graphs(run: Run) -> Iterator[dict[str, Any]]:
    """Both: compiled layers, recorded as CUDA graphs."""
    if not run.cuda:
        yield {"left_out": "CUDA graphs need a GPU"}
        return
    torch._dynamo.config.recompile_limit = 64
    record = torch.cuda.make_graphed_callables

    def compile_first(blocks: Any, inputs: Any, **options: Any) -> Any:
        compile_blocks(blocks, run)
        return record(blocks, inputs, **options)

    torch.cuda.make_graphed_callables = compile_first
    warm, steps = (3, 3) if run.small else (30, 600)
    yield speed(run, run.trainer(run.config(train__steps=warm + steps, train__graphs="true")), warm, steps)


def compile_blocks(blocks: Iterable[Any], run: Run) -> None:
    """Compile what each block does, in place; on a CPU only traced, to try the script."""
    for block in blocks:
        block.forward = torch.compile(block.forward, backend="inductor" if run.cuda else "aot_eager", dynamic=False)


PARTS = {
    "card": card, "train": train, "graphs": graphs, "embed": embed, "equal": equal, "resume": resume, "tests": tests,
    "compile": compiled, "compile_graphs": compiled_graphs,
}  # fmt: skip


def main() -> None:
    """Run one part; write what it has found whenever it finds more."""
    name, device, clips, found, size = sys.argv[1:]
    result: dict[str, Any] = {}
    for more in PARTS[name](Run(device, Path(clips), size == "small")):
        result |= more
        Path(found).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
