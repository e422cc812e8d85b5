"""What the tests of the shell scripts share."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent

# Stands in for python3: writes its arguments to $CALLS, fails or sleeps when they contain $FAIL_AT or $SLEEP_AT.
FAKE_PYTHON = """#!/usr/bin/env bash
[[ $1 != -c ]] || exit "${NO_TORCH:-0}"
(IFS='|' && printf '%s\\n' "$*" >>"$CALLS")
[[ -z ${SLEEP_AT-} || $* != *$SLEEP_AT* ]] || sleep 600
[[ -z ${FAIL_AT-} || $* != *$FAIL_AT* ]] || { echo "error: made up" >&2; exit 3; }
[[ $* == *bin.configure* ]] || echo "fan 12 clips"
"""


def write_script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


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
