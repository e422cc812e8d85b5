"""A training step with what is done to recordings, over the step without: reading them counts.

python3 test/benchmark/augment.py [--batch 32] [--rounds 6] [--layers 12] [--only noise all]

BEATs of the published width with LoRA, random weights, on the CPU; 10-s recordings in FLAC, read in the same process.
Steps with and without alternate; printed are the fewest CPU seconds of either, which a busy machine changes least, and
their ratio (aim: noise at most 1.05). And what reading a chunk costs: one core of `data.workers` reads so many
where a GPU trains.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from asdkit.config import Config
from asdkit.data.augment import augmenter
from asdkit.data.batches import ChunkDataset, Framing, loader
from asdkit.data.lists import Clip
from asdkit.data.noise import NoiseMixer
from asdkit.data.sampler import ChunkSampler
from asdkit.signals.audio import AudioReader
from asdkit.train.distributed import World
from asdkit.train.finetune import fine_tuning
from asdkit.utils.typed_yaml import validate

RATE, CLIPS, MACHINES = 16000, 64, ("fan", "pump", "slider", "valve")
CHANGES = {
    "none": {},
    "noise": {"noise": {}},
    "mixup": {"mixup": {}},
    "gain": {"gain": {}},
    "speed": {"speed": {"machines": list(MACHINES)}},
    "all": {"noise": {}, "mixup": {}, "gain": {}, "speed": {"machines": list(MACHINES)}},
}


def config(args: argparse.Namespace, changes: dict) -> Config:
    """An experiment of BEATs with LoRA."""
    raw = {
        "encoder": {"arch": {"encoder_layers": args.layers}},
        "model": {"lora": {"branches": 4, "rank": 16}},
        "train": {"batch_size": args.batch, "steps": 10**6, "log_every": 10**6, "checkpoint_every": 10**6, **changes},
    }
    return validate(Config, raw, "benchmark")


def dataset(clips: list[Clip], made: Config) -> ChunkDataset:
    """The training batches, as stage 3 makes them."""
    reader, framing, train = AudioReader(RATE), Framing(RATE, 400, 160), made.train
    noise = NoiseMixer(clips, set(MACHINES), reader, train.noise, 0) if train.noise else None
    sampler = ChunkSampler(clips, 2 * RATE, framing.hop, train.batch_size)
    return ChunkDataset(clips, sampler, reader, 2 * RATE, framing, list, augmenter(train, clips, reader, 0, noise))


def chunk_times(clips: list[Clip], args: argparse.Namespace) -> None:
    """Print the milliseconds of reading a chunk, each way in turn."""
    ways = {name: dataset(clips, config(args, changes)) for name, changes in CHANGES.items()}
    times = {name: [] for name in ways}
    for step in range(1, 8 * args.rounds):
        for name, batches in ways.items():
            start = time.process_time()
            batches[step]
            times[name].append((time.process_time() - start) / args.batch)
    for name, found in times.items():
        median = float(np.median(found))
        print(f"read a chunk, {name}: {1000 * median:.2f} ms of one core, {1 / median:.0f} chunks a second")


def step_times(clips: list[Clip], args: argparse.Namespace, folder: Path) -> None:
    """Print the seconds of a step without and with each change, and the ratio."""
    plain = config(args, {})
    trainer = fine_tuning(plain, ["a", "b", "c", "d"], 0, folder, {}, World(0, 1, torch.device("cpu")))
    for name in args.only:
        ways = [
            iter(loader(dataset(clips, made), 0, torch.device("cpu"), range(1, args.rounds + 2)))
            for made in (plain, config(args, CHANGES[name]))
        ]
        times = np.zeros((args.rounds + 1, 2))
        for turn in range(args.rounds + 1):
            for way in (0, 1) if turn % 2 else (1, 0):
                start = time.process_time()
                trainer.step += 1
                trainer._update(trainer.system, next(ways[way]))
                times[turn, way] = time.process_time() - start
        without, with_it = times[1:].min(axis=0)
        print(f"step with {name}: {with_it:.3f} s, without {without:.3f} s, ratio {with_it / without:.3f}", flush=True)


def main() -> None:
    """Make recordings, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=32, help="clips of a step")
    parser.add_argument("--rounds", type=int, default=6, help="steps of either kind")
    parser.add_argument("--layers", type=int, default=12, help="blocks of the network")
    parser.add_argument("--only", nargs="+", choices=list(CHANGES), default=["noise", "all"], help="in the steps")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as folder:
        clips = []
        for number in range(CLIPS):
            path = Path(folder, f"{number}.flac")
            soundfile.write(path, 0.1 * rng.standard_normal(10 * RATE), RATE, subtype="PCM_16")
            clips.append(
                Clip(f"u{number}", str(path), 10 * RATE, MACHINES[number % 4], label=number % 4, attributed=True)
            )
        chunk_times(clips, args)
        step_times(clips, args, Path(folder))
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
