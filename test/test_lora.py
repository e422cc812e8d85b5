import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from asdkit.adapt.lora import LoraLinear, add_lora, merge_lora
from asdkit.config import BeatsArch, BeatsEncoder, LoraConfig
from asdkit.encoders import build_encoder
from asdkit.layers.block import Block


def tiny_encoder():
    torch.manual_seed(0)
    arch = BeatsArch(
        encoder_layers=2, encoder_embed_dim=24, encoder_ffn_embed_dim=48, encoder_attention_heads=4, embed_dim=16,
        conv_pos=16, conv_pos_groups=4,
    )  # fmt: skip
    return build_encoder(BeatsEncoder(arch=arch)).eval()


def random_lora(branches, fully_connected, dtype=torch.float32):
    torch.manual_seed(1)
    layer = LoraLinear(nn.Linear(7, 5).to(dtype), branches, rank=3, fully_connected=fully_connected)
    nn.init.normal_(layer.lora_b)
    return layer


@pytest.mark.parametrize("branches", [1, 2, 5])
def test_fully_connected_is_the_double_sum_of_eq_3(branches):
    layer = random_lora(branches, True)
    x = torch.randn(4, 6, 7)
    expected = x @ layer.stored.T + layer.bias
    for i in range(branches):
        for j in range(branches):
            expected = expected + x @ (layer.lora_b[i] @ layer.lora_a[j]).T
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("branches", [1, 3])
def test_unconnected_branches_are_the_single_sum(branches):
    layer = random_lora(branches, False)
    x = torch.randn(4, 7)
    expected = (
        x @ layer.stored.T + layer.bias + sum(x @ (b @ a).T for a, b in zip(layer.lora_a, layer.lora_b, strict=True))
    )
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)


def test_one_branch_is_the_same_connected_or_not():
    x = torch.randn(4, 7)
    torch.testing.assert_close(random_lora(1, True)(x), random_lora(1, False)(x), rtol=0, atol=0)


def test_starts_as_the_original_layer():
    linear = nn.Linear(7, 5)
    x = torch.randn(4, 7)
    torch.testing.assert_close(LoraLinear(linear, 4, 2, True)(x), linear(x), rtol=0, atol=0)


@pytest.mark.parametrize("fully_connected", [True, False])
def test_gradients_agree_with_finite_differences(fully_connected):
    layer = random_lora(3, fully_connected, torch.float64)
    x = torch.randn(4, 7, dtype=torch.float64)

    def loss(a, b):
        return torch.func.functional_call(layer, {"lora_a": a, "lora_b": b}, (x,)).square().sum()

    assert torch.autograd.gradcheck(loss, (layer.lora_a, layer.lora_b))


@pytest.mark.parametrize("fully_connected", [True, False])
def test_merged_encoder_equals_unmerged(fully_connected):
    encoder = tiny_encoder()
    add_lora(encoder, LoraConfig(branches=4, rank=3, fully_connected=fully_connected))
    for name, parameter in encoder.named_parameters():
        if name.endswith("lora_b"):
            nn.init.normal_(parameter, std=0.2)
    feats = torch.randn(2, 64, 128)
    before = encoder(feats)
    plain = tiny_encoder()(feats)
    assert (before - plain).abs().max() > 0.1  # the branches do change the output
    merged = merge_lora(copy.deepcopy(encoder))
    assert not any(isinstance(m, LoraLinear) for m in merged.modules())
    assert merged.state_dict().keys() == tiny_encoder().state_dict().keys()
    torch.testing.assert_close(merged(feats), before, rtol=1e-5, atol=1e-5)


class FunctionalAttention(nn.Module):
    """Hands its weights to a function, as WavLM in transformers does, instead of calling its layers."""

    def __init__(self, dim=12):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x):
        x = x.transpose(0, 1)
        y, _ = F.multi_head_attention_forward(
            x, x, x, x.shape[-1], 3, torch.empty(0), torch.cat([self.q_proj.bias, self.k_proj.bias, self.v_proj.bias]),
            None, None, False, 0.0, self.out_proj.weight, self.out_proj.bias, use_separate_proj_weight=True,
            q_proj_weight=self.q_proj.weight, k_proj_weight=self.k_proj.weight, v_proj_weight=self.v_proj.weight,
        )  # fmt: skip
        return y.transpose(0, 1)


class FunctionalEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = FunctionalAttention()
        self.requires_grad_(False)

    def blocks(self):
        names = ("q_proj", "k_proj", "v_proj", "out_proj")
        return [Block(self, {name: (self.attention, name) for name in names}, {"mha": (self, "attention")})]


@pytest.mark.parametrize("fully_connected", [True, False])
def test_networks_that_hand_their_weights_to_a_function(fully_connected):
    torch.manual_seed(0)
    encoder = FunctionalEncoder()
    x = torch.randn(2, 5, 12)
    plain = encoder.attention(x)
    before = dict(encoder.state_dict())
    assert add_lora(encoder, LoraConfig(branches=3, rank=2, fully_connected=fully_connected)) == 4
    torch.testing.assert_close(encoder.attention(x), plain)
    branches = {n: p for n, p in encoder.named_parameters() if p.requires_grad}
    assert len(branches) == 8
    for parameter in branches.values():
        nn.init.normal_(parameter, std=0.3)
    changed = encoder.attention(x)
    changed.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for name, p in branches.items() if "k_proj" not in name)
    assert (changed - plain).abs().max() > 0.1
    state = encoder.state_dict()  # what was there before keeps name and value
    assert all(torch.equal(state[name], value) for name, value in before.items())
    assert state.keys() - before.keys() == branches.keys()
    layer = encoder.attention.q_proj
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))
    with torch.autocast("cpu", torch.bfloat16):  # what is merged is not rounded
        assert torch.equal(layer.weight, layer.merged().weight)
    again = FunctionalEncoder()
    add_lora(again, LoraConfig(branches=3, rank=2, fully_connected=fully_connected))
    again.load_state_dict(state)
    assert torch.equal(again.attention(x), changed)
    torch.testing.assert_close(merge_lora(encoder).attention(x), changed, rtol=1e-5, atol=1e-5)
    assert encoder.state_dict().keys() == before.keys()


@pytest.mark.parametrize("trained", [False, True])
def test_in_bfloat16_a_layer_acts_with_the_weights_it_has_now(trained):
    """Frozen ones are cast once, also where clips are embedded first, and again when a checkpoint is loaded."""
    torch.manual_seed(0)
    layer, x = LoraLinear(nn.Linear(12, 6).requires_grad_(trained), 2, 3, True), torch.randn(5, 12)

    def run():
        with torch.autocast("cpu", torch.bfloat16):
            return layer(x)

    for _ in range(2):
        with torch.inference_mode():
            embedded = run()
        y = run()
        y.float().sum().backward()
        expected = F.linear(x.bfloat16(), layer.stored.bfloat16(), layer.bias.bfloat16())
        assert torch.equal(y, expected) and torch.equal(embedded, expected)
        assert (layer.stored.grad is not None) == trained
        layer.load_state_dict({name: -2 * tensor for name, tensor in layer.state_dict().items()})
        layer.lora_b.data.zero_()


def test_null_targets_are_all_linear_layers():
    encoder = tiny_encoder()
    assert all(tuple(block.linears) == BeatsEncoder.LINEARS for block in encoder.blocks())
    assert LoraConfig().targets is None and add_lora(encoder, LoraConfig(rank=2)) == 2 * len(BeatsEncoder.LINEARS)


def test_number_of_parameters_is_the_closed_form():
    encoder = tiny_encoder()
    encoder.requires_grad_(False)
    replaced = add_lora(encoder, LoraConfig(branches=8, rank=4))
    trainable = sum(p.numel() for p in encoder.parameters() if p.requires_grad)
    dim, ffn, layers = 24, 48, 2
    per_layer = 4 * (dim + dim) + 2 * (dim + ffn)  # q, k, v, out; fc1, fc2
    assert replaced == 6 * layers
    assert trainable == layers * 8 * 4 * per_layer


def test_targets_choose_the_layers():
    encoder = tiny_encoder()
    assert add_lora(encoder, LoraConfig(branches=1, rank=2, targets=["q_proj", "v_proj"])) == 4
    with pytest.raises(ValueError, match="'nonsense'; it has q_proj, k_proj"):
        add_lora(tiny_encoder(), LoraConfig(targets=["nonsense"]))
