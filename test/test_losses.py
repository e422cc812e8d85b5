import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from asdkit.config import AamConfig, AdaCosConfig, CentreConfig, DlclConfig, LossConfig
from asdkit.losses.aam import AamSoftmax
from asdkit.losses.adacos import AdaCos
from asdkit.losses.centre import CentreLoss
from asdkit.losses.cross_entropy import CrossEntropy
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


def test_of_several_centres_the_nearest_counts():
    torch.manual_seed(0)
    several, x, labels = AamSoftmax(6, 4, 8.0, 0.3, centres=3), torch.randn(10, 6), torch.randint(4, (10,))
    w = several.weight.detach().numpy().astype(np.float64)
    w, e = w / np.linalg.norm(w, axis=1, keepdims=True), x.numpy() / np.linalg.norm(x.numpy(), axis=1, keepdims=True)
    cosine = (e @ w.T).reshape(10, 4, 3).max(axis=2)
    rows = np.arange(10)
    assert (cosine[rows, labels] > np.cos(np.pi - 0.3)).all()
    cosine[rows, labels] = np.cos(np.arccos(cosine[rows, labels]) + 0.3)
    expected = -np.log(np.exp(8 * cosine[rows, labels]) / np.exp(8 * cosine).sum(axis=1)).mean()
    assert several(x, labels).item() == pytest.approx(expected, rel=1e-5)


def test_one_centre_is_arcface_to_the_last_digit():
    torch.manual_seed(0)
    plain, x, labels = AamSoftmax(6, 4, 8.0, 0.3), torch.randn(10, 6, requires_grad=True), torch.randint(4, (10,))
    twice = AamSoftmax(6, 4, 8.0, 0.3, centres=2)
    with torch.no_grad():
        twice.weight.copy_(plain.weight.repeat_interleave(2, dim=0))
    one = AamSoftmax(6, 4, 8.0, 0.3, centres=1)
    one.load_state_dict(plain.state_dict())
    expected = torch.autograd.grad(plain(x, labels), x)[0]
    for loss in (one, twice):  # two centres in one place are one
        assert torch.equal(loss(x, labels), plain(x, labels))
        torch.testing.assert_close(torch.autograd.grad(loss(x, labels), x)[0], expected)


def adacos_in_numpy(w, x, labels, centres, scale):
    """The scale after a batch and the loss, written out."""
    w, x = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (w, x))
    cosine = (x @ w.T).reshape(len(x), -1, centres)
    wrong = [np.exp(scale * np.delete(cosine[i], label, axis=0)).sum() for i, label in enumerate(labels)]
    angles = sorted(np.arccos(cosine[i, label].max()) for i, label in enumerate(labels))
    median = angles[(len(angles) - 1) // 2]
    scale = np.log(np.mean(wrong)) / np.cos(min(np.pi / 4, median))
    e = np.exp(scale * cosine)
    return scale, -np.mean([np.log(e[i, label].sum() / e[i].sum()) for i, label in enumerate(labels)])


@pytest.mark.parametrize("centres", [1, 4])
def test_adacos_follows_its_batches(centres):
    torch.manual_seed(0)
    loss = AdaCos(6, 5, centres).double()
    scale = math.sqrt(2) * math.log(5 * centres - 1)
    assert float(loss.scale) == pytest.approx(scale, rel=1e-6)
    for _ in range(3):
        x, labels = torch.randn(7, 6, dtype=torch.float64), torch.randint(5, (7,))
        scale, expected = adacos_in_numpy(loss.weight.detach().numpy(), x.numpy(), labels.numpy(), centres, scale)
        assert loss(x, labels).item() == pytest.approx(expected, rel=1e-6)
        assert float(loss.scale) == pytest.approx(scale, rel=1e-6)
    loss.eval()
    loss(x, labels)
    assert float(loss.scale) == pytest.approx(scale, rel=1e-6)  # what is only looked at moves nothing


def test_adacos_on_a_worked_example():
    loss = AdaCos(2, 3).double()
    with torch.no_grad():
        loss.weight.copy_(unit(0, math.pi / 2, math.pi))
    loss.scale.fill_(1.0)
    loss(unit(0.25), torch.tensor([0]))  # wrong classes at pi/2 - 0.25 and pi - 0.25, the true one at 0.25
    assert float(loss.scale) == pytest.approx(
        math.log(math.exp(math.sin(0.25)) + math.exp(-math.cos(0.25))) / math.cos(0.25), rel=1e-12
    )


def test_adacos_refuses_centres_whose_scale_is_zero():
    with pytest.raises(ValueError, match="adacos: 2 classes have 2 centres, 3 are needed: raise centres"):
        AdaCos(4, 2)
    assert float(AdaCos(4, 2, centres=2).scale) > 0


def test_cross_entropy_is_that_of_a_linear_layer():
    torch.manual_seed(0)
    loss, x, labels = CrossEntropy(6, 4), torch.randn(5, 6), torch.randint(4, (5,))
    logits = x.numpy() @ loss.classes.weight.detach().numpy().T + loss.classes.bias.detach().numpy()
    expected = np.mean([np.log(np.exp(row).sum()) - row[label] for row, label in zip(logits, labels, strict=True)])
    assert loss(x, labels).item() == pytest.approx(expected, rel=1e-5)


def test_centres_move_towards_their_clips():
    loss = CentreLoss(2, 3, rate=0.5)
    x = torch.tensor([[2.0, 0.0], [4.0, 0.0], [0.0, 6.0]], requires_grad=True)
    value = loss(x, torch.tensor([0, 0, 2]))
    assert value.item() == pytest.approx((4 + 16 + 36) / 6)
    # by half of sum(x - centre) / (1 + n): (2 + 4) / 3, nothing, 6 / 2
    assert loss.centres.tolist() == [[1.0, 0.0], [0.0, 0.0], [0.0, 1.5]]
    value.backward()
    torch.testing.assert_close(x.grad, x.detach() / 3)  # of where the centres were
    loss.eval()
    assert loss(x, torch.tensor([0, 0, 2])).item() == pytest.approx((1 + 9 + 4.5**2) / 6)
    assert loss.centres[0].tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    "make", [lambda: AdaCos(4, 3, 2), lambda: AamSoftmax(4, 3, 5.0, 0.2, 2), lambda: CrossEntropy(4, 3)]
)
def test_gradients_of_losses_of_classes(make):
    torch.manual_seed(0)
    loss = make().double().eval()
    x, labels = torch.randn(5, 4, dtype=torch.float64, requires_grad=True), torch.tensor([0, 1, 2, 1, 0])
    names, weights = zip(*loss.named_parameters(), strict=True)
    assert torch.autograd.gradcheck(
        lambda x, *w: torch.func.functional_call(loss, dict(zip(names, w, strict=True)), (x, labels)), (x, *weights)
    )


@pytest.mark.parametrize(
    ("kind", "said"),
    [("aam", {}), ("adacos", {"adacos": AdaCosConfig(centres=2)}), ("cross_entropy", {"cross_entropy": True})],
)
def test_every_loss_of_classes_goes_with_dlcl_and_centre_loss(kind, said):
    torch.manual_seed(0)
    config = LossConfig(normalise=False, centre=CentreConfig(weight=0.25), dlcl=DlclConfig(codes=3, memory=8), **said)
    total = Objective(config, dim=4, classes=3)
    x, labels = torch.randn(6, 4, requires_grad=True), torch.tensor([0, 1, 2, 0, 1, 2])
    attributed = torch.tensor([1, 1, 0, 0, 1, 0], dtype=torch.bool)
    found = total(x, labels, attributed)
    assert set(found) == {"loss", kind, "centre", "dlcl"}
    torch.testing.assert_close(found["loss"].detach(), found[kind] + 0.25 * found["centre"] + found["dlcl"])
    assert found["centre"].item() == pytest.approx(x[attributed].detach().square().sum().item() / 6)
    total(x, labels, torch.zeros(6, dtype=torch.bool))["loss"].backward()  # a batch without classes
    assert all(torch.isfinite(p.grad).all() for p in total.parameters())


def test_one_loss_of_classes_is_chosen():
    assert LossConfig(adacos=AdaCosConfig()).aam is None
    with pytest.raises(ValueError, match="one loss of classes is needed, got adacos and cross_entropy"):
        LossConfig(adacos=AdaCosConfig(), cross_entropy=True)
    with pytest.raises(ValueError, match="one loss of classes is needed, got aam and adacos"):
        LossConfig(aam=AamConfig(), adacos=AdaCosConfig())
    with pytest.raises(ValueError, match="one loss of classes is needed, got none"):
        LossConfig(aam=None)


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
