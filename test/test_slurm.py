"""utils/run_slurm.sh on a real cluster (tools/slurm_one_node.sh brings one up), and what it asks sbatch for."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from recipe import Recipe, make_corpus
from shell_helpers import ROOT, Checkout, interrupt, wait_until, write_script

RUN = ROOT / "utils" / "run_slurm.sh"


def run(folder: Path, *words: object, **options) -> subprocess.CompletedProcess:
    command = [RUN, *[str(word) for word in words]]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, **options)


@pytest.fixture(scope="session")
def cluster():
    """Skips when no cluster answers."""
    if not shutil.which("sinfo"):
        pytest.skip("Slurm is not installed")
    try:
        answer = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, timeout=20)
    except subprocess.TimeoutExpired:
        pytest.skip("no Slurm cluster answers")
    if answer.returncode or not re.search("idle|mixed|allocated", answer.stdout):
        pytest.skip("no Slurm cluster answers; tools/slurm_one_node.sh starts one")


def queue() -> str:
    return subprocess.run(["squeue", "-h", "-o", "%i %j"], capture_output=True, text=True, timeout=20).stdout


@pytest.mark.slurm
def test_array_runs_with_arguments_whole(cluster, tmp_path):
    folder = tmp_path / "it's here"
    folder.mkdir()
    words = ["printf", "%s|", "it's", "two words", '"$HOME"', "*", "seedJOB", "JOBS", ""]
    done = run(folder, "JOB=3,5", "a log/x.JOB.log", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"   job: \d+ \(x\.3-[0-9a-f]{8}\)\n", done.stdout)
    assert sorted(path.name for path in (folder / "a log").iterdir()) == ["x.3.log", "x.5.log"]
    first, submitted, started, output, last = (folder / "a log" / "x.5.log").read_text().splitlines()
    assert output == 'it\'s|two words|"$HOME"|*|seed5|JOBS||'
    assert subprocess.run(["bash", "-c", first[2:]], capture_output=True, text=True).stdout == output
    assert submitted.startswith("# submitted at ") and started.startswith("# started at ")
    assert re.fullmatch(r"# ended code 0, \d+ s", last)


@pytest.mark.slurm
def test_failed_task_is_named_with_the_end_of_its_log(cluster, tmp_path):
    script = '[[ $1 != 2 ]] || { echo "error: no such thing" >&2; exit 5; }'
    done = run(tmp_path, "JOB=1:2", "x.JOB.log", "bash", "-c", script, "-", "JOB")
    assert done.returncode == 1
    assert "run_slurm.sh: 1 / 2 failed:\n  x.2.log\n" in done.stderr
    assert "error: no such thing\n    # ended code 5, " in done.stderr


@pytest.mark.slurm
def test_task_that_the_cluster_ends_is_named_as_killed(cluster, tmp_path):
    done = run(tmp_path, "x.log", "bash", "-c", "scancel $SLURM_JOB_ID; sleep 60")
    assert done.returncode == 1
    assert "x.log (killed: " in done.stderr and "; Slurm: CANCELLED 0:" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["x.log"], "Slurm's own output was left behind"


@pytest.mark.slurm
def test_environment_and_threads_arrive(cluster, tmp_path):
    cores = min(2, os.cpu_count() or 1)
    env, script = {**os.environ, "COLOUR": "red"}, 'echo "$COLOUR $OMP_NUM_THREADS $PWD"'
    for options, threads in ([], 1), (["--num-threads", cores], cores):
        done = run(tmp_path, *options, "x.log", "bash", "-c", script, env=env)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "x.log").read_text().splitlines()[-2] == f"red {threads} {tmp_path}"


@pytest.mark.slurm
def test_the_node_has_the_memory_of_the_machine(cluster, tmp_path):
    mebibytes = int(re.search(r"MemTotal: +(\d+)", Path("/proc/meminfo").read_text())[1]) // 1024
    assert run(tmp_path, "--mem", f"{mebibytes - 1}M", "x.log", "true").returncode == 0
    assert "sbatch did not take the job" in run(tmp_path, "--mem", f"{2 * mebibytes}M", "x.log", "true").stderr


@pytest.mark.slurm
def test_refused_job_is_an_error_at_once(cluster, tmp_path):
    done = run(tmp_path, "--partition", "no-such-partition", "x.log", "true")
    assert done.returncode == 1
    assert "invalid partition" in done.stderr and "sbatch did not take the job" in done.stderr


@pytest.mark.slurm
def test_interrupt_cancels_what_was_submitted(cluster, tmp_path):
    name = f"cancel-{tmp_path.name}"
    returned, stderr = interrupt(
        [RUN, "JOB=1:4", f"{name}.JOB.log", "bash", "-c", "touch started; sleep 600"],
        (tmp_path / "started").exists,
        cwd=tmp_path,
    )
    assert returned == 130 and "cancelled job" in stderr
    assert wait_until(lambda: name not in queue()), queue()


@pytest.mark.slurm
def test_whole_recipe_through_the_cluster(cluster, tmp_path):
    mini = Checkout(tmp_path)
    done = mini.run("--stage", "1", "--cmd", "run_slurm.sh --partition main", "--seeds", "0 1")
    assert (done.returncode, done.stderr) == (0, "")
    assert mini.programs().count("extract_embeddings") == 6 and mini.programs()[-1] == "report"


@pytest.mark.slurm
def test_scores_are_those_of_a_local_run(cluster, tmp_path):
    corpus = make_corpus(tmp_path / "mini")
    local, sent = Recipe(tmp_path / "local", corpus), Recipe(tmp_path / "sent", corpus)
    for recipe, options in ((local, []), (sent, ["--cmd", "run_slurm.sh --partition main"])):
        done = recipe.run("--set", "train.steps=4", "--tag", "tiny", *options)
        assert done.returncode == 0, done.stdout
    assert len(local.results()) == 2 + 2 + 4
    assert sent.results() == local.results()


@pytest.mark.slurm
def test_driver_names_the_stage_that_failed(cluster, tmp_path):
    mini = Checkout(tmp_path)
    cmd = ["--cmd", "run_slurm.sh --partition main"]
    done = mini.run("--stage", "4", "--stop-stage", "4", *cmd, FAIL_AT="--job 2")
    assert done.returncode == 1
    assert "1 / 2 failed:\n  exp/default/log/4.extract_embeddings.seed0.2.log\n" in done.stderr
    assert "error: made up" in done.stderr and done.stderr.endswith("asd.sh: stage 4 (embed) failed\n")


@pytest.mark.slurm
def test_a_training_that_a_killed_run_left_is_waited_for(cluster, tmp_path):
    corpus = make_corpus(tmp_path / "mini")
    options = ["--set", "train.steps=300", "--tag", "tiny"]
    whole, killed = Recipe(tmp_path / "whole", corpus), Recipe(tmp_path / "killed", corpus)
    for recipe, last in ((whole, "6"), (killed, "2")):
        done = recipe.run("--stop-stage", last, *options)
        assert done.returncode == 0, done.stdout
    options += ["--stage", "3", "--cmd", "run_slurm.sh --partition main"]
    log = killed.exp / "log/3.train.seed0.log"
    killed.kill_when(killed.exp / "seed0/checkpoint/last.pt", *options)
    (left,) = (killed.exp / ".jobs").iterdir()
    assert left.name in queue() and "# ended" not in log.read_text(), "too quick for this test"
    again = killed.run(*options)
    assert again.returncode == 0, again.stdout
    assert re.match(r"== waiting for jobs of a killed run with \S+; Slurm: \d+_1 RUNNING\n", again.stdout)
    runs = log.read_text().split("\n\n")
    assert len(runs) == 2 and all(re.search(r"\n# ended code 0, \d+ s\n*$", run) for run in runs)
    assert "already trained" in runs[1] and not left.exists()
    assert killed.results() == whole.results()


@pytest.fixture
def fake_sbatch(tmp_path):
    """An sbatch that writes down its words and runs the tasks itself, and a squeue that knows no job."""
    script = f"""#!/usr/bin/env bash
printf '%s\\n' "$@" >"{tmp_path}/words"
cat >"{tmp_path}/script"
for ((task = 1; task <= ${{TASKS:-1}}; task++)); do
    SLURM_ARRAY_TASK_ID=$task SLURM_CPUS_PER_TASK=2 bash "{tmp_path}/script"
done
echo "77;cluster"
"""
    write_script(tmp_path / "bin/sbatch", script)
    write_script(tmp_path / "bin/squeue", "#!/bin/sh\n")
    write_script(tmp_path / "bin/sleep", "#!/bin/sh\n")
    write_script(tmp_path / "bin/scontrol", "#!/bin/sh\necho JobId=78 JobState=CANCELLED Reason=None ExitCode=0:15\n")
    return {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "TASKS": "2"}


def test_options_become_sbatch_options(tmp_path, fake_sbatch):
    options = [
        "--partition",
        "main",
        "--account",
        "me",
        "--qos",
        "high",
        "--gpu",
        2,
        "--mem",
        "8G",
        "--time",
        "1:00:00",
    ]
    options += ["--num-threads", 4, "--max-jobs-run", 3, "--sbatch-opt=--constraint=a100 --exclusive"]
    done = run(tmp_path, *options, "JOB=1:2", "my log/x.JOB.log", "true", env=fake_sbatch)
    assert done.returncode == 0, done.stderr
    words = (tmp_path / "words").read_text().splitlines()
    assert re.fullmatch(r"--job-name=x\.1-[0-9a-f]{8}", words.pop(5))
    assert words == [
        *("--array=1-2%3", "--parsable", "--export=ALL", "--nodes=1", "--ntasks=1", f"--chdir={tmp_path}"),
        *("--output=my log/.slurm-%x_%A_%a.out", "--open-mode=append"),
        *("--partition=main", "--account=me", "--qos=high"),
        *("--mem=8G", "--time=1:00:00", "--gres=gpu:2", "--cpus-per-task=4", "--constraint=a100", "--exclusive"),
    ]


def test_nothing_is_asked_for_that_was_not_given(tmp_path, fake_sbatch):
    assert run(tmp_path, "x.log", "true", env=fake_sbatch).returncode == 0
    words = (tmp_path / "words").read_text().splitlines()
    assert [word.split("=")[0] for word in words] == (
        ["--array", "--parsable", "--export", "--nodes", "--ntasks", "--job-name", "--chdir", "--output", "--open-mode"]
    )


def test_task_without_a_log_has_failed(tmp_path, fake_sbatch):
    done = run(tmp_path, "JOB=1:3", "x.JOB.log", "true", env=fake_sbatch)
    assert done.returncode == 1
    assert "1 / 3 failed:\n  x.3.log (never started; Slurm: CANCELLED 0:15)\n" in done.stderr


def test_words_for_sbatch_may_hold_blanks(tmp_path, fake_sbatch):
    opt = "--sbatch-opt=--comment='two words' --reservation=\"it's\" --wckey=a\\ b"
    assert run(tmp_path, opt, "x.log", "true", env=fake_sbatch).returncode == 0
    words = (tmp_path / "words").read_text().splitlines()
    assert words[-3:] == ["--comment=two words", "--reservation=it's", "--wckey=a b"]
    done = run(tmp_path, "--sbatch-opt=--comment='two words", "x.log", "true", env=fake_sbatch)
    assert done.returncode == 1 and "a quote is not closed: --comment='two words" in done.stderr


@pytest.fixture
def slow_cluster(tmp_path):
    """A cluster whose seconds are `run_slurm.sh`'s calls of sleep, and what goes on in it: second -> shell commands.

    At second 0 one job waits; it leaves the queue when the file `queue` is removed. Its log is late.log till `show`.
    """
    (tmp_path / "queue").write_text("7_1 RUNNING (None)\n")
    sbatch = f"""#!/usr/bin/env bash
cd {tmp_path}
sed 's/log="x.log"/log="late.log"/' | SLURM_ARRAY_TASK_ID=1 bash
cat banner 2>/dev/null || true
echo 7
"""
    write_script(tmp_path / "bin/sbatch", sbatch)
    write_script(tmp_path / "bin/squeue", f"#!/bin/sh\n[ ! -e {tmp_path}/queue ] || cat {tmp_path}/queue\n")
    write_script(tmp_path / "bin/scancel", f'#!/bin/sh\necho "$*" >>{tmp_path}/cancelled\nrm -f {tmp_path}/queue\n')

    def happens(**seconds: str) -> dict[str, str]:
        cases = "\n".join(f"{at.removeprefix('at')}) {what} ;;" for at, what in seconds.items())
        count = (
            f"cd {tmp_path}\necho >>slept\nshow() {{ cat late.log >>x.log; }}\ncase $(wc -l <slept) in\n{cases}\nesac\n"
        )
        write_script(tmp_path / "bin/sleep", f"#!/bin/bash\n{count}")
        return {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "ASDKIT_LOCKED": "\nlocked"}

    return happens


def slept(folder: Path) -> int:
    return len((folder / "slept").read_text().splitlines())


@pytest.mark.parametrize(
    ("tool", "says", "late", "code"),
    [
        ("scontrol", "JobId=9 ArrayJobId=7 JobName=x JobState=COMPLETED Reason=None ExitCode=0:0 RunTime=1", 250, 0),
        ("sacct", "COMPLETED|0:0", 250, 0),
        ("scontrol", "JobId=9 JobState=FAILED Reason=NonZeroExitCode ExitCode=3:0", 250, 3),
        (None, "", 75, 0),
    ],
    ids=["COMPLETED", "sacct", "FAILED", "unknown"],
)
def test_a_log_that_shows_late_is_waited_for(tmp_path, slow_cluster, tool, says, late, code):
    if tool:
        asked = {"scontrol": "--oneliner show job 7_1", "sacct": "--jobs 7_1"}[tool]
        write_script(tmp_path / "bin" / tool, f'#!/bin/sh\n[ "${{*#*{asked}}}" != "$*" ] && echo "{says}"\n')
    env = slow_cluster(at20="rm queue x.log", **{f"at{late}": "show"})
    done = run(tmp_path, "x.log", "bash", "-c", f"echo counted; exit {code}", env=env)
    if code == 0:
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert done.returncode == 1 and "1 / 1 failed:\n  x.log\n" in done.stderr
    assert slept(tmp_path) == late and "counted" in (tmp_path / "x.log").read_text()


@pytest.mark.parametrize(
    ("says", "patience", "told"),
    [
        ("JobState=COMPLETED Reason=None ExitCode=0:0", 300, "does this machine see the folder as the nodes do?"),
        ("JobState=TIMEOUT Reason=TimeLimit ExitCode=0:15", 10, "x.log (never started; Slurm: TIMEOUT 0:15)"),
        ("JobState=FAILED Reason=NonZeroExitCode ExitCode=3:0", 300, "x.log (never started; Slurm: FAILED 3:0)"),
    ],
)
def test_a_log_that_never_shows_is_told_with_slurms_word(tmp_path, slow_cluster, says, patience, told):
    write_script(tmp_path / "bin/scontrol", f"#!/bin/sh\necho 'JobId=9 {says} RunTime=00:00:01'\n")
    done = run(tmp_path, "x.log", "true", env=slow_cluster(at20="rm queue"))
    assert done.returncode == 1 and told in done.stderr and slept(tmp_path) == 30 + patience
    assert ("failed" in done.stderr) == ("COMPLETED" not in says)


def test_a_job_that_squeue_missed_is_not_given_up(tmp_path, slow_cluster):
    says = f"[ -e {tmp_path}/over ] && state=COMPLETED || state=RUNNING; echo JobId=9 JobState=$state ExitCode=0:0"
    write_script(tmp_path / "bin/scontrol", f"#!/bin/sh\n{says}\n")
    env = slow_cluster(at20="mv queue hidden", at40="mv hidden queue", at50="rm queue; touch over", at70="show")
    assert run(tmp_path, "x.log", "true", env=env).returncode == 0 and slept(tmp_path) == 70


def test_a_job_that_cannot_start_is_told_of(tmp_path, slow_cluster):
    (tmp_path / "queue").write_text("7_[1] PENDING (JobHeldUser)\n")
    done = run(tmp_path, "x.log", "true", env=slow_cluster(at140="rm queue; show"))
    assert done.returncode == 0
    assert done.stderr == "run_slurm.sh: still waiting: 7_[1] PENDING (JobHeldUser)\n" * 2
    (tmp_path / "slept").unlink()
    (tmp_path / "queue").write_text("7_1 RUNNING (None)\n7_2 PENDING (JobArrayTaskLimit)\n")
    done = run(tmp_path, "x.log", "true", env=slow_cluster(at70="rm queue; show"))
    assert (done.returncode, done.stderr) == (0, ""), "something runs"


@pytest.mark.parametrize("banner", ["Welcome!\n2026\n", "a\nSubmitted batch job 5 on cluster 12\n", ""])
def test_what_sbatch_says_beside_the_id_is_no_id(tmp_path, slow_cluster, banner):
    (tmp_path / "banner").write_text(banner)
    write_script(tmp_path / "bin/scontrol", f'#!/bin/sh\necho "$*" >>{tmp_path}/asked\n')
    done = run(tmp_path, "x.log", "true", env=slow_cluster(at20="rm queue", at32="show"))
    assert (done.returncode, done.stderr) == (0, "") and set((tmp_path / "asked").read_text().splitlines()) == {
        "--oneliner show job 7_1"
    }


def test_an_sbatch_that_names_no_job_is_an_error_that_shows_what_it_said(tmp_path, slow_cluster):
    env = slow_cluster()
    sbatch = tmp_path / "bin/sbatch"
    sbatch.write_text(sbatch.read_text().replace("echo 7\n", "echo Queue 3 is closed.\n"))
    done = run(tmp_path, "x.log", "true", env=env)
    assert done.returncode == 1
    assert "sbatch named no job; it said:\nQueue 3 is closed.\n" in done.stderr
    assert (tmp_path / "cancelled").read_text().startswith("--name x-") and not list(
        (tmp_path / "locked/.jobs").iterdir()
    )


@pytest.mark.parametrize("fault", ["others may write", "link"])
def test_the_one_node_cluster_uses_no_folder_of_others(tmp_path, fault):
    folder = tmp_path / "cluster"
    (tmp_path / "real").mkdir(mode=0o755)
    if fault == "link":
        folder.symlink_to(tmp_path / "real")
    else:
        folder.mkdir()
        folder.chmod(0o777)
    script, env = ROOT / "tools/slurm_one_node.sh", os.environ | {"ASDKIT_SLURM_DIR": str(folder)}
    for word in ("start", "stop", "status"):
        done = subprocess.run([script, word], env=env, capture_output=True, text=True, timeout=20)
        assert done.returncode == 1 and f"{folder} is another user's" in done.stderr
    assert not list(folder.iterdir())


def test_no_sbatch_is_said(tmp_path):
    for tool in ("bash", "dirname", "sed"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    done = run(tmp_path, "x.log", "true", env={"PATH": str(tmp_path / "bin")})
    assert done.returncode == 1 and "there is no sbatch on this machine" in done.stderr
