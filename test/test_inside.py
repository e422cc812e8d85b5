"""What is done between the steps of a training, and clips embedded there by the network so far."""

import contextlib
import math
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from small_encoders import SMALL, WEIGHTLESS, small
from test_trainer import CPU, STEPS, Planes, batches, settings

from asdkit.config import Config
from asdkit.data.lists import Clip
from asdkit.infer.clips import arrays, batches_of
from asdkit.infer.network import load_system
from asdkit.models.checkpoint import read_checkpoint
from asdkit.signals.audio import AudioReader
from asdkit.train import inside
from asdkit.train.distributed import World
from asdkit.train.finetune import fine_tuning
from asdkit.train.inside import embed_inside
from asdkit.train.loop import Between, Trainer
from asdkit.utils.typed_yaml import validate

ONE = World(0, 1, CPU)


def planes(folder, between=(), **changes):
    """The small trainer, to its end."""
    trainer = Trainer(Planes(), settings(**changes), 0, folder, {}, ONE, save_steps=[3])
    trainer.between += between
    trainer.run(batches(), {})
    return trainer


def test_it_is_called_between_steps_before_the_checkpoint(tmp_path):
    seen = []

    def act(step):
        there = sorted(path.name for path in (tmp_path / "checkpoint").glob("*.pt"))
        seen.append((step, there))
        return {"level": 10.0 * step}

    trainer = planes(tmp_path, [Between([0, 3, 7, STEPS], act)], log_every=5, checkpoint_every=7)
    assert seen == [(0, []), (3, []), (7, ["step3.pt"]), (STEPS, ["last.pt", "step3.pt"])]
    assert trainer.curve.rows == read_rows(tmp_path)
    assert [row["step"] for row in trainer.curve.rows] == [0, 3, 5, 7, 10, STEPS]


def read_rows(folder):
    """train.tsv, what is nan left out."""
    names, *rows = [line.split("\t") for line in (folder / "train.tsv").read_text().splitlines()]
    found = [dict(zip(names, map(float, row), strict=True)) for row in rows]
    return [{key: value for key, value in row.items() if not math.isnan(value)} for row in found]


def test_numbers_stand_in_the_row_of_their_step_and_change_no_other_mean(tmp_path):
    every = planes(tmp_path / "every", log_every=1).curve.rows
    acts = [Between([4], lambda step: {"a": 1.0}), Between([4, 7], lambda step: {"b": 2.0 * step})]
    rows = planes(tmp_path / "rows", acts, log_every=4).curve.rows
    assert [row["step"] for row in rows] == [4, 7, 8, STEPS]
    assert (rows[0]["a"], rows[0]["b"], rows[1]["b"]) == (1.0, 8.0, 14.0) and "a" not in rows[1]
    for row, steps in zip(rows, (range(4), range(4, 7), range(7, 8), range(8, STEPS)), strict=True):
        assert row["loss"] == pytest.approx(np.mean([every[step]["loss"] for step in steps]))


@pytest.mark.parametrize("stop", [4, 6, 8])
def test_killed_and_resumed_it_does_the_same(tmp_path, stop):
    """Numbers of the weights as they are: the same after a kill, whatever the last checkpoint was."""

    def run(folder, last=STEPS):
        torch.manual_seed(0)  # as `fine_tuning` does
        trainer, calls = Trainer(Planes(), settings(log_every=4, checkpoint_every=3), 0, folder, {}, ONE), []

        def act(step):
            calls.append(step)
            return {"first": float(trainer.system.first.detach().sum()), "drawn": float(torch.rand(()))}

        trainer.between.append(Between([0, 5, 6], act))
        trainer.resume()

        def until_killed():
            for step, batch in enumerate(batches(trainer.step + 1), trainer.step + 1):
                if step > last:
                    raise KeyboardInterrupt
                yield batch

        with contextlib.suppress(KeyboardInterrupt):
            trainer.run(until_killed(), {})
        return calls

    assert run(tmp_path / "whole") == [0, 5, 6]
    first = run(tmp_path / "killed", stop)
    again = run(tmp_path / "killed")
    assert (first, again) == {4: ([0], [5, 6]), 6: ([0, 5, 6], []), 8: ([0, 5, 6], [])}[stop]
    whole, killed = (tmp_path / name / "train.tsv" for name in ("whole", "killed"))
    assert whole.read_text() == killed.read_text()
    whole, killed = (read_checkpoint(tmp_path / name / "checkpoint/final.pt")["planes"] for name in ("whole", "killed"))
    assert all(torch.equal(whole[key], killed[key]) for key in whole)


def experiment(name, **embed):
    """A configuration that trains two steps."""
    encoder = {"name": name, **SMALL[name]} | ({} if name in WEIGHTLESS else {"train": True})
    model = {"embedding_dim": 8}
    if small(name).LINEARS != ():
        model |= {"lora": {"branches": 2, "rank": 2}, "group_adapter": {"groups": 3, "hidden": 4}}
    raw = {"encoder": encoder, "model": model, "embed": {"batch_size": 2, **embed}, "data": {"chunk_seconds": 0.5}}
    return validate(Config, raw | {"train": {"steps": 2, "lr": 1e-2, "warmup_steps": 1}}, "test")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Five recordings of three lengths at a rate."""
    folder, made = tmp_path_factory.mktemp("clips"), {}

    def at(rate):
        if rate not in made:
            random = np.random.default_rng(0)
            made[rate] = []
            for number, seconds in enumerate((0.6, 1.0, 0.6, 0.3, 0.6)):
                path = str(folder / f"{rate}_{number}.wav")
                soundfile.write(path, random.uniform(-0.5, 0.5, round(rate * seconds)), rate)
                made[rate].append(Clip(f"clip{number}", path, round(rate * seconds), "fan"))
        return made[rate]

    return at


def training(folder, config, rate, between=()):
    """Two steps on made batches."""
    trainer = fine_tuning(config, ["a", "b"], 0, folder, {}, ONE)
    trainer.between += [Between(steps, lambda step, act=act: act(trainer)) for steps, act in between]
    made = []
    for step in (1, 2):
        wavs = torch.rand(4, rate // 2, generator=torch.Generator().manual_seed(step)) - 0.5
        labels = torch.tensor([0, 1, 0, 1])
        made.append(SimpleNamespace(wavs=wavs, feats=None, labels=labels, attributed=labels < 2, utts=[]))
    trainer.run(made, {})
    return trainer


@pytest.mark.parametrize("name", sorted(SMALL))
def test_training_is_the_same_bits_whatever_is_embedded_inside(tmp_path, name, clips):
    pytest.importorskip("transformers") if name in ("wav2vec2", "unispeech", "hubert", "wavlm") else None
    config, found = experiment(name, arrays={} if name == "envelope" else {"gem": {"pooling": "gem"}}), []
    plain = training(tmp_path / "plain", config, rate=16000)
    rate = plain.system.sample_rate

    def act(trainer):
        modes = [module.training for module in trainer.system.modules()]
        found.append(embed_inside(trainer.system, config, clips(rate), AudioReader(rate), ONE))
        assert modes == [module.training for module in trainer.system.modules()]
        return {}

    plain = training(tmp_path / "again", config, rate)
    inside = training(tmp_path / "inside", config, rate, [([0, 1, 2], act)])
    ours, theirs = plain.system.state_dict(), inside.system.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert len(found) == 3 and found[0]["embedding"].shape == (5, 8)
    assert not np.allclose(found[0]["embedding"], found[2]["embedding"])
    # what stage 4 makes of them with the weights of the last step
    system = load_system(config, tmp_path / "inside/checkpoint/final.pt", CPU)
    own = dict(arrays(system, config, batches_of(clips(rate), 2), AudioReader(rate), CPU))
    for array, table in found[2].items():
        np.testing.assert_allclose(table, [own[clip.utt][array] for clip in clips(rate)], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_every_process_embeds_its_share(tmp_path, monkeypatch, clips, size):
    """Five clips in three batches: of five processes two have none."""
    config = experiment("ast")
    system, reader = fine_tuning(config, ["a", "b"], 0, tmp_path, {}, ONE).system, AudioReader(16000)
    whole = embed_inside(system, config, clips(16000), reader, ONE)["embedding"]
    monkeypatch.setattr(inside, "_whole", lambda table, world: table)
    worlds = [World(rank, size, CPU) for rank in range(size)]
    tables = [embed_inside(system, config, clips(16000), reader, world)["embedding"] for world in worlds]
    assert (np.sum([(table != 0).any(axis=1) for table in tables], axis=0) == 1).all()
    assert (np.sum(tables, axis=0) == whole).all()


def test_random_numbers_and_precision_are_left_alone(tmp_path, clips):
    config = experiment("beats", precision="bfloat16")
    system, reader = fine_tuning(config, ["a", "b"], 0, tmp_path, {}, ONE).system, AudioReader(16000)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    before = torch.get_float32_matmul_precision()
    found = embed_inside(system, config, clips(16000), reader, ONE)["embedding"]
    assert torch.equal(torch.rand(4), expected) and torch.get_float32_matmul_precision() == before
    other = embed_inside(system, experiment("beats"), clips(16000), reader, ONE)["embedding"]
    assert not np.array_equal(found, other) and np.allclose(found, other, atol=0.1)
    assert embed_inside(system, config, [], reader, ONE) == {}
