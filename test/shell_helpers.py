"""What the tests of the shell scripts share."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent

# Stands in for python3: writes its arguments to $CALLS; fails, sleeps, or waits for the file $GO when they contain
# $FAIL_AT, $SLEEP_AT or $WAIT_AT; fails while there is no file $AFTER; says that it is as far as $SHOW.
FAKE_PYTHON = """#!/usr/bin/env bash
[[ $1 != -c ]] || exit "${NO_TORCH:-0}"
(IFS='|' && printf '%s\\n' "$*" >>"$CALLS")
[[ -e ${AFTER-/} ]] || { echo "error: too early" >&2; exit 3; }
[[ -z ${SHOW-} || -z ${ASDKIT_PROGRESS-} ]] || echo "$SHOW" >"$ASDKIT_PROGRESS"
[[ -z ${SLEEP_AT-} || $* != *$SLEEP_AT* ]] || sleep 600
if [[ -n ${WAIT_AT-} && $* == *$WAIT_AT* ]]; then
    for ((i = 0; i < 600; i++)); do
        [[ ! -e $GO ]] || break
        sleep 0.1
    done
    (IFS='|' && printf 'ended|%s\\n' "$*" >>"$CALLS")
fi
[[ -z ${FAIL_AT-} || $* != *$FAIL_AT* ]] || { echo "error: made up" >&2; exit 3; }
[[ $* == *bin.configure* ]] || echo "${SAY-fan 12 clips}"
"""


def write_script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


# A Slurm of one job at a time: sbatch runs the array behind the caller's back, as a cluster does, when there is no file
# `hold`, with its state in queue/<name>; squeue prints it, or fails while there is a file `down`.
FAKE_SBATCH = """#!/usr/bin/env bash
cd "$SLURM"
printf '%s\\n' "$@" >>words
for word; do
    [[ $word != --job-name=* ]] || name=${word#*=}
    [[ $word != --array=* ]] || { last=${word#*=1-} && last=${last%%%*}; }
    [[ $word != --chdir=* ]] || chdir=${word#*=}
done
cat >"script.$name"
for fd in /proc/self/fd/*; do
    fd=${fd##*/}
    ((fd < 3)) || exec {fd}>&-
done
echo "7_1 PENDING (Resources)" >"queue/$name"
export name last chdir
setsid bash -c 'while [[ -e hold ]]; do sleep 0.1; done
    echo "7_1 RUNNING (None)" >"queue/$name"
    cd "$chdir"
    for ((task = 1; task <= last; task++)); do
        SLURM_ARRAY_TASK_ID=$task SLURM_CPUS_PER_TASK=2 bash "$SLURM/script.$name"
    done
    rm "$SLURM/queue/$name"' </dev/null >/dev/null 2>&1 &
echo "7;cluster"
"""
FAKE_SQUEUE = """#!/usr/bin/env bash
[[ ! -e $SLURM/down ]] || { echo "Unable to contact slurm controller" >&2; exit 1; }
[[ "$1 $2 $4 $5" == "--noheader --name --format %i %T (%r)" ]] || exit 2
cat "$SLURM/queue/$3" 2>/dev/null || true
"""


def fake_slurm(folder: Path) -> dict[str, str]:
    """Write sbatch and squeue to folder/bin; what the environment needs to find them."""
    (folder / "queue").mkdir(parents=True)
    write_script(folder / "bin/sbatch", FAKE_SBATCH)
    write_script(folder / "bin/squeue", FAKE_SQUEUE)
    return {"SLURM": str(folder)}


class Checkout:
    """A copy of utils and a recipe in a folder with a space and a quote, with a fake python3."""

    def __init__(self, folder: Path, recipe: str = "mini") -> None:
        self.root = folder / "it's a checkout"
        self.recipe = self.root / "egs" / recipe
        self.calls_file = folder / "calls"
        shutil.copytree(ROOT / "utils", self.root / "utils")
        self.recipe.mkdir(parents=True)
        shutil.copy(ROOT / "egs" / recipe / "run.sh", self.recipe)
        write_script(folder / "bin" / "python3", FAKE_PYTHON)
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "MKL_"))},
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "CALLS": str(self.calls_file),
        }

    def run(self, *words: str, **env: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [self.recipe / "run.sh", *words], env=self.env | env, capture_output=True, text=True, timeout=60
        )

    def start(self, *words: str, **env: str) -> subprocess.Popen:
        """Start run.sh in a session of its own."""
        return subprocess.Popen(
            [self.recipe / "run.sh", *words],
            env=self.env | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def write_config(self, text: str) -> None:
        """Write exp/default/config.yaml."""
        path = self.recipe / "exp/default/config.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def calls(self) -> list[list[str]]:
        if not self.calls_file.exists():
            return []
        return [line.split("|") for line in self.calls_file.read_text().splitlines()]

    def programs(self) -> list[str]:
        return [call[1].removeprefix("asdkit.bin.") for call in self.calls()]


def wait_until(condition, seconds: float = 10) -> bool:
    """True as soon as the condition holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def running(marker: str) -> list[str]:
    """Ids of the processes, but zombies, whose environment holds MARKER=<marker>."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"MARKER={marker}\0".encode() in (process / "environ").read_bytes():
                found.append(process.name)
        except OSError:
            continue
    return found


def interrupt(command: list, ready, signal_number: int = signal.SIGINT, **options) -> tuple[int, str]:
    """Start a command, signal it (itself alone, not its children) when `ready()`; its exit code and stderr."""
    # In the background of a shell, or under nohup, tests inherit that signals are ignored; what a user types does not.
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal_number, signal.SIG_DFL),
        **options,
    )
    try:
        assert wait_until(ready, 30), "the command did not get going"
        process.send_signal(signal_number)
        _, stderr = process.communicate(timeout=30)
        return process.returncode, stderr
    finally:
        process.kill()
