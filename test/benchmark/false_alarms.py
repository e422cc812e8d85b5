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
WIDTHS = (224, 224, 128, 128)
DAY = 8640  # clips
DRAWS = 1000


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


def load(work: Path, name: str, kind: str) -> np.ndarray:
    """A machine's arrays as stage 5 puts them side by side, [clips, arrays, D], as far as they are there."""
    from asdkit.detectors.tables import side_by_side

    found = [np.load(path) for path in sorted(work.glob(f"{name}.{kind}.*.npy"))]
    if not found:
        return np.empty((0, len(WIDTHS), max(WIDTHS)), np.float32)
    x = np.concatenate(found)
    return side_by_side(np.split(x, np.cumsum(WIDTHS)[:-1], axis=1))


def scored(train: np.ndarray, *tests: np.ndarray) -> list[np.ndarray]:
    """Scores of training clips by the others, then of each test, by the detector of egs/custom's default."""
    from asdkit.detectors.knn import KNN

    detector = KNN(1, "standardised").fit(train)
    own = detector.leave_one_out(train, np.arange(len(train)))
    return [own, *(detector.anomaly_score(x) if len(x) else np.empty(0) for x in tests)]


def counts(rule, scores: np.ndarray) -> np.ndarray:
    """Episodes in each block of SESSION clips, the watch starting anew with each."""
    from asdkit.monitor.episodes import Timed, find_episodes

    blocks = scores[: len(scores) // SESSION * SESSION].reshape(-1, SESSION)
    clips = [[Timed(score, SECONDS * i, SECONDS * (i + 1)) for i, score in enumerate(block)] for block in blocks]
    return np.array([len(find_episodes(rule, block)) for block in clips])


def day(blocks: list[np.ndarray], random: np.random.Generator) -> tuple[float, float, float]:
    """Episodes a day, mean over machines, and its 95 % interval: machines are drawn, and 144 blocks of each."""
    blocks = [own for own in blocks if len(own)]
    drawn = []
    for _ in range(DRAWS):
        chosen = random.integers(len(blocks), size=len(blocks))
        drawn.append(np.mean([random.choice(blocks[i], DAY // SESSION).sum() for i in chosen]))
    return (float(np.mean([own.mean() for own in blocks])) * DAY / SESSION, *np.percentile(drawn, [2.5, 97.5]))


def tables(args: argparse.Namespace) -> None:
    """Print what was asked for, expected and observed."""
    from asdkit.monitor.calibration import Calibration

    random = np.random.default_rng(0)
    names = [name for name in machines() if len(load(args.work, name, "calibration"))]
    held: dict[str, list[list[np.ndarray]]] = {}
    for name in names:
        held[name] = splits(args, name, random)
        told = ", ".join(str(len(x)) for x in held[name][0])
        print(f"{name}: clips of calibration, others, long recordings, other operating points: {told}", flush=True)
    print("| asked | rule | machines | expected | at worst | independent clips | long recordings | other points |")
    print("|---|---|---|---|---|---|---|---|")
    for asked in (5.0, 20.0, 86.0):
        for k, n in ((1, 1), (1, 3), (2, 3), (3, 5)):
            rules, refused = {}, ""
            for name in names:
                try:
                    rules[name] = [Calibration(split[0]).rule(asked, DAY, k, n) for split in held[name]]
                except ValueError as error:
                    refused = str(error)
            if not rules:
                print(f"| {asked:g} | {k} of {n} | 0 | refused: {refused} |")
                continue
            cells = []
            for column in (1, 2, 3):
                blocks = [
                    np.concatenate([counts(rule, split[column]) for rule, split in zip(own, held[name], strict=True)])
                    for name, own in rules.items()
                ]
                mean, low, high = day(blocks, random) if any(map(len, blocks)) else (np.nan,) * 3
                each = [own.mean() * DAY / SESSION for own in blocks if len(own)]
                cells.append(f"{mean:.1f} [{low:.1f}, {high:.1f}], machines {min(each):.0f} to {max(each):.0f}")
            every = [rule for own in rules.values() for rule in own]
            expected, worst = (np.mean([getattr(rule, key) for rule in every]) for key in ("expected", "worst"))
            head = f"| {asked:g} | {k} of {n} | {len(rules)} | {expected:.1f} | {worst:.0f}"
            print(f"{head} | {' | '.join(cells)} |", flush=True)
    neighbours(held)


def splits(args: argparse.Namespace, name: str, random: np.random.Generator) -> list[list[np.ndarray]]:
    """Scores of calibration clips, other clips, long recordings and the other operating points, for each split.

    Clips that are recordings of their own are drawn anew into calibration and others, for single machines vary much.
    Where those that are not for calibration are not made yet, a quarter of the others stands for them.
    """
    parts = [load(args.work, name, kind) for kind in ("calibration", "clips", "sessions")]
    pool = np.concatenate(parts[:2])
    count = (len(parts[1]) or len(pool) // 4) // SESSION * SESSION
    kin, _, domain = name.partition("-")
    other = load(args.work, f"{kin}-{'target' if domain == 'source' else 'source'}", "calibration")[: SESSION * 12]
    found = []
    for _ in range(args.splits):
        order = random.permutation(len(pool))
        found.append(scored(pool[order[count:]], pool[order[:count]], parts[2], other))
    return found


def neighbours(held: dict[str, list[list[np.ndarray]]]) -> None:
    """Print how neighbours of a long recording depend on one another: shares over a limit that 5 % exceed."""
    from asdkit.monitor.calibration import Calibration

    over, pairs = [], []
    for (own, _, sessions, _), *_ in held.values():
        above = (sessions > Calibration(own).limit(0.05)).reshape(-1, SESSION)
        over.append(above.mean())
        pairs.append((above[:, 1:] & above[:, :-1]).mean())
    print(
        f"long recordings, a limit with 5 % of calibration clips above it: {100 * np.mean(over):.1f} % of clips lie "
        f"above (machines {100 * min(over):.1f} to {100 * max(over):.1f}), after one above "
        f"{100 * np.sum(pairs) / max(np.sum(over), 1e-9):.0f} %"
    )


def main() -> None:
    """Embed, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("embed", "tables"), default="tables")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--calibration", type=int, default=2000)
    parser.add_argument("--clips", type=int, default=720)
    parser.add_argument("--sessions", type=int, default=12)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--job", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    if args.what == "embed":
        embed(args)
    else:
        tables(args)


if __name__ == "__main__":
    main()
