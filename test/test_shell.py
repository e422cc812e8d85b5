"""utils/parse_options.sh: a script's option block is its command line and its help."""

import subprocess
from pathlib import Path

import pytest
from shell_helpers import ROOT, write_script

SCRIPT = """#!/usr/bin/env bash
# Does nothing much.
#     example.sh [options] WORDS
set -euo pipefail

# Options
stage=1            # first stage
stop_stage=6       # last stage
name="two words"   # a text
value=             # a name that the parser might use itself
dry_run=false      # run nothing
set=()             # key=value, repeatable
                   # in two lines
# End of options
other=5            # no option
. "$UTILS/parse_options.sh"
printf '<%s>' "$stage" "$stop_stage" "$name" "$value" "$dry_run" "${#set[@]}" "${set[@]}" "$@"
"""


@pytest.fixture
def call(tmp_path: Path):
    script = write_script(tmp_path / "an example.sh", SCRIPT)

    def run(*words: str) -> subprocess.CompletedProcess:
        env = {"UTILS": str(ROOT / "utils"), "PATH": "/usr/bin:/bin"}
        return subprocess.run([script, *words], env=env, capture_output=True, text=True, timeout=20)

    return run


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        ([], "<1><6><two words><><false><0>"),
        (["--stop-stage", "3"], "<1><3><two words><><false><0>"),
        (["--stop-stage=3", "--stage=2"], "<2><3><two words><><false><0>"),
        (["--name", "it's $HOME `x` *"], "<1><6><it's $HOME `x` *><><false><0>"),
        (["--name="], "<1><6><><><false><0>"),
        (["--value", "a=b"], "<1><6><two words><a=b><false><0>"),
        (["--value=--x"], "<1><6><two words><--x><false><0>"),
        (["--set", "a=1", "--set=b=2 3"], "<1><6><two words><><false><2><a=1><b=2 3>"),
        (["--dry-run"], "<1><6><two words><><true><0>"),
        (["--dry-run", "--stage", "2"], "<2><6><two words><><true><0>"),
        (["--dry-run", "true", "--dry-run", "false"], "<1><6><two words><><false><0>"),
        (["--stage", "2", "log", "--stage", "3"], "<2><6><two words><><false><0><log><--stage><3>"),
    ],
)
def test_options_set_variables(call, words, printed):
    done = call(*words)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", printed)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stop-stag", "3"], "unknown option --stop-stag. Did you mean --stop-stage? --help"),
        (["--sage", "3"], "unknown option --sage. Did you mean --stage? --help"),
        (["--sta"], "unknown option --sta. Did you mean --stage?"),
        (["--frobnicate"], "unknown option --frobnicate. --help lists all"),
        (["--other", "3"], "unknown option --other"),
        (["--PATH", "x"], "unknown option --PATH"),
        (["--stage"], "--stage needs a value"),
        (["--stage", "--name", "x"], "--stage needs a value"),
        (["--set"], "--set needs a value"),
        (["--dry-run", "maybe"], "--dry-run is true or false, not 'maybe'"),
        (["-p", "main"], "options have two dashes, not '-p'; --help"),
    ],
)
def test_wrong_options_are_refused(call, words, message):
    done = call(*words)
    assert done.returncode == 1
    assert message in done.stderr and done.stderr.startswith("an example.sh: ")
    assert done.stdout == ""


def test_values_are_not_evaluated(call, tmp_path):
    call("--name", f"$(touch {tmp_path}/made)", "--set", f"a[$(touch {tmp_path}/made)]=1")
    assert call(f"--a[$(touch {tmp_path}/made)]=1").returncode == 1
    assert call(f"--$(touch {tmp_path}/made)", "1").returncode == 1
    assert not (tmp_path / "made").exists()


def test_help_is_the_option_block(call):
    done = call("--stage", "4", "--help")
    head, options = done.stdout.split("\nOptions:\n")
    assert head == "Does nothing much.\n    example.sh [options] WORDS\n"
    assert [line.split(maxsplit=2) for line in options.splitlines()[:2]] == [
        ["--stage", "4", "first stage"],
        ["--stop-stage", "6", "last stage"],
    ]
    assert "--name 'two words' " in options and "in two lines" in options
    assert "other" not in options and done.returncode == 0


def test_options_of_another_script_have_its_values_and_help(call, tmp_path):
    script = tmp_path / "an example.sh"
    text = SCRIPT.replace("set=()  ", "# as in run_local.sh: gpu time\nset=()  ")
    script.write_text(f"{text}printf '|%s' $gpu $time")
    assert call().stdout.endswith("<0>|0") and call("--time", "5", "--gpu=2").stdout.endswith("|2|5")
    lines = call("--help").stdout.splitlines()
    assert [line.split()[0] for line in lines[4:12]] == [
        *("--stage", "--stop-stage", "--name", "--value", "--dry-run", "--gpu", "--time", "--set"),
    ]
    assert call("--tim").stderr.endswith("Did you mean --time? --help lists all options\n")


@pytest.mark.parametrize("script", ["asd.sh", "run_local.sh", "run_slurm.sh"])
def test_every_option_has_help(script):
    text = (ROOT / "utils" / script).read_text()
    block = text.split("\n# Options\n")[1].split("\n# End of options\n")[0].splitlines()
    done = subprocess.run([ROOT / "utils" / script, "--help"], capture_output=True, text=True, timeout=20)
    shown = done.stdout.split("\nOptions:\n")[1].splitlines()
    assert len(shown) == len(block) >= 5
    for line, option in zip(block, shown, strict=True):
        name, comment = line.split("=")[0].replace("_", "-"), line.split("# ", 1)[1]
        assert option.startswith(f"  --{name} ") and option.endswith(f" {comment}")
