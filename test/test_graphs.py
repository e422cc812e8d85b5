"""What is recorded as CUDA graphs; that it changes no result is tested where there is a GPU."""

import pytest
import torch

from asdkit.config import BeatsArch, Config
from asdkit.models.classifier import Classifier
from asdkit.utils.typed_yaml import validate

ARCH = BeatsArch(
    encoder_layers=3, encoder_embed_dim=24, encoder_ffn_embed_dim=48, encoder_attention_heads=4, embed_dim=16,
    conv_pos=16, conv_pos_groups=4, encoder_layerdrop=0.9,
).model_dump()  # fmt: skip


def prepared(monkeypatch, graphs, position="mha", **encoder):
    """A network, what was recorded of it (None: nothing) and features that it has heard."""
    torch.manual_seed(0)
    raw = {"encoder": {"arch": ARCH} | encoder, "model": {"group_adapter": {"position": position}}}
    system = Classifier(validate(Config, raw | {"train": {"graphs": graphs}}, "test"), ["a", "b"]).train()
    recorded = []

    def record(blocks, inputs, allow_unused_input):
        assert allow_unused_input and all(block.training for block in blocks)
        assert not any(block._forward_hooks or block._forward_pre_hooks for block in blocks)  # torch refuses them
        recorded.append((blocks, inputs))

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", record)
    feats = torch.randn(2, 64, 128)
    system.prepare(feats)
    return system, recorded[0] if recorded else None, feats


@pytest.mark.parametrize("position", ["mha", "transformer"])
@pytest.mark.parametrize("train", [False, True])
def test_every_block_is_recorded_with_what_it_is_given(monkeypatch, position, train):
    system, (blocks, inputs), feats = prepared(monkeypatch, True, position, train=train)
    encoder = system.model.encoder
    assert list(blocks) == [block.module for block in encoder.blocks()]
    expected = encoder.encoder.position_bias(32)
    for tokens, bias in inputs:
        # with gradient in the first block too, which any block is where those before it are left out
        assert tokens.shape == (2, 32, 24) and tokens.requires_grad and tokens.is_leaf
        assert torch.equal(bias, expected) and bias.requires_grad == train
    assert encoder.training
    hooked = [len(block._forward_hooks) for block in blocks]
    assert hooked == 3 * [position == "transformer"]  # put back
    with_hooks = encoder.eval()(feats)
    for block in blocks:
        block._forward_hooks.clear()
    assert torch.equal(with_hooks, encoder(feats)) == (position == "mha")


def test_nothing_is_recorded_unless_asked_for(monkeypatch):
    assert prepared(monkeypatch, False)[1] is None


def test_blocks_that_take_more_than_tensors_are_refused(monkeypatch):
    raw = {"encoder": {"arch": ARCH}, "train": {"graphs": True}}
    system = Classifier(validate(Config, raw, "test"), ["a", "b"])
    monkeypatch.setattr(system.model.encoder.encoder, "position_bias", lambda tokens: None)
    with pytest.raises(ValueError, match="train.graphs: this encoder's blocks take more than tensors: set it to false"):
        system.prepare(torch.randn(2, 64, 128))


def test_chunks_that_go_through_in_pieces_are_refused():
    raw = {"encoder": {"name": "atst_clip", "arch": {"embed_dim": 16, "depth": 2, "num_heads": 2}}}
    system = Classifier(validate(Config, raw | {"train": {"graphs": True}}, "test"), ["a", "b"])
    with pytest.raises(ValueError, match="train.graphs: chunks of this length go through this encoder's blocks in pie"):
        system.prepare(torch.randn(2, 1500, 64))
