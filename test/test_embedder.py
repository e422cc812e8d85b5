"""What is put around any encoder: tokens that stand for the clip, sums of blocks, blocks of several widths."""

import copy

import pytest
import torch
from torch import nn

from asdkit.adapt.group_adapter import GroupAdapter
from asdkit.config import Config
from asdkit.encoders.base import Encoder
from asdkit.infer.network import fold, load_system
from asdkit.layers.block import Block
from asdkit.models.checkpoint import save_checkpoint
from asdkit.models.classifier import Classifier
from asdkit.models.embedder import Embedder
from asdkit.utils.typed_yaml import validate

DIM = 4


class Toy(Encoder):
    """Three linear blocks; two tokens in front of frames of two bands. The last block may be wider than the others."""

    sample_rate, window, hop, dim, specials, bands = 16000, 0, 1, DIM, 2, 2

    def __init__(self, wide: bool = False) -> None:
        super().__init__()
        widths = [DIM, DIM, 2 * DIM if wide else DIM]
        self.layer = nn.ModuleList(
            nn.ModuleDict({"fc": nn.Linear(a, b)}) for a, b in zip([DIM, *widths], widths, strict=False)
        )
        for layer in self.layer:
            layer.forward = layer["fc"].forward
        self.out = nn.Linear(widths[-1], DIM)

    def frontend(self, wav):
        return wav.unflatten(1, (-1, DIM))

    def forward(self, feats):
        x = torch.cat([feats.mean(1, keepdim=True), feats.amax(1, keepdim=True), feats], dim=1)
        for layer in self.layer:
            x = layer(x)
        return self.out(x)

    def blocks(self):
        return [
            Block(layer, {"fc": (layer, "fc")}, {}, None if layer["fc"].out_features == DIM else 2 * DIM)
            for layer in self.layer
        ]


@pytest.fixture
def toy(monkeypatch):
    """Makes an embedder around the toy."""

    def make(wide=False, layers=None, arrays=None, train=False, **model):
        monkeypatch.setattr("asdkit.models.embedder.build_encoder", lambda config: Toy(wide))
        torch.manual_seed(0)
        return Embedder(config_of(layers, arrays, train, **model)).eval()

    return make


def config_of(layers=None, arrays=None, train=False, **model):
    given = {"encoder": {"layers": layers, "train": train}, "model": {"embedding_dim": None, **model}}
    return validate(Config, given | {"embed": {"arrays": arrays or {}}}, "test")


def feats(count=2):
    return torch.randn(count, 6, DIM, generator=torch.Generator().manual_seed(1))


def test_poolings_leave_special_tokens_out_and_cls_takes_them_alone(toy):
    x = feats()
    tokens = toy().encoder(x)  # [2, 2 + 6, 4]
    own, clip = tokens[:, 2:], tokens[:, :2]
    torch.testing.assert_close(toy(pooling="mean")(x), own.mean(1))
    torch.testing.assert_close(toy(pooling="mean_std")(x)[:, DIM:], own.std(1, correction=0))
    torch.testing.assert_close(toy(pooling="cls")(x), clip.mean(1))
    attentive = toy(pooling="attentive")
    torch.testing.assert_close(attentive(x), attentive.pooling(own))


def test_arrays_leave_special_tokens_out_and_cls_takes_them_alone(toy):
    x = feats()
    arrays = {
        "mean": {"pooling": "mean", "bands": True},
        "max": {"pooling": "max", "layers": 1},
        "cls": {"pooling": "cls"},
        "early": {"pooling": "cls", "layers": [1, 2]},
    }
    model = toy(arrays=arrays, pooling="cls")
    found, tokens, outputs = model.represent(x), model.encoder(x), model.encoder.layers(x)
    torch.testing.assert_close(found["mean"], tokens[:, 2:].unflatten(1, (3, 2)).mean(1))
    torch.testing.assert_close(found["max"], outputs[0][:, 2:].unflatten(1, (3, 2)).amax(1).mean(1))
    torch.testing.assert_close(found["cls"], tokens[:, :2].mean(1))
    torch.testing.assert_close(found["embedding"], tokens[:, :2].mean(1))
    torch.testing.assert_close(found["early"], (outputs[0] + outputs[1])[:, :2].mean(1) / 2)


def test_cls_is_refused_where_no_token_stands_for_the_clip(toy, monkeypatch):
    monkeypatch.setattr(Toy, "specials", 0)
    with pytest.raises(ValueError, match="model.pooling cls: no token of this encoder stands for the whole clip"):
        toy(pooling="cls")
    with pytest.raises(ValueError, match="embed.arrays.a.pooling cls: no token of this encoder stands for the whole"):
        toy(arrays={"a": {"pooling": "cls"}})


def test_weighted_blocks(toy):
    x = feats()
    model = toy(layers="weighted", pooling="mean", arrays={"a": {"pooling": "mean"}})
    outputs = torch.stack(model.encoder.layers(x))  # [3, 2, 8, 4]
    torch.testing.assert_close(model.tokens(x), outputs.mean(0))
    assert model.trainable().keys() == {"layer_weights"}
    model.layer_weights.data = torch.tensor([0.0, 1.0, -2.0])
    expected = (model.layer_weights.softmax(0)[:, None, None, None] * outputs).sum(0)
    torch.testing.assert_close(model.tokens(x), expected)
    torch.testing.assert_close(model(x), expected[:, 2:].mean(1))
    found = model.represent(x)
    torch.testing.assert_close(found["embedding"], model(x))
    torch.testing.assert_close(found["a"], model.encoder(x)[:, 2:].mean(1))
    model(x).square().sum().backward()
    assert model.layer_weights.grad.abs().min() > 0
    folded = copy.deepcopy(model)
    fold(folded, torch.float32)
    assert torch.equal(folded(x), model(x))


def test_concatenated_blocks(toy):
    x = feats()
    model = toy(layers="concatenated", pooling="mean", arrays={"a": {"pooling": "mean"}}, layers_dim=5)
    outputs = [
        (y - y.mean(2, True)) / (y.var(2, correction=0, keepdim=True) + 1e-5).sqrt() for y in model.encoder.layers(x)
    ]
    inner, _, outer = model.concatenated.network
    assert inner.weight.shape == (5, 3 * DIM) and outer.weight.shape == (DIM, 5)
    parts = inner.weight.split(DIM, dim=1)
    hidden = sum(y @ part.T for y, part in zip(outputs, parts, strict=True)) + inner.bias  # [2, 8, 5]
    expected = torch.nn.functional.gelu(hidden) @ outer.weight.T + outer.bias
    torch.testing.assert_close(model.tokens(x), expected)
    torch.testing.assert_close(model(x), expected[:, 2:].mean(1))
    found = model.represent(x)
    torch.testing.assert_close(found["embedding"], model(x))
    torch.testing.assert_close(found["a"], model.encoder(x)[:, 2:].mean(1))
    assert model.trainable().keys() == {f"concatenated.network.{i}.{p}" for i in (0, 2) for p in ("weight", "bias")}
    model(x).square().sum().backward()
    assert all(part.abs().max() > 0 for part in inner.weight.grad.split(DIM, dim=1))
    with pytest.raises(ValueError, match=r"encoder.layers: tokens of these blocks differ in size \(1: 4, 2: 4, 3: 8\)"):
        toy(wide=True, layers="concatenated")
    with pytest.raises(ValueError, match="encoder.layers concatenated: its network is made by training"):
        validate(Config, {"encoder": {"layers": "concatenated"}, "train": {"steps": 0}}, "test")


def test_weights_of_the_blocks_are_kept(toy, tmp_path):
    toy()
    system = Classifier(config_of("weighted"), ["a", "b"])
    system.model.layer_weights.data = torch.tensor([0.0, 1.0, -2.0])
    save_checkpoint(tmp_path / "final.pt", system.state())
    again = load_system(config_of("weighted"), tmp_path / "final.pt", torch.device("cpu"))
    assert torch.equal(again.model.layer_weights, system.model.layer_weights)
    assert torch.equal(again.model(feats()), system.eval().model(feats()))


def test_blocks_of_another_width(toy):
    x = feats()
    assert toy(wide=True, layers=-1, pooling="mean")(x).shape == (2, 2 * DIM)
    assert toy(wide=True, layers=[1, 2], pooling="mean")(x).shape == (2, DIM)
    model = toy(wide=True, group_adapter={"groups": 3, "position": "transformer"}, pooling="mean")
    adapters = [module for module in model.modules() if isinstance(module, GroupAdapter)]
    assert [adapter.groups.shape[1] for adapter in adapters] == [DIM, DIM, 2 * DIM]
    assert model(x).shape == (2, DIM)
    told = r"tokens of these blocks differ in size \(1: 4, 2: 4, 3: 8\): name blocks of one size"
    with pytest.raises(ValueError, match=f"encoder.layers: {told}"):
        toy(wide=True, layers="weighted")
    with pytest.raises(ValueError, match=r"embed.arrays.a.layers: .* \(2: 4, 3: 8\)"):
        toy(wide=True, arrays={"a": {"pooling": "mean", "layers": [2, -1]}})
