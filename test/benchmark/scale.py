"""How time and memory of stages 1, 2, 5 and 6 grow with the corpus: the table of docs/scale.md.

    python3 test/benchmark/scale.py [--clips 1000 10000 100000] [--machines 10] [--dim 768] [--million]
        [--stages 1,2,5,6] [--folder /dev/shm]

Recordings of 0.1 s, a fifth of them test clips, shared by so many machines; embeddings are drawn, as if a network had
made them. Each stage is the program that a recipe runs. Prints CPU seconds, wall seconds and peak memory of each, how
they grew from one size to the next (1.0: linear; less what a hundred clips take), and what the last two sizes tell of a
million clips. --million: a manifest of a million lines, whose recordings are links to a few files, is read, divided
into shards and listed by stage 2 for real.
"""

import argparse
import math
import os
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from asdkit.corpus.manifest import CONTENT_COLUMNS, read_manifest, write_manifest  # noqa: E402
from asdkit.utils.ark import open_ark  # noqa: E402
from asdkit.utils.files import write_text  # noqa: E402

RATE, SAMPLES, SMALLEST, MILLION = 16000, 1600, 100, 1_000_000
DATASET = "name: x\nname_style: dcase2022\nprotocol: dcase2022\nsets: {dev: {path: .}}\n"
EXPERIMENT = "encoder: {name: logmel}\nmodel: {pooling: mean, embedding_dim: null}\ntrain: {steps: 0}\n"
SHARDS = """import sys
from asdkit.data.lists import recorded_clips
from asdkit.infer.clips import batches_of, shard_of
batches = batches_of(recorded_clips('data', 'dev_train'), 8)
seconds = [sum(clip.samples for batch in shard_of(batches, 8, job) for clip in batch) for job in range(1, 9)]
print(min(seconds) / max(seconds))
"""
PROGRAMS = {
    "1": "prepare_data --dataset dataset.yaml --corpus corpus --data data",
    "2": "make_lists --config experiment.yaml --data data --dump dump --exp exp/x",
    "5": "score --data data --exp exp/x",
    "6": "report --data data --exp exp/x --clips 0",
}


class Cost(NamedTuple):
    """Of one program: CPU and wall seconds, peak memory in MiB."""

    cpu: float
    wall: float
    peak: float


def names(clips: int, machines: int) -> list[tuple[str, str]]:
    """(folder, file) of each recording: of five clips of a machine one is for testing, half of these are anomalies."""
    found = []
    for number in range(clips):
        machine, place = f"machine{number % machines:02d}", number // machines
        split = "test" if place % 5 == 4 else "train"
        condition = "anomaly" if split == "test" and place // 5 % 2 else "normal"
        domain = "target" if place // 10 % 2 and split == "test" or place % 50 == 0 else "source"
        name = f"section_00_{domain}_{split}_{condition}_{number:07d}_speed_{place % 6}.wav"
        found.append((f"{machine}/{split}", name))
    return found


def sound(content: bytes) -> bytes:
    """Samples of 16 bits as the content of a wav file."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    data = struct.pack("<4sI", b"data", len(content)) + content
    return struct.pack("<4sI4s", b"RIFF", 4 + len(form) + len(data), b"WAVE") + form + data


def make_corpus(root: Path, clips: int, machines: int, linked: bool = False) -> None:
    """The recordings, all of them different; `linked`: of the same few files."""
    rng = np.random.default_rng(0)
    for number, (folder, name) in enumerate(names(clips, machines)):
        path = root / "corpus" / folder / name
        if number < 5 * machines:
            path.parent.mkdir(parents=True, exist_ok=True)
        if not linked:
            path.write_bytes(sound(rng.integers(-9999, 9999, SAMPLES, np.int16).tobytes()))
            continue
        store = root / f"store{number // 30_000}.wav"
        if not store.exists():
            store.write_bytes(sound(rng.integers(-9999, 9999, SAMPLES, np.int16).tobytes()))
        os.link(store, path)


def write_manifests(root: Path, clips: int, machines: int) -> None:
    """What stage 1 would write of `clips` recordings."""
    write_text(root / "data" / "dataset.yaml", f"{DATASET}root: {root}/corpus\n")
    told = {"section": "00", "samples": str(SAMPLES), "bytes": str(44 + 2 * SAMPLES)} | dict.fromkeys(
        CONTENT_COLUMNS, "-"
    )
    rows: dict[str, list[dict[str, str]]] = {"train": [], "test": []}
    for folder, name in names(clips, machines):
        machine, split = folder.split("/")
        row = {"utt": f"{machine}-{split}-{name[:-4]}", "wav": f"{folder}/{name}", "machine": machine, **told}
        rows[split].append(row | {"domain": "source" if split == "train" else "-", "attr": "-"})
    for split, own in rows.items():
        write_manifest(root / "data" / f"dev_{split}" / "manifest.tsv", sorted(own, key=lambda row: row["utt"]))


def write_embeddings(root: Path, dim: int) -> None:
    """What stage 4 would write: numbers that are drawn."""
    rng = np.random.default_rng(1)
    for name in ("dev_train", "dev_test"):
        (root / "exp/x/seed0/embed" / name).mkdir(parents=True, exist_ok=True)
        with open_ark(root / "exp/x/seed0/embed" / name / "embedding.ark") as ark:
            for row in read_manifest(root / "data" / name / "manifest.tsv"):
                ark.write(row["utt"], rng.standard_normal(dim, dtype=np.float32))


def run(root: Path, words: list[str]) -> tuple[Cost, str]:
    """Cost of a program, and what it printed; one thread computes."""
    start, log = time.perf_counter(), root / "log"
    with open(log, "w") as file:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        child = subprocess.Popen([sys.executable, *words], cwd=root, stdout=file, stderr=file, env=environment)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(words)}: {log.read_text()[-3000:]}")
    return Cost(used.ru_utime + used.ru_stime, time.perf_counter() - start, used.ru_maxrss / 1024), log.read_text()


def measure(folder: str | None, clips: int, args: argparse.Namespace) -> dict[str, Cost]:
    """Cost of each stage at one size."""
    found = {}
    with tempfile.TemporaryDirectory(dir=folder, prefix="scale") as name:
        root = Path(name)
        write_text(root / "dataset.yaml", DATASET)
        write_text(root / "experiment.yaml", EXPERIMENT)
        make_corpus(root, clips, args.machines)
        for stage, program in PROGRAMS.items():
            if stage == "5":
                write_embeddings(root, args.dim)
            if stage in args.stages.split(",") or stage in "12":
                module, *options = program.split()
                found[stage] = run(root, ["-m", f"asdkit.bin.{module}", *options])[0]
                told = found[stage]
                print(f"{clips:9,} {stage:>7} {told.cpu:8.1f} {told.wall:8.1f} {told.peak:8.0f}", flush=True)
    return found


def million(folder: str | None, args: argparse.Namespace) -> None:
    """A manifest of a million lines, read, divided and listed."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="scale") as name:
        root = Path(name)
        write_text(root / "experiment.yaml", EXPERIMENT)
        make_corpus(root, MILLION, args.machines, linked=True)
        write_manifests(root, MILLION, args.machines)
        read = (
            "from asdkit.corpus.manifest import read_manifest; print(len(read_manifest('data/dev_train/manifest.tsv')))"
        )
        for what, words in {
            "800,000 training lines read": ["-c", read],
            "and divided into 8 shards": ["-c", SHARDS],
            "all listed by stage 2": ["-m", *f"asdkit.bin.{PROGRAMS['2']}".split()],
        }.items():
            cost, printed = run(root, words)
            last = printed.splitlines()[-1] if printed.strip() else ""
            print(f"{what}: {cost.cpu:.1f} s CPU, {cost.wall:.1f} s, {cost.peak:.0f} MiB ({last})", flush=True)


def grown(least: float, before: float, after: float, times: float) -> str:
    """The power of the number of clips with which something grew, less what it is at next to none."""
    if before - least < 0.05 * least:
        return "-"
    return f"{math.log((after - least) / (before - least)) / math.log(times):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--machines", type=int, default=10)
    parser.add_argument("--dim", type=int, default=768, help="numbers of an embedding")
    parser.add_argument("--stages", default="1,2,5,6", help="which to run; 1 and 2 always")
    parser.add_argument("--million", action="store_true", help="the manifest of a million lines alone")
    parser.add_argument("--folder", help="where to work (default: the folder for temporary files)")
    args = parser.parse_args()
    print(
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {args.machines} machines, {args.dim} numbers a clip"
    )
    if args.million:
        million(args.folder, args)
        return
    print(f"{'clips':>9} {'stage':>7} {'CPU s':>8} {'wall s':>8} {'MiB':>8}")
    sizes = [SMALLEST, *args.clips]
    costs = {clips: measure(args.folder, clips, args) for clips in sizes}
    print(f"\n{'stage':>7} {'grew':>16} {'CPU':>6} {'memory':>7}")
    for stage, least in costs[SMALLEST].items():
        for few, many in zip(sizes[1:], sizes[2:], strict=False):
            before, after = costs[few][stage], costs[many][stage]
            powers = [grown(*values, many / few) for values in zip(least, before, after, strict=True)]
            print(f"{stage:>7} {few:7,}-{many:8,} {powers[0]:>6} {powers[2]:>7}")
        if len(sizes) > 2:
            cpu, _, peak = (a + (b - a) * (MILLION - few) / (many - few) for a, b in zip(before, after, strict=True))
            print(f"{stage:>7} a million clips, were it linear: {cpu:.0f} s CPU, {peak:.0f} MiB")


if __name__ == "__main__":
    main()
