"""Training with several processes is training with one on the same batches."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from recipe import CONFIG, ROOT, environment, make_corpus
from test_pipeline import MINI

from asdkit.bin import make_lists, prepare_data, pretrain, train
from asdkit.detectors.measured import read_measured
from asdkit.models.checkpoint import read_checkpoint
from asdkit.train.curve import Curve
from asdkit.train.distributed import World, join_world

STEPS = 50
# Unequal shares of 4 and 3 clips; SpecAugment and batch normalisation are on by default.
SETTINGS = (
    f"train.steps={STEPS}", "train.batch_size=7", "train.lr=1e-4", "train.grad_clip=5.0", "train.log_every=1",
    "train.checkpoint_every=20", "encoder.arch.encoder_layerdrop=0.3", "loss.dlcl.memory=11",
    "loss.dlcl.temperature=0.5", "loss.aam.scale=10.0", "train.mixup={}", "train.gain={}",
    "loss.exchange={kind: statex}",
)  # fmt: skip
PRETRAIN = """
arch: {encoder_layers: 2, encoder_embed_dim: 24, encoder_ffn_embed_dim: 48, encoder_attention_heads: 4,
       embed_dim: 16, conv_pos: 16, conv_pos_groups: 4}
sound: {crop_seconds: 0.5, generated: 1.0}
tokenizer: {codes: 16, dim: 8, codebooks: 2, statistics_clips: 16}
predictor: {dim: 16, heads: 2, conv_pos: 8}
train: {steps: 30, batch_size: 5, warmup_steps: 5, log_every: 1}
"""
# Several trainings by one pair of processes, which take long to start.
PROGRAM = """
import importlib, json, sys, torch
from asdkit.train import distributed, loop
world, leave = distributed.join_world("cpu"), distributed.leave_world
assert torch.get_num_threads() == 1, "two processes divide two threads"
distributed.join_world, distributed.leave_world = lambda device: world, lambda world: None
act = loop.Trainer._act
class Killed(Exception): pass
def until(last):
    def between(trainer):
        if trainer.step > last: raise Killed  # in both, before anything is saved
        act(trainer)
    return between
for name, words, last in json.loads(sys.argv[1]):
    loop.Trainer._act = until(last) if last else act
    try:
        importlib.import_module(f"asdkit.bin.{name}").main(words)
    except Killed:
        assert last
leave(world)
"""


class Killed(Exception):
    """Stands for kill -9."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Trainings by one process ("one"), by two ("two"), by one that was killed and two that went on in parts ("both").

    And by two that were killed and one that went on ("back"). "held1" and "held2" are by one process and two.
    """
    root = tmp_path_factory.mktemp("processes")
    data, exp = root / "data", root / "exp"
    corpus = str(make_corpus(root / "mini"))
    prepare_data.main(["--dataset", str(MINI / "conf/dataset.yaml"), "--corpus", corpus, "--data", str(data)])
    (root / "conf.yaml").write_text(CONFIG)
    (root / "pretrain.yaml").write_text(PRETRAIN)
    sets = [word for setting in SETTINGS for word in ("--set", setting)]
    work = ["--data", str(data), "--dump", str(root / "dump"), "--device", "cpu"]
    make_lists.main(["--config", str(root / "conf.yaml"), *sets, *work[:4], "--exp", str(exp / "one")])
    for name in ("two", "both", "back"):
        shutil.copytree(exp / "one", exp / name)
    held = ("--set", "data.held_out={fraction: 0.5}", "--set", "train.save_steps=[2]", "--set", "train.steps=4")
    held += ("--set", "loss.dlcl=null", "--set", "train.pseudo_labels={steps: [0, 2], most: 3}")
    held += ("--set", "encoder.layers=concatenated", "--set", "train.ema=0.5")
    for name in ("held1", "held2"):
        make_lists.main(["--config", str(root / "conf.yaml"), *sets, *held, *work[:4], "--exp", str(exp / name)])
    sounds = ["--config", str(root / "pretrain.yaml"), "--device", "cpu"]
    for name in ("one", "held1"):
        train.main([*work, "--exp", str(exp / name)])
    pretrain.main([*sounds, "--exp", str(exp / "one/pretrain")])
    killed(lambda: train.main([*work, "--exp", str(exp / "both")]), step=33)
    for name in ("both", "held2"):  # go on in parts: of 2, 1 and 1 clips, and of 1 each
        settings = exp / name / "config.yaml"
        settings.write_text(settings.read_text().replace("accumulate: 1", "accumulate: 3"))
    runs = [("train", [*work, "--exp", str(exp / name)], 0) for name in ("two", "both", "held2")]
    runs += [("train", [*work, "--exp", str(exp / "back")], 33)]
    runs += [("pretrain", [*sounds, "--exp", str(exp / "two/pretrain")], 0)]
    two_processes(root / "program.py", runs)
    assert read_checkpoint(exp / "back/seed0/checkpoint/last.pt")["step"] == 20
    train.main([*work, "--exp", str(exp / "back")])
    return exp


def killed(run, step):
    """`run` a training whose process dies after `step` steps."""
    add = Curve.add

    def until(curve, now, *rest):
        if now > step:
            raise Killed
        add(curve, now, *rest)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Curve, "add", until)
        run()


def two_processes(program: Path, runs):
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(program), json.dumps(runs)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(OMP_NUM_THREADS="2", PYTHONPATH=str(ROOT)), timeout=300
    )
    assert done.returncode == 0, done.stderr


def curve(folder):
    """train.tsv: name of a column -> its numbers."""
    names, *rows = [line.split("\t") for line in (folder / "train.tsv").read_text().splitlines()]
    return {name: [float(row[column]) for row in rows] for column, name in enumerate(names)}


def assert_same_curve(one, other):
    assert one.keys() == other.keys()
    for name, numbers in one.items():
        assert other[name] == pytest.approx(numbers, rel=1e-5, abs=1e-5), name


@pytest.mark.parametrize("name", ["two", "both", "back"])
def test_two_processes_train_what_one_trains(folders, name):
    one, other = (curve(folders / folder / "seed0") for folder in ("one", name))
    assert one["step"] == list(range(1, STEPS + 1))
    assert len(set(one["loss"])) == STEPS
    assert_same_curve(one, other)
    one, other = (read_checkpoint(folders / folder / "seed0/checkpoint/final.pt") for folder in ("one", name))
    assert one["objective"]["dlcl.seen"] == other["objective"]["dlcl.seen"] > 11  # the memory has gone round
    torch.testing.assert_close(other["objective"]["dlcl.bank"], one["objective"]["dlcl.bank"], rtol=0, atol=1e-4)
    for key, tensor in one["model"].items():
        if key.endswith("k_proj.bias"):
            continue  # its gradient is nothing but rounding, which Adam scales up
        torch.testing.assert_close(other["model"][key], tensor, rtol=1e-3, atol=1e-4, msg=key)


def test_two_processes_measure_what_one_measures(folders):
    one, two = (read_measured(folders / name / "seed0") for name in ("held1", "held2"))
    assert list(one) == list(two) == [2, 4]
    for step, machines in one.items():
        assert len(machines) == 5 and machines.keys() == two[step].keys()
        for machine, found in machines.items():
            assert two[step][machine].parts == found.parts
            assert two[step][machine].pseudo_auc == pytest.approx(found.pseudo_auc, abs=0.05)  # a pair may turn round
            assert two[step][machine].bound == pytest.approx(found.bound, abs=1e-2)
    one, two = (read_checkpoint(folders / name / "seed0/checkpoint/best.pt") for name in ("held1", "held2"))
    assert one["step"] == two["step"] and any("concatenated" in key for key in one["model"])
    torch.testing.assert_close(two["model"], one["model"], rtol=1e-3, atol=1e-4)  # moving averages of weights


def test_two_processes_give_the_labels_that_one_gives(folders):
    for step in (0, 2):
        one, two = ((folders / name / f"seed0/pseudo_labels/step{step}.tsv").read_text() for name in ("held1", "held2"))
        same = [a == b for a, b in zip(one.splitlines(), two.splitlines(), strict=True)]
        # rounding may turn a clip that lies between clusters
        assert len(same) > 5 and sum(same) > 0.7 * len(same)


def test_two_processes_pretrain_what_one_pretrains(folders):
    one, two = (curve(folders / folder / "pretrain") for folder in ("one", "two"))
    assert len(one["step"]) == 30 and min(one["perplexity"]) > 2
    assert_same_curve(one, two)
    assert all(math.isfinite(value) for value in one["loss"])


def test_shares_cover_the_batch():
    worlds = [World(rank, 3, torch.device("cpu")) for rank in range(3)]
    assert sorted(item for world in worlds for item in world.share(list(range(8)))) == list(range(8))
    with pytest.raises(ValueError, match="train.batch_size 2 is smaller than the number of processes, 3"):
        worlds[0].share([1, 2])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_that_is_not_there():
    with pytest.raises(ValueError, match="no GPU is visible"):
        join_world("cuda")
