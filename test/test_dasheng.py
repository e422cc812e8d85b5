"""Dasheng: the authors' numbers, all published sizes and layouts, clips in pieces, and what is refused."""

import json

import numpy as np
import pytest
import torch
from beats_networks import relative
from weight_files import save_dasheng

from asdkit.config import DashengEncoder, VitArch
from asdkit.encoders import build_encoder
from asdkit.encoders.dasheng import Dasheng, load_dasheng


@pytest.fixture
def encoder(test_data):
    return load_dasheng(test_data / "golden/encoders/dasheng/dasheng_tiny.pt").eval()


def assert_levels(feats, expected):
    """Within 0.001 dB; bins 60 dB below the loudest of their frame within 0.02 dB."""
    assert feats.shape == expected.shape
    difference, below = (feats - expected).abs(), expected.amax(-1, keepdim=True) - expected
    assert difference[below < 60].max() < 1e-3 and difference.max() < 2e-2


def compare(encoder, feats, golden, limit):
    normal = encoder.standardise(feats)
    patches = encoder.patch_embed(normal)
    final = encoder(feats)
    got = {"bn_mel": normal.transpose(1, 2), "patch_embed": patches, "encoder_input": encoder.prepare(patches)}
    got |= {f"block_{number}": tokens for number, tokens in enumerate(encoder.layers(feats))}
    got |= {"final": final, "embedding": final.mean(1)}
    compared = got.keys() & golden.keys()
    for name in compared:
        assert relative(got[name], golden[name]) < limit, name
    return compared


@pytest.mark.parametrize("name", ["x2", "x10"])
@torch.no_grad()
def test_golden_tensors(encoder, golden, wavs, name):
    stored = golden(name)
    feats = encoder.frontend(wavs[name])
    if name == "x2":
        assert_levels(feats, stored["mel_db"].transpose(1, 2))
        assert len(compare(encoder, stored["mel_db"].transpose(1, 2), stored, 5e-6)) == 8
    else:
        assert_levels(feats[:, ::8], stored["mel_db_every_8th_frame"].transpose(1, 2))
    assert len(compare(encoder, feats, stored, 3e-4)) >= 6


@torch.no_grad()
def test_golden_tensors_of_a_batch(encoder, golden, wavs):
    """The authors' floor is that of the batch, ours that of the clip: alone = in a batch."""
    stored = golden("batch2")
    feats = encoder.frontend(wavs["batch2"])
    assert torch.equal(feats[1:], encoder.frontend(wavs["batch2"][1:]))
    joint = torch.cat([feats[:1], stored["mel_db_joint_row1"].transpose(1, 2)])
    assert relative(feats[1:].maximum(feats.max() - 120), joint[1:]) < 1e-3
    compare(encoder, joint, stored, 3e-4)
    assert relative(encoder(feats)[:1], stored["final"][:1]) < 3e-4
    assert relative(encoder(feats)[1:], stored["final"][1:]) > 0.01


@torch.no_grad()
def test_golden_tensors_of_pieces(encoder, golden, wavs):
    feats = encoder.frontend(wavs["x12"])
    assert feats.shape[1] == 1201
    stored, final = golden("x12"), encoder(feats)
    assert relative(final, stored["final"]) < 3e-4 and relative(final.mean(1), stored["embedding"]) < 3e-4
    assert torch.equal(encoder.layers(feats)[-1][:, :252], encoder.layers(feats[:, :1008])[-1])
    assert encoder(feats[:, :1011]).shape[1] == 252  # what is left is no patch
    assert encoder(feats[:, :1012]).shape[1] == 253


@pytest.mark.parametrize(
    ("name", "dim", "heads", "depth"), [("base", 768, 12, 12), ("06B", 1280, 16, 32), ("12B", 1536, 24, 40)]
)
@pytest.mark.parametrize("layout", ["told", "untold", "hub"])
def test_published_keys_and_shapes(test_data, tmp_path, monkeypatch, name, dim, heads, depth, layout):
    keys = json.loads((test_data / f"golden/encoders/shapes/dasheng_{name}.json").read_text())["keys"]
    stored = {key: torch.zeros(()).expand(shape) for key, shape in keys.items()}
    monkeypatch.setattr("asdkit.encoders.dasheng.put_in", lambda network, weights: None)  # on the meta device
    if layout == "hub":
        hub = {f"encoder.{key}": value for key, value in stored.items() if not key.startswith("front_end")}
        monkeypatch.setattr("asdkit.encoders.dasheng.read_weights", lambda path, holds: hub)
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "dasheng", "name": f"dasheng-{name}"}))
        (tmp_path / "model.safetensors").touch()
        published = load_dasheng(tmp_path)
    else:
        config = {"embed_dim": dim, "num_heads": heads} if layout == "told" else {}
        torch.save({"model": stored, "config": config}, tmp_path / "x.pt")
        published = load_dasheng(tmp_path / "x.pt")
    with torch.device("meta"):
        made = Dasheng(VitArch(embed_dim=dim, num_heads=heads, depth=depth))
    assert {n: x.shape for n, x in made.state_dict().items()} == {n: x.shape for n, x in published.state_dict().items()}
    assert [block.attn.heads for block in published.trunk] == [heads] * depth
    foreign = ("front_end", "init_bn.1.num", "init_bn.1.running")
    own = sum(np.prod(shape) for key, shape in keys.items() if not key.startswith(foreign))
    assert own == sum(p.numel() for p in published.parameters())


@pytest.fixture
def small():
    torch.manual_seed(0)
    made = Dasheng(VitArch(embed_dim=64, depth=2, num_heads=1)).eval()
    with torch.no_grad():
        for name, p in made.named_parameters():
            p.normal_(1.0 if "norm" in name and "weight" in name else 0.0, 0.1)
    made.standardise.running_mean.normal_(-40, 5)
    return made


@pytest.mark.parametrize("layout", ["original", "fine_tuned", "hub"])
def test_every_layout_is_one_network(small, tmp_path, layout):
    path = save_dasheng(small, tmp_path / "x", layout)
    read = build_encoder(DashengEncoder(checkpoint=str(path))).eval()
    feats = 20 * torch.randn(2, 70, 64) - 40
    assert torch.equal(read(feats), small(feats))


def test_a_file_tells_its_heads(tmp_path):
    made = Dasheng(VitArch(embed_dim=24, depth=1, num_heads=3))
    for layout in ("original", "hub"):
        assert load_dasheng(save_dasheng(made, tmp_path / layout, layout)).trunk[0].attn.heads == 3
    with pytest.raises(ValueError, match="tokens of 24 numbers are not whole heads of 64: no published Dasheng"):
        load_dasheng(save_dasheng(made, tmp_path / "x.pt", "fine_tuned"))


def test_pieces_and_the_shortest_clip(small):
    feats = 20 * torch.randn(1, 1008 + 9, 64) - 40
    tokens = small(feats)
    assert tokens.shape == (1, 252 + 2, 64)
    torch.testing.assert_close(tokens[:, 252:], small(feats[:, 1008:]))
    with pytest.raises(ValueError, match=r"dasheng: clip of 3 frames, at least 4 \(0.03 s\) are needed"):
        small(feats[:, :3])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm.bias": None}, "x.pt: weights do not fit a Dasheng of 64 numbers a token: missing norm.bias$"),
        ({"other": torch.zeros(2)}, "unknown other$"),
        ({"time_pos_embed": torch.zeros(1, 64, 1, 250)}, r"time_pos_embed is \(1, 64, 1, 250\), expected"),
        ({"patch_embed.proj.weight": torch.zeros(64, 1, 16, 16)}, r"patch_embed.weight is \(64, 1, 16, 16\), expected"),
        ({"time_pos_embed": None}, "no tensor 'time_pos_embed' in it .*; a Dasheng file is a torch file"),
    ],
)
def test_wrong_weights(small, tmp_path, changes, message):
    contents = torch.load(save_dasheng(small, tmp_path / "x.pt"), weights_only=True)
    stored = contents["model"] | changes
    torch.save({"model": {name: value for name, value in stored.items() if value is not None}}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=message) as error:
        load_dasheng(tmp_path / "x.pt")
    assert "\n" not in str(error.value)
