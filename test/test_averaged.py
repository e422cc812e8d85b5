"""The moving average of the weights: what is kept, embedded and resumed."""

import pytest
import torch
from test_train_loop import CLASSES, CPU, assert_same, batch, config, run

from asdkit.config import Config
from asdkit.models.checkpoint import read_checkpoint
from asdkit.train.average import write_average
from asdkit.train.finetune import fine_tuning
from asdkit.train.loop import Between
from asdkit.utils.typed_yaml import validate

DECAY = 0.6


def kept(folder, name):
    return read_checkpoint(folder / f"checkpoint/{name}.pt")


def test_what_is_kept_is_the_average_by_hand(tmp_path):
    settings = config(train__ema=DECAY, train__save_steps=[2, 4])
    plain = config(train__save_steps=[1, 2, 3, 4, 5])
    start = fine_tuning(plain, CLASSES, 0, tmp_path / "plain", {}, CPU).system.state()
    run(tmp_path / "plain", plain)
    run(tmp_path / "ema", settings)
    weights = [kept(tmp_path / "plain", name) for name in ("step1", "step2", "step3", "step4", "step5", "final")]
    for part in ("model", "objective"):
        mean = {name: tensor.double() for name, tensor in start[part].items()}
        for step, own in enumerate(weights, 1):
            decay = min(DECAY, (1 + step) / (10 + step))
            mean = {name: decay * tensor + (1 - decay) * own[part][name] for name, tensor in mean.items()}
            name = {2: "step2", 4: "step4", 6: "final"}.get(step)
            for key, tensor in kept(tmp_path / "ema", name)[part].items() if name else ():
                if key.startswith("dlcl.") and key != "dlcl.codes":  # the memory is that of the step
                    assert torch.equal(tensor, own[part][key]), key
                else:
                    torch.testing.assert_close(tensor.double(), mean[key], rtol=1e-5, atol=1e-7, msg=key)
    # what is trained is not touched by it
    curves = [(tmp_path / name / "train.tsv").read_text() for name in ("plain", "ema")]
    assert curves[0] == curves[1]
    assert_same(kept(tmp_path / "plain", "step3")["model"], kept(tmp_path / "ema", "last")["model"])


def test_killed_and_resumed_is_bit_identical(tmp_path):
    settings = config(train__ema=DECAY, train__accumulate=2, train__batch_size=4)
    run(tmp_path / "whole", settings)
    run(tmp_path / "killed", settings, stop=4)
    run(tmp_path / "killed", settings)
    whole, again = (kept(tmp_path / name, "final") for name in ("whole", "killed"))
    assert_same(whole["model"], again["model"])
    assert_same(whole["objective"], again["objective"])


def test_what_is_done_between_steps_sees_the_averages(tmp_path):
    settings = config(train__ema=DECAY, train__save_steps=[3])
    trainer = fine_tuning(settings, CLASSES, 0, tmp_path, {}, CPU)
    seen = {}

    def act(step):
        seen.update({name: tensor.clone() for name, tensor in trainer.system.state()["model"].items()})
        return {}

    trainer.between.append(Between([3], act))
    trainer.run((batch(step) for step in range(1, 7)), {})
    assert_same(seen, kept(tmp_path, "step3")["model"])


def test_batch_normalisation_goes_with_its_weights(tmp_path):
    raw = {"encoder": {"name": "cnn10", "train": True, "arch": {"channels": 2}}, "train": {"steps": 4, "ema": DECAY}}
    raw |= {"model": {"lora": None, "group_adapter": None}}
    raw["train"] |= {"warmup_steps": 0, "checkpoint_every": 3, "save_steps": [3]}
    trainer = fine_tuning(validate(Config, raw, "test"), CLASSES, 0, tmp_path, {}, CPU)
    trainer.run((batch(step) for step in range(1, 5)), {})
    own, mean = (kept(tmp_path, name)["model"] for name in ("last", "step3"))
    name = next(key for key in own if key.endswith("running_mean"))
    assert not torch.equal(own[name], mean[name])
    assert torch.equal(kept(tmp_path, "last")["ema"][f"model.{name}"], mean[name])


def test_an_autoencoder_has_none():
    raw = {"encoder": {"name": "autoencoder"}, "train": {"ema": 0.9}}
    with pytest.raises(ValueError, match="train.ema, train.accumulate: the autoencoder is trained without them"):
        validate(Config, raw, "test")


def test_kept_weights_are_averaged(tmp_path):
    """The mean of steps 2, 4 and 6, of which the last is there twice; what the losses know is the last step's."""
    run(tmp_path, config(train__save_steps=[4, 2, 6]))
    write_average(tmp_path, [4, 2, 6])
    parts = [kept(tmp_path, name) for name in ("step2", "step4", "final")]
    found = kept(tmp_path, "average")
    for name, tensor in found["model"].items():
        torch.testing.assert_close(tensor, torch.stack([part["model"][name] for part in parts]).mean(0), msg=name)
    assert not torch.equal(found["model"]["projection.weight"], parts[2]["model"]["projection.weight"])
    assert_same(found["objective"], parts[2]["objective"])
    assert {key: value for key, value in found.items() if key not in ("model", "objective")} == {
        key: value for key, value in parts[2].items() if key not in ("model", "objective")
    }


def test_what_cannot_be_averaged_is_refused(tmp_path):
    raw = {"encoder": {"name": "cnn10", "train": True, "arch": {"channels": 2}}, "embed": {"checkpoint": "average"}}
    raw |= {"model": {"lora": None, "group_adapter": None}}
    with pytest.raises(ValueError, match="embed.checkpoint average: train.save_steps is empty"):
        validate(Config, raw, "test")
    settings = validate(Config, raw | {"train": {"save_steps": [1]}}, "test")
    with pytest.raises(ValueError, match="the running statistics of batch normalisation in cnn10 are"):
        fine_tuning(settings, CLASSES, 0, tmp_path, {}, CPU)
