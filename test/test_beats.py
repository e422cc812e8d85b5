"""What the BEATs network does: adapters, batches, precision, sizes."""

import copy

import pytest
import torch
from beats_networks import TINY, golden_encoder, golden_tensors, relative, tiny
from torch import nn

from asdkit.adapt.group_adapter import add_group_adapter
from asdkit.config import BeatsEncoder, GroupAdapterConfig
from asdkit.encoders import build_encoder
from asdkit.encoders.base import Encoder
from asdkit.layers.beats_layers import PositionConv


@pytest.fixture
def encoder():
    return golden_encoder()


@pytest.fixture(scope="module")
def x2():
    return golden_tensors()


class Then(nn.Module):
    """A module, then an adapter: what a network would call itself."""

    def __init__(self, module: nn.Module, adapter: nn.Module) -> None:
        super().__init__()
        self.module, self.adapter = module, adapter

    def forward(self, *inputs):
        return self.adapter(self.module(*inputs))

    def __getattr__(self, name):
        return self._modules[name] if name in self._modules else getattr(self._modules["module"], name)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("position", ["mha", "ffn", "transformer"])
def test_adapters_act_as_if_the_network_called_them(x2, position, first):
    encoder = tiny(layer_norm_first=first).eval()
    feats = torch.from_numpy(x2["fbank"])
    plain = encoder.layers(feats)
    expected = copy.deepcopy(encoder)
    add_group_adapter(encoder, GroupAdapterConfig(groups=3, hidden=4, position=position))
    layers = expected.encoder.layers
    for i, block in enumerate(encoder.blocks()):
        adapter = block.module.adapters[position]
        if position == "mha":
            layers[i].self_attn = Then(layers[i].self_attn, adapter)  # before the residual sum
        elif position == "ffn":
            layers[i].fc2 = Then(layers[i].fc2, adapter)
        else:
            layers[i] = Then(layers[i], adapter)
    for got, wanted, without in zip(encoder.layers(feats), expected.layers(feats), plain, strict=True):
        assert torch.equal(got, wanted)
        assert relative(got, without) > 1e-3
    with torch.no_grad():  # in groups of clips
        assert torch.equal(encoder(feats), expected(feats))


def test_layers_are_what_passes_the_blocks(encoder, x2):
    feats = torch.from_numpy(x2["fbank"]).repeat(12, 1, 1)
    add_group_adapter(encoder, GroupAdapterConfig(groups=3, hidden=4, position="transformer"))
    for grad in (True, False):  # False: in groups of clips
        with torch.set_grad_enabled(grad):
            own, noted = encoder.layers(feats), Encoder.layers(encoder, feats)
        assert len(own) == 3 and all(torch.equal(a, b) for a, b in zip(own, noted, strict=True))
    assert [len(block.module._forward_hooks) for block in encoder.blocks()] == [1, 1, 1]


class Double(nn.Module):
    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x):
        return 2 * self.linear(x)


@pytest.mark.parametrize("name", ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"])
def test_linears_can_be_replaced(encoder, x2, name):
    feats = torch.from_numpy(x2["fbank"])
    before = encoder(feats)
    linears = encoder.blocks()[0].linears
    assert tuple(linears) == BeatsEncoder.LINEARS
    parent, attribute = linears[name]
    setattr(parent, attribute, Double(getattr(parent, attribute)))
    assert relative(encoder(feats), before) > 1e-3


def test_evaluation_is_deterministic(encoder, x2):
    feats = torch.from_numpy(x2["fbank"])
    assert torch.equal(encoder(feats), encoder(feats))


@pytest.mark.parametrize("rows", [1, 100, 10_000])
def test_batch_equals_single_clips(encoder, monkeypatch, rows):
    wav = torch.randn(5, 9000, generator=torch.Generator().manual_seed(3))
    feats = encoder.frontend(wav)
    with torch.no_grad():
        singles = torch.cat([encoder(feats[i : i + 1]) for i in range(5)])
        monkeypatch.setattr("asdkit.layers.beats_layers.ROWS", rows)
        assert relative(encoder(feats), singles) < 1e-5
        assert relative(encoder.layers(feats)[-1], singles) < 1e-5


def test_bfloat16_autocast(encoder, x2):
    feats = torch.from_numpy(x2["fbank"]).repeat(2, 1, 1)
    with torch.no_grad():
        expected = encoder(feats)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = encoder(feats).float()
    assert (got - expected).square().mean().sqrt() / expected.square().mean().sqrt() < 0.02


def test_random_weights_follow_the_seed():
    config = BeatsEncoder(arch=TINY)
    encoders = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        encoders.append(build_encoder(config).state_dict())
    assert all(torch.equal(encoders[0][key], encoders[1][key]) for key in encoders[0])
    assert not torch.equal(encoders[0]["patch_embedding.weight"], encoders[2]["patch_embedding.weight"])
    # DeepNet's scale: values and feed-forward start (8 L)^(-1/4) = 1/2 smaller than queries and keys.
    q, v = (encoders[0][f"encoder.layers.0.self_attn.{name}.weight"].std() for name in ("q_proj", "v_proj"))
    assert v / q == pytest.approx(0.5, rel=0.1)


def test_layerdrop(x2):
    feats = torch.from_numpy(x2["fbank"])
    encoder = tiny(encoder_layerdrop=1.0)
    start = encoder.encoder.prepare(encoder.project(encoder.patches(feats)))
    assert torch.equal(encoder.train()(feats), start)
    assert not torch.equal(encoder.eval()(feats), start)
    encoder = tiny(encoder_layerdrop=0.5).train()
    runs = []
    for seed in (0, 0, *range(1, 10)):
        torch.manual_seed(seed)
        runs.append(encoder(feats).detach())
    assert torch.equal(runs[0], runs[1])
    assert len({float(run.sum()) for run in runs}) == 4  # none, either or both of the two layers


@pytest.mark.parametrize("name", ["dropout", "attention_dropout", "activation_dropout", "dropout_input"])
def test_dropouts_act_in_training_only(x2, name):
    encoder = tiny(**{name: 0.5}, encoder_layerdrop=0.0)
    feats = torch.from_numpy(x2["fbank"])
    assert not torch.equal(encoder.train()(feats), encoder(feats))
    assert torch.equal(encoder.eval()(feats), encoder(feats))


def test_norm_before_the_layers(x2):
    encoder = tiny(layer_norm_first=True).eval()
    for layer in encoder.encoder.layers:
        for linear in (layer.self_attn.out_proj, layer.fc2):
            linear.weight.data.zero_()
    feats = torch.from_numpy(x2["fbank"])
    start = encoder.encoder.prepare(encoder.project(encoder.patches(feats)))
    assert torch.equal(encoder.layers(feats)[-1], start)
    assert torch.equal(encoder(feats), encoder.encoder.layer_norm(start))


def test_other_layouts(x2):
    feats = torch.from_numpy(x2["fbank"])
    reference = tiny().eval()(feats)
    assert "patch_embedding.bias" in tiny(conv_bias=True).state_dict()
    assert tiny(embed_dim=48).post_extract_proj is None
    assert tiny(embed_dim=48).eval()(feats).shape == reference.shape
    assert tiny(input_patch_size=8).eval()(feats).shape == (1, 24 * 16, 48)
    plain = tiny(gru_rel_pos=False)
    assert not any("grep" in key for key in plain.state_dict())
    plain.eval()
    none = tiny(relative_position_embedding=False, gru_rel_pos=False).eval()
    assert not any("relative" in key for key in none.state_dict())
    for network in (plain, none):  # attention is another function with gradients and in bfloat16
        with torch.no_grad():
            expected = network(feats)
        assert relative(network(feats), expected) < 1e-5
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            assert relative(network(feats).float(), expected) < 0.02
    shallow = tiny(deep_norm=False)
    shallow.load_state_dict(tiny().state_dict())
    assert relative(shallow.eval()(feats), reference) > 1e-2
    for activation in ("gelu_accurate", "relu", "tanh", "swish", "linear"):
        other = tiny(activation_fn=activation)
        assert relative(other.eval()(feats), reference) > 1e-5


def test_contract(encoder):
    assert (encoder.sample_rate, encoder.window, encoder.hop, encoder.dim) == (16000, 400, 160, 48)
    assert len(encoder.blocks()) == 3


@pytest.mark.parametrize(
    ("feats", "message"),
    [
        (torch.zeros(1, 15, 128), r"15 frames, at least 16 \(0.175 s\)"),
        (torch.zeros(1, 16, 64), r"expected \[clips, frames, 128\]"),
        (torch.zeros(16, 128), r"expected \[clips, frames, 128\]"),
    ],
)
def test_wrong_features(encoder, feats, message):
    with pytest.raises(ValueError, match=message):
        encoder(feats)


@pytest.mark.parametrize("tokens", [1, 5, 40])
@pytest.mark.parametrize("kernel", [7, 8])
def test_the_convolution_by_products_is_the_convolution(tokens, kernel, monkeypatch):
    torch.manual_seed(0)
    convolution, x = PositionConv(12, kernel, 3), torch.randn(5, tokens, 12)
    torch.nn.init.normal_(convolution.bias)
    expected = convolution(x)
    torch.testing.assert_close(convolution.products(x, convolution._weight()), expected)
    monkeypatch.setattr("asdkit.layers.beats_layers.WINDOWS", 2 * tokens * 12 * kernel)  # two clips at a time
    torch.testing.assert_close(convolution.products(x, convolution._weight()), expected)
    convolution.fold_for_inference(torch.float32)
    torch.testing.assert_close(convolution.products(x, convolution.folded), expected)
    with torch.autocast("cpu", torch.bfloat16):
        found = convolution.products(x, convolution.folded)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(("dim", "groups"), [(16, 2), (224, 16), (64, 2)])
def test_the_convolution_is_right_in_bfloat16_for_groups_of_any_size(dim, groups):
    torch.manual_seed(0)
    convolution, x = PositionConv(dim, 64, groups), torch.randn(2, 50, dim)
    expected = convolution(x)
    for dtype in (None, torch.bfloat16):  # as in training, as folded for inference
        if dtype:
            convolution.fold_for_inference(dtype)
        with torch.autocast("cpu", torch.bfloat16):
            found = convolution(x).float()
        assert (found - expected).norm() < 0.02 * expected.norm()
