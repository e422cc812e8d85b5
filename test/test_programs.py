"""What all programs of asdkit/bin have in common."""

import subprocess
import sys
from pathlib import Path

import pytest

import asdkit.bin

PROGRAMS = sorted(p.stem for p in Path(asdkit.bin.__path__[0]).glob("*.py") if p.stem != "__init__")
HELP = """
import importlib, sys
program = importlib.import_module("asdkit.bin.{name}")
try:
    program.main(["--help"])
except SystemExit as end:
    heavy = sorted({{"torch", "sklearn", "kaldiio", "pandas"}} & set(sys.modules))
    sys.exit(f"imports {{heavy}}" if heavy else end.code)
"""


def test_programs_are_found():
    assert {"prepare_data", "configure", "make_lists", "train", "extract_embeddings", "score", "report"} <= set(
        PROGRAMS
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_comes_without_heavy_imports(name):
    done = subprocess.run([sys.executable, "-c", HELP.format(name=name)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage:") and "--help" in done.stdout


@pytest.mark.parametrize("name", PROGRAMS)
def test_unknown_option_is_refused(name):
    done = subprocess.run(
        [sys.executable, "-m", f"asdkit.bin.{name}", "--no-such-option", "1"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "--no-such-option" in done.stderr or "required" in done.stderr


@pytest.mark.parametrize("name", ["train", "extract_embeddings", "score", "evaluate", "make_lists"])
def test_missing_experiment_is_one_line(name, tmp_path):
    command = [sys.executable, "-m", f"asdkit.bin.{name}", "--exp", str(tmp_path / "none"), "--data", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and str(tmp_path) in done.stderr
