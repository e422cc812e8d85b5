"""False alarms a day against those asked for, on made-up machines that keep their health.

    python3 test/benchmark/false_alarms.py embed --work DIR [--job 1 --jobs 1]     # hours; goes on where it stopped
    python3 test/benchmark/false_alarms.py --work DIR                              # the tables

Ten machines: the five of egs/mini at their source and at their target operating points. Of each, 2,000 calibration and
720 further clips of 10 s, every one a recording of its own, and 12 recordings of 10 minutes cut into 720 clips: two
hours of sound in which neighbours are alike. Nothing is kept but the arrays of egs/custom's default experiment.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "egs/mini/local")]

SEED = 20261128
SECONDS, SESSION = 10, 60  # of a clip; clips of a long recording
CHUNK = 60  # clips of a checkpoint file
ARRAYS = ("embedding", "deviation", "mel", "mel_deviation")


def machines() -> list[str]:
    """Names of the ten."""
    from machines import MACHINES

    return [f"{machine.name}-{domain}" for machine in MACHINES for domain in ("source", "target")]


def sound(name: str, kind: str, chunk: int, count: int) -> np.ndarray:
    """A chunk of clips, int16 [count, T]."""
    import acoustics
    from generate import Recording, render
    from machines import MACHINES

    kin, _, domain = name.partition("-")
    machine = next(machine for machine in MACHINES if machine.name == kin)
    clip = SECONDS * acoustics.RATE
    if kind == "sessions":
        whole = render(Recording(machine, "train", domain, "normal", chunk), SEED + 1, SESSION * clip)
        acoustics.modes.cache_clear()  # transfers of ten minutes are large
        acoustics.high_pass.cache_clear()
        return whole.reshape(SESSION, clip)
    split = "train" if kind == "calibration" else "test"
    numbers = range(chunk * CHUNK, chunk * CHUNK + count)
    return np.stack([render(Recording(machine, split, domain, "normal", k), SEED, clip) for k in numbers])


def chunks(args: argparse.Namespace) -> Iterator[tuple[str, str, int, int]]:
    """(machine, kind, chunk, clips) of everything, in an order in which a part of it is of use."""
    sizes = {"calibration": args.calibration, "sessions": SESSION * args.sessions, "clips": args.clips}
    numbers = {kind: iter(range(-(-size // CHUNK))) for kind, size in sizes.items()}
    order = ["calibration", "calibration", "calibration", "sessions"] * sum(sizes.values()) + ["clips"] * args.clips
    for kind in order:
        if (chunk := next(numbers[kind], None)) is not None:
            for name in machines():
                yield name, kind, chunk, min(CHUNK, sizes[kind] - chunk * CHUNK)


def embed(args: argparse.Namespace) -> None:
    """Write DIR/<machine>.<kind>.<chunk>.npy, float32 [clips, D], those that are not there."""
    import torch

    from asdkit.config import load_config
    from asdkit.infer.clips import represent
    from asdkit.infer.network import fold
    from asdkit.models.families import build_system

    torch.set_num_threads(1)
    recipe = ROOT / "egs/custom"
    config = load_config(recipe / "conf/default.yaml")
    encoder = config.encoder.model_copy(update={"checkpoint": str(recipe / config.encoder.checkpoint)})
    system = build_system(config.model_copy(update={"encoder": encoder}), []).eval()
    fold(system, torch.float32)
    for number, (name, kind, chunk, count) in enumerate(chunks(args)):
        path = args.work / f"{name}.{kind}.{chunk:04d}.npy"
        if number % args.jobs != args.job - 1 or path.exists():
            continue
        wavs, rows = torch.from_numpy(sound(name, kind, chunk, count)).float() / 32768, []
        with torch.inference_mode():
            for part in wavs.split(10):
                found = represent(system, system.frontend(part), config.embed, 1, 1)
                rows.append(torch.cat([found[array] for array in ARRAYS], dim=1).numpy())
        partial = path.with_suffix(f".{args.job}.partial")
        with partial.open("wb") as file:
            np.save(file, np.concatenate(rows))
        partial.rename(path)
        print(path.name, flush=True)


def main() -> None:
    """Embed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("embed", "tables"), default="tables")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--calibration", type=int, default=2000)
    parser.add_argument("--clips", type=int, default=720)
    parser.add_argument("--sessions", type=int, default=12)
    parser.add_argument("--job", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    if args.what == "embed":
        embed(args)


if __name__ == "__main__":
    main()
