"""tools/setup_env.sh, with an interpreter that only writes down how it was called."""

import shutil
import subprocess

import pytest
from shell_helpers import ROOT, write_script

FAKE = """#!/usr/bin/env bash
[[ $1 != -c ]] || { echo "${ANSWER:-True 3.11.7}"; exit; }
[[ $1 == -m ]] || exit 0
echo "$*" >>"$CALLS"
if [[ $2 == "${FAIL-}" ]]; then exit 1; fi
if [[ $2 == venv ]]; then mkdir -p .venv/bin && cp "$0" .venv/bin/python; fi
"""


@pytest.fixture
def setup(tmp_path):
    root = tmp_path / "a checkout"
    (root / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "tools/setup_env.sh", root / "tools")
    (root / "setup.py").write_text("one\n")
    python = write_script(tmp_path / "fake python", FAKE)

    def run(*extras: str, **env: str) -> tuple[int, str, list[str]]:
        calls = tmp_path / "calls"
        calls.write_text("")
        env = {"PATH": "/usr/bin:/bin", "PYTHON": str(python), "CALLS": str(calls)} | env
        done = subprocess.run(
            [root / "tools/setup_env.sh", *extras], env=env, capture_output=True, text=True, timeout=30
        )
        return done.returncode, done.stderr, [line.split()[1] for line in calls.read_text().splitlines()]

    run.root = root
    return run


def test_builds_once(setup):
    assert setup() == (0, "", ["venv", "pip"])
    assert setup() == (0, "", [])


def test_each_choice_of_extras_is_installed_once(setup):
    setup()
    assert setup("test,tensorboard") == (0, "", ["pip"])
    assert setup("test,tensorboard") == (0, "", [])


def test_new_requirements_are_installed(setup):
    setup()
    (setup.root / "setup.py").write_text("two\n")
    assert setup() == (0, "", ["pip"])


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
