"""Files damaged between stages: a tiny chain of stages 1 to 6, each file of each stage damaged, the rest run.

    python test/fault_files.py [--feats raw|fbank] [--seeds "0 1"]

prints a row for every file and damage: stage, file, damage, seed, what the stages after it did and what they said.
test_fault_files.py runs a part of it; docs/faults.md has the outcome of a whole run.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from recipe import MINI, make_corpus

from asdkit.bin import configure, extract_embeddings, extract_feats, make_lists, prepare_data, report, score, train
from asdkit.utils.cli import _is_ours

LIMIT = 120  # seconds of a trial
CONFIG = """
encoder:
  arch: {encoder_layers: 1, encoder_embed_dim: 16, encoder_ffn_embed_dim: 16, encoder_attention_heads: 2,
         embed_dim: 8, conv_pos: 4, conv_pos_groups: 2}
  train: true
data: {chunk_seconds: 0.5, feats_type: FEATS, workers: 0}
model: {embedding_dim: 4}
loss: {dlcl: {codes: 4, memory: 16}}
train: {steps: 3, batch_size: 4, warmup_steps: 1, lr: 1e-2, checkpoint_every: 1}
"""
OTHER = ("--set", "train.lr=3e-3", "--set", "data.label=machine", "--set", "loss.dlcl=null")
DAMAGES = ("cut", "byte", "emptied", "another's")
NO_MATTER = {".lock", "env.txt", "train.tsv", "log", "report", "tensorboard"}
MACHINES = ("--machines", "fan,bearing")
WORK = ("--data", "data", "--exp", "exp/x")


class Trial(NamedTuple):
    """A file damaged after a stage, and what the stages after it did."""

    stage: int
    file: str
    damage: str
    seed: int
    outcome: str  # error, same or, what must not be, WRONG, traceback or hang
    told: str


def stage(number: int, settings: tuple[str, ...] = ()) -> None:
    """One stage in the working directory."""
    lists = [*WORK, "--dump", "dump"]
    if number == 1:
        prepare_data.main(["--dataset", str(MINI / "conf/dataset.yaml"), "--corpus", "mini", *WORK[:2], *MACHINES])
    elif number == 2:
        make_lists.main(["--config", "x.yaml", *settings, *lists])
        for options in (["--job", "1"], ["--job", "2"], ["--merge", "true"]):
            extract_feats.main([*lists, "--num-jobs", "2", *options])
    elif number == 3:
        train.main([*lists, "--device", "cpu"])
    elif number == 4:
        for options in (["--job", "1"], ["--job", "2"], ["--merge", "true"]):
            extract_embeddings.main([*lists, "--device", "cpu", "--num-jobs", "2", *options])
    elif number == 5:
        score.main([*WORK])
    else:
        report.main([*WORK, "--clips", "0"])


def after(number: int) -> None:
    """The stages after one, begun as run.sh does."""
    there = ("--must-exist", "true") if Path("exp/x/config.yaml").exists() else ()
    configure.main(["--config", "x.yaml", *WORK[2:], *there])
    for later in range(number + 1, 7):
        print(f"== stage {later}", flush=True)
        stage(later)


def results(root: Path) -> dict[str, bytes]:
    """What the experiment found."""
    kinds = ("seed0/score/*/*.tsv", "seed0/score/*/*.csv", "seed0/embed/*/*.ark", "RESULTS.md")
    return {str(path): path.read_bytes() for kind in kinds for path in sorted((root / "exp/x").glob(kind))}


def files(root: Path) -> dict[str, tuple[int, int]]:
    """Files below root that stages wrote: name -> time and number."""
    found = {path for folder in ("data", "dump", "exp") for path in (root / folder).rglob("*") if path.is_file()}
    return {str(path.relative_to(root)): (path.stat().st_mtime_ns, path.stat().st_ino) for path in sorted(found)}


class Chain:
    """A folder in which stages run, and copies of it as each stage left it, of this experiment and of another."""

    def __init__(self, root: Path, feats: str, others: bool = True) -> None:
        torch.set_num_threads(1)  # OpenMP's threads do not live on in a child
        self.root = root / "work"
        self.root.mkdir(parents=True)
        make_corpus(self.root / "mini")
        (self.root / "x.yaml").write_text(CONFIG.replace("FEATS", feats))
        os.chdir(self.root)
        self.written: dict[int, list[str]] = {}
        self.kept: dict[tuple[bool, int], Path] = {}
        if others:
            self._make(root, True)
        self._make(root, False)
        self.whole = results(self.root)

    def _make(self, root: Path, other: bool) -> None:
        clip = sorted((self.root / "mini").rglob("*train*.wav"))[0]
        held = clip.read_bytes()
        if other:  # another recording, too
            clip.write_bytes(held[:-4] + b"\1\2\3\4")
        before: dict[str, tuple[int, int]] = {}
        for number in range(1, 7):
            stage(number, OTHER if other else ())
            now = files(self.root)
            self.written[number] = [name for name in now if now[name] != before.get(name)]
            before = now
            self.kept[other, number] = root / f"{'other' if other else 'own'}{number}"
            shutil.copytree(self.root, self.kept[other, number])
        if other:
            clip.write_bytes(held)
            for name in ("data", "dump", "exp"):
                shutil.rmtree(self.root / name)

    def restore(self, number: int) -> None:
        """What was there after a stage."""
        for name in ("data", "dump", "exp"):
            shutil.rmtree(self.root / name, ignore_errors=True)
            if number and (self.kept[False, number] / name).exists():
                shutil.copytree(self.kept[False, number] / name, self.root / name)

    def trials(self) -> Iterator[tuple[int, str, str]]:
        """Every file of every stage, and every damage: (stage, file, damage)."""
        for number in range(1, 6):
            for name in self.written[number]:
                if NO_MATTER.isdisjoint(Path(name).parts):
                    yield from ((number, name, damage) for damage in DAMAGES)

    def run(self, number: int, name: str, damage: str, seed: int) -> Trial | None:
        """One trial; None where the damage changes nothing."""
        self.restore(number)
        other = self.kept[damage == "another's", number] / name
        if not hurt(self.root / name, damage, other, seed):
            return None
        outcome, told = in_a_child(lambda: after(number))
        if not outcome:
            outcome = "same" if results(self.root) == self.whole else "WRONG"
        return Trial(number, name, damage, seed, outcome, told.replace(str(self.root.parent), ""))


def hurt(path: Path, damage: str, other: Path, seed: int) -> bool:
    """Damage a file; whether it is another one now."""
    held, rng = path.read_bytes(), random.Random(f"{path.name} {damage} {seed}")
    if damage == "another's":
        now = other.read_bytes() if other.exists() else held
    elif damage == "byte":
        place = rng.randrange(len(held)) if held else 0
        now = held[:place] + bytes([held[place] ^ 1 << rng.randrange(7)]) + held[place + 1 :] if held else held
    else:
        now = b"" if damage == "emptied" else held[: rng.randrange(len(held))] if held else held
    path.write_bytes(now)
    return now != held


def in_a_child(work) -> tuple[str, str]:
    """Run `work` in a process of its own: ("" when it ended well, else what happened; its last words)."""
    with tempfile.TemporaryFile("w+") as said:
        child = os.fork()
        if not child:
            code = 2
            try:
                os.dup2(said.fileno(), 1), os.dup2(said.fileno(), 2)
                work()
                code = 0
            except (ValueError, OSError) as error:
                code = 1 if isinstance(error, OSError) or _is_ours(error) else 2
                print(f"{type(error).__name__}: {error}", file=said, flush=True)
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=said, flush=True)
            finally:
                os._exit(code)
        deadline = time.monotonic() + LIMIT
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return "hang", ""
            time.sleep(0.01)
        said.seek(0)
        last = (said.read().strip().splitlines() or [""])[-1]
        code = os.waitstatus_to_exitcode(ended[1])
        return {0: "", 1: "error"}.get(code, "traceback"), last if code else ""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--feats", choices=("raw", "fbank"), default="raw")
    parser.add_argument("--seeds", default="0")
    args = parser.parse_args()
    counts: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as root:
        chain = Chain(Path(root), args.feats)
        for seed in map(int, args.seeds.split()):
            for where in chain.trials():
                trial = chain.run(*where, seed)
                if trial:
                    counts[trial.outcome] = counts.get(trial.outcome, 0) + 1
                    print(*trial, sep="\t", flush=True)
        os.chdir("/")
    print(*(f"{count} {outcome}" for outcome, count in sorted(counts.items())), sep=", ")


if __name__ == "__main__":
    main()
