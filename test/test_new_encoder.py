"""Encoders that are added: what one file, one line of the registry and one section of the configuration give."""

import copy
import json

import numpy as np
import pytest
import torch
from library_encoder import LibraryEncoder, build_library
from recipe import make_corpus
from small_encoders import SPEECH
from test_pipeline import MINI, Recipe

from asdkit.adapt.group_adapter import GroupAdapter
from asdkit.adapt.lora import LoraLinear, merge_lora
from asdkit.bin import prepare_data
from asdkit.config import BeatsEncoder, Config, LogmelEncoder, Wav2Vec2Encoder
from asdkit.encoders import ENCODERS, build_encoder
from asdkit.infer.clips import represent
from asdkit.models.classifier import Classifier
from asdkit.models.embedder import Embedder
from asdkit.utils.typed_yaml import load, one_of, validate

MODEL = {"lora": {"branches": 2, "rank": 2}, "group_adapter": {"groups": 3}, "embedding_dim": 8}


class WiderConfig(Config):
    encoder: one_of("name", BeatsEncoder, LogmelEncoder, LibraryEncoder, Wav2Vec2Encoder) = BeatsEncoder()


@pytest.fixture(autouse=True)
def added(monkeypatch):
    """The line of the registry and the section's place in the union."""
    monkeypatch.setitem(ENCODERS, "library", build_library)
    monkeypatch.setattr("asdkit.config.experiment.Config", WiderConfig)


@pytest.fixture(params=["library", "wav2vec2"])
def section(request):
    """The section of a network with random weights."""
    if request.param == "library":
        return {"name": "library"}
    pytest.importorskip("transformers", reason="transformers is not installed")
    return {"name": "wav2vec2", "arch": SPEECH}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpus")
    corpus = str(make_corpus(root / "mini"))
    prepare_data.main(["--dataset", str(MINI / "conf/dataset.yaml"), "--corpus", corpus, "--data", str(root / "data")])
    return root / "data"


def config_of(section, **model) -> Config:
    return validate(WiderConfig, {"encoder": section, "model": {**MODEL, **model}}, "test")


def embedder_of(section, **model) -> Embedder:
    torch.manual_seed(0)
    return Embedder(config_of(section, **model)).eval()


def clips(samples=16000, count=2) -> torch.Tensor:
    return torch.randn(count, samples, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("position", ["mha", "ffn", "transformer"])
def test_lora_and_adapters_act_and_merge(section, position):
    model = embedder_of(section, group_adapter={"groups": 3, "position": position})
    plain = embedder_of(section, group_adapter=None, lora=None)
    tokens = model.encoder(model.encoder.frontend(clips()))
    assert tokens.shape == (2, 49, 24)  # 20 ms each
    branches = [module for module in model.modules() if isinstance(module, LoraLinear)]
    adapters = [module for module in model.modules() if isinstance(module, GroupAdapter)]
    assert (len(branches), len(adapters)) == (2 * 6, 2)
    kept = {name for name, _ in plain.encoder.named_parameters()}
    assert kept <= model.encoder.state_dict().keys()  # LoRA keeps the names of what it is put beside
    assert {name for name, p in model.encoder.named_parameters() if not p.requires_grad} == kept
    for branch in branches:
        torch.nn.init.normal_(branch.lora_b, std=0.2)
    changed = model(clips())
    changed.square().sum().backward()
    for name, parameter in model.trainable().items():
        if "k_proj" not in name:  # at random weights nearly all keys are alike to a query
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    merged = merge_lora(copy.deepcopy(model))
    assert not any(isinstance(module, LoraLinear) for module in merged.modules())
    torch.testing.assert_close(merged(clips()), changed, rtol=1e-4, atol=1e-5)
    for adapter in adapters:
        adapter.groups.data.neg_()
    assert (model(clips()) - changed).abs().max() > 1e-4


def test_linears_are_what_the_section_says(section):
    config = config_of(section).encoder
    blocks = build_encoder(config).blocks()
    assert len(blocks) == 2 and all(tuple(block.linears) == config.LINEARS for block in blocks)


def test_layers_are_chosen(section):
    off = {"lora": None, "group_adapter": None}
    model = embedder_of(section, **off)
    feats = model.encoder.frontend(clips())
    first, last = model.encoder.layers(feats)
    assert torch.equal(model.tokens(feats), model.encoder(feats))
    for layers, expected in (
        (1, first), (-1, last), (2, last), (-2, first), ([1, 2], (first + last) / 2), ([2], last)
    ):  # fmt: skip
        assert torch.equal(embedder_of({**section, "layers": layers}, **off).tokens(feats), expected)
    assert not torch.allclose(first, last, atol=1e-2)
    for layers, name in ((3, 3), ([1, -3], -3)):
        with pytest.raises(ValueError, match=f"encoder.layers: there is no block {name}: the encoder has 2, 1 to 2"):
            embedder_of({**section, "layers": layers}, **off)


def test_chunks_are_cut_from_samples(section):
    model = embedder_of(section)
    wavs = clips(20000)
    settings = validate(WiderConfig, {"embed": {"segment": "chunk"}}, "test").embed
    system = Classifier(config_of(section), ["a", "b"]).eval()
    system.model = model
    chunks = represent(system, wavs, settings, 8000, 6000)["embedding"]
    with torch.no_grad():
        expected = sum(model(wavs[:, start : start + 8000]) for start in (0, 6000, 12000)) / 3
    torch.testing.assert_close(chunks, expected, rtol=1e-4, atol=1e-5)


def experiment(root, data, section, *settings):
    root.mkdir()
    return Recipe(root, data, f"encoder={json.dumps(section)}", *settings)


def test_stages_2_to_4(section, data, tmp_path):
    recipes = {
        "whole": ["train.specaugment=null"],
        "chunk": ["embed.segment=chunk", "embed.hop_seconds=0.25"],  # masks stay off: features are no spectrogram
        "other": ["encoder.layers=1"],
    }
    weights, embeddings = {}, {}
    for name, settings in recipes.items():
        recipe = experiment(tmp_path / name, data, section, *settings)
        weights[name], embeddings[name] = recipe.train()["model"], recipe.embed(2)
    assert weights["whole"].keys() == weights["chunk"].keys()
    assert all(torch.equal(weights["whole"][key], weights["chunk"][key]) for key in weights["whole"])
    matrices = {name: np.stack(list(tables["dev_test"].values())) for name, tables in embeddings.items()}
    for matrix in matrices.values():
        assert matrix.shape[1] == 8 and np.isfinite(matrix).all() and matrix.std(0).min() > 0
    assert not np.allclose(matrices["whole"], matrices["chunk"], atol=1e-4)
    assert not np.allclose(matrices["whole"], matrices["other"], atol=1e-4)


def test_what_the_section_refuses(tmp_path):
    for text, message in (
        ("encoder: {name: library, arch: {}}", "Allowed: name, checkpoint, train, layers, frozen_layers, depth"),
        ("encoder: {name: nobody}", "encoder.name: there is no 'nobody'. Allowed: beats, logmel, library, wav2vec2"),
        ("encoder: {name: library}\ndata: {feats_type: fbank}", "data.feats_type fbank: 'library' makes no features"),
        ("encoder: {name: library}\nmodel: {lora: {targets: [fc1]}}", "'library' has no 'fc1'. Allowed: q_proj"),
    ):  # fmt: skip
        (tmp_path / "x.yaml").write_text(text)
        with pytest.raises(ValueError, match=message):
            load(WiderConfig, tmp_path / "x.yaml")
