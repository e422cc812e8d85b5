"""Time from embeddings to tables: score.py, evaluate.py and report.py as programs, starts included.

    python3 test/benchmark/scoring.py [--machines 16] [--sections 1] [--train 1000] [--test 200] [--dim 768]
        [--repeat 3]

Prints seconds of each program, their sum (aim: under 5 s), and of each program's --help (aim: under 0.5 s).

    python3 test/benchmark/scoring.py --bands 8

prints seconds of score.py alone, for local density and variance minimisation over the bands, for plain nearest
neighbours on one band, and of the products of all pairs that the bands need (test x train and train x train of each
machine and band, blocked, float32): the first over the sum of the last two (aim: at most 1.5).
"""

import argparse
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import kaldiio
import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from asdkit.corpus.manifest import write_manifest, write_ref  # noqa: E402
from asdkit.utils.files import write_text  # noqa: E402

DATASET = "name: x\nname_style: dcase2022\nprotocol: dcase2022\nsets: {dev: {path: .}}\nroot: /\n"
BANDED = """embed: {arrays: {bands: {pooling: mean, bands: true}}}
score:
  plain: {}
  density: {array: bands, per_domain: false, rescale: {kind: ratio, k: 4}}
  variance: {array: bands, per_domain: false, rescale: {kind: variance, k: 4}}
"""


def make(root: Path, args: argparse.Namespace) -> None:
    """data/ and exp/tag as stages 1 to 4 leave them; half of the machines, or of their sections, are in dev."""
    rng = np.random.default_rng(0)
    write_text(root / "data/dataset.yaml", DATASET)
    write_text(root / "exp/tag/config.yaml", BANDED if args.bands else "score:\n  k: 1\n")
    for split, count in (("train", args.train), ("test", args.test)):
        for number, name in enumerate(("dev", "eval")):
            rows, ref = [], []
            for machine, section in itertools.product(range(args.machines), range(args.sections)):
                if number != (machine % 2 if args.sections == 1 else 2 * section // args.sections):
                    continue
                for i in range(count):
                    domain = ("source", "target")[i % 100 == 0 if split == "train" else i % 2]
                    utt = f"machine{machine:02d}-{split}-section_{section:02d}_{i:05d}"
                    shown = domain if split == "train" else "-"
                    row = {"utt": utt, "wav": f"{utt}.wav", "machine": f"machine{machine:02d}"}
                    rows.append(
                        {
                            **row,
                            "section": f"{section:02d}",
                            "domain": shown,
                            "attr": "-",
                            "samples": "1",
                            "bytes": "46",
                        }
                    )
                    ref.append({"utt": utt, "condition": ("normal", "anomaly")[i // 2 % 2], "domain": domain})
            write_manifest(root / f"data/{name}_{split}/manifest.tsv", rows)
            if split == "test":
                write_ref(root / f"data/{name}_{split}/ref.tsv", ref)
            folder = root / f"exp/tag/seed0/embed/{name}_{split}"
            folder.mkdir(parents=True)
            table = {row["utt"]: rng.standard_normal(args.dim, dtype=np.float32) for row in rows}
            kaldiio.save_ark(str(folder / "embedding.ark"), table, scp=str(folder / "embedding.scp"))
            if args.bands:
                table = {utt: rng.standard_normal((args.bands, args.dim), dtype=np.float32) for utt in table}
                kaldiio.save_ark(str(folder / "bands.ark"), table, scp=str(folder / "bands.scp"))


def seconds(root: Path, program: str, *options: str) -> tuple[float, float]:
    """Wall and CPU seconds of one program; on a shared machine the second tells more."""
    start, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", f"asdkit.bin.{program}", *options]
    subprocess.run(command, cwd=root, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return time.perf_counter() - start, cpu


def products(args: argparse.Namespace) -> tuple[float, float]:
    """Wall and CPU seconds of the products of all pairs that densities of bands need."""
    rng = np.random.default_rng(0)
    train, test = (rng.standard_normal((count, args.dim), dtype=np.float32) for count in (args.train, args.test))
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(args.machines * args.sections * args.bands):
        for x in (train, test):
            for start in range(0, len(x), 512):
                x[start : start + 512] @ train.T
    return time.perf_counter() - wall, time.process_time() - cpu


def with_bands(root: Path, args: argparse.Namespace, work: list[str]) -> None:
    """Print what bands with densities cost."""
    found = {name: seconds(root, "score", *work, "--score", name) for name in ("plain", "density", "variance")}
    found["products"] = products(args)
    print(", ".join(f"{name} {wall:.2f} s ({cpu:.2f} CPU)" for name, (wall, cpu) in found.items()))
    for name in ("density", "variance"):
        wall, cpu = (found[name][i] / (found["plain"][i] + found["products"][i]) for i in (0, 1))
        print(f"{name} / (plain + products): {wall:.2f} wall, {cpu:.2f} CPU", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    defaults = {"machines": 16, "sections": 1, "train": 1000, "test": 200, "dim": 768, "repeat": 3, "bands": 0}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    work = ["--data", "data", "--exp", "exp/tag", "--seed", "0", "--force", "true"]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root, args)
        for _ in range(args.repeat if args.bands else 0):
            with_bands(root, args, work)
        for _ in range(0 if args.bands else args.repeat):
            times = {program: seconds(root, program, *work) for program in ("score", "evaluate")}
            times["report"] = seconds(root, "report", "--exp", "exp/tag")
            times["together"] = tuple(map(sum, zip(*times.values(), strict=True)))
            print(", ".join(f"{name} {wall:.2f} s ({cpu:.2f} CPU)" for name, (wall, cpu) in times.items()))
        for program in () if args.bands else ("score", "evaluate", "report"):
            shortest = min(seconds(root, program, "--help")[0] for _ in range(args.repeat))
            print(f"{program} --help {shortest:.2f} s")


if __name__ == "__main__":
    main()
