"""Arrays that do not fit into a cluster's queue at once, and a controller that does not answer: utils/run_slurm.sh."""

import signal
import subprocess

import pytest
from shell_helpers import wait_until, write_script
from test_slurm import RUN, run

QOS = """sbatch: error: QOSMaxSubmitJobPerUserLimit
sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or \
time limits)"""
AWAY = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"
HURRY = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"


@pytest.fixture
def small_cluster(tmp_path):
    """A cluster that runs one task a second (a call of sleep), and refuses arrays for which its queue has no room."""
    (tmp_path / "queue").mkdir()
    sbatch = f"""#!/bin/bash
cd "{tmp_path}"
number=$(($(cat calls 2>/dev/null || echo 0) + 1))
echo "$number" >calls
count=${{1#--array=1-}}
waiting=$(ls queue | wc -l)
echo "${{1#*=}} beside $waiting" >>tried
case $number in $SAYS_NO) printf '%s\\n' "$WORDS" >&2; exit 1 ;; esac
((waiting + ${{count%%%*}} <= ${{ROOM:-100}})) || {{ printf '%s\\n' "$WORDS" >&2; exit 1; }}
cat >"script.$number"
for ((task = 1; task <= ${{count%%%*}}; task++)); do touch "queue/${{number}}_$task"; done
case $number in $FORGETS) echo "{HURRY}" >&2; exit 1 ;; esac
echo "$number"
"""
    sleep = f"""#!/bin/bash
cd "{tmp_path}"
next=$(ls queue | sort -t _ -n -k 1 -k 2 | head -n 1)
[[ -n $next && ! -e hold ]] || exit 0
SLURM_ARRAY_TASK_ID=${{next#*_}} bash "script.${{next%_*}}"
rm "queue/$next"
"""
    squeue = f"""#!/bin/bash
cd "{tmp_path}/queue"
for one in *_*; do
    [[ $one == "*_*" ]] || case $* in *%F*) echo "${{one%_*}}" ;; *) echo "$one RUNNING (None)" ;; esac
done
"""
    for name, text in (("sbatch", sbatch), ("sleep", sleep), ("squeue", squeue)):
        write_script(tmp_path / "bin" / name, text)
    write_script(tmp_path / "bin/scancel", f'#!/bin/sh\nrm -f "{tmp_path}"/queue/*\n')
    write_script(tmp_path / "bin/scontrol", '#!/bin/sh\n[ "$1" != show ] || echo "MaxArraySize = ${LARGEST:-1001}"\n')
    return {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "SAYS_NO": "none", "FORGETS": "none", "WORDS": QOS}


def tried(folder):
    return (folder / "tried").read_text().splitlines()


def runs(folder):
    """How often each job has run, in the order of their numbers."""
    logs = sorted(folder.glob("x.*.log"), key=lambda path: int(path.name.split(".")[1]))
    return [log.read_text().count("# ended code 0") for log in logs]


def test_an_array_above_the_limit_goes_as_there_is_room(tmp_path, small_cluster):
    done = run(tmp_path, "JOB=1:8", "x.JOB.log", "true", env=small_cluster | {"ROOM": "3"})
    assert done.returncode == 0 and runs(tmp_path) == [1] * 8, done.stderr
    assert done.stderr.startswith(
        "run_slurm.sh: sbatch takes no more now (QOSMaxSubmitJobPerUserLimit): waiting, 8 of 8 to be sent\n"
    )
    assert tried(tmp_path)[:3] == ["1-8 beside 0", "1-4 beside 0", "1-2 beside 0"]
    assert not list(tmp_path.glob(".slurm*"))


def test_an_array_above_what_a_controller_keeps_is_made_smaller(tmp_path, small_cluster):
    words = "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n"
    words += "sbatch: error: Batch job submission failed: Resource temporarily unavailable"
    done = run(tmp_path, "JOB=1:5", "x.JOB.log", "true", env=small_cluster | {"ROOM": "3", "WORDS": words})
    assert done.returncode == 0 and runs(tmp_path) == [1] * 5, done.stderr
    assert "sbatch takes no more now (temporarily unavailable): waiting, 5 of 5" in done.stderr


def test_a_queue_that_is_full_of_others_is_waited_for(tmp_path, small_cluster):
    env = small_cluster | {"SAYS_NO": "[1-5]", "WORDS": QOS.replace("QOSMaxSubmitJobPerUser", "AssocGrpSubmitJobs")}
    done = run(tmp_path, "x.log", "true", env=env)
    assert done.returncode == 0 and "takes no more now (AssocGrpSubmitJobsLimit): waiting, 1 of 1" in done.stderr
    assert "still waiting: 1 to be sent (AssocGrpSubmitJobsLimit)" in done.stderr and len(tried(tmp_path)) == 6


@pytest.mark.parametrize("words", [AWAY, HURRY])
def test_a_controller_that_does_not_answer_is_asked_again(tmp_path, small_cluster, words):
    done = run(tmp_path, "JOB=1:2", "x.JOB.log", "true", env=small_cluster | {"SAYS_NO": "[12]", "WORDS": words})
    assert done.returncode == 0 and runs(tmp_path) == [1, 1] and len(tried(tmp_path)) == 3, done.stderr


def test_what_a_controller_took_and_did_not_say_is_not_sent_twice(tmp_path, small_cluster):
    env = small_cluster | {"FORGETS": "2", "LARGEST": "4"}
    (tmp_path / "hold").touch()
    write_script(tmp_path / "bin/true", f'#!/bin/sh\nrm -f "{tmp_path}/hold"\n')
    sleep = tmp_path / "bin/sleep"
    sleep.write_text(sleep.read_text().replace("[[ -n", "echo >>slept; (($(wc -l <slept) < 12)) || rm -f hold\n[[ -n"))
    done = run(tmp_path, "JOB=1:5", "x.JOB.log", "true", env=env)
    assert done.returncode == 0 and runs(tmp_path) == [1] * 5, done.stderr
    assert tried(tmp_path) == ["1-3 beside 0", "1-2 beside 3"] and "\n   job: 2 (x.1-" in done.stdout


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ([], ["1-3 beside 0", "1-3 beside 2", "1-2 beside 4"]),
        (["--max-submit", 4], ["1-3 beside 0", "1-2 beside 2", "1-2 beside 2", "1-1 beside 3"]),
        (["--max-jobs-run", 2], ["1-3%2 beside 0", "1-3%2 beside 0", "1-2%2 beside 0"]),
    ],
)
def test_parts_of_an_array_are_in_the_queue_together(tmp_path, small_cluster, options, wanted):
    done = run(tmp_path, *options, "JOB=1:8", "x.JOB.log", "true", env=small_cluster | {"LARGEST": "4"})
    assert (done.returncode, done.stderr) == (0, "") and runs(tmp_path) == [1] * 8
    assert tried(tmp_path) == wanted


def test_a_part_that_is_refused_for_good_cancels_the_others(tmp_path, small_cluster):
    env = small_cluster | {"LARGEST": "4", "SAYS_NO": "2", "WORDS": "sbatch: error: invalid partition specified: main"}
    done = run(tmp_path, "JOB=1:8", "x.JOB.log", "true", env=env)
    assert done.returncode == 1 and "invalid partition specified" in done.stderr
    assert "sbatch took the first 3 of 8 jobs and not the next" in done.stderr and not list(
        (tmp_path / "queue").iterdir()
    )


def test_what_waits_to_be_sent_can_be_stopped(tmp_path, small_cluster):
    (tmp_path / "bin/sleep").unlink()
    process = subprocess.Popen([RUN, "x.log", "true"], cwd=tmp_path, env=small_cluster | {"ROOM": "0"})
    assert wait_until((tmp_path / "tried").exists, 30)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143 and len(tried(tmp_path)) == 1
