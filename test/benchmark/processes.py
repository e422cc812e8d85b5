"""What a second process brings on this machine: training by one and by two, stage 4 in one and in two shards.

    python3 test/benchmark/processes.py [--steps 40] [--rounds 3]

Each process has one thread. The small encoder that ships, conf/group_adapter.yaml of egs/mini, its batch of 32 chunks;
mini's machines, 10 clips of 3 s to a domain. In turns, so that a busy machine slows all alike; time is wall time from a
program's start to its end, less that of the same program with nothing to do (a training of one step, a stage that is
done).
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MINI = ROOT / "egs/mini"
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}


def seconds(*commands: list[str], folder: Path) -> float:
    """Wall time of programs that run at once; raises CalledProcessError for one that fails."""
    begin = time.perf_counter()
    running = [
        subprocess.Popen([sys.executable, *words], cwd=folder, env=ENV, stdout=subprocess.DEVNULL, stderr=-1)
        for words in commands
    ]
    for process, words in zip(running, commands, strict=True):
        _, said = process.communicate()
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, words, stderr=said.decode()[-2000:])
    return time.perf_counter() - begin


def program(name: str, exp: str, *options: str) -> list[str]:
    """A stage's program on an experiment of the folder."""
    return ["-m", f"asdkit.bin.{name}", "--data", "data", "--dump", "dump", "--exp", exp, *options]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds([str(MINI / "local/generate.py"), "--out", "mini", "--clips-per-domain", "10"], folder=folder)
        prepare = ["-m", "asdkit.bin.prepare_data", "--dataset", str(MINI / "conf/dataset.yaml")]
        seconds([*prepare, "--corpus", "mini", "--data", "data"], folder=folder)
        encoder = ROOT / "egs/pretrain/pretrained/asdkit_medium2.pt"
        for exp, steps in (("whole", args.steps), ("none", 1)):
            settings = [f"encoder.checkpoint={encoder}", f"train.steps={steps}", "train.warmup_steps=1"]
            words = [word for setting in settings for word in ("--set", setting)]
            lists = program("make_lists", exp, "--config", str(MINI / "conf/group_adapter.yaml"), *words)
            seconds(lists, folder=folder)
        taken: dict[str, list[float]] = {}
        cpu = ("--device", "cpu", "--force", "true")
        for _ in range(args.rounds):
            for what, start in (("train 1", ["-m"]), ("train 2", [*TORCHRUN, "-m"])):
                both = [[*start, *program("train", exp, *cpu)[1:]] for exp in ("whole", "none")]
                taken.setdefault(what, []).append(
                    seconds(both[0], folder=folder) - seconds(both[1], folder=folder) * (1 - 1 / args.steps)
                )
            for count in (1, 2):
                shards = [["--num-jobs", str(count), "--job", str(job + 1)] for job in range(count)]
                work = [program("extract_embeddings", "whole", *cpu, *shard) for shard in shards]
                done = [program("extract_embeddings", "whole", *cpu[:2], *shard) for shard in shards]
                taken.setdefault(f"embed {count}", []).append(
                    seconds(*work, folder=folder) - seconds(*done, folder=folder)
                )
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {args.rounds} rounds")
    for what in ("train", "embed"):
        ratios = [one / two for one, two in zip(taken[f"{what} 1"], taken[f"{what} 2"], strict=True)]
        times = " and ".join(f"{statistics.median(taken[f'{what} {count}']):.1f} s" for count in (1, 2))
        print(f"{what}: {times} with one and two processes; throughput of two over one: {statistics.median(ratios):.2f}"
              f" ({min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip


if __name__ == "__main__":
    main()
