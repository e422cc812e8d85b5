"""Jobs over several nodes, stopped and queued again, sent in parts, with a site's options: utils/run_slurm.sh."""

import re
import shutil
import subprocess
import time

import pytest
from recipe import Recipe, make_corpus
from shell_helpers import ROOT, wait_until, write_script
from test_slurm import RUN, cluster, fake_sbatch, queue, run, slept, slow_cluster  # noqa: F401 - fixtures


@pytest.fixture
def two_nodes(cluster):  # noqa: F811
    """Skips when the cluster has one node."""
    found = subprocess.run(["sinfo", "-h", "-o", "%D"], capture_output=True, text=True, timeout=20).stdout
    if sum(map(int, found.split())) < 2:
        pytest.skip("the cluster has one node; tools/slurm_one_node.sh start 2 makes two of one machine")


@pytest.mark.slurm
def test_every_node_runs_the_program_and_knows_its_place(two_nodes, tmp_path):
    script = 'echo "node $PET_NODE_RANK of $PET_MASTER_ADDR:$PET_MASTER_PORT; $1"'
    done = run(tmp_path, "--nodes", 2, "x.log", "bash", "-c", script, "-", "it's one")
    assert (done.returncode, done.stderr) == (0, "")
    said = re.findall(r"^node (\d) of (\S+):(\d+); it's one$", (tmp_path / "x.log").read_text(), re.MULTILINE)
    assert sorted(place for place, *_ in said) == ["0", "1"] and len({tuple(rest) for _, *rest in said}) == 1


@pytest.mark.slurm
def test_a_node_that_fails_ends_the_others(two_nodes, tmp_path):
    script = '((PET_NODE_RANK == 0)) || { echo "error: made up" >&2; exit 3; }; exec sleep 300'
    start = time.monotonic()
    done = run(tmp_path, "--nodes", 2, "x.log", "bash", "-c", script)
    assert done.returncode == 1 and "error: made up" in done.stderr and time.monotonic() - start < 60


# Ends like a training, when it is asked to; the second time it is let through.
STOPPABLE = """
[[ ! -e stopped_once ]] || { echo second time; exit 0; }
trap 'touch stopped_once "$ASDKIT_STOPPED"; exit 75' TERM
touch started
for ((i = 0; i < 600; i++)); do sleep 0.1; done
"""


def let_start(job):
    """Whether a job waits for the two minutes that Slurm gives one that is queued again; makes them three seconds.

    Less would not do: its credential was revoked a moment ago.
    """
    asked = ["squeue", "--noheader", "--jobs", job, "--format", "%T %r"]
    said = subprocess.run(asked, capture_output=True, text=True, timeout=20).stdout.strip()
    return said == "PENDING BeginTime" and not subprocess.call(
        ["scontrol", "update", f"jobid={job}", "StartTime=now+3"]
    )


@pytest.mark.slurm
@pytest.mark.parametrize(("nodes", "by"), [(1, "the time limit"), (2, "the time limit"), (1, "Slurm")])
def test_a_stopped_job_is_queued_again(two_nodes, tmp_path, nodes, by):
    name = f"stop{nodes}{by.split()[-1]}"  # of its own: the job of the test before may still be in the queue
    command = [
        RUN,
        "--nodes",
        str(nodes),
        "--time",
        "5",
        "--requeue",
        "60",
        f"{name}.log",
        "bash",
        "-c",
        STOPPABLE,
    ]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert wait_until((tmp_path / "started").exists, 30)
        (job,) = [line.split()[0] for line in queue().splitlines() if f" {name}-" in line]
        ask = ["scontrol", "requeue", job] if by == "Slurm" else ["scancel", "--batch", "--signal=USR1", job]
        subprocess.run(ask, check=True)
        log = tmp_path / f"{name}.log"
        assert wait_until(lambda: "\n# stopped b" in log.read_text(), 30), log.read_text()
        assert wait_until(lambda: let_start(job), 60)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, stderr) == (0, "")
    text = log.read_text()
    assert text.count("# started at") == 2 and "\nsecond time\n" in text and text.count("# ended code") == 1


@pytest.mark.slurm
def test_what_does_not_stop_by_itself_is_not_queued_again(two_nodes, tmp_path):
    script = "touch started; exec sleep 300"
    command = [RUN, "--time", "5", "--requeue", "60", "plain.log", "bash", "-c", script]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert wait_until((tmp_path / "started").exists, 30)
        (job,) = [line.split()[0] for line in queue().splitlines() if " plain-" in line]
        subprocess.run(["scancel", "--batch", "--signal=USR1", job], check=True)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1 and "# ended code 143, " in stderr


@pytest.mark.parametrize(("scontrol", "ended"), [("exit 0", False), ("kill -TERM $$", False), ("exit 1", True)])
def test_a_job_that_goes_back_into_the_queue_has_no_end_yet(tmp_path, scontrol, ended):
    """Slurm ends the processes of a job that it queues again, and so the one that asks for it."""
    write_script(tmp_path / "bin/scontrol", f"#!/bin/bash\n{scontrol}\n")
    (tmp_path / "stopped").touch()
    script = f'. "{ROOT}/utils/slurm_job.sh"; asked=USR1 ASDKIT_STOPPED=stopped; end_line_of 75'
    env = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "1"}
    said = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert "# stopped before the time limit, to be queued again" in said.stdout
    assert ("# ended code 75" in said.stdout) == ended


def test_a_sites_options_come_before_those_of_the_command(tmp_path, fake_sbatch):  # noqa: F811
    site = tmp_path / "site"
    site.write_text(
        "# our cluster\n--account lab --partition=cpu\n\n  gpu: --partition gpu --gpu-type a100\ncpu: --mem 4G\n"
        "--before 'export COLOUR=\"dark red\"'\n--sbatch-opt=--comment=x\n"
    )
    env = fake_sbatch | {"ASDKIT_SLURM_OPTS": str(site), "TASKS": "1"}
    show = ["bash", "-c", 'echo "$COLOUR"']
    done = run(tmp_path, "--gpu", 2, "--account", "me", "--sbatch-opt=--comment=y", "x.log", *show, env=env)
    assert done.returncode == 0, done.stderr
    words = (tmp_path / "words").read_text().splitlines()
    assert words[9:] == ["--partition=gpu", "--account=me", "--gres=gpu:a100:2", "--comment=x", "--comment=y"]
    assert "\ndark red\n" in (tmp_path / "x.log").read_text()
    assert run(tmp_path, "x.log", "true", env=env).returncode == 0
    words = (tmp_path / "words").read_text().splitlines()
    assert words[9:] == ["--partition=cpu", "--account=lab", "--mem=4G", "--comment=x"]


@pytest.mark.parametrize(
    ("text", "told"),
    [("partition gpu\n", "'partition' is no option: write --name value"), (None, "which cannot be read")],
)
def test_a_file_of_options_that_cannot_be_used_is_named(tmp_path, fake_sbatch, text, told):  # noqa: F811
    if text:
        (tmp_path / "site").write_text(text)
    done = run(tmp_path, "x.log", "true", env=fake_sbatch | {"ASDKIT_SLURM_OPTS": str(tmp_path / "site")})
    assert done.returncode == 1 and told in done.stderr and not (tmp_path / "words").exists()


@pytest.mark.parametrize(("most", "options"), [(3, []), (1001, ["--max-submit", 2]), (3, ["--max-submit", 9])])
def test_a_large_array_is_sent_in_parts(tmp_path, fake_sbatch, most, options):  # noqa: F811
    write_script(tmp_path / "bin/scontrol", f"#!/bin/sh\necho 'MaxArraySize            = {most}'\n")
    sbatch = tmp_path / "bin/sbatch"
    sbatch.write_text(sbatch.read_text().replace(f'>"{tmp_path}/words"', f'>>"{tmp_path}/words"'))
    script = "[[ JOB != 4 ]] || exit 3"
    done = run(tmp_path, *options, "JOB=3:6", "x.JOB.log", "bash", "-c", script, env=fake_sbatch)
    assert done.returncode == 1 and "1 / 4 failed:\n  x.4.log\n" in done.stderr
    assert (tmp_path / "words").read_text().count("--array=1-2\n") == 2
    assert "# ended code 0" in (tmp_path / "x.6.log").read_text()


def test_a_queue_that_is_silent_for_minutes_is_waited_for(tmp_path, slow_cluster):  # noqa: F811
    squeue = tmp_path / "bin/squeue"
    squeue.write_text(squeue.read_text().replace("\n", f"\n[ ! -e {tmp_path}/down ] || exit 1\n", 1))
    env = slow_cluster(at20="touch down", at90="rm down", at100="rm queue; show")
    done = run(tmp_path, "x.log", "true", env=env)
    assert done.returncode == 0 and slept(tmp_path) == 100
    assert "run_slurm.sh: still waiting: squeue does not answer\n" in done.stderr


def test_nodes_are_for_the_training_alone(tmp_path):
    done = subprocess.run([ROOT / "egs/mini/run.sh", "--cmd", "run_slurm.sh --nodes 2"], capture_output=True, text=True)
    assert done.returncode == 1 and "--nodes is an option of run.sh, for the training alone" in done.stderr
    done = subprocess.run(
        [ROOT / "utils/run_local.sh", "--nodes", "2", "x.log", "true"], capture_output=True, text=True
    )
    assert done.returncode == 1 and "--nodes 2: this is one machine" in done.stderr


@pytest.mark.slurm
@pytest.mark.long
def test_two_nodes_train_what_one_process_trains_also_when_stopped(two_nodes, tmp_path):
    from test_distributed import assert_same_curve, curve  # imports torch, which the tests above do without

    corpus = make_corpus(tmp_path / "mini")
    settings = ["steps=40", "lr=1e-4", "log_every=1", "accumulate=2", "ema=0.6", "save_steps=[20]"]
    changes = [*(f"train.{setting}" for setting in settings), "data.held_out={fraction: 0.5}"]
    options = ["--tag", "tiny", *(word for change in changes for word in ("--set", change))]
    one, two = (Recipe(tmp_path / name, corpus) for name in ("one", "two"))
    for recipe, last in ((one, "3"), (two, "2")):
        done = recipe.run("--stop-stage", last, *options)
        assert done.returncode == 0, done.stdout
    options += [
        "--stage",
        "3",
        "--stop-stage",
        "3",
        "--nodes",
        "2",
        "--cmd",
        "run_slurm.sh --partition main --requeue 60",
    ]
    process = two.start(*options)
    log, last = two.exp / "log/3.train.seed0.log", two.exp / "seed0/checkpoint/last.pt"
    try:
        assert wait_until(last.exists, 200), log.read_text()
        (job,) = [line.split()[0] for line in queue().splitlines() if " 3.train.seed0-" in line]
        subprocess.run(["scancel", "--batch", "--signal=USR1", job], check=True)
        assert wait_until(lambda: "to be queued again" in log.read_text(), 90), log.read_text()
        assert wait_until(lambda: let_start(job), 60)
        assert process.wait(timeout=300) == 0, (two.folder / "out.txt").read_text()
    finally:
        process.kill()
    stopped = int(re.search(r"stopped at step (\d+) as asked", log.read_text())[1])
    assert f"resumed from {last} at step {stopped}" in log.read_text()
    ours, theirs = (curve(recipe.exp / "seed0") for recipe in (two, one))
    for name in ("pseudo_auc", "pseudo_bound"):  # a pair of clips may turn round
        pairs = [pair for pair in zip(ours.pop(name), theirs.pop(name), strict=True) if pair[0] == pair[0]]
        assert len(pairs) == 2 and all(abs(a - b) < 0.05 for a, b in pairs), name
    assert_same_curve(theirs, ours)


def test_the_wrapper_of_the_documentation_runs_jobs(tmp_path):
    (text,) = re.findall(r"```bash\n(.*?)```", (ROOT / "docs/cluster.md").read_text(), re.DOTALL)
    shutil.copytree(ROOT / "utils", tmp_path / "utils")
    wrapper = write_script(tmp_path / "utils/run_pbs.sh", text)
    qsub = (
        f'#!/bin/bash\ncat >"{tmp_path}/script"\necho "$*" >>"{tmp_path}/words"\nbash "{tmp_path}/script"\necho 9.pbs\n'
    )
    write_script(tmp_path / "bin/qsub", qsub)
    write_script(tmp_path / "bin/qstat", "#!/bin/sh\nexit 1\n")
    write_script(tmp_path / "bin/sleep", "#!/bin/sh\n")
    env = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    words = [
        "--gpu",
        "2",
        "--queue",
        "big",
        "JOB=2:3",
        "a log/x.JOB.log",
        "bash",
        "-c",
        '[[ $1 == 2 ]] && echo "$2"',
        "-",
    ]
    command = [wrapper, *words, "JOB", "it's here"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "run_pbs.sh: 1 / 2 failed:\n  a log/x.3.log\n" in done.stderr, done.stderr
    assert "\nit's here\n# ended code 0, " in (tmp_path / "a log/x.2.log").read_text()
    assert "-q big -l select=1:ncpus=1:ngpus=2:mem=8gb" in (tmp_path / "words").read_text()
