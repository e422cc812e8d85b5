"""Folders that one run has at a time: the driver beside another one, and beside the Slurm jobs of a killed one."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from recipe import Recipe, kill_session, make_corpus
from shell_helpers import ROOT, Checkout, fake_slurm, wait_until, write_script

TRAIN = ["--stage", "3", "--stop-stage", "3", "--cmd", "run_slurm.sh"]


@pytest.fixture
def mini(tmp_path):
    checkout = Checkout(tmp_path)
    checkout.env |= fake_slurm(tmp_path) | {"WAIT_AT": "bin.train", "GO": str(tmp_path / "go")}
    (checkout.recipe / "exp/default").mkdir(parents=True)
    return checkout


def killed_in_training(mini: Checkout, whole: bool = True) -> subprocess.Popen:
    """A driver that is killed while its training runs on the cluster, with all that it started or alone."""
    first = mini.start(*TRAIN)
    assert wait_until(lambda: "train" in mini.programs(), 30), first.communicate(timeout=5)
    if whole:
        kill_session(first)
    else:
        first.kill()
    assert first.wait(10) == -signal.SIGKILL
    return first


def record(mini: Checkout) -> Path:
    (found,) = (mini.recipe / "exp/default/.jobs").iterdir()
    return found


def trainings(mini: Checkout) -> list[str]:
    """What the trainings said, in order: `train` when one began, `ended` when it ended."""
    return [("ended" if call[0] == "ended" else "train") for call in mini.calls() if "asdkit.bin.train" in call]


@pytest.mark.parametrize("whole", [True, False], ids=["all", "driver"])
def test_after_a_kill_the_same_command_waits_for_the_job_on_the_cluster(mini, tmp_path, whole):
    first = killed_in_training(mini, whole)
    again = mini.start(*TRAIN)
    said = again.stdout.readline()
    assert said.startswith(
        "== waiting for jobs of a killed run with exp/default; Slurm: 7_1 RUNNING"
        if whole
        else "== waiting for another run with exp/default, or a job that a killed one left; 'fuser exp/default/.lock' "
        "names its process; Slurm: 7_1 RUNNING"
    )
    assert again.poll() is None and trainings(mini) == ["train"]
    (tmp_path / "go").touch()
    output, _ = again.communicate(timeout=60)
    assert again.returncode == 0 and "== stage 3 (train)" in output, output
    assert trainings(mini) == ["train", "ended", "train", "ended"], "two trainings at a time"
    assert not list((mini.recipe / "exp/default/.jobs").iterdir())
    kill_session(first)


def test_a_change_of_state_is_shown(mini, tmp_path):
    killed_in_training(mini)
    name = record(mini).name
    assert name.startswith("3.train.seed0-") and (tmp_path / "queue" / name).exists()
    (tmp_path / "queue" / name).write_text("7_1 PENDING (Resources)\n7_2 RUNNING (None)\n")
    again = mini.start(*TRAIN)
    assert again.stdout.readline().endswith("Slurm: 7_1 PENDING (Resources), 7_2 RUNNING\n")
    (tmp_path / "down").touch()
    assert again.stdout.readline().endswith("Slurm: squeue does not answer\n")
    (tmp_path / "go").touch()
    assert wait_until(lambda: trainings(mini) == ["train", "ended"])
    (tmp_path / "down").unlink()
    output, _ = again.communicate(timeout=60)
    assert again.returncode == 0 and output.startswith("== stage 3"), output


def test_a_name_whose_job_never_came_is_forgotten(mini, tmp_path):
    left = mini.recipe / "exp/default/.jobs/3.train.seed0-0badcafe"
    left.parent.mkdir()
    left.touch()
    (tmp_path / "go").touch()
    done = mini.run(*TRAIN)
    assert done.returncode == 0 and done.stdout.startswith("== stage 3") and not left.exists()


def test_without_squeue_the_file_to_remove_is_named(mini, tmp_path):
    left = mini.recipe / "exp/default/.jobs/3.train.seed0-0badcafe"
    left.parent.mkdir()
    left.touch()
    (tmp_path / "tools").mkdir()
    for tool in Path("/usr/bin").iterdir():
        if tool.name not in ("squeue", "python3"):
            (tmp_path / "tools" / tool.name).symlink_to(tool)
    (tmp_path / "bin/squeue").unlink()
    options = {"PATH": f"{tmp_path}/bin:{tmp_path}/tools", "GO": str(tmp_path / "bin")}
    done = mini.run("--stage", "3", **options)
    assert done.returncode == 1 and mini.calls() == []
    assert "no squeue here to ask" in done.stderr and f"remove exp/default/.jobs/{left.name}" in done.stderr
    left.unlink()
    assert mini.run("--stage", "3", **options).returncode == 0


def test_features_left_to_another_experiment_are_waited_for(mini, tmp_path):
    (tmp_path / "queue/2.extract_feats.1-0badcafe").write_text("9_2 RUNNING (None)\n")
    (mini.recipe / "dump/.jobs").mkdir(parents=True)
    (mini.recipe / "dump/.jobs/2.extract_feats.1-0badcafe").touch()
    run = mini.start("--stage", "2", "--stop-stage", "2")
    assert [run.stdout.readline() for _ in range(2)][1] == (
        "== waiting for jobs of a killed run with dump; Slurm: 9_2 RUNNING\n"
    )
    assert mini.programs() == ["configure"]
    (tmp_path / "queue/2.extract_feats.1-0badcafe").unlink()
    assert run.wait(60) == 0 and "make_lists" in mini.programs()


@pytest.mark.parametrize(
    ("stages", "folders"),
    [("0 1", "data"), ("1 1", "data"), ("2 2", "exp/default dump"), ("3 3", "exp/default"), ("4 6", "exp/default")],
)
def test_each_stage_has_its_folders(mini, tmp_path, stages, folders):
    seen = """#!/usr/bin/env bash
    for folder in data dump exp/default; do
        [[ ! -e $folder/.lock ]] || flock --nonblock $folder/.lock true || echo "$folder" >>"$SLURM/locked"
    done
    echo "${ASDKIT_LOCKED//$'\\n'/ }" >>"$SLURM/told"
    """
    write_script(tmp_path / "bin/my_cmd", seen)
    write_script(mini.recipe / "local/data.sh", "#!/bin/sh\n")
    write_script(mini.recipe / "data/log/1.prepare_data.log", "")
    first, last = stages.split()
    done = mini.run("--stage", first, "--stop-stage", last, "--cmd", "my_cmd")
    assert done.returncode == 0, done.stderr
    assert set((tmp_path / "told").read_text().splitlines()) == {f" {folders}"}
    assert set((tmp_path / "locked").read_text().split()) == set(folders.split())


def submit(folder: Path, locked: str, **env: str) -> subprocess.CompletedProcess:
    env = {"PATH": f"{folder}/bin:/usr/bin:/bin", "SLURM": str(folder), "ASDKIT_LOCKED": locked} | env
    command = [ROOT / "utils/run_slurm.sh", "JOB=1:2", "x.JOB.log", "true"]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60)


def test_the_name_is_left_before_there_is_a_job_and_removed_after_it(tmp_path):
    fake_slurm(tmp_path)
    sbatch = (tmp_path / "bin/sbatch").read_text()
    look = 'ls "$PWD"/*/.jobs/* >"$SLURM/seen"\n'
    write_script(tmp_path / "bin/sbatch", sbatch.replace("\n", "\n" + look, 1))
    done = submit(tmp_path, "\na b\nc")
    assert done.returncode == 0, done.stderr
    seen = [Path(line) for line in (tmp_path / "seen").read_text().splitlines()]
    assert [path.parent.parent.name for path in seen] == ["a b", "c"] and not any(path.exists() for path in seen)
    assert f"--job-name={seen[0].name}" in (tmp_path / "words").read_text().splitlines()
    submit(tmp_path, "\nc")
    assert len({word for word in (tmp_path / "words").read_text().splitlines() if "--job-name" in word}) == 2


@pytest.mark.parametrize("taken", [False, True])
def test_a_refused_job_leaves_its_name_only_if_slurm_has_it(tmp_path, taken):
    fake_slurm(tmp_path)
    queue = 'for word; do [[ $word != --job-name=* ]] || touch "$SLURM/queue/${word#*=}"; done\n' if taken else ""
    write_script(tmp_path / "bin/sbatch", f"#!/usr/bin/env bash\n{queue}echo Invalid qos specification >&2\nexit 1\n")
    for path in (tmp_path / "bin/squeue",):
        write_script(path, path.read_text().replace('cat "$SLURM/queue/$3"', 'ls "$SLURM/queue/$3"'))
    done = submit(tmp_path, "\nc")
    assert done.returncode == 1 and "sbatch did not take the job" in done.stderr
    assert len(list((tmp_path / "c/.jobs").iterdir())) == taken


def test_a_signal_between_sbatch_and_its_answer_cancels_the_job(tmp_path):
    fake_slurm(tmp_path)
    sbatch = (tmp_path / "bin/sbatch").read_text().replace('echo "7;', 'sleep 2; echo "7;')
    write_script(tmp_path / "bin/sbatch", sbatch)
    write_script(tmp_path / "bin/scancel", '#!/bin/sh\n[ "$1" = --name ] && rm "$SLURM/queue/$2"\n')
    env = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "SLURM": str(tmp_path), "ASDKIT_LOCKED": "\nc"}
    command = [ROOT / "utils/run_slurm.sh", "x.log", "sleep", "5"]
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
    assert wait_until(lambda: list((tmp_path / "queue").iterdir()))
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143 and "cancelled job" in process.stderr.read()
    assert not list((tmp_path / "queue").iterdir()) and not list((tmp_path / "c/.jobs").iterdir())


# What flock says on file systems without locks, and that there is no such program.
NO_LOCKS = [(65, "Function not implemented"), (71, "No locks available"), (127, "command not found")]
LOCAL = ["--stage", "3", "--stop-stage", "3"]


@pytest.fixture
def unlocked(mini, tmp_path, request):
    """The driver on a file system that has no locks."""
    code, said = getattr(request, "param", NO_LOCKS[0])
    write_script(tmp_path / "bin/flock", f"#!/bin/sh\necho flock: {said} >&2\nexit {code}\n")
    return mini


def held(mini: Checkout) -> Path:
    return mini.recipe / "exp/default/.lock.held"


@pytest.mark.parametrize("unlocked", NO_LOCKS, ids=["ENOSYS", "ENOLCK", "none"], indirect=True)
def test_without_locks_a_run_waits_for_a_job_that_a_killed_driver_left(unlocked, tmp_path):
    first = unlocked.start(*LOCAL)
    assert wait_until(lambda: trainings(unlocked) == ["train"], 30)
    first.kill()
    again = unlocked.start(*LOCAL)
    said = again.stdout.readline()
    host, process = held(unlocked).read_text().split()
    assert said.startswith(
        "== waiting for another run with exp/default, or a job that a killed one left; "
        f"process {process} on {host} (when it runs no more: rm exp/default/.lock.held)"
    )
    assert os.uname().nodename == host and Path("/proc", process).exists()
    (tmp_path / "go").touch()
    output, _ = again.communicate(timeout=60)
    assert again.returncode == 0, output
    assert trainings(unlocked) == ["train", "ended", "train", "ended"], "two trainings at a time"
    assert wait_until(lambda: not held(unlocked).exists()), "the last process of a run removes its lock"
    kill_session(first)


def test_without_locks_a_run_goes_on_after_one_that_is_gone(unlocked, tmp_path):
    first = unlocked.start(*LOCAL)
    assert wait_until(lambda: trainings(unlocked) == ["train"], 30)
    kill_session(first)
    assert first.wait(10) == -signal.SIGKILL
    process = held(unlocked).read_text().split()[1]
    assert wait_until(lambda: not Path("/proc", process).exists())
    (tmp_path / "go").touch()
    done = unlocked.run(*LOCAL)
    assert (done.returncode, done.stdout.split(":")[0]) == (0, "== stage 3 (train)"), done.stdout
    assert trainings(unlocked)[-2:] == ["train", "ended"]
    assert wait_until(lambda: not held(unlocked).exists())


def test_a_lock_of_another_host_holds_while_it_is_touched(unlocked, tmp_path):
    held(unlocked).write_text("elsewhere 1\n")
    count = f"echo >>{tmp_path}/slept; n=$(wc -l <{tmp_path}/slept)"
    touch = f'{count}; [ $n -gt 60 ] || [ $((n % 2)) = 0 ] || touch -d "@$n" .lock.held'
    write_script(tmp_path / "bin/sleep", f"#!/bin/sh\ncd exp/default && {touch} 2>/dev/null\n")
    (tmp_path / "go").touch()
    done = unlocked.run(*LOCAL)
    assert done.returncode == 0 and "process 1 on elsewhere (when it runs no more" in done.stdout
    assert 95 <= len((tmp_path / "slept").read_text().splitlines()) < 110
    assert trainings(unlocked) == ["train", "ended"]


def test_a_conflict_alone_is_waited_for(mini, tmp_path):
    write_script(tmp_path / "bin/flock", f"#!/bin/sh\necho >>{tmp_path}/asked\n[ $(wc -l <{tmp_path}/asked) = 3 ]\n")
    (tmp_path / "go").touch()
    done = mini.run(*LOCAL)
    assert done.returncode == 0 and "'fuser exp/default/.lock' names its process" in done.stdout
    assert not held(mini).exists() and len((tmp_path / "asked").read_text().splitlines()) == 3


REFUSING = """
#include <errno.h>
#include <sys/stat.h>
int flock(int file, int what) { errno = EOPNOTSUPP; return -1; }
int chmod(const char *path, mode_t mode) { errno = EPERM; return -1; }
int fchmod(int file, mode_t mode) { errno = EPERM; return -1; }
int fchmodat(int folder, const char *path, mode_t mode, int flags) { errno = EPERM; return -1; }
"""


def test_recipes_run_on_a_file_system_without_locks_and_modes(tmp_path):
    if not shutil.which("cc"):
        pytest.skip("there is no C compiler to make such a file system with")
    (tmp_path / "refusing.c").write_text(REFUSING)
    library = str(tmp_path / "refusing.so")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "refusing.c"], check=True, timeout=60)
    recipe = Recipe(tmp_path / "run", make_corpus(tmp_path / "mini", 1))
    refused = subprocess.run(["flock", tmp_path, "true"], env=os.environ | {"LD_PRELOAD": library}, timeout=20)
    assert refused.returncode > 1
    wrapper = write_script(tmp_path / "preload", f'#!/bin/sh\nLD_PRELOAD={library} exec "$@"\n')
    command = [wrapper, "bash", ROOT / "egs/mini/run.sh", "--stage", "1", "--stop-stage", "2", *recipe.options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (recipe.folder / "data/dev_train/manifest.tsv").exists() and (recipe.exp / "classes.txt").exists()


def test_experiments_that_start_together_dump_their_features_one_after_the_other(mini, tmp_path):
    mini.env["WAIT_AT"] = "bin.extract_feats"
    for tag in "ab":
        (mini.recipe / f"exp/{tag}").mkdir(parents=True)
        (mini.recipe / f"exp/{tag}/config.yaml").write_text("data:\n  feats_type: fbank\n")
    options = ["--stage", "2", "--stop-stage", "2"]

    def dumps() -> list[str]:
        return [word for call in mini.calls() if "asdkit.bin.extract_feats" in call for word in call if "exp/" in word]

    first = mini.start(*options, "--tag", "a")
    assert wait_until(lambda: len(dumps()) == 2, 30)
    second = mini.start(*options, "--tag", "b")
    said = [second.stdout.readline() for _ in range(2)][1]
    assert said.startswith("== waiting for another run with dump") and dumps() == ["exp/a"] * 2
    (tmp_path / "go").touch()
    assert first.wait(60) == second.wait(60) == 0
    assert dumps() == ["exp/a"] * 6 + ["exp/b"] * 6, "two experiments wrote features at once"
