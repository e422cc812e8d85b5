import math

import pytest
import torch
import torch.nn.functional as F

from asdkit.config import AamConfig, DlclConfig, LossConfig
from asdkit.losses.aam import AamSoftmax
from asdkit.losses.dlcl import Dlcl
from asdkit.losses.objective import Objective


def unit(*angles):
    return torch.tensor([[math.cos(a), math.sin(a)] for a in angles], dtype=torch.float64)


def test_aam_closed_form_on_two_classes():
    s, m, theta = 4.0, 0.3, 0.5
    loss = AamSoftmax(2, 2, s, m).double()
    with torch.no_grad():
        loss.weight.copy_(3 * unit(0, math.pi / 2))  # class vectors at 0 and 90 degrees, not unit length
    x = 7 * unit(theta)
    expected = -math.log(
        math.exp(s * math.cos(theta + m))
        / (math.exp(s * math.cos(theta + m)) + math.exp(s * math.cos(math.pi / 2 - theta)))
    )
    assert loss(x, torch.tensor([0])).item() == pytest.approx(expected, rel=1e-12)


def test_aam_without_margin_is_cross_entropy_of_cosines():
    torch.manual_seed(0)
    loss, x, labels = AamSoftmax(8, 5, 10.0, 0.0), torch.randn(6, 8), torch.randint(5, (6,))
    logits = 10 * F.normalize(x) @ F.normalize(loss.weight).T
    torch.testing.assert_close(loss(x, labels), F.cross_entropy(logits, labels))


def test_aam_falls_with_the_angle_everywhere():
    loss = AamSoftmax(2, 2, 30.0, 0.4).double()
    with torch.no_grad():
        loss.weight.copy_(unit(0, math.pi))
    values = [loss(unit(angle), torch.tensor([0])).item() for angle in torch.linspace(0, math.pi, 200)]
    assert all(b >= a for a, b in zip(values, values[1:], strict=False))


def test_aam_gradients():
    torch.manual_seed(0)
    loss = AamSoftmax(4, 3, 5.0, 0.2).double()
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 1, 0])
    assert torch.autograd.gradcheck(
        lambda x, w: torch.func.functional_call(loss, {"weight": w}, (x, labels)), (x, loss.weight)
    )


def test_eq_9_by_hand_on_three_samples():
    tau = 0.5
    loss = Dlcl(dim=2, codes=2, memory=4, temperature=tau).double()
    with torch.no_grad():
        loss.codes.copy_(unit(0, math.pi / 2) * 2)  # compared at unit length
    loss.remember(3 * unit(math.pi, -math.pi / 2))
    angles = [0.2, 1.0, -0.4]  # closest codes: 0, 1, 0 degrees 0 / 90 / 0
    closest = [0.0, math.pi / 2, 0.0]
    expected = 0.0
    for angle, code in zip(angles, closest, strict=True):
        positive = math.exp(math.cos(angle - code) / tau)
        negatives = math.exp(math.cos(angle - math.pi) / tau) + math.exp(math.cos(angle + math.pi / 2) / tau)
        expected += -math.log(positive / (positive + negatives)) / 3
    assert loss(5 * unit(*angles)).item() == pytest.approx(expected, rel=1e-12)


def test_dlcl_gradients():
    torch.manual_seed(0)
    loss = Dlcl(4, 3, 8, 0.3).double()
    loss.remember(torch.randn(5, 4, dtype=torch.float64))
    x = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, codes: torch.func.functional_call(loss, {"codes": codes}, (x,)), (x, loss.codes)
    )


def test_memory_is_first_in_first_out():
    loss = Dlcl(2, 2, 3, 0.1).double()
    assert len(loss.memory()) == 0
    loss.remember(unit(0.1, 0.2))
    assert len(loss.memory()) == 2
    loss.remember(unit(0.3, 0.4))  # 0.1 leaves
    kept = sorted(round(math.atan2(y, x), 6) for x, y in loss.memory().tolist())
    assert kept == [0.2, 0.3, 0.4]
    loss.remember(unit(0.5, 0.6, 0.7, 0.8, 0.9))  # more than fits: the latest stay
    kept = sorted(round(math.atan2(y, x), 6) for x, y in loss.memory().tolist())
    assert kept == [0.7, 0.8, 0.9]


def test_memory_carries_no_gradient():
    loss = Dlcl(2, 2, 4, 0.1)
    stored = torch.randn(2, 2, requires_grad=True)
    loss.remember(stored)
    loss(torch.randn(3, 2, requires_grad=True)).backward()
    assert stored.grad is None


def objective(dlcl=True, normalise=False):
    torch.manual_seed(0)
    config = LossConfig(
        normalise=normalise,
        aam=AamConfig(scale=5.0, margin=0.1),
        dlcl=DlclConfig(weight=0.7, memory=8, codes=3) if dlcl else None,
    )
    return Objective(config, dim=4, classes=3)


def test_eq_10_sums_the_two_losses():
    total, x = objective(), torch.randn(6, 4)
    labels, attributed = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([1, 1, 0, 0, 1, 0], dtype=torch.bool)
    total.dlcl.remember(torch.randn(4, 4))
    aam = total.aam(x[attributed], labels[attributed])
    dlcl = total.dlcl(x[~attributed])
    torch.testing.assert_close(total(x, labels, attributed)["loss"], aam + 0.7 * dlcl)
    assert int(total.dlcl.seen) == 4 + 3  # the attributed clips went to the memory afterwards


def test_losses_are_in_full_precision_under_autocast():
    torch.manual_seed(0)
    x, labels, attributed = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([True] * 3 + [False] * 3)
    plain, cast = objective(), objective()
    cast.load_state_dict(plain.state_dict())
    with torch.autocast("cpu", torch.bfloat16):
        found = cast(x, labels, attributed)
    for name, value in plain(x, labels, attributed).items():
        assert torch.equal(found[name], value), name


def test_without_dlcl_every_clip_is_classified():
    total, x, labels = objective(dlcl=False), torch.randn(4, 4), torch.tensor([0, 1, 2, 2])
    attributed = torch.tensor([True, False, False, True])
    torch.testing.assert_close(total(x, labels, attributed)["loss"], total.aam(x, labels))


def test_losses_see_normalised_embeddings():
    total, x, labels = objective(dlcl=False, normalise=True), 100 + torch.randn(4, 4), torch.tensor([0, 1, 2, 2])
    normalised = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()
    found = total(x, labels, torch.ones(4, dtype=torch.bool))["loss"]
    torch.testing.assert_close(found, total.aam(normalised, labels))


@pytest.mark.parametrize("value", [True, False])
def test_batches_of_one_kind_work(value):
    total, x = objective(), torch.randn(4, 4, requires_grad=True)
    losses = total(x, torch.tensor([0, 1, 2, 0]), torch.full((4,), value))
    losses["loss"].backward()
    assert torch.isfinite(losses["loss"])
    assert all(torch.isfinite(p.grad).all() for p in total.parameters())
    assert losses["dlcl" if value else "aam"] == 0
