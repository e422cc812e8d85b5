"""Runs that are killed at random moments, and given again, end with the bits of one that was not disturbed."""

import os
import random

import pytest
from fault_files import Chain
from fault_kills import Place, Run, killed_stages

pytestmark = pytest.mark.long


def test_programs_of_all_stages(tmp_path):
    before = os.getcwd()
    try:
        chain = Chain(tmp_path, "raw", others=False)
        trials = [killed_stages(chain, seed, 8) for seed in range(30)]
    finally:
        os.chdir(before)
    assert not [trial for trial in trials if trial.outcome != "same"]
    assert sum(trial.ended == "code -9" for trial in trials) > 10


@pytest.mark.parametrize(("kind", "seeds"), [("driver", range(3)), ("two", range(10))])
def test_drivers_and_two_processes(tmp_path, kind, seeds):
    place = Place(tmp_path, kind)
    trials = [place.trial(seed) for seed in seeds]
    assert not [trial for trial in trials if trial.outcome != "same" or "WRONG" in trial.ended]


def test_a_worker_that_dies_ends_the_others(tmp_path):
    place = Place(tmp_path, "two")
    place.reset()
    run = Run(tmp_path, place.command)
    while not list((tmp_path / "exp/x/seed0/checkpoint").glob("last.pt")):
        assert run.process.poll() is None, run.out.read_text()
    workers = [
        pid for pid, words in run.words() if "asdkit.bin.train" in words and "torch.distributed.run" not in words
    ]
    os.kill(random.Random(0).choice(workers), 9)
    assert run.process.wait(60) != 0
    assert not run.words()
    assert Run(tmp_path, place.command).wait() == "0" and place.made() == place.whole
