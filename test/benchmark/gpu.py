"""What one GPU does with the paper's system: tests, equality with a CPU, steps and clips a second, where the time goes.

python3 test/benchmark/gpu.py --out gpu.json

Recordings are generated. Every part runs in a process of its own, so that none can break or slow another; what each
found is in FILE as soon as it is known. `--device cpu --small` tries the script where there is no GPU.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

ROOT = Path(__file__).parents[2]
RATE, SECONDS = 16000, 10
# In this order; the longest that each may take, seconds.
PARTS = {
    "card": 120, "train": 120, "graphs": 90, "tests": 140, "embed": 120, "equal": 90, "resume": 90, "compile": 150,
    "compile_graphs": 150,
}  # fmt: skip


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="a tiny network, few clips and steps")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--minutes", type=float, default=8, help="parts that do not fit any more are left out")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS), help="these parts alone")
    parser.add_argument("--clips", type=Path, help="folder of recordings of an earlier run, or for a later one")
    return parser


def write_clip(folder: Path, number: int) -> None:
    """A recording of 10 s that hums and hisses, as FLAC."""
    path = folder / f"{number:05d}.flac"
    if path.exists():
        return
    rng = np.random.default_rng(number)
    time_axis = np.arange(SECONDS * RATE, dtype=np.float32) / RATE
    wav = 0.02 * rng.standard_normal(len(time_axis), dtype=np.float32)
    for partial_tone in range(1, 6):
        wav += 0.1 / partial_tone * np.sin(2 * np.pi * partial_tone * rng.uniform(50, 400) * time_axis)
    soundfile.write(path, wav, RATE, subtype="PCM_16")


def write_clips(folder: Path, count: int) -> dict[str, Any]:
    """All recordings, by as many processes as there are cores."""
    start = time.perf_counter()
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(write_clip, folder), range(count), chunksize=max(1, min(16, count // 8))))
    size = sum(path.stat().st_size for path in folder.glob("*.flac"))
    note = "all different; just written, so they lie in the page cache"
    return {"clips": count, "seconds": time.perf_counter() - start, "megabytes": size / 2**20, "note": note}


def run_part(name: str, args: argparse.Namespace, clips: Path, limit: float) -> dict[str, Any]:
    """Run a part in its own process group for `limit` seconds at most; returns what it found, and how it ended."""
    work = Path(tempfile.mkdtemp(prefix=f"gpu_{name}_"))
    found, log, start = work / "found.json", work / "log.txt", time.perf_counter()
    words = [sys.executable, str(ROOT / "test/benchmark/gpu_parts.py"), name, args.device, str(clips), str(found)]
    env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    with open(log, "w") as output:
        process = subprocess.Popen(
            [*words, "small" if args.small else "full"], cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            code: int | str = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = f"stopped after {limit:.0f} s"
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # reader processes too
        process.wait()
    result = json.loads(found.read_text()) if found.exists() else {}
    if code != 0:
        result |= {"ended": code, "log": log.read_text(errors="replace")[-5000:]}
    shutil.rmtree(work, ignore_errors=True)
    return result | {"part_seconds": round(time.perf_counter() - start, 1)}


def main() -> None:
    """Run the parts one after the other, write what they found, print a table."""
    args = get_parser().parse_args()
    begin, cores = time.perf_counter(), len(os.sched_getaffinity(0))
    results: dict[str, Any] = {"cores": cores, "load_before": os.getloadavg()[0], "small": args.small}
    folder = args.clips or Path(tempfile.mkdtemp(prefix="gpu_clips_"))
    folder.mkdir(parents=True, exist_ok=True)
    results["recordings"] = write_clips(folder, 24 if args.small else 4096)
    print(f"recordings: {json.dumps(results['recordings'])}", flush=True)
    for name in [name for name in PARTS if name in args.only]:
        left = 60 * args.minutes - (time.perf_counter() - begin)
        if left < 20:
            results[name] = {"ended": "left out: no time"}
        else:
            results[name] = run_part(name, args, folder, min(PARTS[name], left - 3))
        short = {key: value for key, value in results[name].items() if key not in ("log", "profile", "output")}
        print(f"{name}: {json.dumps(short)}", flush=True)
        if "ended" in results[name]:
            print(results[name].get("log", "")[-1500:], flush=True)
        args.out.write_text(json.dumps(results, indent=1))
    results["minutes"] = (time.perf_counter() - begin) / 60
    args.out.write_text(json.dumps(results, indent=1))
    if not args.clips:
        shutil.rmtree(folder, ignore_errors=True)
    print_table(results)


def print_table(results: dict[str, Any]) -> None:
    """The figures that the README has, one a line."""
    card = results.get("card", {})
    print(f"\n{card.get('name', 'CPU')}, torch {card.get('torch')}, {results['cores']} cores")
    rate = card.get("bfloat16_tflops")
    print(f"bfloat16 products of 8192 x 8192: {rate} TFLOP/s; copies {card.get('copy_gb_s')} GB/s")
    for name in ("train", "graphs", "compile", "compile_graphs"):
        part = results.get(name, {})
        if steps := part.get("steps_a_second"):
            flops = results.get("train", {}).get("tflop_a_step")
            share = f", {steps * flops / rate:.3f} of the products' rate" if flops and rate else ""
            print(
                f"{name}: {steps:.1f} steps/s over {part['steps']}, 60,000 in {1000 / steps:.1f} min, loader's share "
                f"{part['loader_share']:.2f}, peak {part.get('peak_gib', 0):.1f} GiB{share}"
            )
    for key, value in results.get("embed", {}).items():
        if isinstance(value, dict) and "clips_a_second" in value:
            clips = value["clips_a_second"]
            print(f"embed {key}: {clips:.0f} clips/s over {value['clips']}, 54,000 in {900 / clips:.1f} min")
    print(f"tests: {results.get('tests', {}).get('last_line')}")
    for name in ("equal", "resume"):
        print(f"{name}: {json.dumps({k: v for k, v in results.get(name, {}).items() if k not in ('log', 'output')})}")
    print(f"{results['minutes']:.1f} minutes, load {results['load_before']:.1f} before")


if __name__ == "__main__":
    main()
