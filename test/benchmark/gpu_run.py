"""What the parts of gpu.py share: the recipe's experiment, its recordings, its trainer."""

import os
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asdkit.config import Config, load_config
from asdkit.data.batches import ChunkDataset, Framing, loader
from asdkit.data.lists import Clip
from asdkit.data.sampler import ChunkSampler
from asdkit.signals.audio import AudioReader
from asdkit.train.distributed import World, join_world
from asdkit.train.finetune import fine_tuning
from asdkit.train.loop import Trainer

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "egs/dcase2024/conf/beats_lora_ga_dlcl.yaml"
CLASSES = [f"machine/00/{number}" for number in range(100)]
TINY = {
    "encoder.arch": "{encoder_layers: 2, encoder_embed_dim: 32, encoder_ffn_embed_dim: 64, "
    "encoder_attention_heads: 4, embed_dim: 16, conv_pos: 16, conv_pos_groups: 4}",
    "model.lora.branches": 2, "model.lora.rank": 4, "train.batch_size": 4,
}  # fmt: skip


@dataclass
class Run:
    """What a part is given: where it computes, what it hears, how large everything is."""

    device: str
    folder: Path
    small: bool
    work: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="gpu_work_")))

    def __post_init__(self) -> None:
        self.world: World = join_world(self.device)
        self.cuda = self.device == "cuda"
        self.workers = len(os.sched_getaffinity(0))

    def config(self, **changes: Any) -> Config:
        """The recipe's experiment with random weights of the published size; `section__key=value` changes it."""
        settings = {"encoder.checkpoint": "null", "encoder.arch": "{}", "train.warmup_steps": 1, "train.steps": 10}
        settings |= {"train.precision": "bfloat16", "embed.precision": "bfloat16", "data.workers": self.workers}
        settings |= {"train.checkpoint_every": 10**6} | (TINY if self.small else {})
        settings |= {key.replace("__", "."): value for key, value in changes.items()}
        return load_config(RECIPE, [f"{key}={str(value)}" for key, value in settings.items()])

    def clips(self) -> list[Clip]:
        """The recordings; half of them have an attribute."""
        paths = sorted(self.folder.glob("*.flac"))
        made = enumerate(paths)
        return [Clip(p.stem, str(p), 160000, "m", label=n % len(CLASSES), attributed=n % 2 == 0) for n, p in made]

    def trainer(self, config: Config, name: str = "run", world: World | None = None) -> Trainer:
        """A trainer of the experiment, as stage 3 makes it."""
        return fine_tuning(config, CLASSES, 0, self.work / name, {}, world or self.world)

    def batches(self, config: Config, steps: Iterable[int], workers: int | None = None, cpu: bool = False) -> Any:
        """The training batches of these steps, as stage 3 reads them."""
        chunk, framing = round(config.data.chunk_seconds * 16000), Framing(16000, 400, 160)
        clips = self.clips()
        sampler = ChunkSampler(clips, chunk, framing.hop, config.train.batch_size, "none", 0)
        dataset = ChunkDataset(clips, sampler, AudioReader(), chunk, framing)
        device = torch.device("cpu") if cpu else self.world.device
        return loader(dataset, config.data.workers if workers is None else workers, device, steps)

    def wait(self) -> None:
        """Until the GPU has done what it was told."""
        if self.cuda:
            torch.cuda.synchronize()


def median_seconds(run: Run, work: Callable[[], Any], times: int) -> float:
    """Median time of one call, after three to warm up."""
    found = []
    for turn in range(times + 3):
        run.wait()
        start = time.perf_counter()
        work()
        run.wait()
        found.append(time.perf_counter() - start if turn >= 3 else 0.0)
    return float(np.median(found[3:]))


def near(found: Tensor, expected: Tensor) -> float:
    """Largest difference, as a part of the largest value."""
    found, expected = found.detach().cpu().double(), expected.detach().cpu().double()
    return float((found - expected).abs().max() / expected.abs().max())
