#!/usr/bin/env python3
"""Puts faults into a copy of this tree, one at a time, and runs the tests that should notice: do they?

    python test/mutants.py [NAME...] [--jobs N]

The table is in faults.py. Exit code 1 for a fault that nobody notices, unless it is declared harmless, and for one that
does not fit the code any more. Not part of `make test`.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from faults import FAULTS, FIELD, Fault, selected

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 600  # seconds of one run of tests
NOTICED, UNNOTICED, HARMLESS = "noticed", "NOT NOTICED", "harmless"


def tree(folder: Path) -> Path:
    """A copy of what git tracks or would track here."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    if (ROOT / ".venv").exists():
        (folder / ".venv").symlink_to((ROOT / ".venv").resolve())
    return folder


def run_tests(folder: Path, words: list[str]) -> tuple[int | None, str]:
    """pytest's exit code (None: it took too long) and its output."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-rfE", "-p", "no:cacheprovider", *words]
    env = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, done.stdout + done.stderr


def try_fault(fault: Fault, folder: Path) -> tuple[str, str]:
    """(what came of it, the test that noticed or a reason)."""
    path = folder / fault.file
    whole = path.read_text(encoding="utf-8")
    if whole.count(fault.old) != 1:
        return "DOES NOT FIT", f"the old text occurs {whole.count(fault.old)} times"
    path.write_text(whole.replace(fault.old, fault.new), encoding="utf-8")
    try:
        code, output = run_tests(folder, selected(fault))
    finally:
        path.write_text(whole, encoding="utf-8")
    if code == 0:
        return (HARMLESS if fault.harmless else UNNOTICED), shlex.join(selected(fault))
    found = re.search(r"^(?:FAILED|ERROR) test/test_(.*?)(?: - .*)?$", output, re.M)
    if code != 1 or not found:
        return "NO ANSWER", "took too long" if code is None else output[-500:]
    return NOTICED, f"test/test_{found[1]}".replace(FIELD, "test_wires")


def main() -> None:
    """Try the faults, print the table."""
    parser = argparse.ArgumentParser(description="Which faults do the tests notice?")
    parser.add_argument("names", nargs="*", help="faults whose name holds one of these (default: all)")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    args = parser.parse_args()
    chosen = [fault for fault in FAULTS if not args.names or any(name in fault.name for name in args.names)]
    with tempfile.TemporaryDirectory() as temporary:
        folders: SimpleQueue[Path] = SimpleQueue()
        for number in range(args.jobs):
            folders.put(tree(Path(temporary, str(number))))
        code, output = run_tests(Path(temporary, "0"), sorted({word for fault in chosen for word in selected(fault)}))
        if code != 0:
            sys.exit(f"the tests fail without any fault:\n{output[-3000:]}")

        def one(fault: Fault) -> str:
            folder, start = folders.get(), time.monotonic()
            try:
                outcome, by = try_fault(fault, folder)
            finally:
                folders.put(folder)
            line = f"{fault.name:51} | {fault.file:35} | {outcome:11} | {time.monotonic() - start:4.0f} s | {by}"
            print(line, flush=True)
            return outcome

        with ThreadPoolExecutor(args.jobs) as pool:
            outcomes = list(pool.map(one, chosen))
    wrong = [fault.name for fault, outcome in zip(chosen, outcomes, strict=True) if outcome not in (NOTICED, HARMLESS)]
    known = f"{outcomes.count(NOTICED)} noticed, {outcomes.count(HARMLESS)} harmless"
    print(f"{len(chosen)} faults: {known}, {len(wrong)} not")
    sys.exit(f"look at: {', '.join(wrong)}" if wrong else 0)


if __name__ == "__main__":
    main()
