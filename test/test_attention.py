"""Attention with a gated bias against the same written plainly, whose gradients autograd finds."""

import pytest
import torch
from beats_networks import golden_encoder, golden_tensors

from asdkit.layers.attention import GatedAttention


def plain_attention(q, k, v, gate, bias):
    """What GatedAttention computes, left to autograd."""
    return (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5 + gate * bias).softmax(-1) @ v


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("bias_shape", [(4, 6, 6), (3, 4, 6, 6)])
def test_gated_attention_has_the_gradients_of_autograd(gated, bias_shape):
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, 6, 4, 5, dtype=torch.double).transpose(1, 2).requires_grad_() for _ in range(3))
    gate = torch.randn(3, 4, 6, 1, dtype=torch.double, requires_grad=gated)
    bias = torch.randn(bias_shape, dtype=torch.double, requires_grad=True)
    expected = plain_attention(q, k, v, gate, bias)
    got = GatedAttention.apply(q, k, v, gate, bias)
    torch.testing.assert_close(got, expected)
    inputs = (q, k, v, bias, gate)[: 5 if gated else 4]
    change = torch.randn_like(got)
    for mine, other in zip(*(torch.autograd.grad(y, inputs, change) for y in (got, expected)), strict=True):
        torch.testing.assert_close(mine, other)


def test_full_fine_tuning_reaches_the_position_table(monkeypatch):
    encoder, feats = golden_encoder().double(), torch.from_numpy(golden_tensors()["fbank"]).double()
    grads = []
    for by_hand in (True, False):
        if not by_hand:
            monkeypatch.setattr(GatedAttention, "apply", plain_attention)
        encoder.zero_grad()
        encoder(feats).square().sum().backward()
        grads.append({key: p.grad.clone() for key, p in encoder.named_parameters() if p.grad is not None})
    assert any(key.endswith("relative_attention_bias.weight") for key in grads[0])
    assert any(key.endswith("grep_a") for key in grads[0])
    assert grads[0].keys() == grads[1].keys()
    for key, grad in grads[0].items():
        torch.testing.assert_close(grad, grads[1][key])
