"""A training that gets SIGTERM ends with a checkpoint and a code of its own, and goes on to the same bits."""

import os
import signal
import subprocess
import sys

import pytest
import torch
from recipe import ROOT, environment
from test_trainer import CPU, STEPS, Planes, batches, settings, train

from asdkit.models.checkpoint import read_checkpoint
from asdkit.train.distributed import World
from asdkit.train.loop import Trainer
from asdkit.train.stopping import STOPPED, Stopped


def asked_at(step):
    """Batches, before the one of `step` this process gets SIGTERM."""
    for number, batch in enumerate(batches(), 1):
        if number == step:
            os.kill(os.getpid(), signal.SIGTERM)
        yield batch


def test_a_stopped_training_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    whole = train(tmp_path / "whole", settings(log_every=4))
    told = tmp_path / "told"
    monkeypatch.setenv("ASDKIT_STOPPED", str(told))
    before = signal.getsignal(signal.SIGTERM)
    trainer = Trainer(Planes(), settings(log_every=4), 0, tmp_path / "cut", {}, World(0, 1, CPU))
    with pytest.raises(Stopped) as stopped:
        trainer.run(asked_at(6), {})
    assert stopped.value.code == STOPPED == 75 and told.exists()
    assert signal.getsignal(signal.SIGTERM) == before
    assert read_checkpoint(tmp_path / "cut/checkpoint/last.pt")["step"] == 6, "the step at hand is finished"
    again = Trainer(Planes(), settings(log_every=4), 0, tmp_path / "cut", {}, World(0, 1, CPU))
    assert again.resume()
    again.run(batches(7), {})
    assert torch.equal(again.system.first, whole.system.first)
    assert (tmp_path / "cut/train.tsv").read_text() == (tmp_path / "whole/train.tsv").read_text()


def test_asked_at_the_last_step_it_ends_as_ever(tmp_path):
    trainer = Trainer(Planes(), settings(), 0, tmp_path, {}, World(0, 1, CPU))
    trainer.run(asked_at(STEPS), {})
    assert (tmp_path / "checkpoint/final.pt").exists() and not (tmp_path / "checkpoint/last.pt").exists()


def test_of_several_processes_the_first_one_stops(tmp_path):
    trainer = Trainer(Planes(), settings(), 0, tmp_path, {}, World(1, 1, CPU))
    trainer.run(asked_at(3), {})
    assert trainer.step == STEPS and not (tmp_path / "checkpoint").exists()


READERS = """
import os, signal, torch
from asdkit.data.batches import loader
seen = []
signal.signal(signal.SIGTERM, lambda *_: None)
steps = iter(loader([torch.tensor(step) for step in range(99)], 2, torch.device("cpu"), range(99)))
if {early}:
    os.killpg(0, signal.SIGTERM)
for step in steps:
    if not seen and not {early}:
        os.killpg(0, signal.SIGTERM)
    seen.append(int(step))
    assert len(seen) < 40, seen
"""


@pytest.mark.parametrize("early", [True, False])
def test_readers_outlive_what_a_whole_job_gets_once(early):
    words, env = [sys.executable, "-c", READERS.format(early=early)], environment(PYTHONPATH=str(ROOT))
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60, start_new_session=True)
    # and an error does not wait for them
    assert done.returncode == 1 and f"AssertionError: {list(range(40))}" in done.stderr, done.stderr
