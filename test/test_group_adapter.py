import copy

import pytest
import torch
from test_lora import tiny_encoder

from asdkit.adapt.group_adapter import GroupAdapter, add_group_adapter
from asdkit.adapt.lora import add_lora, merge_lora
from asdkit.config import GroupAdapterConfig, LoraConfig


def adapter(dtype=torch.float32):
    torch.manual_seed(0)
    return GroupAdapter(dim=6, groups=4, hidden=5, temperature=0.1).to(dtype)


def test_equations_5_and_6_written_out():
    module = adapter()
    x = torch.randn(3, 7, 6)
    first, _, second = module.decide
    result = module(x)
    for clip in range(3):
        mean = x[clip].mean(0)
        hidden = torch.relu(first.weight @ mean + first.bias)
        logits = (second.weight @ hidden + second.bias) / 0.1
        p = torch.exp(logits - logits.max())
        p = p / p.sum()
        mixture = sum(p[i] * module.groups[i] / module.groups[i].norm() for i in range(4))
        torch.testing.assert_close(result[clip], x[clip] + mixture, rtol=1e-5, atol=1e-6)


def test_group_vectors_act_at_unit_length():
    module = adapter()
    x = torch.randn(2, 7, 6)
    before = module(x)
    with torch.no_grad():
        module.groups *= 5
    torch.testing.assert_close(module(x), before)


def test_same_vector_is_added_to_every_token_of_a_clip_and_clips_do_not_mix():
    module = adapter()
    x = torch.randn(2, 7, 6)
    added = module(x) - x
    torch.testing.assert_close(added, added[:, :1].expand_as(added))
    torch.testing.assert_close(module(x[:1]), module(x)[:1])
    assert (added[0, 0] - added[1, 0]).abs().max() > 1e-3


def test_gradients_agree_with_finite_differences():
    module = adapter(torch.float64)
    x = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    parameters = dict(module.named_parameters())

    def loss(x, *values):
        return torch.func.functional_call(module, dict(zip(parameters, values, strict=True)), (x,)).square().sum()

    assert torch.autograd.gradcheck(loss, (x, *parameters.values()))


@pytest.mark.parametrize("position", ["mha", "ffn", "transformer"])
def test_every_block_gets_one_and_it_changes_the_output(position):
    encoder = tiny_encoder()
    feats = torch.randn(2, 64, 128)
    plain = encoder(feats)
    add_group_adapter(encoder, GroupAdapterConfig(groups=4, position=position, hidden=8))
    names = [name for name, _ in encoder.named_parameters() if name.endswith(".groups")]  # as in old checkpoints
    assert names == [f"encoder.layers.{i}.adapters.{position}.groups" for i in (0, 1)]
    first = [name for name, _ in encoder.encoder.layers[0].named_parameters()][0]
    assert first == f"adapters.{position}.groups"  # in old optimiser states too
    adapted = encoder(feats)
    assert (adapted - plain).abs().max() > 1e-3
    adapted.square().sum().backward()
    for block in encoder.blocks():
        assert block.module.adapters[position].groups.grad.abs().sum() > 0


def test_positions_differ():
    outputs = []
    feats = torch.randn(1, 64, 128, generator=torch.Generator().manual_seed(0))
    for position in ("mha", "ffn", "transformer"):
        encoder = tiny_encoder()
        torch.manual_seed(3)
        add_group_adapter(encoder, GroupAdapterConfig(groups=4, position=position, hidden=8))
        outputs.append(encoder(feats))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert (outputs[a] - outputs[b]).abs().max() > 1e-4


@pytest.mark.parametrize("position", ["mha", "ffn", "transformer"])
@pytest.mark.parametrize("first", ["lora", "adapter"])
def test_lora_and_adapters_stay_together(position, first):
    encoder = tiny_encoder()
    feats = torch.randn(2, 64, 128)
    parts = [
        lambda: add_lora(encoder, LoraConfig(branches=2, rank=3)),
        lambda: add_group_adapter(encoder, GroupAdapterConfig(groups=4, position=position, hidden=8)),
    ]
    for part in parts if first == "lora" else reversed(parts):
        part()
    for name, parameter in encoder.named_parameters():
        if name.endswith("lora_b"):
            torch.nn.init.normal_(parameter, std=0.2)
    before = encoder(feats)
    copied = copy.deepcopy(encoder)
    merge_lora(encoder)
    torch.testing.assert_close(encoder(feats), before, rtol=1e-5, atol=1e-5)
    assert torch.equal(copied(feats), before)
    with torch.no_grad():
        for block in copied.blocks():  # the copy's own adapters act in it
            block.module.adapters[position].groups.neg_()
    torch.testing.assert_close(encoder(feats), before, rtol=1e-5, atol=1e-5)
    assert (copied(feats) - before).abs().max() > 1e-3
