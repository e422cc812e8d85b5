"""Stages 2 to 6 of egs/mini in this checkout and in another one, in turns.

    python3 test/benchmark/recipe.py --old FOLDER [--rounds 2] [--set train.precision=bfloat16 ...]

FOLDER is a checkout with an environment of its own in .venv (or a link to one). Both read the same generated
recordings; training, embedding, scoring and report are made anew in each round. Prints wall and CPU seconds of each
round and the median of the ratios to the other checkout. With --set this checkout goes twice: as it is, and so.
"""

import argparse
import os
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def recipe(checkout: Path, work: Path, *words: str) -> tuple[float, float]:
    """Wall and CPU seconds of one call of mini's run.sh, which writes below `work`."""
    command = ["bash", str(checkout / "egs/mini/run.sh"), "--data", str(work / "data"), "--dump", str(work / "dump")]
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*command, *words], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": ""})
    if done.returncode:
        raise SystemExit(f"{checkout}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - started, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--set", action="append", default=[])
    args = parser.parse_args()
    ways = {"other": (args.old.resolve(), []), "this": (ROOT, [])}
    if args.set:
        ways[f"this, {' '.join(args.set)}"] = ROOT, [word for value in args.set for word in ("--set", value)]
    ratios: dict[str, list[list[float]]] = {name: [] for name in list(ways)[1:]}
    with tempfile.TemporaryDirectory() as folder:
        work = {checkout: Path(folder, str(place)) for place, (checkout, _) in enumerate(ways.values())}
        for checkout, own in work.items():
            recipe(checkout, own, "--stop-stage", "1", "--expdir", f"{folder}/unused")
        for number in range(args.rounds):
            found = {}
            for place, (name, (checkout, words)) in enumerate(ways.items()):
                expdir = f"{folder}/{place}/exp{number}"
                found[name] = recipe(checkout, work[checkout], "--stage", "2", "--expdir", expdir, *words)
                wall, cpu = found[name]
                print(f"round {number + 1}, {name}: wall {wall:.1f} s, CPU {cpu:.1f} s", flush=True)
            for name, kept in ratios.items():
                kept.append([here / there for here, there in zip(found[name], found["other"], strict=True)])
    for name, kept in ratios.items():
        wall, cpu = (statistics.median(values) for values in zip(*kept, strict=True))
        print(f"{name} over the other, median of {args.rounds}: wall {wall:.2f}, CPU {cpu:.2f}")
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
