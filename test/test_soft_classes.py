"""Losses of clips that two were mixed into: each counts as two clips, with their shares as weights."""

import math

import pytest
import torch
import torch.nn.functional as F
from test_train_loop import CLASSES, batch, config

from asdkit.config import AamConfig, AdaCosConfig, CentreConfig, DlclConfig, LossConfig
from asdkit.data.batches import Mixed
from asdkit.losses.aam import AamSoftmax
from asdkit.losses.adacos import AdaCos
from asdkit.losses.centre import CentreLoss
from asdkit.losses.cross_entropy import CrossEntropy
from asdkit.losses.dlcl import Dlcl
from asdkit.losses.objective import Objective
from asdkit.losses.terms import median
from asdkit.models.classifier import Classifier

LOSSES = [
    lambda: AamSoftmax(4, 3, 5.0, 0.2, 2), lambda: AdaCos(4, 3, 2), lambda: CrossEntropy(4, 3),
    lambda: CentreLoss(4, 3, 0.5),
]  # fmt: skip


def mixture(size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    share = torch.rand(size, generator=generator)
    share[0] = 1.0  # nothing was mixed into the first
    return Mixed(torch.randint(3, (size,), generator=generator), torch.arange(size) % 3 > 0, share)


@pytest.mark.parametrize("make", LOSSES)
def test_a_clip_of_weight_two_is_two_clips(make):
    torch.manual_seed(0)
    one, other = make().double(), make().double()
    other.load_state_dict(one.state_dict())
    x, labels = torch.randn(3, 4, dtype=torch.float64), torch.tensor([0, 2, 1])
    weights = torch.tensor([2.0, 1.0, 3.0], dtype=torch.float64)
    rows = torch.tensor([0, 0, 1, 2, 2, 2])
    for _ in range(2):  # the second time with the scale and the centres that the first has moved
        torch.testing.assert_close(one(x, labels, weights), other(x[rows], labels[rows]))
    torch.testing.assert_close(one.state_dict(), other.state_dict())


def test_dlcl_weighs_its_clips():
    torch.manual_seed(0)
    loss, x = Dlcl(4, 3, 8, 0.3).double(), torch.randn(3, 4, dtype=torch.float64)
    loss.remember(torch.randn(5, 4, dtype=torch.float64))
    weights = torch.tensor([2.0, 1.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close(loss(x, weights), loss(x[[0, 0, 1, 2, 2, 2]]))


def test_medians_with_weights():
    values = torch.tensor([3.0, 1.0, 4.0, 2.0])
    for weights, expected in (([1, 1, 1, 1], 2), ([1, 3, 1, 1], 1), ([0.1, 0.1, 2, 0.1], 4), ([5, 1, 1, 1], 3)):
        assert median(values, torch.tensor(weights, dtype=torch.float32)) == expected
    assert median(values, None) == median(values, torch.ones(4)) == 2


def test_cross_entropy_is_that_of_soft_classes():
    torch.manual_seed(0)
    total = Objective(LossConfig(normalise=False, cross_entropy=True), 4, 3)
    x, labels, mixed = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]), mixture(6)
    soft = F.one_hot(labels, 3) * mixed.share[:, None] + F.one_hot(mixed.labels, 3) * (1 - mixed.share[:, None])
    expected = F.cross_entropy(total.cross_entropy.classes(x), soft)
    torch.testing.assert_close(total(x, labels, torch.ones(6, dtype=torch.bool), mixed)["loss"], expected)


def test_a_mixture_by_hand():
    s, m, theta, share = 4.0, 0.3, 0.5, 0.3
    total = Objective(LossConfig(normalise=False, aam=AamConfig(scale=s, margin=m)), 2, 2)
    with torch.no_grad():
        total.aam.weight.copy_(torch.eye(2))
    mixed = Mixed(torch.tensor([1]), torch.tensor([True]), torch.tensor([share]))
    x = torch.tensor([[math.cos(theta), math.sin(theta)]])

    def of_class(own, other):
        true = math.exp(s * math.cos(own + m))
        return -math.log(true / (true + math.exp(s * math.cos(other))))

    expected = share * of_class(theta, math.pi / 2 - theta) + (1 - share) * of_class(math.pi / 2 - theta, theta)
    found = total(x, torch.tensor([0]), torch.tensor([True]), mixed)["loss"]
    assert found.item() == pytest.approx(expected, rel=1e-5)


KINDS = [("aam", {}), ("adacos", {"adacos": AdaCosConfig(centres=2)}), ("cross_entropy", {"cross_entropy": True})]


@pytest.mark.parametrize(("kind", "said"), KINDS)
@pytest.mark.parametrize("dlcl", [False, True])
def test_a_share_of_one_changes_nothing(kind, said, dlcl):
    config = LossConfig(centre=CentreConfig(weight=0.1), dlcl=DlclConfig(codes=3, memory=8) if dlcl else None, **said)
    found = []
    for mixed in (None, mixture(6)._replace(share=torch.ones(6))):
        torch.manual_seed(0)
        total = Objective(config, 4, 3)
        x = torch.randn(6, 4, requires_grad=True)
        losses = total(x, torch.tensor([0, 1, 2, 0, 1, 2]), torch.arange(6) % 2 > 0, mixed)
        losses["loss"].backward()
        found.append({**losses, "x": x.grad, **total.state_dict()})
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize(("kind", "said"), KINDS)
def test_unattributed_shares_go_to_dlcl(kind, said):
    torch.manual_seed(0)
    total = Objective(LossConfig(normalise=False, dlcl=DlclConfig(codes=3, memory=8, weight=0.7), **said), 4, 3)
    x, labels, attributed = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1]), torch.tensor([1, 1, 0, 0, 1]).bool()
    share = torch.tensor([1.0, 0.75, 0.5, 0.25, 0.5])
    mixed = Mixed(torch.tensor([2, 2, 0, 1, 0]), torch.tensor([0, 0, 1, 0, 1]).bool(), share)
    known = [(0, 0, 1.0), (1, 1, 0.75), (4, 1, 0.5), (2, 0, 0.5), (4, 0, 0.5)]  # clip, class, weight
    unknown = [(2, 0.5), (3, 0.25), (1, 0.25), (3, 0.75)]
    total.dlcl.remember(torch.randn(4, 4))
    rows, classes, weights = (torch.tensor(part) for part in zip(*known, strict=True))
    loss = total.get_submodule(kind).eval()
    expected = loss(x[rows], classes, weights)
    rows, weights = (torch.tensor(part) for part in zip(*unknown, strict=True))
    dlcl = total.dlcl(x[rows], weights)
    found = total(x, labels, attributed, mixed)
    torch.testing.assert_close(found["loss"], expected + 0.7 * dlcl)
    bank = F.normalize(x[[0, 4]], dim=1)  # all of these is attributed
    torch.testing.assert_close(total.dlcl.memory()[-2:], bank)


def test_the_network_tells_its_objective_what_was_mixed(monkeypatch):
    given = []
    monkeypatch.setattr(Objective, "forward", lambda self, x, *known: given.append((x, *known)) or {"loss": x.sum()})
    system, wav, mixed = Classifier(config(), CLASSES), batch(1), mixture(4)
    feats = system.frontend(wav.wavs)
    for what in (None, mixed):
        wav.mixed = what
        system.losses(feats, wav)
    (_, labels, attributed, nothing, _), (_, _, _, told, _) = given
    assert nothing is None
    assert torch.equal(labels, wav.labels) and torch.equal(attributed, wav.attributed)
    assert all(torch.equal(a, b) for a, b in zip(told, mixed, strict=True))


def test_mixtures_without_any_class_train_nothing_of_classes():
    total = Objective(LossConfig(dlcl=DlclConfig(codes=3, memory=8)), 4, 3)
    mixed, none = mixture(4), torch.zeros(4, dtype=torch.bool)
    found = total(torch.randn(4, 4), torch.tensor([0, 1, 2, 0]), none, mixed._replace(attributed=none))
    assert float(found["aam"]) == 0 and float(found["dlcl"]) >= 0
    found["loss"].backward()
