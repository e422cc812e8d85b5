"""Runs killed at random moments and given again: programs or drivers over stages 1 to 6, training by two processes.

    python test/fault_kills.py stages|driver|two [--seeds "0 1 2"]

`stages` runs the programs of all stages in one process, `driver` is run.sh.

prints a row for each seed: what was killed when, how that run ended, and whether the same command then made what a run
that nothing disturbed made, to the bit. docs/faults.md has the outcome of a whole run.
"""

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from fault_files import CONFIG, MACHINES, Chain, after, results
from recipe import MINI, ROOT, environment, make_corpus

from asdkit.models.checkpoint import read_checkpoint

LIMIT = 600  # seconds of a run
HOW = ("all", "one", "TERM")  # kill -9 of the session, or of one of its processes; SIGTERM to the first
TRAIN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
TRAIN += ["asdkit.bin.train", "--data", "data", "--dump", "dump", "--exp", "exp/x", "--device", "cpu"]


class Trial(NamedTuple):
    """A run that was disturbed, and what the same command made after it."""

    seed: int
    how: str
    when: str
    ended: str  # how the disturbed run ended
    outcome: str  # same or, what must not be, WRONG, error or hang
    told: str


class Run:
    """A command in a folder, and all that it starts, also in sessions of their own."""

    def __init__(self, folder: Path, words: list[str]) -> None:
        self.out, self.mark = folder / "out.txt", f"FAULT_TRIAL={uuid.uuid4()}"
        env = environment(OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT)) | dict([self.mark.split("=")])
        with open(self.out, "w") as out:
            self.process = subprocess.Popen(words, stdout=out, stderr=out, env=env, cwd=folder, start_new_session=True)

    def wait(self) -> str:
        """Its code, or `hang`; nothing of it is left."""
        try:
            return str(self.process.wait(LIMIT))
        except subprocess.TimeoutExpired:
            return "hang"
        finally:
            self.kill()

    def words(self) -> list[tuple[int, str]]:
        """Its processes: number and command."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                mine = self.mark.encode() in (place / "environ").read_bytes().split(b"\0")
                words = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                if mine and words:
                    found.append((int(place.name), words))
        return sorted(found)

    def kill(self) -> None:
        """kill -9 all of it."""
        while found := self.words():
            for pid, _ in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.poll()

    def disturb(self, how: str, rng: random.Random) -> str:
        """Kill; what was killed."""
        if how == "all":
            self.kill()
            return "kill -9 of all"
        if how == "TERM":
            self.process.terminate()
            return "SIGTERM to the first"
        found = [one for one in self.words() if not one[1].startswith(("ps ", "sleep"))]
        pid, what = rng.choice(sorted(found)) if found else (0, "nothing")
        if pid:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                what += ", which had ended"
        name = re.search(r"asdkit[.]bin[.](\w+)|(\w+[.]sh)|(\S+)", what)
        return f"kill -9 of one, {name[0] if name else what}"


def bits(value) -> bytes:
    """A checkpoint's content: pickle's bytes tell which equal words were one object, too."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype).encode() + value.numpy().tobytes()
    if isinstance(value, dict):
        return b"".join(str(key).encode() + bits(value[key]) for key in value if key != "env")
    return repr(value).encode()


class Place:
    """A folder with a corpus, a command that makes an experiment in it, and what that is to be."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.kind = folder, kind
        make_corpus(folder / "mini")
        (folder / "x.yaml").write_text(CONFIG.replace("FEATS", "raw").replace("steps: 3", "steps: 12"))
        self.command = ["bash", str(MINI / "run.sh"), "--stage", "1", "--corpus", str(folder / "mini")]
        self.command += ["--config", str(folder / "x.yaml"), "--num-threads", "1", "--report-clips", "0", *MACHINES]
        for key, name in (("data", "data"), ("dump", "dump"), ("expdir", "exp")):
            self.command += [f"--{key}", str(folder / name)]
        if kind == "two":
            assert Run(folder, [*self.command, "--stop-stage", "2"]).wait() == "0", (folder / "out.txt").read_text()
            shutil.copytree(folder / "exp/x", folder / "before")
            self.command = TRAIN
        self.marks: list[tuple[float, str]] = []  # when, in seconds, an undisturbed run was where
        start, run = time.monotonic(), Run(folder, self.command)
        while run.process.poll() is None:
            if (where := self.where()) not in [one for _, one in self.marks]:
                self.marks.append((time.monotonic() - start, where))
            time.sleep(0.02)
        self.seconds = time.monotonic() - start
        assert run.wait() == "0", run.out.read_text()
        self.whole = self.made()

    def where(self) -> str:
        """How far the run is."""
        if self.kind == "two":
            step = sorted((self.folder / "exp/x/seed0/checkpoint").glob("*.pt"))
            return step[-1].name if step else "before the first checkpoint"
        found = re.findall(r"== (stage \d)", (self.folder / "out.txt").read_text())
        return found[-1] if found else "before stage 1"

    def made(self) -> dict[str, bytes]:
        """What is to be the same."""
        if self.kind == "driver":
            return results(self.folder)
        folder = self.folder / "exp/x/seed0"
        content = read_checkpoint(folder / "checkpoint/final.pt")
        return {"train.tsv": (folder / "train.tsv").read_bytes(), "final.pt": bits(content)}

    def reset(self) -> None:
        """The folder as before the command."""
        if self.kind == "two":
            shutil.rmtree(self.folder / "exp/x")
            shutil.copytree(self.folder / "before", self.folder / "exp/x")
            return
        for name in ("data", "dump", "exp"):
            shutil.rmtree(self.folder / name)

    def trial(self, seed: int) -> Trial:
        """One disturbed run and the same command after it."""
        rng = random.Random(seed)
        how, number = HOW[seed % 3], rng.randrange(len(self.marks))
        begins, place = self.marks[number]
        ends = self.marks[number + 1][0] if number + 1 < len(self.marks) else self.seconds
        delay = rng.uniform(0, ends - begins)
        self.reset()
        run, deadline = Run(self.folder, self.command), time.monotonic() + LIMIT
        while self.where() != place and run.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(delay)
        when, what, start = self.where(), run.disturb(how, rng), time.monotonic()
        ended = self._ended(run, how, start)
        again = Run(self.folder, self.command)
        code = again.wait()
        outcome = {"0": "same" if code == "0" and self.made() == self.whole else "WRONG", "hang": "hang"}.get(
            code, "error"
        )
        if "hang" in ended:
            outcome = "hang"
        run.kill()
        told = "" if outcome == "same" else again.out.read_text().strip().splitlines()[-1]
        return Trial(seed, what, f"{when} + {delay:.1f} s", ended, outcome, told)

    def _ended(self, run: Run, how: str, start: float) -> str:
        try:
            code = run.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            run.kill()
            return "hang"
        if code == -signal.SIGKILL and how == "one":
            return "the driver alone died"  # what it started is left, and the same command has to cope with that
        if code == 0:
            return "0, ended before" if self.made() == self.whole else "0, WRONG"
        return f"code {code} after {time.monotonic() - start:.0f} s"


def code_of(child: int) -> int | None:
    """How a child ends; None: not within the limit."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        if (ended := os.waitpid(child, os.WNOHANG))[0]:
            return os.waitstatus_to_exitcode(ended[1])
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def killed_stages(chain: Chain, seed: int, seconds: float) -> Trial:
    """Stages 1 to 6 in a process that is killed within `seconds`, and again to the end."""
    moment = random.Random(seed).uniform(0, seconds)
    chain.restore(0)
    told = chain.root / "out.txt"

    def start() -> int:
        if child := os.fork():
            return child
        with open(told, "w") as out:
            os.dup2(out.fileno(), 1), os.dup2(out.fileno(), 2)
        code = 1
        try:
            after(0)
            code = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
        os._exit(code)

    child = start()
    time.sleep(moment)
    os.kill(child, signal.SIGKILL)
    ended = code_of(child)
    where = re.findall(r"== (stage \d)", told.read_text())
    again = code_of(start())
    outcome = (
        "hang" if again is None else "error" if again else "same" if results(chain.root) == chain.whole else "WRONG"
    )
    last = "" if outcome == "same" else told.read_text().strip().splitlines()[-1]
    when = f"{where[-1] if where else 'before stage 1'}, {moment:.1f} s"
    return Trial(seed, "kill -9", when, f"code {ended}", outcome, last)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("stages", "driver", "two"))
    parser.add_argument("--seeds", default="0 1 2")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.kind == "stages":
            chain = Chain(Path(folder), "raw", others=False)
            chain.restore(0)
            start = time.monotonic()
            after(0)
            seconds = time.monotonic() - start
            for seed in map(int, args.seeds.split()):
                print(*killed_stages(chain, seed, seconds), sep="\t", flush=True)
            os.chdir("/")
            return
        place = Place(Path(folder), args.kind)
        print(
            f"undisturbed: {place.seconds:.0f} s;",
            "; ".join(f"{where} {at:.1f}" for at, where in place.marks),
            flush=True,
        )
        for seed in map(int, args.seeds.split()):
            print(*place.trial(seed), sep="\t", flush=True)


if __name__ == "__main__":
    main()
