"""The trainer by itself: every setting of the optimisation reaches the weights, every random number its step."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from asdkit.config import OptimizeConfig
from asdkit.models.checkpoint import load_tensors, model_state, read_checkpoint
from asdkit.models.system import System
from asdkit.train.distributed import World
from asdkit.train.loop import Trainer
from asdkit.train.seeding import generator_of
from asdkit.utils.typed_yaml import validate

CPU = torch.device("cpu")
STEPS = 12


class Planes(System):
    """Two weights whose gradients are columns of the recordings; keeps what it was given and what it drew."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Parameter(torch.ones(3)), nn.Parameter(-torch.ones(2))
        self.heard, self.drawn = [], []

    def frontend(self, wav):
        return 2 * wav

    def losses(self, feats, batch):
        self.heard.append(feats)
        self.drawn.append(float(torch.rand(())))
        mean = feats.mean(0)
        return {"loss": mean[:3] @ self.first + mean[3:] @ self.second, "level": mean.mean()}

    def state(self):
        return {"planes": model_state(self, None)}

    def load_state(self, content, path):
        load_tensors(self, content["planes"], path)


def settings(**changes) -> OptimizeConfig:
    raw = {"steps": STEPS, "lr": 0.1, "warmup_steps": 4, "weight_decay": 0.0, "log_every": 1} | changes
    return validate(OptimizeConfig, raw, "test")


def batches(first=1):
    """Gradients from a tenth of to ten times 1."""
    for step in range(first, STEPS + 1):
        wavs = torch.randn(4, 5, generator=generator_of(step)) * 10 ** math.cos(step)
        yield SimpleNamespace(wavs=wavs, feats=None, utts=[])


def train(folder, config, seed=0, rank=0, **options) -> Trainer:
    trainer = Trainer(Planes(), config, seed, folder, {}, World(rank, 1, CPU), **options)
    trainer.run(batches(), {})
    return trainer


def rate(config, step):
    if step <= config.warmup_steps:
        return config.lr * step / config.warmup_steps
    part = (step - config.warmup_steps) / (config.steps - config.warmup_steps)
    return (
        config.lr * {"constant": 1, "linear": 1 - part, "cosine": 0.5 + 0.5 * math.cos(math.pi * part)}[config.schedule]
    )


def by_hand(config):
    """AdamW (Loshchilov and Hutter, 2019, Algorithm 2) in double precision."""
    weights = torch.tensor([1.0, 1, 1, -1, -1], dtype=torch.float64)
    mean, square = torch.zeros(2, 5, dtype=torch.float64)
    for step, batch in enumerate(batches(), 1):
        gradient = 2 * batch.wavs.double().mean(0)
        if config.grad_clip:
            gradient = gradient * min(1, config.grad_clip / float(gradient.norm()))
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        direction = mean / (1 - 0.9**step) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
        weights = weights - rate(config, step) * (direction + config.weight_decay * weights)
    return weights


CHANGES = [
    {}, {"warmup_steps": 0}, {"warmup_steps": STEPS}, {"schedule": "linear"}, {"schedule": "cosine"}, {"lr": 0.03},
    {"weight_decay": 0.5}, {"grad_clip": 1.0}, {"grad_clip": 0.2, "schedule": "cosine", "weight_decay": 0.1},
]  # fmt: skip


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_weights_are_those_of_adamw_by_hand(tmp_path, changes):
    config = settings(**changes)
    trainer = train(tmp_path, config)
    found = torch.cat([trainer.system.first, trainer.system.second]).detach().double()
    torch.testing.assert_close(found, by_hand(config), rtol=1e-5, atol=1e-6)
    assert [row["lr"] for row in trainer.curve.rows] == pytest.approx([rate(config, n) for n in range(1, STEPS + 1)])
    if changes:
        assert not torch.allclose(by_hand(config), by_hand(settings()), rtol=1e-3, atol=1e-3)


def test_features_are_augmented_by_the_numbers_of_seed_and_step(tmp_path):
    def noise(feats, generator):
        return feats + torch.rand(feats.shape, generator=generator)

    plain, changed = (train(tmp_path, settings(), seed=3, augment=augment) for augment in (None, noise))
    for step, (before, after) in enumerate(zip(plain.system.heard, changed.system.heard, strict=True), 1):
        torch.testing.assert_close(after - before, torch.rand(4, 5, generator=generator_of(3, step, 0)))


def test_random_numbers_depend_on_seed_and_step_alone(tmp_path):
    def drawn(**options):
        return train(tmp_path, settings(), **options).system.drawn

    assert len(set(drawn())) == STEPS
    assert drawn() == drawn() == drawn(rank=1)
    assert not set(drawn(seed=1)) & set(drawn())


def test_bfloat16_is_that_of_autocast(tmp_path):
    seen = []

    class Asks(Planes):
        def losses(self, feats, batch):
            seen.append(torch.is_autocast_enabled("cpu"))
            return super().losses(feats, batch)

    for precision in ("float32", "bfloat16"):
        config = settings(precision=precision)
        Trainer(Asks(), config, 0, tmp_path, {}, World(0, 1, CPU)).run(list(batches())[:1], {})
    assert seen == [False, True]


def test_losses_that_are_looked_at_later_are_the_same(tmp_path, monkeypatch):
    config = settings(log_every=5, checkpoint_every=4)
    curves = [train(tmp_path / "at once", config).curve.rows]
    monkeypatch.setattr(Trainer, "_looks_now", lambda self: self.step % 4 == 0 or self.step % 5 == 0)
    curves.append(train(tmp_path / "later", config).curve.rows)
    assert curves[0] == curves[1] and [row["step"] for row in curves[0]] == [5, 10, 12]
    sums = [read_checkpoint(tmp_path / name / "checkpoint/last.pt")["curve"] for name in ("at once", "later")]
    assert sums[0] == sums[1] and sums[0]["sums"]["loss"][1] == 3  # steps 6 to 8

    broken = SimpleNamespace(wavs=torch.full((1, 5), math.inf), feats=None, utts=["a", "b"])
    trainer = Trainer(Planes(), config, 0, tmp_path / "broken", {}, World(0, 1, CPU))
    first, *others = batches()
    with pytest.raises(ValueError, match=r"step 2: the loss is not finite .* on the clips a b. Look"):
        trainer.run([first, broken, *others], {})
    assert trainer.step == 4 and not (tmp_path / "broken/checkpoint").exists()


def test_memory_that_does_not_suffice_is_told(tmp_path):
    class Large(Planes):
        def losses(self, feats, batch):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB. Including non-PyTorch memory")

    trainer = Trainer(Large(), settings(batch_size=4), 0, tmp_path, {}, World(0, 1, CPU))
    told = "step 1: train.batch_size 4 does not fit into the GPU's memory: set a smaller one, or train.precision to "
    told += "bfloat16 (9 GiB more were asked for)"
    with pytest.raises(ValueError) as error:
        trainer.run(batches(), {})
    assert str(error.value) == told


def test_a_loss_that_is_not_finite_stops_without_a_checkpoint(tmp_path):
    broken = SimpleNamespace(wavs=torch.full((1, 5), math.inf), feats=None, utts=[])
    trainer = Trainer(Planes(), settings(), 0, tmp_path, {}, World(0, 1, CPU))
    with pytest.raises(ValueError, match=r"step 2: the loss is not finite .*lower train.lr"):
        trainer.run([next(batches()), broken], {})
    assert not (tmp_path / "checkpoint").exists()
    assert [row["step"] for row in trainer.curve.rows] == [1]
