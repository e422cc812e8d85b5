"""utils/run_local.sh: jobs on this machine."""

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from shell_helpers import ROOT, interrupt, running, wait_until, write_script

RUN = ROOT / "utils" / "run_local.sh"


def run(folder: Path, *words: object, **env: str) -> subprocess.CompletedProcess:
    env = {"PATH": "/usr/bin:/bin"} | env
    words = [str(word) for word in words]
    return subprocess.run([RUN, *words], cwd=folder, env=env, capture_output=True, text=True, timeout=60)


def test_log_has_command_start_output_and_end(tmp_path):
    done = run(tmp_path, "a log/x.log", "printf", "%s|", "it's", "two words", '"$HOME"', "*")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    first, *second, output, last = (tmp_path / "a log" / "x.log").read_text().splitlines()
    assert subprocess.run(["bash", "-c", first[2:]], capture_output=True, text=True).stdout == output
    assert output == 'it\'s|two words|"$HOME"|*|'
    assert [line[:16] for line in second] == ["# submitted at 2", "# started at 202"]
    assert re.fullmatch(r"# ended code 0, \d+ s", last)


def test_array_replaces_the_word_job_in_log_and_arguments(tmp_path):
    done = run(tmp_path, "JOB=2:4", "log/x.JOB.log", "echo", "seedJOB", "a_JOB.ark", "JOBS", "MYJOB", "JOB JOB")
    assert done.returncode == 0
    logs = {path.name: path.read_text().splitlines()[3] for path in (tmp_path / "log").iterdir()}
    assert logs == {f"x.{n}.log": f"seed{n} a_{n}.ark JOBS MYJOB {n} {n}" for n in (2, 3, 4)}


def test_jobs_get_large_pages_unless_told_otherwise(tmp_path):
    for given, expected in (({}, "glibc.malloc.hugetlb=1"), ({"GLIBC_TUNABLES": ""}, "")):
        assert run(tmp_path, "x.log", "bash", "-c", 'echo "<$GLIBC_TUNABLES>"', **given).returncode == 0
        assert (tmp_path / "x.log").read_text().splitlines()[-2] == f"<{expected}>"


def test_array_of_chosen_numbers(tmp_path):
    assert run(tmp_path, "JOB=0,7", "x.JOB.log", "true").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.0.log", "x.7.log"]


def test_without_array_job_is_a_word_like_any_other(tmp_path):
    assert run(tmp_path, "JOB.log", "echo", "JOB").returncode == 0
    assert (tmp_path / "JOB.log").read_text().splitlines()[3] == "JOB"


def test_failed_job_is_named_with_the_end_of_its_log_and_others_go_on(tmp_path):
    script = 'echo line $1; [[ $1 != 2 ]] || { echo "error: no such thing" >&2; exit 5; }'
    done = run(tmp_path, "--max-jobs-run", 1, "JOB=1:3", "x.JOB.log", "bash", "-c", script, "-", "JOB")
    assert done.returncode == 1
    assert "1 / 3 failed:\n  x.2.log\n" in done.stderr
    assert "error: no such thing" in done.stderr and "# ended code 5, " in done.stderr
    assert (tmp_path / "x.3.log").read_text().splitlines()[-1].startswith("# ended code 0, ")


def test_killed_job_counts_as_failed(tmp_path):
    done = run(tmp_path, "x.log", "bash", "-c", "kill -KILL $PPID")
    assert done.returncode == 1
    assert "1 / 1 failed:\n  x.log (killed: " in done.stderr


def test_missing_program_fails_with_its_name(tmp_path):
    done = run(tmp_path, "x.log", "no-such-program")
    assert done.returncode == 1
    assert "no-such-program: command not found" in done.stderr and "# ended code 127" in done.stderr


def test_a_log_keeps_every_run(tmp_path):
    for word in ("one", "two"):
        assert run(tmp_path, "x.log", "echo", word).returncode == 0
    text = (tmp_path / "x.log").read_text()
    runs = [lines.splitlines() for lines in text.split("\n\n")]
    assert [(lines[0], lines[3]) for lines in runs] == [("# echo one", "one"), ("# echo two", "two")]
    assert all(lines[-1].startswith("# ended code 0, ") for lines in runs)


def test_the_end_of_an_old_run_is_not_taken_for_that_of_a_new_one(tmp_path):
    (tmp_path / "x.log").write_text("# ended code 0, 1 s\n")
    assert run(tmp_path, "x.log", "bash", "-c", "kill -KILL $PPID").returncode == 1


def test_of_a_failed_job_the_latest_run_alone_is_shown(tmp_path):
    assert run(tmp_path, "x.log", "echo", "old").returncode == 0
    done = run(tmp_path, "x.log", "no-such-program")
    assert "    # no-such-program\n    # submitted at " in done.stderr and "old" not in done.stderr


def test_the_latest_of_many_runs_is_read(tmp_path):
    """A log grows with every run; a pipe that its reader leaves early would end the driver without a word."""
    log, run = tmp_path / "a=b.log", "# python3 -m x\n# submitted at {}\nsaid {}\n# ended code 0, 1 s\n\n"
    for count in (1, 20, 20000):
        log.write_text("".join(run.format(i, i) for i in range(count)))
        words = ["bash", "-c", f"set -euo pipefail; . '{ROOT}/utils/jobs.sh'; latest_run \"$1\"; echo whole", "-", log]
        done = subprocess.run(words, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == run.format(count - 1, count - 1) + "whole\n"
    log.write_text("no run at all\n")
    assert subprocess.run(words, capture_output=True, text=True).stdout == "no run at all\nwhole\n"


def test_last_line_stands_alone_after_output_without_newline(tmp_path):
    assert run(tmp_path, "x.log", "printf", "no newline").returncode == 0
    assert (tmp_path / "x.log").read_text().splitlines()[3:-1] == ["no newline"]


def test_program_reads_no_input(tmp_path):
    assert run(tmp_path, "x.log", "cat").returncode == 0


@pytest.mark.parametrize(("limit", "most"), [([], 4), (["--max-jobs-run", "2"], 2), (["--max-jobs-run", "1"], 1)])
def test_jobs_run_at_a_time(tmp_path, limit, most):
    script = "echo + >>marks; sleep 0.4; echo - >>marks"
    start = time.monotonic()
    assert run(tmp_path, *limit, "JOB=1:4", "x.JOB.log", "bash", "-c", script).returncode == 0
    assert time.monotonic() - start < 0.4 * 4 / most + 3
    at_once = [0]
    for mark in (tmp_path / "marks").read_text().split():
        at_once.append(at_once[-1] + (1 if mark == "+" else -1))
    assert max(at_once) == most


@pytest.mark.parametrize(
    ("options", "array", "threads"),
    [(["--num-threads", "3"], [], "3 3"), ([], ["JOB=1:100"], "1 1"), (["--max-jobs-run", "1"], ["JOB=1:2"], "all")],
)
def test_threads(tmp_path, options, array, threads):
    cores = subprocess.run(["nproc"], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True).stdout.strip()
    script = 'echo "$OMP_NUM_THREADS $MKL_NUM_THREADS"'
    assert run(tmp_path, *options, *array, "x.JOB.log", "bash", "-c", script).returncode == 0
    log = tmp_path / ("x.1.log" if array else "x.JOB.log")
    assert log.read_text().splitlines()[3] == threads.replace("all", f"{cores} {cores}")


def test_cluster_options_are_accepted(tmp_path):
    assert run(tmp_path, "--mem", "8G", "--time", "1:00:00", "x.log", "true").returncode == 0


def seen_gpus(folder: Path, *words: object, **env: str) -> list[str]:
    done = run(folder, *words, "x.JOB.log", "bash", "-c", 'echo "see ${CUDA_VISIBLE_DEVICES-all}"', **env)
    assert done.returncode == 0, done.stderr
    return [path.read_text().splitlines()[3].removeprefix("see ") for path in sorted(folder.glob("x.*.log"))]


@pytest.fixture
def four_gpus(tmp_path):
    lines = [f"GPU {n}: NVIDIA H100 (UUID: GPU-1{n}-1)\n  MIG 1g.10gb Device 0: (UUID: MIG-{n})" for n in range(4)]
    write_script(tmp_path / "bin/nvidia-smi", f"#!/bin/sh\n[ $1 = -L ] && cat <<END\n{chr(10).join(lines)}\nEND\n")
    return {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}


@pytest.mark.parametrize(
    ("gpus", "array", "visible", "seen"),
    [
        (1, "JOB=1:3", None, ["0", "1", "2"]),
        (1, "JOB=0,7", None, ["0", "1"]),
        (2, "JOB=1:3", None, ["0,1", "2,3", "0,1"]),
        (3, "JOB=1:2", None, ["0,1,2", "3,0,1"]),
        (1, "JOB=1:3", "5,GPU-1-1", ["5", "GPU-1-1", "5"]),
        (1, "JOB=1:2", "6,-1,7", ["6", "6"]),
        (0, "JOB=1:2", None, ["all", "all"]),
        (0, "JOB=1:2", "2,3", ["2,3", "2,3"]),
    ],
)
def test_jobs_have_gpus_of_their_own(tmp_path, four_gpus, gpus, array, visible, seen):
    env = four_gpus | ({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    assert seen_gpus(tmp_path, "--gpu", gpus, array, **env) == seen


@pytest.mark.parametrize(
    ("gpus", "visible", "message"),
    [
        (5, None, "--gpu 5: a job needs 5 of the GPUs named by nvidia-smi -L, which are 4"),
        (1, "", "--gpu 1: a job needs 1 of the GPUs in CUDA_VISIBLE_DEVICES '', which are 0"),
        (2, "1,-1", "a job needs 2 of the GPUs in CUDA_VISIBLE_DEVICES '1,-1', which are 1"),
        ("two", None, "--gpu is a number from 0, not 'two'"),
    ],
)
def test_more_gpus_than_there_are_is_an_error(tmp_path, four_gpus, gpus, visible, message):
    env = four_gpus | ({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    done = run(tmp_path, "--gpu", gpus, "x.log", "true", **env)
    assert done.returncode == 1 and message in done.stderr and not (tmp_path / "x.log").exists()


def test_a_machine_without_gpus(tmp_path):
    write_script(tmp_path / "bin/nvidia-smi", "#!/bin/sh\necho no driver\nexit 9\n")
    done = run(tmp_path, "--gpu", 1, "x.log", "true", PATH=f"{tmp_path}/bin:/usr/bin:/bin")
    assert done.returncode == 1 and "named by nvidia-smi -L, which are 0" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["JOB=3:1", "x.log", "true"], "'JOB=3:1' is neither JOB=1:N"),
        (["JOB=a", "x.log", "true"], "'JOB=a' is neither JOB=1:N"),
        (["x.log"], "got no LOG and PROGRAM"),
        (["--max-jobs-run", "0", "x.log", "true"], "--max-jobs-run is a number from 1"),
        (["--num-threads", "many", "x.log", "true"], "--num-threads is a number from 1"),
        (["--partition", "main", "x.log", "true"], "unknown option --partition"),
    ],
)
def test_wrong_calls_are_refused(tmp_path, words, message):
    done = run(tmp_path, *words)
    assert done.returncode == 1 and message in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["INT", "TERM", "HUP"]
)
def test_signal_ends_all_jobs_and_their_children(tmp_path, number, code):
    marker = f"run-local-{tmp_path}"
    script = "trap '' INT; sleep 600 & touch started.$1; wait; sleep 600"
    command = [RUN, "JOB=1:2", "x.JOB.log", "bash", "-c", script, "-", "JOB"]
    returned, stderr = interrupt(
        command,
        lambda: len(list(tmp_path.glob("started.*"))) == 2,
        number,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "MARKER": marker},
    )
    assert (returned, "stopped" in stderr) == (code, True)
    assert wait_until(lambda: not running(marker)), "jobs go on"
