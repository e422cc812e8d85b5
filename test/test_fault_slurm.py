"""What happens to a cluster while jobs run: a node goes down, the controller restarts, jobs are cancelled."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from shell_helpers import Checkout, wait_until
from test_slurm import RUN, cluster, queue  # noqa: F401 - a fixture
from test_slurm_nodes import STOPPABLE, let_start, two_nodes  # noqa: F401 - a fixture

pytestmark = pytest.mark.slurm
LIMIT = 240  # seconds of a trial
# A training in small: it counts to 40, notes how far it is, and goes on from there.
COUNT = """
n=$(cat at 2>/dev/null || echo 0)
echo "from $n"
while ((n < 40)); do sleep 0.1; ((++n)); echo "$n" >at.tmp; mv at.tmp at; done
echo "$n" >result
"""


class Job:
    """run_slurm.sh with a program that counts, once it has begun."""

    def __init__(self, folder: Path, *options: str, name: str = "count") -> None:
        self.log, self.name = folder / f"{name}.log", name
        words = [str(RUN), *options, self.log.name, "bash", "-c", COUNT]
        self.process = subprocess.Popen(words, cwd=folder, stdout=-1, stderr=-1, text=True, start_new_session=True)
        assert wait_until((folder / "at").exists, 60)

    def place(self) -> tuple[str, str]:
        """Slurm's name of the job, and its node."""
        asked = ["squeue", "-h", "-o", "%i %N %j"]
        said = subprocess.run(asked, capture_output=True, text=True, timeout=20).stdout.splitlines()
        return next(tuple(line.split()[:2]) for line in said if f" {self.name}-" in line)

    def end(self) -> tuple[int, str]:
        """Its code and what it said."""
        try:
            out, err = self.process.communicate(timeout=LIMIT)
        finally:
            self.process.kill()
        return self.process.returncode, out + err


def again(folder: Path) -> None:
    """The same command ends well, with the right result."""
    code, said = Job(folder).end()
    assert code == 0, said
    assert (folder / "result").read_text() == "40\n"


@pytest.mark.long
def test_a_node_that_goes_down(two_nodes, tmp_path):  # noqa: F811
    job = Job(tmp_path)
    number, node = job.place()
    update = ["scontrol", "update", f"NodeName={node}"]
    try:
        subprocess.run([*update, "State=DOWN", "Reason=made_up"], check=True)
        wait_until(lambda: let_start(number), 30)  # Slurm queues it again, on the other node
        code, said = job.end()
    finally:
        subprocess.run([*update, "State=RESUME"], check=False)  # some come back by themselves
    assert code == 0 or "failed:\n" in said, said
    assert code or (tmp_path / "result").read_text() == "40\n"
    again(tmp_path)


def controller() -> Path:
    """The pid file of the one-node cluster's controller; skips on another cluster."""
    conf = Path(os.environ.get("SLURM_CONF", "/none"))
    pid = conf.parent / "slurmctld.pid"
    if os.geteuid() or not (conf.parent / "env").exists() or not pid.exists():
        pytest.skip("only tools/slurm_one_node.sh's controller is restarted")
    return pid


@pytest.mark.parametrize("away", [1, pytest.param(8, marks=pytest.mark.long)])
def test_a_controller_that_is_restarted(cluster, tmp_path, away):  # noqa: F811
    pid = controller()
    job = Job(tmp_path)
    os.kill(int(pid.read_text()), 15)
    try:
        time.sleep(away)  # 8: the job ends without it
    finally:
        wait_until(lambda: not pid.exists() or not Path(f"/proc/{pid.read_text().strip()}").exists(), 20)
        subprocess.run(["slurmctld"], check=True, env=os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin"})
    code, said = job.end()
    assert code == 0, said
    assert (tmp_path / "result").read_text() == "40\n" and job.log.read_text().count("# started at") == 1


@pytest.mark.long
@pytest.mark.parametrize("how", [[], ["--signal=KILL", "--full"]])
def test_a_running_job_that_is_cancelled(cluster, tmp_path, how):  # noqa: F811
    job = Job(tmp_path)
    subprocess.run(["scancel", *how, job.place()[0]], check=True)
    code, said = job.end()
    assert code == 1 and "count.log (killed: the log has no '# ended' line" in said or "# ended code" in said, said
    assert not (tmp_path / "result").exists()
    again(tmp_path)


@pytest.mark.long
def test_a_waiting_job_that_is_cancelled(cluster, tmp_path):  # noqa: F811
    words = [str(RUN), "--sbatch-opt=--begin=now+1hour", "wait.log", "true"]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=-1, stderr=-1, text=True)
    assert wait_until(lambda: " wait-" in queue(), 30)
    (number,) = [line.split()[0] for line in queue().splitlines() if " wait-" in line]
    subprocess.run(["scancel", number], check=True)
    _, said = process.communicate(timeout=LIMIT)
    assert process.returncode == 1 and "wait.log (never started" in said, said


def test_two_drivers_train_once(cluster, tmp_path):  # noqa: F811
    mini = Checkout(tmp_path)
    words = ["--stage", "3", "--stop-stage", "3", "--tag", "default", "--cmd", "run_slurm.sh --partition main"]
    mini.write_config("")
    go = {"WAIT_AT": "bin.train", "GO": str(tmp_path / "go")}
    one, two = mini.start(*words, **go), mini.start(*words, **go)
    assert wait_until(lambda: any("asdkit.bin.train" in call for call in mini.calls()), 60)
    time.sleep(3)
    assert sum("asdkit.bin.train" in call and call[0] != "ended" for call in mini.calls()) == 1
    (tmp_path / "go").touch()
    said = [run.communicate(timeout=LIMIT)[0] for run in (one, two)]
    assert (one.returncode, two.returncode) == (0, 0), said
    assert "waiting for another run with" in "".join(said)
    order = [call[0] == "ended" for call in mini.calls() if "asdkit.bin.train" in call]
    assert order == [False, True, False, True]


@pytest.mark.long
def test_a_time_limit_that_comes(two_nodes, tmp_path):  # noqa: F811
    words = [str(RUN), "--time", "1", "--requeue", "30", "limit.log", "bash", "-c", STOPPABLE]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=-1, stderr=-1, text=True)
    try:
        assert wait_until((tmp_path / "started").exists, 60)
        (number,) = [line.split()[0] for line in queue().splitlines() if " limit-" in line]
        assert wait_until(lambda: let_start(number), 120), (tmp_path / "limit.log").read_text()
        _, stderr = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    text = (tmp_path / "limit.log").read_text()
    assert (process.returncode, stderr) == (0, "") and re.search(r"stopped before the time limit[^\n]*\n", text)
    assert text.count("# started at") == 2 and "\nsecond time\n" in text
