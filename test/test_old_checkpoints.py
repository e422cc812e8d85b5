"""Checkpoints that an older version wrote load, go on, and are written with the same names.

golden/{finetune,pretrain}_822b8fc.pt are the last.pt of step 3 of the trainings below, by the version 822b8fc.
"""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from asdkit.config import Config
from asdkit.config.identity import reread_training
from asdkit.encoders.beats_checkpoint import load_beats
from asdkit.models.checkpoint import read_checkpoint
from asdkit.models.classifier import Classifier
from asdkit.pretrain.config import PretrainConfig
from asdkit.pretrain.export import export
from asdkit.pretrain.loop import pretraining
from asdkit.train.distributed import World
from asdkit.train.finetune import fine_tuning
from asdkit.utils.typed_yaml import validate

GOLDEN = Path(__file__).parent / "golden"
CPU = World(0, 1, torch.device("cpu"))
CLASSES = ["fan/00/a", "fan/00/b", "pump/00/-"]
ARCH = {
    "encoder_layers": 2, "encoder_embed_dim": 8, "encoder_ffn_embed_dim": 8, "encoder_attention_heads": 2,
    "embed_dim": 4, "conv_pos": 4, "conv_pos_groups": 2, "encoder_layerdrop": 0.3,
}  # fmt: skip
FINETUNE = {
    "encoder": {"arch": ARCH},
    "model": {
        "lora": {"branches": 2, "rank": 1}, "group_adapter": {"groups": 2, "hidden": 2}, "attention_dim": 3,
        "embedding_dim": 4,
    },
    "loss": {"dlcl": {"codes": 2, "memory": 6}},
    "train": {"steps": 6, "lr": 1e-3, "warmup_steps": 2, "log_every": 1, "checkpoint_every": 3},
}  # fmt: skip
PRETRAIN = {
    "arch": ARCH,
    "sound": {"crop_seconds": 0.4, "generated": 1.0},
    "tokenizer": {"codes": 4, "dim": 2, "codebooks": 1, "statistics_clips": 4},
    "predictor": {"dim": 8, "heads": 1, "conv_pos": 2},
    "train": {"steps": 6, "batch_size": 3, "warmup_steps": 2, "log_every": 1, "checkpoint_every": 3},
}
# What the older version wrote into train.tsv for steps 4 to 6.
FINETUNE_LOSSES = [16.999982833862305, 36.77392578125, 24.140026092529297]
PRETRAIN_LOSSES = [1.3530235290527344, 1.4050108194351196, 1.3641825914382935]


def put(name, folder):
    (folder / "checkpoint").mkdir(parents=True)
    shutil.copy(GOLDEN / name, folder / "checkpoint/last.pt")
    return read_checkpoint(folder / "checkpoint/last.pt")


def batch(step):
    wavs, labels = torch.rand(4, 6400, generator=torch.Generator().manual_seed(step)) - 0.5, torch.tensor([0, 1, 2, 2])
    return SimpleNamespace(wavs=wavs, feats=None, labels=labels, attributed=labels < 2, utts=[])


def names(content):
    """Every name in a checkpoint, but for those of last.pt alone and of what is only told."""
    if not isinstance(content, dict):
        return {""}
    left_out = ("optimizer", "curve", "inputs", "env", "config")
    return {f"{key}.{name}" for key, value in content.items() if key not in left_out for name in names(value)}


def test_a_killed_fine_tuning_goes_on(tmp_path):
    old = put("finetune_822b8fc.pt", tmp_path)
    config = validate(Config, FINETUNE, "test")
    inputs = reread_training({"seed": 0, "train.lr": 1e-3})  # as the marker that it was made with is read today
    trainer = fine_tuning(config, CLASSES, 0, tmp_path, inputs, CPU)
    assert trainer.resume() and trainer.step == 3
    trainer.run(map(batch, (4, 5, 6)), {})
    assert [row["loss"] for row in trainer.curve.rows[3:]] == pytest.approx(FINETUNE_LOSSES, rel=1e-3)
    new = read_checkpoint(tmp_path / "checkpoint/final.pt")
    assert names(old) == names(new)


def test_old_weights_embed(tmp_path):
    content = read_checkpoint(GOLDEN / "finetune_822b8fc.pt")
    system = Classifier(validate(Config, FINETUNE, "test"), content["classes"])
    system.load_state(content, "old")
    assert all(torch.equal(tensor, content["model"][name]) for name, tensor in system.model.state_dict().items())
    assert torch.equal(system.objective.dlcl.bank, content["objective"]["dlcl.bank"])
    found = system.eval().represent(system.frontend(torch.randn(2, 6400)))
    assert found.keys() == {"embedding"} and found["embedding"].shape == (2, 4)


def test_an_objective_of_another_shape_is_refused():
    content = read_checkpoint(GOLDEN / "finetune_822b8fc.pt")
    system = Classifier(validate(Config, FINETUNE, "test"), [*CLASSES, "pump/01/-"])
    with pytest.raises(ValueError, match=r"^old: objective: aam.weight has shape \(3, 4\), expected \(4, 4\)"):
        system.load_state(content, "old")


def test_a_killed_pretraining_goes_on(tmp_path):
    old = put("pretrain_822b8fc.pt", tmp_path)
    trainer, sounds = pretraining(validate(PretrainConfig, PRETRAIN, "test"), None, 0, tmp_path, {"seed": 0}, CPU)
    assert trainer.step == 3
    trainer.run(sounds.batches(range(4, 7)), {})
    assert [row["loss"] for row in trainer.curve.rows[3:]] == pytest.approx(PRETRAIN_LOSSES, rel=1e-3)
    new = read_checkpoint(tmp_path / "checkpoint/final.pt")
    assert names(old) | {"seed."} == names(new)
    export(GOLDEN / "pretrain_822b8fc.pt", tmp_path / "encoder.pt", False)
    weights = load_beats(tmp_path / "encoder.pt").state_dict()
    assert all(torch.equal(weight, old["module"][f"encoder.{name}"]) for name, weight in weights.items())
