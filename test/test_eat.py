"""EAT: the authors' numbers in each layout, all published sizes, clips of any length, and what is refused."""

import json

import numpy as np
import pytest
import torch
from beats_networks import relative
from weight_files import save_eat

from asdkit.config import EatEncoder, VitArch
from asdkit.encoders import build_encoder
from asdkit.encoders.eat import Eat, load_eat

SILENCE = 4.268 / 9.138  # what the authors fill clips up with


@pytest.fixture
def encoder(test_data):
    return load_eat(test_data / "golden/encoders/eat/eat_tiny_pretrained_fairseq.pt", heads=4).eval()


def filled(feats, frames):
    """Features as the authors fill them up, or cut them."""
    feats = feats[:, :frames]
    return torch.cat([feats, torch.full((len(feats), frames - feats.shape[1], 128), SILENCE)], 1)


def compare(encoder, feats, golden, limit):
    patches = encoder.patch_embed(feats)
    final, blocks = encoder.traced(feats, range(2))
    got = {"patch_embed": patches, "encoder_input": encoder.prepare(patches), "block_0": blocks[0], "final": final}
    got |= {"cls": final[:, 0], "mean_patches": final[:, 1:].mean(1)}
    got |= {"block_0_first_113": blocks[0][:, :113], "final_first_113": final[:, :113]}
    assert torch.equal(blocks[1], final) and torch.equal(encoder(feats), final)
    compared = got.keys() & golden.keys()
    for name in compared:
        assert relative(got[name], golden[name]) < limit, name
    return compared


@pytest.mark.parametrize(
    ("name", "wav", "frames", "count"),
    [
        ("x2_t208", "x2", 208, 6),
        ("x2_padded1024", "x2", 1024, 4),
        ("x10_padded1024", "x10", 1024, 4),
        ("batch2_t208", "batch2", 208, 4),
        ("x12_cut1024", "x12", 1024, 2),
    ],
)
@torch.no_grad()
def test_golden_tensors(encoder, golden, wavs, name, wav, frames, count):
    stored = golden(name)
    feats = filled(encoder.frontend(wavs[wav]), frames)
    pieces = {"fbank": feats, "fbank_row1": feats[1:], "fbank_every_8th_frame": feats[:, ::8]}
    pieces["fbank_frames_190_210"] = feats[:, 190:210]
    for key in pieces.keys() & stored.keys():
        expected = stored[key].reshape(pieces[key].shape)
        assert (pieces[key] - expected).abs().max() < 3e-4
    assert len(compare(encoder, feats, stored, 1e-4)) == count
    if "fbank" in stored:
        compare(encoder, stored["fbank"][:, 0], stored, 5e-6)


@torch.no_grad()
def test_both_published_layouts_are_one_network(encoder, test_data):
    folder = test_data / "golden/encoders/eat/hf"
    for path in (folder, folder / "model.safetensors"):
        other = load_eat(path).state_dict()
        assert all(torch.equal(value, other[name]) for name, value in encoder.state_dict().items())
    made = Eat(VitArch(embed_dim=48, depth=2, num_heads=4), columns=64)
    assert relative(made.positions, encoder.positions) < 5e-6


@pytest.mark.parametrize(
    ("size", "arch", "count"),
    [("base", VitArch(), 89.97e6), ("large", VitArch(embed_dim=1024, depth=24, num_heads=16), 308.9e6)],
)
@pytest.mark.parametrize("layout", ["pretrained_fairseq", "finetuned_527_fairseq", "pretrained_hf", "finetuned_527_hf"])
def test_published_keys_and_shapes(test_data, tmp_path, monkeypatch, size, arch, count, layout):
    stated = json.loads((test_data / f"golden/encoders/shapes/eat_{size}_{layout}.json").read_text())
    stored, teacher = (
        {k: torch.zeros(()).expand(s) for k, s in stated.get(n, {}).items()} for n in ("keys", "ema_keys")
    )
    monkeypatch.setattr("asdkit.encoders.eat.put_in", lambda network, weights: None)  # it stays on the meta device
    if layout.endswith("hf"):
        monkeypatch.setattr("asdkit.encoders.eat.read_weights", lambda path, holds: stored)
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "eat", "num_heads": arch.num_heads}))
        (tmp_path / "model.safetensors").touch()
        published = load_eat(tmp_path)
    else:
        torch.save({"model": stored | ({"_ema": teacher} if teacher else {})}, tmp_path / "eat.pt")
        published = load_eat(tmp_path / "eat.pt")
    with torch.device("meta"):
        made = Eat(arch)
    assert {n: x.shape for n, x in made.state_dict().items()} == {n: x.shape for n, x in published.state_dict().items()}
    assert [block.attn.heads for block in published.trunk] == [arch.num_heads] * arch.depth
    own = sum(x.numel() for x in published.state_dict().values())
    assert abs(own / count - 1) < 0.03
    if layout == "pretrained_hf":
        assert own == stated["n_values"]


@pytest.fixture
def small():
    torch.manual_seed(0)
    made = Eat(VitArch(embed_dim=64, depth=2, num_heads=1), columns=4).eval()
    with torch.no_grad():
        for name, p in made.named_parameters():
            p.normal_(1.0 if "norm" in name and "weight" in name else 0.0, 0.2)
    return made


@pytest.mark.parametrize("layout", ["pretrained", "fine_tuned", "hub"])
def test_every_layout_is_one_network(small, tmp_path, layout):
    path = save_eat(small, tmp_path / "x", layout)
    read = build_encoder(EatEncoder(checkpoint=str(path))).eval()
    feats = torch.randn(2, 60, 128)
    assert torch.equal(read(feats), small(feats)) and read.longest == small.longest == 64


def test_blocks_are_normed_behind_and_the_clip_has_no_position(small):
    feats = torch.randn(2, 40, 128)
    x = small.patch_embed(feats) + small.positions[:, :16]
    x = small.pre_norm(torch.cat([small.cls_token.expand(2, 1, -1), x], 1))
    for block in small.trunk:
        x = block.norm1(x + block.attn(x))
        x = block.norm2(x + block.mlp(x))
    torch.testing.assert_close(small(feats), x)


def test_positions_of_random_weights(small):
    """Channel by channel: bands in the first half, columns in the second, sines before cosines."""
    rows = small.positions[0].view(4, 8, 4, 16)  # column, band, (sin band, cos band, sin column, cos column), speed
    for column, band, speed in ((0, 0, 0), (3, 5, 0), (2, 7, 9), (1, 0, 15)):
        angles = [number * 10000 ** (-speed / 16) for number in (band, band, column, column)]
        expected = [np.sin(angles[0]), np.cos(angles[1]), np.sin(angles[2]), np.cos(angles[3])]
        np.testing.assert_allclose(rows[column, band, :, speed].numpy(), expected, atol=1e-6)
    assert "positions" in small.state_dict() and "positions" not in dict(small.named_parameters())


def test_longer_than_the_table(small):
    """Two pieces of 64 frames, and 20 frames that are one column."""
    feats = torch.randn(1, 148, 128)
    tokens = small(feats)
    assert tokens.shape == (1, 1 + 9 * 8, 64)
    own = [small(feats[:, start : start + 64]) for start in (0, 64, 128)]
    torch.testing.assert_close(tokens[:, 1:], torch.cat([x[:, 1:] for x in own], 1))
    torch.testing.assert_close(tokens[:, 0], sum(x[:, 0] * n for x, n in zip(own, (4, 4, 1), strict=True)) / 9)


def test_the_clean_up_of_values(small, tmp_path):
    cleaned = load_eat(save_eat(small, tmp_path / "x.pt"), clean_up=True).eval()
    built = build_encoder(EatEncoder(checkpoint=str(tmp_path / "x.pt"), clean_up=True)).eval()
    feats = torch.randn(2, 60, 128)
    tokens, blocks = small.traced(feats, [0])
    got, of_blocks = cleaned.traced(feats, [0])
    assert torch.equal(built(feats), got) and torch.equal(cleaned(feats), got)
    for raw, clean in ((tokens, got), (blocks[0], of_blocks[0])):
        assert (clean[raw < 0.1] == 0).all() and torch.equal(clean[raw > 0.5], raw[raw > 0.5].tanh())
        between = (raw >= 0.1) & (raw <= 0.5)
        assert torch.equal(clean[between], raw[between]) and between.any() and (raw > 0.5).any()
    made = build_encoder(EatEncoder(arch={"embed_dim": 8, "depth": 1, "num_heads": 2}, clean_up=True))
    assert made(feats).min() >= 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks.1.norm2.bias": None}, "weights do not fit an EAT of 64 numbers a token: missing trunk.1.norm2.bias$"),
        ({"other": torch.zeros(2)}, "unknown other$"),
        ({"norm.weight": torch.zeros(64)}, "unknown norm.weight$"),  # of pre-norm networks
        ({"modality_encoders.IMAGE.extra_tokens": None}, "no tensor 'cls_token' in it .*; an EAT file is a torch file"),
        ({"modality_encoders.IMAGE.extra_tokens": torch.zeros(1, 1, 48)}, "tokens of 48 numbers are not whole heads"),
    ],
)
def test_wrong_weights(small, tmp_path, changes, message):
    contents = torch.load(save_eat(small, tmp_path / "x.pt"), weights_only=True)
    stored = contents["model"] | changes
    torch.save({"model": {name: value for name, value in stored.items() if value is not None}}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=message) as error:
        load_eat(tmp_path / "x.pt")
    assert "\n" not in str(error.value)


def test_other_files_and_folders(small, tmp_path):
    torch.save({"weights": {}}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="x.pt: no dict under 'model' in it; an EAT file"):
        load_eat(tmp_path / "x.pt")
    contents = torch.load(save_eat(small, tmp_path / "x.pt"), weights_only=True)
    torch.save(contents | {"cfg": {"model": {"band_width": 100}}}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="x.pt: this is a FISHER: set encoder.name to fisher"):
        load_eat(tmp_path / "x.pt")
    folder = save_eat(small, tmp_path / "hub", "hub")
    for changes, message in (
        ({"layer_norm_first": True}, r"layer_norm_first is True, expected False"),
        ({"num_heads": None}, "num_heads is None, expected a whole number"),
        ({"norm_eps": 1e-5}, "norm_eps is 1e-05, expected 1e-06"),
        ({"model_type": "ced"}, "model_type is 'ced', expected 'eat'"),
    ):
        told = {"model_type": "eat", "num_heads": 1} | changes
        (folder / "config.json").write_text(json.dumps(told))
        with pytest.raises(ValueError, match=message):
            load_eat(folder)


def test_sizes_that_have_no_sine_table():
    with pytest.raises(ValueError, match="multiple of 4"):
        EatEncoder(arch={"embed_dim": 18, "num_heads": 3})
