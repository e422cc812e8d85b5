"""What a step makes anew in the backward pass gives the same bits, and is not kept meanwhile."""

import weakref
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from small_encoders import SMALL
from torch import nn

from asdkit.adapt.lora import add_lora
from asdkit.config import BeatsEncoder, LoraConfig
from asdkit.encoders import build_encoder
from asdkit.layers import beats_layers
from asdkit.layers.recompute import made_anew


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("full", [False, True])
def test_gradients_are_the_same_bits(monkeypatch, full, bfloat16):
    def gradients():
        torch.manual_seed(0)
        encoder = build_encoder(BeatsEncoder(**SMALL["beats"])).train()
        encoder.requires_grad_(full)
        add_lora(encoder, LoraConfig(branches=2, rank=4))
        for name, p in encoder.named_parameters():
            if "lora_b" in name:
                p.data.normal_(std=0.1)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = encoder(torch.randn(3, 48, 128)).float().square().mean()
        loss.backward()
        return {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}

    found = gradients()
    monkeypatch.setattr(beats_layers, "made_anew", lambda *_: nullcontext())
    expected = gradients()
    assert found.keys() == expected.keys() and any("fc2" in name for name in found)
    assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("anew", [True, False])
def test_what_is_made_anew_is_not_kept(anew):
    first, second = nn.Linear(4, 6), nn.Linear(6, 2)
    before = first(torch.randn(3, 5, 4))
    active = F.gelu(before)
    kept = weakref.ref(active.untyped_storage())
    with made_anew(active, F.gelu, before) if anew else nullcontext():
        y = second(active.flatten(0, 1))
    del active
    assert (kept() is None) == anew
    y.sum().backward()
    with torch.no_grad():
        expected = F.gelu(before).flatten(0, 1).sum(0).expand(2, -1)
    torch.testing.assert_close(second.weight.grad, expected)


def test_it_is_left_alone_without_gradients_and_where_nothing_is_made():
    x = torch.ones(3)
    assert isinstance(made_anew(x, lambda x: x, x), nullcontext)
    with torch.no_grad():
        assert isinstance(made_anew(x + 1, lambda x: x + 1, x), nullcontext)
