"""CNN10 and MobileNetV2: sizes, front ends, batch normalisation, training from scratch."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from corpora import ROOT, write_base
from stages import Stages
from test_distributed import killed

from asdkit.config import Cnn10Arch, Cnn10Encoder, MobileNetArch, MobileNetEncoder, load_config
from asdkit.encoders import build_encoder
from asdkit.encoders.cnn import Cnn10
from asdkit.encoders.mobilenet import MobileNet
from asdkit.layers.batch_norm import BatchNorm
from asdkit.models.checkpoint import read_checkpoint


def count(module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_cnn10_is_the_published_size():
    """Of the published 5,219,279 weights, less those of its two linear layers."""
    encoder = Cnn10(Cnn10Arch())
    assert count(encoder) == 5219279 - (512 * 512 + 512) - (512 * 527 + 527)
    feats = encoder.frontend(torch.randn(1, 16000 * 10))
    assert feats.shape == (1, 1001, 64) and (encoder.dim, encoder.bands) == (512, 4)
    with torch.no_grad():
        assert encoder.eval()(feats).shape == (1, 62 * 4, 512)


def test_mobilenet_is_the_published_size():
    """Of the published 3,504,872 weights, less the classifier's and those of two of the three input channels."""
    assert count(MobileNet(MobileNetArch(width=1.0))) == 3504872 - 1281000 - 2 * 9 * 32
    encoder = build_encoder(MobileNetEncoder())
    widths = [part.layers[-1].weight.numel() for part in encoder.parts[1:-1]]
    assert widths == [8, 16, 16, *3 * [16], *4 * [32], *3 * [48], *3 * [80], 160]
    feats = encoder.frontend(torch.randn(1, 32000))
    assert feats.shape == (1, 63, 128) and encoder.dim == 1280
    with torch.no_grad():
        assert encoder.eval()(feats).shape == (1, 2 * 4, 1280)


def test_tokens_of_cnn10_by_hand():
    """A second way: convolutions and averages of plain torch, one band after the other."""
    torch.manual_seed(0)
    encoder = Cnn10(Cnn10Arch(channels=2)).eval()
    feats = torch.randn(1, 37, 64)
    x = feats[:, None] / (1 + 1e-5) ** 0.5
    for part in encoder.parts:
        for convolution in (part[0], part[3]):
            x = torch.nn.functional.conv2d(x, convolution.weight, padding=1)
            x = (x / (1 + 1e-5) ** 0.5).clamp(min=0)
        x = x[:, :, : x.shape[2] // 2 * 2]
        x = (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4
    with torch.no_grad():
        tokens = encoder(feats)[0]
    assert tokens.shape == (2 * 4, 16)
    for time in range(2):
        for band in range(4):
            torch.testing.assert_close(tokens[4 * time + band], x[0, :, time, band], rtol=1e-4, atol=1e-5)


def test_too_short():
    encoder = build_encoder(Cnn10Encoder())
    with pytest.raises(ValueError, match=r"clip of 15 frames, at least 16 \(0.15 s\) are needed"):
        encoder(torch.zeros(1, 15, 64))


def test_a_frozen_network_keeps_its_statistics():
    norm, other = BatchNorm(3), torch.nn.BatchNorm2d(3)
    x = 3 + torch.randn(4, 3, 5, 6)
    torch.testing.assert_close(norm(x), other(x))
    torch.testing.assert_close(norm.running_var, other.running_var)
    before = norm.running_mean.clone()
    norm.requires_grad_(False)
    torch.testing.assert_close(norm(x), other.eval()(x))
    assert torch.equal(norm.running_mean, before)


class Pair:
    """Stands for torch.distributed between two threads."""

    def __init__(self):
        self.barrier, self.given, self.own = threading.Barrier(2), {}, threading.local()

    def is_available(self):
        return True

    is_initialized = is_available

    def get_world_size(self):
        return 2

    def all_reduce(self, x):
        self.given[self.own.rank] = x.clone()
        self.barrier.wait(30)
        total = self.given[0] + self.given[1]
        self.barrier.wait(30)
        x.copy_(total)


def test_two_processes_normalise_what_one_does(monkeypatch):
    """Values, running statistics, and the gradient of the mean over processes of R times their own rows' loss."""
    torch.manual_seed(0)
    one = BatchNorm(3)
    modules = [copy.deepcopy(one), copy.deepcopy(one)]
    x, wanted = (2 + torch.randn(5, 3, 4)).requires_grad_(), torch.randn(5, 3, 4)
    shares = [x.detach()[rank::2].requires_grad_() for rank in range(2)]
    whole = one(x)
    (whole * wanted).square().sum().backward()
    pair = Pair()
    monkeypatch.setattr("asdkit.layers.batch_norm.dist", pair)

    def run(rank):
        pair.own.rank = rank
        found = modules[rank](shares[rank])
        (2 * (found * wanted[rank::2]).square().sum()).backward()
        return found

    with ThreadPoolExecutor(2) as pool:
        parts = list(pool.map(run, range(2)))
    for rank in range(2):
        torch.testing.assert_close(parts[rank], whole[rank::2])
        torch.testing.assert_close(shares[rank].grad / 2, x.grad[rank::2], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(modules[rank].running_mean, one.running_mean)
        torch.testing.assert_close(modules[rank].running_var, one.running_var)
    for name in ("weight", "bias"):
        grads = [module.get_parameter(name).grad for module in modules]
        torch.testing.assert_close((grads[0] + grads[1]) / 2, one.get_parameter(name).grad)


NETWORK = """encoder: {name: NAME, train: true, arch: {ARCH}}
data: {chunk_seconds: 0.5}
model: {pooling: mean, embedding_dim: 8}
train: {steps: 6, batch_size: 4, warmup_steps: 1, checkpoint_every: 2}
"""


@pytest.mark.parametrize(("name", "arch"), [("cnn10", "channels: 4"), ("mobilenet", "width: 0.1")])
def test_trained_from_scratch_and_resumed(tmp_path, name, arch):
    text = NETWORK.replace("NAME", name).replace("ARCH", arch)
    whole, again = Stages(tmp_path, text, "whole"), Stages(tmp_path, text, "again")
    write_base(whole.corpus, train=4, per_test=2)
    whole.run(1, 6)
    again.run(2, 2)
    killed(lambda: again.run(3, 3), step=3)
    again.run(3, 3)
    one, other = (read_checkpoint(stages.exp / "seed0/checkpoint/final.pt")["model"] for stages in (whole, again))
    assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())
    assert np.isfinite(whole.auc("press"))


@pytest.mark.parametrize("name", ["cnn10", "mobilenet"])
def test_every_recipe_has_it(name):
    recipes = sorted(path.parent for path in ROOT.glob("egs/*/conf/dataset.yaml"))
    for folder in recipes:
        if folder.parts[-2] == "bearing":  # not heard at 16 kHz
            continue
        config = load_config(folder / f"baseline_{name}.yaml")
        assert (config.encoder.name, config.encoder.train) == (name, True)
        small = name == "cnn10" and folder.parts[-2] in ("mini", "custom")
        assert config.encoder.arch == (Cnn10Arch(channels=16) if small else None)
        ids = folder.parts[-2] in ("dcase2020", "mimii")
        assert config.data.label == ("machine+section" if ids else "machine+section+attr")
        assert config.score["knn"].per_section == ids and config.score["knn"].per_domain != ids
