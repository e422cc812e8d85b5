"""Exchanges between clips of a batch (FeatEx, StatEx): what is taken, and the classes that come of it."""

import math

import pytest
import torch
import torch.nn.functional as F
from test_train_loop import CLASSES, batch, config, run

from asdkit.config import Config, DlclConfig, ExchangeConfig, LossConfig
from asdkit.data.batches import ChunkDataset, Framing, Mixed
from asdkit.data.lists import Clip
from asdkit.data.sampler import ChunkSampler
from asdkit.losses.exchange import exchange_halves, exchange_statistics, exchanged_terms
from asdkit.losses.objective import Objective
from asdkit.losses.terms import Terms
from asdkit.models.checkpoint import read_checkpoint
from asdkit.models.classifier import Classifier
from asdkit.signals.audio import AudioReader
from asdkit.utils.typed_yaml import validate

FLAGS = torch.tensor([True, False, False, True, True])


def test_statistics_over_time_are_those_of_the_other_clip():
    feats = torch.randn(5, 30, 4, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 6)[:, None, None] + 3
    feats[3, :, 2] = 7.0  # a band without deviation has none to give, and gets none
    found = exchange_statistics(feats, FLAGS)
    assert torch.equal(found[~FLAGS], feats[~FLAGS])
    for clip in (0, 3, 4):
        other = feats[4 - clip]
        torch.testing.assert_close(found[clip].mean(0), other.mean(0))
        bands = [0, 1, 3] if clip == 3 else range(4)
        for band in bands:
            torch.testing.assert_close(found[clip, :, band].std(), other[:, band].std())
            shape = torch.corrcoef(torch.stack([found[clip, :, band], feats[clip, :, band]]))[0, 1]
            assert shape == pytest.approx(1, abs=1e-5)
    assert found[3, :, 2].std() < 1e-5


def test_halves_are_those_of_the_other_clip():
    x = torch.arange(20.0).reshape(5, 4)
    found = exchange_halves(x, FLAGS)
    assert found.tolist() == [[0, 1, 18, 19], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 6, 7], [16, 17, 2, 3]]


def test_classes_of_exchanges():
    """Published labels: (y, 0, 0) of a clip as it is, (0, y / 2, y' / 2) of one that took something."""
    labels, weights = torch.tensor([0, 1, 2, 1, 0]), torch.tensor([1.0, 0.5, 1.0, 0.25, 1.0])
    terms = exchanged_terms(Terms(torch.arange(5), labels, weights), FLAGS, 3)
    found = torch.zeros(5, 9)
    found.index_put_((terms.rows, terms.labels), terms.weights, accumulate=True)
    soft, flags = F.one_hot(labels, 3) * weights[:, None], FLAGS[:, None]
    expected = torch.cat([soft * ~flags, soft / 2 * flags, soft.flip(0) / 2 * flags], dim=1)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", ["featex", "statex"])
def test_loss_of_exchanges_is_that_of_soft_classes(kind):
    torch.manual_seed(0)
    said = LossConfig(normalise=False, cross_entropy=True, exchange=ExchangeConfig(kind=kind, weight=0.5))
    total = Objective(said, 4, 3)
    x, labels, share = torch.randn(5, 4), torch.tensor([0, 1, 2, 1, 0]), torch.tensor([1.0, 0.5, 0.2, 1.0, 0.7])
    mixed = Mixed(torch.tensor([0, 2, 0, 1, 2]), torch.ones(5, dtype=torch.bool), share)
    found = total(x, labels, torch.ones(5, dtype=torch.bool), mixed, FLAGS)
    soft = F.one_hot(labels, 3) * share[:, None] + F.one_hot(mixed.labels, 3) * (1 - share[:, None])
    plain = F.cross_entropy(total.cross_entropy.classes(x), soft)
    flags = FLAGS[:, None]
    three = torch.cat([soft * ~flags, soft / 2 * flags, soft.flip(0) / 2 * flags], dim=1)
    heard = exchange_halves(x, FLAGS) if kind == "featex" else x
    exchange = F.cross_entropy(total.exchange.loss.classes(heard), three)
    torch.testing.assert_close(found["exchange"], exchange.detach())
    torch.testing.assert_close(found["loss"], plain + 0.5 * exchange)


@pytest.mark.parametrize("said", [{}, {"adacos": {"centres": 2}}, {"cross_entropy": True}])
def test_exchanges_go_with_every_loss_and_dlcl(said):
    raw = {"exchange": {}, "dlcl": {"codes": 3, "memory": 8}, "centre": {}} | said
    total = Objective(validate(LossConfig, raw, "test"), 4, 3)
    x, attributed = torch.randn(5, 4, requires_grad=True), torch.tensor([1, 0, 1, 0, 1]).bool()
    labels = torch.tensor([0, 1, 2, 1, 0])
    found = total(x, labels, attributed, None, FLAGS)
    assert math.isfinite(found["loss"].detach()) and float(found["exchange"].detach()) > 0
    found["loss"].backward()
    total(x, labels, torch.zeros(5, dtype=torch.bool), None, FLAGS)["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in total.parameters())


def test_clips_that_take_something_are_drawn_by_seed_step_and_place():
    clips = [Clip(f"u{n}", "", 100, "a", feats="x", label=0, attributed=True) for n in range(8)]

    def drawn(seed, step, share=list, exchange=0.5):
        sampler = ChunkSampler(clips, 100, 1, 8, seed=seed)
        made = ChunkDataset(clips, sampler, AudioReader(), 100, Framing(16000, 1, 1), share, None, exchange)
        return made._exchanged(step, share(list(range(8))))

    assert drawn(0, 1, exchange=0.0) is None
    whole = [drawn(0, step) for step in range(1, 200)]
    assert 0.45 < torch.stack(whole).float().mean() < 0.55 and len({tuple(one.tolist()) for one in whole}) > 100
    assert torch.equal(drawn(0, 5, lambda rows: rows[1::2]), whole[4][1::2])
    assert not torch.equal(torch.stack([drawn(1, step) for step in range(1, 200)]), torch.stack(whole))


def told(step):
    made = batch(step)
    made.exchanged = torch.tensor([True, False, True, True])
    return made


@pytest.mark.parametrize("kind", ["featex", "statex"])
def test_the_network_hears_what_was_taken(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("test_train_loop.batch", told)
    heard, given = [], []
    embed, forward = Classifier.embed, Objective.forward
    monkeypatch.setattr(Classifier, "embed", lambda self, feats: heard.append(feats) or embed(self, feats))
    monkeypatch.setattr(Objective, "forward", lambda self, *known: given.append(known) or forward(self, *known))
    dlcl, exchange = DlclConfig(codes=4, memory=6).model_dump(), {"kind": kind}
    settings = config(train__specaugment=None, loss__dlcl=dlcl, loss__exchange=exchange)
    trainer = run(tmp_path / "a", settings)
    assert trainer.system.classes == CLASSES and trainer.system.objective.exchange.classes == 3
    for step, feats in enumerate(heard, 1):
        made = told(step)
        plain = trainer.system.frontend(made.wavs)
        assert torch.equal(feats, exchange_statistics(plain, made.exchanged) if kind == "statex" else plain)
        assert torch.equal(given[step - 1][4], made.exchanged)
    run(tmp_path / "b", settings, stop=4)
    run(tmp_path / "b", settings)
    whole, again = (read_checkpoint(tmp_path / name / "checkpoint/final.pt") for name in "ab")
    for part in ("model", "objective"):
        assert all(torch.equal(whole[part][name], again[part][name]) for name in whole[part])


def test_exchanges_that_cannot_be_are_refused():
    arch = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    raw = {"encoder": {"name": "hubert", "arch": arch}, "loss": {"exchange": {"kind": "statex"}}}
    with pytest.raises(ValueError, match="loss.exchange.kind statex: 'hubert' hears samples, not bands: take featex"):
        validate(Config, raw, "test")
