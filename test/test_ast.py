"""AST: the authors' numbers, both published layouts, transformers' own network, and what is refused."""

import json

import numpy as np
import pytest
import torch
from beats_networks import relative
from weight_files import save_ast, time_major, write_safetensors

from asdkit.config import AstEncoder, Config, VitArch
from asdkit.encoders import build_encoder
from asdkit.encoders.ast import FBANK_MEAN, FBANK_STD, Ast, load_ast
from asdkit.encoders.checkpoints import read_safetensors
from asdkit.infer.network import load_system
from asdkit.models.checkpoint import read_checkpoint, save_checkpoint
from asdkit.models.classifier import Classifier
from asdkit.utils.typed_yaml import validate

SMALL = VitArch(embed_dim=64, depth=2, num_heads=1)
BANDS = 12


@pytest.fixture
def encoder(test_data):
    return load_ast(test_data / "golden/encoders/ast/ast_tiny_audioset_layout.pth", heads=4).eval()


def compare(encoder, feats, golden, limit):
    patches = encoder.patches(feats)
    final = encoder(feats)
    got = {"patch_embed": patches, "encoder_input": encoder.prepare(patches), "final": final}
    got |= {f"block_{number}": tokens for number, tokens in enumerate(encoder.layers(feats))}
    got["pos_embed_cut"] = encoder.positions(patches.shape[1] // BANDS)
    golden = {name: time_major(x, 0 if name == "patch_embed" else 2, BANDS) if x.ndim == 3 and name != "fbank" else x
              for name, x in golden.items()}  # fmt: skip
    got["pooled"] = final[:, : encoder.specials].mean(1)
    assert set(golden) - set(got) <= {"fbank", "logits"} and {"block_0", "block_1", "final", "pooled"} <= set(golden)
    for name in set(golden) & set(got):
        assert relative(got[name], golden[name]) < limit, name


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("name", ["x2", "batch2"])
def test_golden_tensors(encoder, golden, wavs, name, grad):
    stored = golden(f"{name}_tdim198")
    with torch.set_grad_enabled(grad):
        feats = encoder.frontend(wavs[name])
        assert feats.shape == stored["fbank"].shape and (feats - stored["fbank"]).abs().max() < 3e-4
        compare(encoder, feats, stored, 1e-4)
        compare(encoder, stored["fbank"], stored, 5e-6)


@torch.no_grad()
def test_golden_tensors_of_the_authors_length(encoder, golden, wavs):
    stored = golden("x10")
    compare(encoder, stored["fbank"], stored, 5e-6)
    assert (encoder.frontend(wavs["x10"]) - stored["fbank"][:, :998]).abs().max() < 3e-4
    cut = encoder(encoder.frontend(wavs["x12"])[:, :1024])
    assert relative(cut[:, :2].mean(1), golden("x12_tdim1198")["cut1024_pooled"]) < 1e-4


@torch.no_grad()
def test_golden_tensors_of_a_longer_clip(encoder, golden, wavs):
    stored = golden("x12_tdim1198")
    table = encoder.positions(119)[0, 2:].view(119, BANDS, -1)
    assert relative(table[:, 0], stored["pos_embed_interpolated_row0"]) < 5e-6
    assert relative(table[:, 11], stored["pos_embed_interpolated_row11"]) < 5e-6
    final = encoder(encoder.frontend(wavs["x12"]))
    assert final.shape == (1, 2 + 119 * BANDS, 48)
    assert relative(final[:, :2], stored["final_cls_dist"]) < 1e-4
    assert relative(final[:, :2].mean(1), stored["pooled"]) < 1e-4


@torch.no_grad()
def test_nothing_is_padded(encoder, golden, wavs):
    """The authors fill up to 1024 frames with what is louder than silence, and the network hears it."""
    stored = golden("x2_padded1024")
    feats = encoder.frontend(wavs["x2"])
    assert feats.shape == (1, 198, 128)
    padding = torch.full((1, 1024 - 198, 128), -FBANK_MEAN / (2 * FBANK_STD))
    assert padding[0, 0, 0] > 0.46 > encoder.frontend(torch.zeros(1, 32000)).max() + 1.7
    padded = encoder(torch.cat([feats, padding], 1))
    assert relative(padded[:, :2], stored["final_cls_dist"]) < 1e-4
    assert relative(encoder(feats)[:, :2], stored["final_cls_dist"]) > 0.1


def test_published_keys_and_shapes(test_data, tmp_path, monkeypatch):
    keys = json.loads((test_data / "golden/encoders/shapes/ast_audioset_10_10_0.4593.json").read_text())["keys"]
    torch.save({name: torch.zeros(()).expand(shape) for name, shape in keys.items()}, tmp_path / "ast.pth")
    monkeypatch.setattr("asdkit.encoders.ast.put_in", lambda network, weights: None)  # it stays on the meta device
    published = load_ast(tmp_path / "ast.pth")
    assert [block.attn.heads for block in published.trunk] == [12] * 12 and published.columns == 101
    foreign = sum(np.prod(shape) for name, shape in keys.items() if "head" in name)
    count = sum(p.numel() for p in published.parameters())
    assert count == sum(np.prod(shape) for shape in keys.values()) - foreign == 86_187_264
    with torch.device("meta"):
        own = Ast(AstEncoder().size()).state_dict()
    assert {name: x.shape for name, x in own.items()} == {name: x.shape for name, x in published.state_dict().items()}


@pytest.mark.parametrize(("stride", "table"), [(10, 101 * 12), (12, 85 * 10), (14, 73 * 9), (16, 64 * 8)])
def test_the_stride_is_read_from_the_table_of_positions(tmp_path, stride, table):
    torch.manual_seed(0)
    made = Ast(SMALL, stride=(stride, stride)).eval()
    assert made.pos_embed.shape[1] == 2 + table
    save_ast(made, tmp_path / "x.pth")
    read = load_ast(tmp_path / "x.pth").eval()
    assert (read.bands, read.columns) == (made.bands, made.columns)
    feats = torch.randn(1, 50, 128)
    assert torch.equal(read(feats), made(feats))


@pytest.fixture
def small():
    """A network whose every weight counts; the stream in front of the first block is so small that epsilons show."""
    torch.manual_seed(0)
    made = Ast(SMALL).eval()
    with torch.no_grad():
        for name, p in made.named_parameters():
            first = name.startswith(("cls", "dist", "pos", "patch"))
            p.normal_(1.0 if "norm" in name and "weight" in name else 0.0, 0.001 if first else 0.1)
    return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("bare", [True, False])
def test_both_layouts_are_one_network(small, tmp_path, dtype, bare):
    feats = torch.randn(2, 70, 128)
    save_ast(small, tmp_path / "x.pth", dtype)
    save_ast(small, tmp_path / "hf", dtype, bare=bare)
    read = [load_ast(tmp_path / name).eval() for name in ("x.pth", "hf", "hf/model.safetensors")]
    assert all(p.dtype == torch.float32 for own in read for p in own.parameters())
    first, *others = (own(feats) for own in read)
    assert all(torch.equal(first, other) for other in others)
    assert relative(first, small(feats)) < (1e-6 if dtype == torch.float32 else 0.03)
    assert build_encoder(AstEncoder(checkpoint=str(tmp_path / "hf"))).state_dict().keys() == small.state_dict().keys()


def test_old_weights_files_of_a_folder(small, tmp_path):
    save_ast(small, tmp_path, bare=False)
    weights = read_safetensors(tmp_path / "model.safetensors")
    torch.save(weights, tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    feats = torch.randn(1, 40, 128)
    assert torch.equal(load_ast(tmp_path).eval()(feats), small(feats))
    assert torch.equal(load_ast(tmp_path / "pytorch_model.bin").eval()(feats), small(feats))


@pytest.mark.parametrize("eps", [1e-12, 1e-6])
@pytest.mark.parametrize("name", ["ASTModel", "ASTForAudioClassification"])
def test_transformers_own_network(tmp_path, name, eps):
    """Its folders open, its numbers come out, those of its epsilon too; positions for 1024 frames alone are its own."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 72}
    config = transformers.ASTConfig(**sizes, max_length=96, time_stride=8, layer_norm_eps=eps)
    network = getattr(transformers, name)(config).eval()
    own = {key: 0.1 * torch.randn_like(value) for key, value in network.state_dict().items()}
    own = {key: value / 100 if "embeddings" in key else value for key, value in own.items()}
    network.load_state_dict(own)
    network.save_pretrained(tmp_path)
    feats = torch.randn(2, 96, 128)
    with torch.no_grad():
        body = getattr(network, "audio_spectrogram_transformer", network)
        expected = body(feats, output_hidden_states=True)
        read = load_ast(tmp_path).eval()
        tokens, layers = read(feats), read.layers(feats)
    assert read.columns == 11 and read.trunk[0].mlp.fc1.out_features == 72
    assert relative(tokens, time_major(expected.last_hidden_state, 2, BANDS)) < 5e-6
    assert relative(layers[0], time_major(expected.hidden_states[1], 2, BANDS)) < 5e-6
    other = json.loads((tmp_path / "config.json").read_text()) | {"layer_norm_eps": 1e-6 if eps < 1e-6 else 1e-12}
    (tmp_path / "config.json").write_text(json.dumps(other))
    assert relative(load_ast(tmp_path).eval().layers(feats)[0], layers[0].detach()) > 1e-4


def test_transformers_own_front_end(encoder, wavs):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    for wav in wavs["batch2"]:
        feats = transformers.ASTFeatureExtractor()(wav.numpy(), sampling_rate=16000, return_tensors="pt")
        own = encoder.frontend(wav[None])
        assert (feats["input_values"][:, :198] - own).abs().max() < 5e-4


def rewritten(path, **changes):
    """The original layout with other tensors; None leaves one out."""
    weights = torch.load(path, weights_only=True) | changes
    torch.save({name: value for name, value in weights.items() if value is not None}, path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"module.v.norm.bias": None}, "x.pth: weights do not fit an AST of 64 numbers a token: missing norm.bias$"),
        ({"module.v.other": torch.zeros(2)}, "unknown other$"),
        ({"decoder.x": torch.zeros(2)}, "unknown decoder.x$"),
        ({"module.v.norm.bias": torch.zeros(3)}, r"norm.bias is \(3,\), expected \(64,\)"),
        ({"module.v.pos_embed": None}, "no tensor 'pos_embed' in it .*an AST file is a dict of tensors"),
        ({"module.v.pos_embed": torch.zeros(1, 148, 64)}, "positions of 146 patches, which 1024 frames do not give"),
        ({"module.v.pos_embed": torch.zeros(1, 1214, 65)}, "tokens of 65 numbers are not whole heads"),
    ],
)
def test_wrong_weights(small, tmp_path, changes, message):
    save_ast(small, tmp_path / "x.pth")
    rewritten(tmp_path / "x.pth", **changes)
    with pytest.raises(ValueError, match=message) as error:
        load_ast(tmp_path / "x.pth")
    assert "\n" not in str(error.value)


def test_wrong_files_and_folders(small, tmp_path):
    torch.save({"cfg": {}, "model": {}}, tmp_path / "beats.pt")
    with pytest.raises(ValueError, match=r"beats.pt: no tensor 'pos_embed' in it \(but cfg, model"):
        load_ast(tmp_path / "beats.pt")
    with pytest.raises(ValueError, match="cannot read .*none.pth"):
        load_ast(tmp_path / "none.pth")
    folder = tmp_path / "hf"
    save_ast(small, folder)
    good = json.loads((folder / "config.json").read_text())
    for wrong, message in (
        ({"model_type": "hubert"}, "config.json: model_type is 'hubert', expected 'audio-spectrogram-transformer'"),
        ({"qkv_bias": False, "num_mel_bins": 64}, "num_mel_bins is 64, expected 128; qkv_bias is False, expected True"),
        ({"num_attention_heads": None}, "num_attention_heads is None, expected a whole number"),
        ({"num_attention_heads": 5}, "tokens of 64 numbers are not 5 heads"),
        ({"layer_norm_eps": "x"}, "layer_norm_eps is 'x', expected a number"),
        ({"frequency_stride": 12}, r"pos_embed is \(1, 1214, 64\), expected"),
    ):
        (folder / "config.json").write_text(json.dumps(good | wrong))
        with pytest.raises(ValueError, match=message):
            load_ast(folder)
    (folder / "config.json").write_text(json.dumps(good))
    (folder / "preprocessor_config.json").write_text('{"mean": -6.8, "std": 5.6}')
    with pytest.raises(ValueError, match=r"preprocessor_config.json: mean is -6.8, expected -4.2677393"):
        load_ast(folder)
    (folder / "preprocessor_config.json").unlink()
    weights = read_safetensors(folder / "model.safetensors")
    write_safetensors(folder / "model.safetensors", {f"hubert.{name}": value for name, value in weights.items()})
    with pytest.raises(ValueError, match="model.safetensors: no tensor 'pos_embed' in it"):
        load_ast(folder)
    weights.pop("encoder.layer.1.attention.attention.key.bias")
    write_safetensors(folder / "model.safetensors", weights)
    with pytest.raises(ValueError, match=r"missing trunk.1.attn.qkv.bias; unknown trunk.1.attn.query.bias"):
        load_ast(folder)


def test_clips_that_are_too_short(small):
    with pytest.raises(ValueError, match=r"ast: clip of 15 frames, at least 16 \(0.175 s\) are needed"):
        small(torch.zeros(1, 15, 128))
    with pytest.raises(ValueError, match=r"ast: features of shape \(1, 20, 64\), expected \[clips, frames, 128\]"):
        small(torch.zeros(1, 20, 64))
    assert small(small.frontend(torch.randn(1, 2800))).shape == (1, 2 + BANDS, 64)


def test_positions_of_shorter_and_longer_clips(small):
    """The middle of the table, or the table stretched in time: a ramp stays one, between half a step from its ends."""
    ramp = torch.arange(101.0).view(1, 101, 1, 1) + torch.arange(BANDS).view(1, 1, -1, 1) / 100
    with torch.no_grad():
        small.pos_embed[:, 2:] = ramp.expand(-1, -1, -1, 64).flatten(1, 2)
        for columns, first in ((99, 1), (98, 1), (2, 49), (1, 50)):
            found = small.positions(columns)[0, 2:].view(columns, BANDS, -1)
            assert torch.equal(found, ramp[0, first : first + columns].expand(-1, -1, 64))
        assert torch.equal(small.positions(101), small.pos_embed)
        found = small.positions(202)
    assert torch.equal(found[:, :2], small.pos_embed[:, :2])
    expected = (torch.arange(202.0) / 2 - 0.25).clamp(0, 100).view(-1, 1) + ramp[0, 0, :, 0]
    torch.testing.assert_close(found[0, 2:, 5].view(202, BANDS), expected)


def test_the_epsilon_of_a_folder_is_its_configurations(small, tmp_path):
    feats = torch.randn(1, 40, 128)
    torch.manual_seed(0)
    other = Ast(SMALL, eps=1e-12).eval()
    other.load_state_dict(small.state_dict())
    save_ast(other, tmp_path)
    read = load_ast(tmp_path).eval()
    assert torch.equal(read(feats), other(feats))
    assert relative(read.layers(feats)[0], small.layers(feats)[0]) > 1e-4


@pytest.mark.parametrize("kind", ["x.pth", "hf"])
def test_a_system_keeps_what_is_trained_and_the_name_of_the_file(small, tmp_path, kind):
    save_ast(small, tmp_path / kind)
    model = {"embedding_dim": 8, "lora": {"branches": 2, "rank": 2}}
    raw = {"encoder": {"name": "ast", "checkpoint": str(tmp_path / kind)}, "model": model}
    config = validate(Config, raw, "test")
    system = Classifier(config, ["a", "b"]).eval()
    save_checkpoint(tmp_path / "final.pt", system.state())
    content = read_checkpoint(tmp_path / "final.pt")
    kept = {name for name in content["model"] if name.startswith("encoder.")}
    assert kept and all("lora" in name or "adapters" in name for name in kept)
    feats = torch.randn(2, 40, 128)
    again = load_system(config, tmp_path / "final.pt", torch.device("cpu"))
    torch.testing.assert_close(again.model(feats), system.model(feats))
    torch.manual_seed(1)
    save_ast(Ast(SMALL), tmp_path / kind)
    with pytest.raises(ValueError, match="but that file has changed"):
        load_system(config, tmp_path / "final.pt", torch.device("cpu"))


def test_memory_grows_with_the_tokens(small):
    need = [small.memory(16000 * seconds, 1, "cpu", "float32") for seconds in (100, 200)]
    assert 1.9 < need[1] / need[0] < 2.1 and need[0] > 2 * 64 * 9 * 4 * 990 * BANDS / 2
