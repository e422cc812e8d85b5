import logging
import re
from types import SimpleNamespace

import pytest
import torch

from asdkit.config import BeatsArch, Config
from asdkit.models.checkpoint import read_checkpoint
from asdkit.models.classifier import Classifier
from asdkit.train.distributed import World
from asdkit.train.finetune import fine_tuning
from asdkit.train.optim import learning_rate
from asdkit.train.seeding import generator_of
from asdkit.train.specaugment import spec_augment
from asdkit.utils.typed_yaml import validate

ARCH = BeatsArch(
    encoder_layers=2, encoder_embed_dim=24, encoder_ffn_embed_dim=48, encoder_attention_heads=4, embed_dim=16,
    conv_pos=16, conv_pos_groups=4, encoder_layerdrop=0.3,
).model_dump()  # fmt: skip
CPU = World(0, 1, torch.device("cpu"))
CLASSES = ["fan/00/a", "fan/00/b", "pump/00/-"]


def config(**changes) -> Config:
    raw = {
        "encoder": {"arch": ARCH, "train": True},
        "model": {"lora": {"branches": 2, "rank": 2}, "group_adapter": {"groups": 3, "hidden": 4}, "embedding_dim": 8},
        "loss": {"dlcl": {"codes": 4, "memory": 6}},
        "train": {"steps": 6, "lr": 1e-3, "warmup_steps": 2, "log_every": 4, "checkpoint_every": 3},
    }
    for key, value in changes.items():
        section, name = key.split("__")
        raw[section] = {**raw[section], name: value}
    return validate(Config, raw, "test")


def batch(step, size=4):
    generator = torch.Generator().manual_seed(step)
    wavs = torch.rand(size, 6400, generator=generator) - 0.5
    labels = torch.tensor([0, 1, 2, 2])[:size]
    return SimpleNamespace(
        wavs=wavs, feats=None, labels=labels, attributed=labels < 2, utts=[f"utt{step}-{i}" for i in range(size)]
    )


def run(folder, settings, stop=None, inputs=None, seed=0):
    """Train to the end, or as if killed after the step `stop`."""
    trainer = fine_tuning(settings, CLASSES, seed, folder, inputs or {"seed": seed}, CPU)
    trainer.resume()
    steps = range(trainer.step + 1, settings.train.steps + 1)
    if stop is None:
        trainer.run((batch(step) for step in steps), {"git": "test"})
        return trainer

    def until_killed():
        for step in steps:
            if step > stop:
                raise KeyboardInterrupt
            yield batch(step)

    with pytest.raises(KeyboardInterrupt):
        trainer.run(until_killed(), {"git": "test"})
    return trainer


def assert_same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


OTHER_LOSSES = {"adacos": {"centres": 2}, "centre": {"weight": 0.1}, "dlcl": {"codes": 4, "memory": 6}}


@pytest.mark.parametrize(
    ("stop", "changes"), [(2, {}), (3, {}), (5, {}), *((stop, {"loss": OTHER_LOSSES}) for stop in (2, 5))]
)
def test_killed_and_resumed_is_bit_identical(tmp_path, stop, changes):
    settings = config(**{f"{section}__{key}": value for section in changes for key, value in changes[section].items()})
    run(tmp_path / "whole", settings)
    run(tmp_path / "killed", settings, stop=stop)
    resumed = run(tmp_path / "killed", settings)
    assert resumed.step == 6
    whole, again = (read_checkpoint(tmp_path / name / "checkpoint/final.pt") for name in ("whole", "killed"))
    assert_same(whole["model"], again["model"])
    assert_same(whole["objective"], again["objective"])
    curves = [(tmp_path / name / "train.tsv").read_text() for name in ("whole", "killed")]
    assert curves[0] == curves[1]
    assert [line.split("\t")[0] for line in curves[0].splitlines()] == ["step", "4", "6"]  # every 4 and the last
    assert whole["step"] == 6 and whole["seed"] == 0 and whole["classes"] == CLASSES


def test_seeds_differ_and_the_same_seed_repeats(tmp_path):
    finals = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(tmp_path / name, config(), seed=seed)
        finals.append(read_checkpoint(tmp_path / name / "checkpoint/final.pt")["model"])
    assert_same(finals[0], finals[1])
    assert not torch.equal(finals[0]["projection.weight"], finals[2]["projection.weight"])


def test_frozen_weights_stay_bit_identical_and_others_move(tmp_path):
    settings = config(encoder__train=False)
    before = {
        n: p.clone() for n, p in fine_tuning(settings, CLASSES, 0, tmp_path, {}, CPU).system.model.named_parameters()
    }
    trainer = run(tmp_path, settings)
    for name, parameter in trainer.system.model.named_parameters():
        added = ".lora_" in name or ".adapters." in name or not name.startswith("encoder.")
        assert parameter.requires_grad == added, name
        assert torch.equal(parameter, before[name]) != added or "decide.0.bias" in name, name


def test_full_fine_tuning_moves_the_encoder(tmp_path):
    settings = config(model__lora=None)
    before = fine_tuning(settings, CLASSES, 0, tmp_path, {}, CPU).system.model.encoder.layer_norm.weight.clone()
    assert not torch.equal(run(tmp_path, settings).system.model.encoder.layer_norm.weight, before)


def test_printed_number_of_parameters_is_the_closed_form(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        fine_tuning(config(encoder__train=False), CLASSES, 0, tmp_path, {}, CPU)
    dim, ffn, layers = 24, 48, 2
    lora = layers * 2 * 2 * (4 * (dim + dim) + 2 * (dim + ffn))
    adapter = layers * ((dim * 4 + 4) + (4 * 3 + 3) + 3 * dim)
    pooling, projection = dim * 128 + 128 + 128, 2 * dim * 8
    text = caplog.text
    assert f"trainable parameters: {lora + adapter + pooling + projection:,} of" in text
    assert f"group adapter {adapter:,}, lora {lora:,}, pooling {pooling:,}, projection {projection:,}" in text


def test_the_memory_of_a_step_is_told_once(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        run(tmp_path, config())
    (found,) = re.findall(r"a step needs ([\d.]+) GB of memory \(train.batch_size \d+\)", caplog.text)
    assert 0.1 < float(found) < 20


def test_other_inputs_are_refused_on_resume(tmp_path):
    run(tmp_path, config(), stop=4, inputs={"train.lr": 1e-3})
    with pytest.raises(ValueError, match="train.lr = 0.001, now 0.5"):
        run(tmp_path, config(), inputs={"train.lr": 0.5})


def test_loss_that_is_not_finite_names_the_clips(tmp_path):
    trainer = fine_tuning(config(), CLASSES, 0, tmp_path, {}, CPU)
    bad = batch(1)
    bad.wavs[2] = float("nan")
    with pytest.raises(ValueError, match="step 1: the loss is not finite.*utt1-0 utt1-1 utt1-2 utt1-3"):
        trainer.run([bad], {})
    assert not (tmp_path / "checkpoint/final.pt").exists()


def test_chosen_steps_are_kept(tmp_path):
    run(tmp_path, config(train__save_steps=[2, 5]))
    names = sorted(path.name for path in (tmp_path / "checkpoint").iterdir())
    assert names == ["final.pt", "last.pt", "step2.pt", "step5.pt"]
    assert read_checkpoint(tmp_path / "checkpoint/step2.pt")["step"] == 2


def test_nothing_to_train_writes_a_checkpoint(tmp_path):
    settings = config(train__steps=0)
    trainer = fine_tuning(settings, CLASSES, 0, tmp_path, {}, CPU)
    trainer.run([], {})
    assert read_checkpoint(tmp_path / "checkpoint/final.pt")["step"] == 0


CHANGES = [
    {"train__precision": "bfloat16"}, {"train__grad_clip": 0.1}, {"train__schedule": "linear"},
    {"train__warmup_steps": 5}, {"train__weight_decay": 0.5}, {"train__specaugment": None}, {"loss__dlcl": None},
    {"loss__normalise": False},
]  # fmt: skip


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_options_train_and_change_the_result(tmp_path, changes):
    run(tmp_path / "a", config())
    run(tmp_path / "b", config(**changes))
    a, b = (read_checkpoint(tmp_path / name / "checkpoint/final.pt")["model"] for name in "ab")
    assert not torch.equal(a["projection.weight"], b["projection.weight"])
    assert all(torch.isfinite(t).all() for t in b.values())


def test_the_network_hears_what_specaugment_leaves(tmp_path, monkeypatch):
    heard = []
    losses = Classifier.losses
    monkeypatch.setattr(
        Classifier, "losses", lambda self, feats, batch: heard.append(feats) or losses(self, feats, batch)
    )
    masks = {"time_masks": 1, "time_width": 9, "freq_masks": 1, "freq_width": 30, "warp": 3}
    settings = config(train__specaugment=masks)
    trainer = run(tmp_path, settings, seed=5)
    for step, feats in enumerate(heard, 1):
        plain = trainer.system.frontend(batch(step).wavs)
        expected = spec_augment(plain, settings.train.specaugment, generator_of(5, step, 0))
        assert torch.equal(feats, expected) and not torch.equal(feats, plain)


def test_training_lowers_the_loss(tmp_path):
    settings = config(train__steps=60, train__lr=3e-3, train__log_every=10, train__specaugment=None)
    trainer = fine_tuning(settings, CLASSES, 0, tmp_path, {}, CPU)
    trainer.run((batch(0) for _ in range(60)), {})
    losses = [float(row["loss"]) for row in trainer.curve.rows]
    assert losses[-1] < 0.5 * losses[0]


def test_learning_rate_follows_the_schedules():
    train = config(train__steps=110, train__warmup_steps=10, train__lr=1.0).train
    assert [learning_rate(train, step) for step in (1, 5, 10, 11, 110)] == [0.1, 0.5, 1.0, 1.0, 1.0]
    linear, cosine = (train.model_copy(update={"schedule": name}) for name in ("linear", "cosine"))
    assert [learning_rate(linear, step) for step in (10, 60, 110)] == pytest.approx([1.0, 0.5, 0.0])
    assert [learning_rate(cosine, step) for step in (10, 60, 110)] == pytest.approx([1.0, 0.5, 0.0])
    assert learning_rate(train.model_copy(update={"warmup_steps": 0}), 1) == 1.0


def test_steps_of_a_model_that_learns_nothing_are_refused(tmp_path):
    nothing = {"encoder__train": False, "model__pooling": "mean"}
    nothing |= {f"model__{name}": None for name in ("lora", "group_adapter", "embedding_dim")}
    with pytest.raises(ValueError, match="train.steps is 6, but nothing of this model learns: set it to 0"):
        run(tmp_path, config(**nothing))
    assert run(tmp_path, config(**nothing, train__steps=0)).step == 0
    assert run(tmp_path, config(**nothing | {"model__pooling": "attentive"})).step == 6
