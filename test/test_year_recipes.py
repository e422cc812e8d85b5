"""Every experiment of every year that trains: two steps of it with a small network."""

from pathlib import Path

import pytest
import torch
from small_encoders import SMALL
from test_soft_classes import mixture
from test_train_loop import CLASSES, CPU, batch

from asdkit.config import Config, load_config
from asdkit.train.finetune import fine_tuning
from asdkit.utils.typed_yaml import validate

ROOT = Path(__file__).parents[1]
PARTS = ("encoder", "data", "model", "loss", "train")


def trained():
    """The experiments that differ in what is trained, by the first recipe that has them."""
    found = {}
    for path in sorted((ROOT / "egs").glob("dcase*/conf/*.yaml")):
        if path.stem.partition("_")[0] in ("dataset", "download", "published"):
            continue
        config = load_config(path)
        if config.train.steps and config.encoder.family == "classifier":
            known = repr([getattr(config, part) for part in PARTS])
            found.setdefault(known, pytest.param(path, id=f"{path.parts[-3]}-{path.stem}"))
    return list(found.values())


@pytest.mark.parametrize("path", trained())
def test_two_steps_of_an_experiment(path, tmp_path):
    raw = load_config(path).model_dump(mode="json")
    raw["encoder"] |= {"checkpoint": None, **SMALL[raw["encoder"]["name"]]}
    raw["train"] |= {"steps": 2, "warmup_steps": 1, "batch_size": 4, "accumulate": min(2, raw["train"]["accumulate"])}
    if raw["train"]["pseudo_labels"]:
        raw["train"]["pseudo_labels"]["steps"] = [1]
    config = validate(Config, raw, str(path))
    batches = [batch(step) for step in (1, 2)]
    for made in batches:
        made.mixed = mixture(4) if config.train.mixup else None
    trainer = fine_tuning(config, CLASSES, 0, tmp_path, {"seed": 0}, CPU)
    before = [weight.detach().clone() for weight in trainer.system.parameters() if weight.requires_grad]
    trainer.run(iter(batches), {"git": "test"})
    after = [weight for weight in trainer.system.parameters() if weight.requires_grad]
    assert (
        trainer.step == 2 and sum(not torch.equal(*pair) for pair in zip(before, after, strict=True)) > len(after) / 2
    )


def test_what_others_published():
    year = ROOT / "egs/dcase2025/conf"
    kim = load_config(year / "kim2025.yaml")
    assert kim.encoder.layers == "concatenated" and kim.loss.centre and not kim.encoder.train
    assert (kim.model.lora.rank, kim.model.lora.targets) == (64, ["q_proj", "v_proj", "out_proj"])
    rounds = kim.train.pseudo_labels
    assert (rounds.method, rounds.fewest, rounds.most) == ("agglomerative", 2, 5)
    far = load_config(ROOT / "egs/dcase2026/conf/kasahart2026.yaml")
    assert (far.data.reference, far.data.chunk_seconds, far.loss.adacos.centres) == ("complex", 10, 16)
    assert (far.model.lora.rank, far.model.lora.targets) == (64, ["q_proj", "k_proj", "v_proj"])
    assert (far.train.steps, far.train.batch_size, far.train.lr, far.train.mixup.probability) == (37500, 8, 1e-4, 0.5)
    rounds = far.train.pseudo_labels
    assert (rounds.method, rounds.fewest, rounds.most, rounds.steps) == ("kmeans", 8, 8, [0])
