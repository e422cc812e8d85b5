"""tools/setup_env.sh and renew_constraints.py, with interpreters that only write down how they were called."""

import json
import shutil
import subprocess
import sys

import pytest
from shell_helpers import ROOT, write_script

FAKE = """#!/usr/bin/env bash
[[ $1 != -c ]] || { echo "${ANSWER:-True 3.11.7}"; exit; }
[[ $1 == -m ]] || exit 0
echo "$*" >>"$CALLS"
if [[ $2 == "${FAIL-}" ]]; then exit 1; fi
if [[ $2 == venv ]]; then mkdir -p .venv/bin && cp "$0" .venv/bin/python; fi
"""
DF = """#!/bin/sh
[ "$3" = . ] && free=${FREE:-9000000} || free=${FREE_TMP:-9000000}
printf 'Filesystem 1024-blocks Used Available Capacity Mounted\\nx 1 1 %s 1%% /\\n' "$free"
"""


@pytest.fixture
def setup(tmp_path):
    root = tmp_path / "a checkout"
    (root / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "tools/setup_env.sh", root / "tools")
    (root / "setup.py").write_text("one\n")
    (root / "constraints.txt").write_text("torch==1\n")
    python = write_script(tmp_path / "fake python", FAKE)

    def run(*extras: str, **env: str) -> tuple[int, str, list[str]]:
        calls = tmp_path / "calls"
        calls.write_text("")
        env = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "PYTHON": str(python), "CALLS": str(calls)} | env
        done = subprocess.run(
            [root / "tools/setup_env.sh", *extras], env=env, capture_output=True, text=True, timeout=30
        )
        return done.returncode, done.stderr, [line.split()[1] for line in calls.read_text().splitlines()]

    write_script(tmp_path / "bin/df", DF)
    run.root, run.calls = root, tmp_path / "calls"
    return run


def test_builds_once(setup):
    assert setup() == (0, "", ["venv", "pip"])
    assert setup() == (0, "", [])


def test_an_option_in_place_of_extras_installs_nothing(setup):
    assert setup("--help") == (0, "", []) and setup("-x") == (2, "", [])


def test_each_choice_of_extras_is_installed_once(setup):
    setup()
    assert setup("test,tensorboard") == (0, "", ["pip"])
    assert setup("test,tensorboard") == (0, "", [])


def test_new_requirements_are_installed(setup):
    setup()
    (setup.root / "setup.py").write_text("two\n")
    assert setup() == (0, "", ["pip"])


def test_new_versions_are_installed(setup):
    setup()
    assert "--constraint constraints.txt" in setup.calls.read_text()
    (setup.root / "constraints.txt").write_text("torch==2\n")
    assert setup() == (0, "", ["pip"])


def test_no_constraints_when_told_so(setup):
    assert setup(CONSTRAINTS="") == (0, "", ["venv", "pip"])
    assert "--constraint" not in setup.calls.read_text()
    (setup.root / "constraints.txt").write_text("torch==2\n")
    assert setup() == (0, "", [])  # remembered
    assert setup(CONSTRAINTS="constraints.txt") == (0, "", ["venv", "pip"])
    code, error, _ = setup(CONSTRAINTS="none.txt")
    assert code == 1 and "there is no file none.txt" in error


def test_options_of_the_user_reach_pip_and_are_remembered(setup):
    options = {"PIP_OPTIONS": "--no-index --find-links wheels"}
    assert setup(**options) == (0, "", ["venv", "pip"])
    assert "--constraint constraints.txt --no-index --find-links wheels -e ." in setup.calls.read_text()
    assert setup() == setup(**options) == (0, "", [])
    assert setup("test") == (0, "", ["pip"])
    assert "--no-index --find-links wheels -e .[test]" in setup.calls.read_text()
    assert setup(PIP_OPTIONS="") == (0, "", ["venv", "pip"])


def test_an_environment_without_remembered_choices_goes_on(setup):
    setup()
    (setup.root / ".venv/.chosen").unlink()
    (setup.root / ".venv/.installed").unlink()
    assert setup() == (0, "", ["pip"])


def test_too_little_space_is_said_before_anything_is_made(setup):
    code, error, calls = setup(FREE="5000000")
    assert (code, calls) == (1, []) and "a checkout has 5 GB free, and installing needs 6: make room" in error
    code, error, calls = setup(FREE_TMP="2000000")
    assert (code, calls) == (1, []) and "has 2 GB free, and installing needs 3" in error and "TMPDIR" in error
    assert setup(FREE="2000000", FREE_TMP="1000000", SPACE="2") == (0, "", ["venv", "pip"])
    assert setup(FREE="0") == (0, "", [])


def test_another_python_builds_anew(setup):
    setup()
    assert setup(ANSWER="True 3.12.0") == (0, "", ["venv", "pip"])


def test_failed_installation_is_not_taken_for_done(setup):
    code, error, _ = setup(FAIL="pip")
    assert code == 1 and "pip failed" in error
    assert setup() == (0, "", ["pip"])


def test_failures_say_what_to_do(setup):
    code, error, _ = setup(FAIL="venv")
    assert code == 1 and "apt-get install python3-venv" in error
    code, error, _ = setup(ANSWER="False 3.8.10")
    assert code == 1 and "is Python 3.8.10: 3.10 or newer is needed" in error
    code, error, _ = setup(PYTHON="no-such-python")
    assert code == 1 and "there is no no-such-python" in error


def test_constraints_have_a_marker_where_pythons_differ(tmp_path):
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools/renew_constraints.py", tmp_path / "tools")
    answers = {
        "3.12": {"Py_Yaml": "6.0", "numpy": "2.5", "torch": "2.14.1+cpu", "asdkit": "1"},
        "3.10": {"Py_Yaml": "6.0", "numpy": "2.2", "torch": "2.14.1", "tomli": "2.0", "asdkit": "1"},
        "3.11": {"Py_Yaml": "6.0", "numpy": "2.4", "torch": "2.14.1", "asdkit": "1"},
        "3.13": {"Py_Yaml": "6.0", "numpy": "2.5", "torch": "2.14.1", "asdkit": "1"},
    }
    pythons = []
    for version, found in answers.items():
        install = [{"metadata": {"name": name, "version": number}} for name, number in found.items()]
        report = json.dumps({"environment": {"python_version": version}, "install": install})
        pythons.append(write_script(tmp_path / f"python{version}", f"#!/bin/sh\necho '{report}'\n"))
    subprocess.run([sys.executable, tmp_path / "tools/renew_constraints.py", *pythons], check=True, timeout=30)
    lines = (tmp_path / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        'numpy==2.2 ; python_version < "3.11"',
        'numpy==2.4 ; python_version >= "3.11" and python_version < "3.12"',
        'numpy==2.5 ; python_version >= "3.12"',
        "py-yaml==6.0",
        "tomli==2.0",
        "torch==2.14.1",
    ]
