"""CED: the authors' numbers, all four published sizes, clips in pieces, and what is refused."""

import json

import numpy as np
import pytest
import torch
from beats_networks import relative
from weight_files import save_ced, time_major

from asdkit.config import CedEncoder, VitArch
from asdkit.encoders import build_encoder
from asdkit.encoders.ced import Ced, load_ced

BANDS = 4


@pytest.fixture
def encoder(test_data):
    return load_ced(test_data / "golden/encoders/ced/ced_tiny.pt", heads=4).eval()


def assert_levels(feats, expected):
    """Within 0.002 dB; bins 60 dB below the loudest of their frame are themselves 0.015 dB from those in float64."""
    assert feats.shape == expected.shape
    difference, below = (feats - expected).abs(), expected.amax(-1, keepdim=True) - expected
    assert difference[below < 60].max() < 2e-3 and difference.max() < 2e-2


def compare(encoder, feats, golden, limit, suffix=""):
    normal = encoder.standardise(feats)
    patches = encoder.patch_embed(normal)
    final = encoder(feats)
    got = {"bn_mel": normal.transpose(1, 2), "patch_embed": patches, "encoder_input": encoder.prepare(patches)}
    got |= {f"block_{number}": tokens for number, tokens in enumerate(encoder.layers(feats))}
    got |= {"final": final, "pooled": final.mean(1)}
    for name, found in got.items():
        if (expected := golden.get(name + suffix)) is not None:
            flat = name in ("bn_mel", "pooled")
            assert relative(found, expected if flat else time_major(expected, 0, BANDS)) < limit, name


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("name", ["x2", "x10"])
def test_golden_tensors(encoder, golden, wavs, name, grad):
    stored = golden(name)
    levels = stored["mel_db"].transpose(1, 2)
    with torch.set_grad_enabled(grad):
        feats = encoder.frontend(wavs[name])
        assert_levels(feats, levels)
        compare(encoder, feats, stored, 1e-4)
        compare(encoder, levels, stored, 5e-6)


@torch.no_grad()
def test_golden_tensors_of_a_batch(encoder, golden, wavs):
    """The authors' floor is that of the batch, ours that of the clip: alone = in a batch."""
    stored = golden("batch2")
    joint, single = stored["mel_db_joint"].transpose(1, 2), stored["mel_db_single"].transpose(1, 2)
    compare(encoder, joint, stored, 5e-6, "_joint")
    compare(encoder, single, stored, 5e-6, "_single")
    feats = encoder.frontend(wavs["batch2"])
    assert_levels(feats, single)
    assert torch.equal(feats[1:], encoder.frontend(wavs["batch2"][1:]))
    compare(encoder, feats, stored, 1e-4, "_single")
    assert (joint - single).abs().max() > 1


@torch.no_grad()
def test_golden_tensors_of_pieces(encoder, golden, wavs):
    """Pieces of 1012 frames, each with positions from the start; the authors fill the last one up after the norm."""
    stored = golden("x12_split")
    feats = encoder.frontend(wavs["x12"])
    assert feats.shape[1] == int(stored["n_frames"][0]) == 1201
    tokens = encoder(feats)
    assert tokens.shape[1] == (63 + (1201 - 1012) // 16) * BANDS
    assert relative(tokens[:, : 63 * BANDS].mean(1), stored["pooled_per_piece"][:1]) < 1e-4
    norm = encoder.standardise
    silent = norm.running_mean - norm.bias * (norm.running_var + 1e-5).sqrt() / norm.weight  # what becomes 0
    filled = torch.cat([feats[:, 1012:], silent.expand(1, 2 * 1012 - 1201, -1)], 1)
    assert relative(encoder(filled).mean(1), stored["pooled_per_piece"][1:]) < 1e-4
    outputs = encoder.layers(feats)
    assert torch.equal(outputs[-1][:, : 63 * BANDS], encoder.layers(feats[:, :1012])[-1])
    torch.testing.assert_close(outputs[-1][:, 63 * BANDS :], encoder.layers(feats[:, 1012:])[-1])
    assert encoder(feats[:, : 1012 + 15]).shape[1] == 63 * BANDS  # what is left is no patch


@pytest.mark.parametrize(
    ("name", "dim", "heads", "count"),
    [("tiny", 192, 3, 5.50e6), ("mini", 256, 4, 9.70e6), ("small", 384, 6, 21.62e6), ("base", 768, 12, 85.71e6)],
)
def test_published_keys_and_shapes(test_data, tmp_path, monkeypatch, name, dim, heads, count):
    keys = json.loads((test_data / f"golden/encoders/shapes/ced_{name}.json").read_text())["keys"]
    stored = {key: torch.zeros(()).expand(shape) for key, shape in keys.items()}
    torch.save({"model": stored}, tmp_path / "ced.pt")
    monkeypatch.setattr("asdkit.encoders.ced.put_in", lambda network, weights: None)  # it stays on the meta device
    published = load_ced(tmp_path / "ced.pt")
    assert published.dim == dim and [block.attn.heads for block in published.trunk] == [heads] * 12
    foreign = ("front_end", "outputlayer", "init_bn.1.num", "init_bn.1.running")
    own = sum(np.prod(shape) for key, shape in keys.items() if not key.startswith(foreign))
    assert own == sum(p.numel() for p in published.parameters()) and abs(own / count - 1) < 0.03
    with torch.device("meta"):
        made = Ced(VitArch(embed_dim=dim, num_heads=heads))
    assert {n: x.shape for n, x in made.state_dict().items()} == {n: x.shape for n, x in published.state_dict().items()}


@pytest.fixture
def small():
    torch.manual_seed(0)
    made = Ced(VitArch(embed_dim=64, depth=2, num_heads=1)).eval()
    with torch.no_grad():
        for name, p in made.named_parameters():
            p.normal_(1.0 if "norm" in name and "weight" in name else 0.0, 0.1)
    made.standardise.running_mean.normal_(-40, 5)
    return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("wrapped", [True, False])
def test_both_layouts_are_one_network(small, tmp_path, dtype, wrapped):
    save_ced(small, tmp_path / "x.pt", dtype, wrapped)
    read = load_ced(tmp_path / "x.pt").eval()
    assert all(x.dtype == torch.float32 for x in read.state_dict().values())
    feats = 20 * torch.randn(2, 70, 64) - 40
    assert relative(read(feats), small(feats)) < (1e-6 if dtype == torch.float32 else 0.03)
    assert torch.equal(
        read.frontend(torch.ones(1, 3000)), small.frontend(torch.ones(1, 3000))
    )  # not the file's filters
    again = build_encoder(CedEncoder(checkpoint=str(tmp_path / "x.pt")))
    assert all(torch.equal(x, read.state_dict()[name]) for name, x in again.state_dict().items())


def test_a_folder_of_the_hub(small, tmp_path):
    save_ced(small, tmp_path / "ced")
    feats = 20 * torch.randn(2, 70, 64) - 40
    for path in (tmp_path / "ced", tmp_path / "ced/model.safetensors"):
        assert torch.equal(build_encoder(CedEncoder(checkpoint=str(path))).eval()(feats), small(feats))
    made = Ced(VitArch(embed_dim=24, depth=1, num_heads=3))
    save_ced(made, tmp_path / "odd")
    assert load_ced(tmp_path / "odd").trunk[0].attn.heads == 3
    for changes, message in (
        ({"patch_stride": 10}, "config.json: patch_stride is 10, expected 16"),
        ({"num_heads": "3"}, "num_heads is '3', expected a whole number"),
        ({"model_type": "dasheng"}, "model_type is 'dasheng', expected 'ced': another network"),
    ):
        (tmp_path / "ced/config.json").write_text(json.dumps({"model_type": "ced"} | changes))
        with pytest.raises(ValueError, match=message):
            load_ced(tmp_path / "ced")


def test_training_does_not_move_the_statistics(small):
    feats = 20 * torch.randn(4, 40, 64) - 20
    expected, before = small(feats), small.standardise.running_mean.clone()
    assert torch.equal(small.train()(feats), expected)
    assert torch.equal(small.standardise.running_mean, before)
    small(feats).square().sum().backward()
    assert small.standardise.weight.grad.abs().min() > 0 and small.standardise.bias.grad.abs().min() > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm.bias": None}, "x.pt: weights do not fit a CED of 64 numbers a token: missing norm.bias$"),
        ({"other": torch.zeros(2)}, "unknown other$"),
        ({"time_pos_embed": torch.zeros(1, 64, 1, 62)}, r"time_pos_embed is \(1, 64, 1, 62\), expected"),
        (
            {"time_pos_embed": torch.zeros(1, 48, 1, 63)},
            "tokens of 48 numbers are not whole heads of 64: no published CED",
        ),
        ({"time_pos_embed": None}, "no tensor 'time_pos_embed' in it .*; a CED file is a dict of tensors"),
        ({"blocks.0.mlp.fc1.weight": 3}, "no tensor 'trunk.0.mlp.fc1.weight' in it"),
    ],
)
def test_wrong_weights(small, tmp_path, changes, message):
    save_ced(small, tmp_path / "x.pt")
    weights = torch.load(tmp_path / "x.pt", weights_only=True) | changes
    torch.save({name: value for name, value in weights.items() if value is not None}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=message) as error:
        load_ced(tmp_path / "x.pt")
    assert "\n" not in str(error.value)


def test_clips_that_are_too_short(small):
    with pytest.raises(ValueError, match=r"ced: clip of 15 frames, at least 16 \(0.15 s\) are needed"):
        small(torch.zeros(1, 15, 64))
    assert small(small.frontend(torch.randn(1, 2400))).shape == (1, BANDS, 64)


def test_memory_of_pieces(small):
    one, many = (small.memory(160 * 1012 * pieces, 1, "cuda", "float32") for pieces in (1, 4))
    assert 3.5 < many / one < 4.5
