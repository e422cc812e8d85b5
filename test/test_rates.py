"""Parts of a model learn at rates of their own, and some first blocks nothing."""

import logging

import pytest
import torch
from small_encoders import SMALL, small
from test_train_loop import ARCH, CLASSES, CPU, batch, config

from asdkit.config import Config
from asdkit.encoders import build_encoder
from asdkit.encoders.depth import depths
from asdkit.models.classifier import Classifier
from asdkit.train.finetune import fine_tuning
from asdkit.utils.typed_yaml import validate

LAYERS = 2


@pytest.mark.parametrize("name", ["beats", "ast", "ced", "eat", "clap"])
def test_how_deep_weights_lie(name):
    """Written out by hand for each: what is below the blocks, between them and above."""
    torch.manual_seed(0)
    encoder = build_encoder(small(name)).train()
    encoder.requires_grad_(False)
    found = depths(encoder)
    assert encoder.training and not any(p.requires_grad for p in encoder.parameters())
    blocks = encoder.blocks()
    for number, block in enumerate(blocks, 1):
        own = {id(p) for p in block.module.parameters()}
        names = {name for name, p in encoder.named_parameters() if id(p) in own}
        assert {found[name] for name in names if "relative_attention_bias" not in name} == {number}
    others = {
        "beats": {"patch_embedding.weight": 0, "encoder.pos_conv.0.weight_v": 0, "layer_norm.bias": 0}
        | {"encoder.layer_norm.weight": 0, "encoder.layers.0.self_attn.relative_attention_bias.weight": 0},
        "ast": {"cls_token": 0, "pos_embed": 0, "norm.weight": 3},
        "ced": {"freq_pos_embed": 0, "standardise.bias": 0, "norm.bias": 3},
        "eat": {"pre_norm.weight": 0, "patch_embed.bias": 0},
        "clap": {"bn0.weight": 0, "patch_embed.norm.bias": 0, "norm.weight": 6}  # blocks 1, 2 and 3, 4, 5
        | {f"stages.{stage}.downsample.reduction.weight": depth for stage, depth in enumerate((2, 4, 5))},
    }[name]
    assert {name: found[name] for name in others} == others
    assert found.keys() == dict(encoder.named_parameters()).keys()


@pytest.mark.parametrize("name", sorted(SMALL.keys() - {"wav2vec2", "unispeech", "hubert", "wavlm"}))
def test_frozen_layers_of_every_encoder(name):
    section = {"name": name, **SMALL[name], "train": True, "frozen_layers": 1}
    if small(name).LINEARS == ():
        with pytest.raises(ValueError, match="has no transformer blocks|has no weights"):
            validate(Config, {"encoder": section, "model": {"lora": None, "group_adapter": None}}, "test")
        return
    settings = validate(Config, {"encoder": section, "train": {"specaugment": None}}, "test")
    model = Classifier(settings, CLASSES).model
    found = depths(model.encoder)
    for key, parameter in model.encoder.named_parameters():
        put_in = ".lora_" in key or ".adapters." in key
        assert parameter.requires_grad == (put_in or found[key] > 1), key
    with pytest.raises(ValueError, match="encoder.frozen_layers 9: the encoder has"):
        Classifier(validate(Config, {"encoder": section | {"frozen_layers": 9}}, "test"), CLASSES)


def first_step(folder, rates):
    """Name -> how far the first step of AdamW moved a weight, at most, with factors of the learning rate."""
    arch = ARCH | {"encoder_layerdrop": 0.0}
    settings = config(encoder__arch=arch, train__rates=rates, train__warmup_steps=0, train__weight_decay=0.0)
    trainer = fine_tuning(settings, CLASSES, 0, folder, {}, CPU)
    trainer.system.objective.dlcl.remember(torch.randn(6, 8, generator=torch.Generator().manual_seed(1)))
    before = {name: p.detach().clone() for name, p in trainer.system.trainable().items()}
    trainer.step = 1
    trainer._update(trainer.system, batch(1))
    return {name: float((p.detach() - before[name]).abs().max()) for name, p in trainer.system.trainable().items()}


def test_each_part_moves_at_its_rate(tmp_path, caplog):
    """AdamW's first step is the learning rate, for whatever has a gradient far above its epsilon."""
    rates = {"encoder": 0.1, "lora": 2.0, "group_adapter": 3.0, "head": 0.5, "decay": 0.5}
    plain = first_step(tmp_path, {})
    with caplog.at_level(logging.INFO):
        moved = first_step(tmp_path, rates)
    assert "learning rate of encoder: 0.0125 to 0.05 times train.lr" in caplog.text
    assert "learning rate of head: 0.5 times train.lr" in caplog.text
    seen = set()
    for name, far in plain.items():
        if not 9e-4 < far < 1.1e-3:
            continue  # no gradient yet, or one of nothing but rounding
        part = "lora" if ".lora_" in name else "group_adapter" if ".adapters." in name else "head"
        part = "encoder" if part == "head" and name.startswith("model.encoder.") else part
        depth = int(name.split("layers.")[1][0]) + 1 if "layers." in name else 0
        depth = 0 if "relative_attention_bias" in name else depth
        decay = 0.5 ** (LAYERS + 1 - depth) if name.startswith("model.encoder.") else 1
        assert moved[name] == pytest.approx(far * rates[part] * decay, rel=0.02), name
        seen.add((part, depth if part != "head" else None))
    assert seen >= {("encoder", 0), ("encoder", 1), ("encoder", 2), ("lora", 1), ("lora", 2), ("head", None)}
    assert any(part == "group_adapter" for part, _ in seen)


def test_what_has_no_blocks_has_no_decay():
    raw = {"encoder": {"name": "cnn10", "train": True}, "model": {"lora": None, "group_adapter": None}}
    with pytest.raises(ValueError, match="has no transformer blocks: .* train.rates.decay 1"):
        validate(Config, raw | {"train": {"rates": {"decay": 0.5}}}, "test")
    validate(Config, raw | {"train": {"rates": {"encoder": 0.5}}}, "test")
