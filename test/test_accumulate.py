"""A batch that goes through the network in parts is trained as the whole batch is."""

import dataclasses

import pytest
import torch
from test_train_loop import ARCH, CLASSES, CPU, batch, config, run

from asdkit.config import Config
from asdkit.models.checkpoint import read_checkpoint
from asdkit.train.finetune import fine_tuning
from asdkit.utils.typed_yaml import validate

BIG = {"arch": {**ARCH, "encoder_layerdrop": 0.5}, "train": True}


def larger(step):
    """Seven clips of three classes, of which not all are attributed."""
    first, second = batch(step), batch(step + 100)
    joined = {name: torch.cat([getattr(first, name), getattr(second, name)])[:7] for name in ("wavs", "labels")}
    return dataclasses.replace(Whole(**joined), attributed=joined["labels"] < 2, utts=(first.utts + second.utts)[:7])


@dataclasses.dataclass(frozen=True)
class Whole:
    wavs: torch.Tensor
    labels: torch.Tensor
    attributed: torch.Tensor | None = None
    utts: tuple[str, ...] = ()
    feats: None = None


def gradients(folder, settings, steps=(1, 2, 3)):
    """Losses and gradients of some steps, each from the first weights."""
    found = []
    for step in steps:
        trainer = fine_tuning(settings, CLASSES, 0, folder, {}, CPU)
        with torch.no_grad():  # LoRA's second factors are zero at first, and the first ones' gradients with them
            for name, parameter in trainer.system.named_parameters():
                if ".lora_b" in name:
                    parameter.copy_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
            if trainer.system.objective.dlcl:  # without negatives its loss is 0
                trainer.system.objective.dlcl.remember(torch.randn(6, 8, generator=torch.Generator().manual_seed(1)))
        trainer.step = step
        losses = trainer._update(trainer.system, larger(step))
        grads = {name: p.grad.clone() for name, p in trainer.system.trainable().items() if p.grad is not None}
        found.append(({name: float(value.detach()) for name, value in losses.items()}, grads))
    return found


@pytest.mark.parametrize("parts", [2, 3, 7])
@pytest.mark.parametrize("loss", [{"dlcl": {"codes": 4, "memory": 6}}, {"adacos": {"centres": 2}, "centre": {}}])
def test_losses_and_gradients_are_those_of_the_whole_batch(tmp_path, parts, loss):
    def settings(count):
        train = {"steps": 6, "warmup_steps": 0, "batch_size": 7, "accumulate": count}
        return validate(Config, {**config().model_dump(), "encoder": BIG, "loss": loss, "train": train}, "test")

    whole, by_parts = (gradients(tmp_path, settings(count)) for count in (1, parts))
    left_out = 0
    for (losses, one), (others, other) in zip(whole, by_parts, strict=True):
        assert others == pytest.approx(losses, rel=1e-5)
        assert one.keys() == other.keys()  # the same layers are left out
        left_out += len(one) < len(dict(fine_tuning(settings(1), CLASSES, 0, tmp_path, {}, CPU).system.trainable()))
        largest = max(float(gradient.abs().max()) for gradient in one.values())
        for name, gradient in one.items():
            torch.testing.assert_close(other[name], gradient, rtol=1e-3, atol=1e-5 * largest, msg=name)
    assert left_out  # at layer drop 0.5


def test_every_part_hears_its_own_masks_and_none_is_held_longer_than_needed(tmp_path, monkeypatch):
    """What goes through is the whole batch's features, in order; one part at a time has a graph."""
    heard = []
    settings = config(train__accumulate=2, train__batch_size=4)
    trainer = fine_tuning(settings, CLASSES, 0, tmp_path, {}, CPU)
    model = trainer.system.model
    forward = model.forward
    monkeypatch.setattr(
        model, "forward", lambda feats: heard.append((feats, torch.is_grad_enabled())) or forward(feats)
    )
    trainer.step = 3
    expected = trainer._features(batch(3))
    trainer._update(trainer.system, batch(3))
    assert [with_graph for _, with_graph in heard] == [False, True, True]
    assert all(torch.equal(heard[i][0], expected[part]) for i, part in enumerate((slice(2), slice(2, 4), slice(2))))


def test_killed_and_resumed_is_bit_identical_in_bfloat16(tmp_path):
    settings = config(train__accumulate=3, train__batch_size=4, train__precision="bfloat16")
    run(tmp_path / "whole", settings)
    run(tmp_path / "killed", settings, stop=4)
    run(tmp_path / "killed", settings)
    one, other = (read_checkpoint(tmp_path / name / "checkpoint/final.pt")["model"] for name in ("whole", "killed"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_weights_that_were_cast_without_a_gradient_are_not_used_again(tmp_path):
    """In bfloat16 every trained weight still gets a gradient."""
    settings = config(
        train__accumulate=2,
        train__batch_size=4,
        train__precision="bfloat16",
        encoder__arch=ARCH | {"encoder_layerdrop": 0.0},
    )
    trainer = fine_tuning(settings, CLASSES, 0, tmp_path, {}, CPU)
    trainer.step = 1
    trainer._update(trainer.system, batch(1))
    missing = [name for name, p in trainer.system.trainable().items() if p.grad is None]
    assert not missing


def test_what_cannot_be_done_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match="train.accumulate 5: a batch of train.batch_size 4 clips has no so many parts"
    ):
        config(train__batch_size=4, train__accumulate=5)
    raw = {"train": {"batch_size": 6, "accumulate": 4, "graphs": True}}
    with pytest.raises(ValueError, match="train.batch_size 6 is no multiple of train.accumulate 4"):
        validate(Config, raw, "test")
    raw = {"encoder": {"name": "cnn10", "train": True, "arch": {"channels": 2}}, "train": {"accumulate": 2}}
    with pytest.raises(ValueError, match="a batch cannot go through cnn10 in parts, for its batch normalisation"):
        fine_tuning(validate(Config, raw, "test"), CLASSES, 0, tmp_path, {}, CPU)
    raw["encoder"]["train"] = False  # its batch normalisation goes by what it knows
    fine_tuning(validate(Config, raw, "test"), CLASSES, 0, tmp_path, {}, CPU)


def test_memory_that_does_not_suffice_names_it(tmp_path):
    def full(feats):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB. Including non-PyTorch memory")

    for parts, told in ((1, "4 does not fit"), (2, r"4 in 2 parts \(train.accumulate\) does not fit")):
        trainer = fine_tuning(config(train__batch_size=4, train__accumulate=parts), CLASSES, 0, tmp_path, {}, CPU)
        trainer.system.model.forward = full
        told = f"step 1: train.batch_size {told} into the GPU's memory: set train.accumulate to {2 * parts}, which"
        with pytest.raises(ValueError, match=told):
            trainer.run([batch(1)], {})
