"""What all programs of asdkit/bin have in common."""

import importlib
import re
import subprocess
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import asdkit.bin
from asdkit.utils import cli
from asdkit.utils.files import read_json

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
def test_version_is_that_of_the_package(name, capsys):
    with pytest.raises(SystemExit) as end:
        importlib.import_module(f"asdkit.bin.{name}").main(["--version"])
    assert end.value.code == 0 and capsys.readouterr().out == f"asdkit {asdkit.__version__}\n"


def test_version_stands_in_one_place():
    root = Path(asdkit.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "setup.py", "--version"], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == asdkit.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", asdkit.__version__)
    assert asdkit.__version__ not in (root / "setup.py").read_text()


@pytest.mark.parametrize("name", PROGRAMS)
def test_unknown_option_is_refused(name):
    done = subprocess.run(
        [sys.executable, "-m", f"asdkit.bin.{name}", "--no-such-option", "1"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "--no-such-option" in done.stderr or "required" in done.stderr


@pytest.mark.parametrize("name", ["train", "extract_embeddings", "score", "evaluate"])
def test_missing_experiment_is_one_line(name, tmp_path):
    command = [sys.executable, "-m", f"asdkit.bin.{name}", "--exp", str(tmp_path / "none"), "--data", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and str(tmp_path) in done.stderr


def test_progress_is_a_bar_on_a_terminal_and_a_line_every_ten_seconds_elsewhere(monkeypatch, capsys, caplog):
    caplog.set_level("INFO")
    clock = iter([0.0, 0.0, 4.0, 10.0, 15.0])
    monkeypatch.setattr(cli, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    assert list(cli.progress("abc", "letters")) == list("abc")
    assert [record.message for record in caplog.records] == ["letters: 2/3 [00:10<00:05,  5.00s/clip]"]
    monkeypatch.undo()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert list(cli.progress(iter("abc"), "letters", 3)) == list("abc")
    assert "letters: 100%" in capsys.readouterr().err


def add_what_does_not_fit(_):
    np.zeros(3) + np.zeros(4)


def refuse(_):
    read_json(__file__)


def read_text_as_a_number(_):
    int("many")


@pytest.mark.parametrize("main, ours", [(refuse, True), (add_what_does_not_fit, False), (read_text_as_a_number, False)])
def test_errors_that_are_no_message_to_the_user_show_where_they_come_from(capsys, main, ours):
    with pytest.raises(SystemExit) as stop:
        cli.run(main)
    error = capsys.readouterr().err
    assert stop.value.code == 1 and error.splitlines()[-1].startswith("error: ")
    assert error.startswith("error: ") == ours
    assert (main.__name__ in error) != ours  # the traceback names it


def test_error_of_a_reader_process_is_one_line(capsys):
    def main(_):
        try:
            refuse(None)
        except ValueError:
            raise ValueError(
                f"Caught ValueError in DataLoader worker process 0.\nOriginal {traceback.format_exc()}"
            ) from None

    with pytest.raises(SystemExit):
        cli.run(main)
    error = capsys.readouterr().err
    assert error.startswith(f"error: {__file__}: ") and error.count("\n") == 1
