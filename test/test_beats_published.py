"""Published BEATs files: the official network's numbers from them, and what is refused."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from beats_networks import GOLDEN, golden_encoder, golden_tensors, relative, tiny

from asdkit.adapt.group_adapter import add_group_adapter
from asdkit.config import BeatsArch, BeatsEncoder, GroupAdapterConfig
from asdkit.encoders import build_encoder
from asdkit.encoders.beats import PUBLISHED, Beats
from asdkit.encoders.beats_checkpoint import load_beats, save_beats
from asdkit.layers.beats_layers import BeatsConfig, relative_buckets


@pytest.fixture
def encoder():
    return golden_encoder()


@pytest.fixture(scope="module")
def x2():
    return golden_tensors()


def changed(path: Path, **cfg) -> Path:
    """The golden file with other `cfg` fields."""
    contents = torch.load(GOLDEN / "beats_tiny.pt", weights_only=True)
    contents["cfg"].update(cfg)
    torch.save(contents, path)
    return path


def compare(encoder: Beats, wav: np.ndarray, golden: dict) -> None:
    """Every stored tensor from the recording, and the network alone, from the stored features, more tightly."""
    feats = encoder.frontend(torch.from_numpy(wav))
    # In some bins of quiet frames the stored features are 1e-4 from those in float64, and so are these.
    for x, limit in ((feats, 3e-4), (torch.from_numpy(golden["fbank"]), 5e-6)):
        patches = encoder.patches(x)
        projected = encoder.project(patches)
        got = {"fbank": x, "patch_embed": patches, "post_proj": projected}
        got["encoder_input"] = encoder.encoder.prepare(projected)
        got.update({f"block_{i}": y for i, y in enumerate(encoder.layers(x))}, final=encoder(x))
        got["mean_pool"] = got["final"].mean(1)
        assert set(golden) - {"wav"} <= set(got)
        for name in set(golden) - {"wav"}:
            assert relative(got[name], golden[name]) < limit, name


def test_a_file_is_read_and_used_without_torchs_compiler():
    """Loading it takes longer than everything else that a program does before its first clip."""
    code = (
        "import sys, torch\nfrom asdkit.encoders.beats_checkpoint import load_beats\n"
        f"encoder = load_beats({str(GOLDEN / 'beats_tiny.pt')!r}).eval()\n"
        "with torch.no_grad(): encoder(encoder.frontend(torch.zeros(1, 16000)))\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, cwd=Path(__file__).parents[1]).returncode == 0


@pytest.mark.parametrize("grad", [True, False])
def test_golden_tensors(encoder, x2, grad):
    with torch.set_grad_enabled(grad):
        compare(encoder, x2["wav"], x2)


@pytest.mark.parametrize("name", ["x2", "x10", "batch2"])
def test_golden_tensors_of_other_inputs(encoder, test_data, name):
    wav = np.load(test_data / "golden/encoders/inputs/inputs_16k.npz")[name]
    golden = dict(np.load(test_data / f"golden/encoders/beats/{name}.npz"))
    with torch.no_grad():
        compare(encoder, np.atleast_2d(wav), golden)


def test_golden_class_probabilities(test_data):
    encoder = load_beats(test_data / "golden/encoders/beats/beats_tiny_finetuned.pt").eval()
    golden = np.load(test_data / "golden/encoders/beats/finetuned.npz")
    wav = torch.from_numpy(np.load(test_data / "golden/encoders/inputs/inputs_16k.npz")["batch2"])
    probabilities = encoder.predictor(encoder(encoder.frontend(wav))).mean(1).sigmoid()
    assert relative(probabilities[:1], golden["x2_prob"]) < 1e-4
    assert relative(probabilities, golden["batch2_prob"]) < 1e-4
    assert encoder.label_dict[10] == "/m/00073"


def test_a_pretrained_file_may_say_nothing_of_classes(tmp_path, encoder):
    contents = torch.load(GOLDEN / "beats_tiny.pt", weights_only=True)
    for name in ("finetuned_model", "predictor_dropout", "predictor_class"):
        contents["cfg"].pop(name, None)
    torch.save(contents, tmp_path / "x.pt")
    read = load_beats(tmp_path / "x.pt")
    assert read.predictor is None and read.cfg.finetuned_model is False
    assert all(torch.equal(value, read.state_dict()[key]) for key, value in encoder.state_dict().items())


def test_golden_position_bias(encoder, test_data):
    golden = np.load(test_data / "golden/encoders/beats/relpos.npz")
    buckets = relative_buckets(torch.from_numpy(golden["relative_position"]), 320, 800)
    assert np.array_equal(buckets.numpy(), golden["bucket"])
    assert relative(encoder.encoder.position_bias(20), golden["bias_20x20"]) < 1e-6


@pytest.mark.parametrize(("ratio", "suffix"), [(0.6, ""), (1.0, "_ratio1")])
def test_golden_gradients(test_data, tmp_path, x2, ratio, suffix):
    golden = np.load(test_data / "golden/encoders/beats/grad_x2.npz")
    path = changed(tmp_path / "x.pt", layer_wise_gradient_decay_ratio=ratio, encoder_layerdrop=0.0)
    encoder = load_beats(path).train()
    loss = encoder(torch.from_numpy(x2["fbank"])).square().sum()
    loss.backward()
    assert relative(loss, golden["loss"][0]) < 1e-4
    gradients = {name: p.grad for name, p in encoder.named_parameters()}
    names = [name for name in golden if name != "loss" and name.endswith("_ratio1") == bool(suffix)]
    assert len(names) == 6
    for name in names:
        assert relative(gradients[name.removesuffix("_ratio1")], golden[name]) < 1e-4, name


@pytest.mark.parametrize("name", ["beats_iter3", "beats_iter3_finetuned_527"])
def test_published_keys_and_shapes(test_data, name):
    expected = json.loads((test_data / f"golden/encoders/shapes/{name}.json").read_text())["keys"]
    cfg = {**PUBLISHED, **BeatsArch().model_dump(), "finetuned_model": "finetuned" in name}
    with torch.device("meta"):
        encoder = Beats(BeatsConfig(**cfg))
    assert {key: list(value.shape) for key, value in encoder.state_dict().items()} == expected


def broken_files():
    good = torch.load(GOLDEN / "beats_tiny.pt", weights_only=True)
    cfg, model = good["cfg"], good["model"]
    table = "encoder.layers.1.self_attn.relative_attention_bias.weight"
    return [
        ({"model": model}, "holds model; a BEATs file holds cfg, model"),
        ({**good, "optimizer": {}}, "holds cfg, model, optimizer"),
        ([1], "holds list"),
        ({"cfg": cfg, "model": [1]}, "must be dicts"),
        ({"cfg": {**cfg, "max_distence": 800}, "model": model}, "cfg: unknown key 'max_distence'.*max_distance"),
        ({"cfg": {k: v for k, v in cfg.items() if k != "deep_norm"}, "model": model}, "cfg: deep_norm"),
        ({"cfg": {**cfg, "activation_fn": "glu"}, "model": model}, "activation_fn"),
        ({"cfg": {**cfg, "encoder_attention_heads": 5}, "model": model}, "no multiple of encoder_attention_heads"),
        ({"cfg": cfg, "model": {k: v for k, v in model.items() if k != "layer_norm.bias"}}, "missing layer_norm.bias"),
        ({"cfg": cfg, "model": {**model, "mask_emb": torch.zeros(3)}}, "unknown mask_emb"),
        (
            {"cfg": cfg, "model": {**model, "layer_norm.bias": torch.zeros(31)}},
            r"layer_norm.bias is \(31,\), .*\(32,\)",
        ),
        ({"cfg": cfg, "model": {**model, "layer_norm.bias": 3}}, "layer_norm.bias is int"),
        ({"cfg": cfg, "model": {**model, table: model[table] + 1}}, "differs between layers"),
        ({"cfg": {**cfg, "encoder_layers": 4}, "model": model}, "and 17 more"),
    ]


@pytest.mark.parametrize("number", range(len(broken_files())))
def test_wrong_contents(tmp_path, number):
    contents, message = broken_files()[number]
    path = tmp_path / "broken.pt"
    torch.save(contents, path)
    with pytest.raises(ValueError, match=message) as error:
        load_beats(path)
    assert str(path) in str(error.value)


class Attack:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_not_run(tmp_path, zipped):
    for thing in (Attack(tmp_path / "proof"), argparse.Namespace(a=1)):
        torch.save({"cfg": {}, "model": thing}, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
        with pytest.raises(ValueError, match="could run code") as error:
            load_beats(tmp_path / "x.pt")
        assert "\n" not in str(error.value)
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("keep", [0, 10, 1000, 200_000, 485_000])
def test_cut_file(tmp_path, keep):
    path = tmp_path / "cut.pt"
    path.write_bytes((GOLDEN / "beats_tiny.pt").read_bytes()[:keep])
    words = "a torch or zip file cut short: download it again" if keep else "an empty file: download it again"
    with pytest.raises(ValueError, match=f"cut.pt: {words}$"):
        load_beats(path)


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match="cannot read .*none.pt: No such file"):
        build_encoder(BeatsEncoder(checkpoint=str(tmp_path / "none.pt")))
    with pytest.raises(ValueError, match="a folder, where this encoder reads a file"):
        load_beats(tmp_path)


@pytest.mark.parametrize("cfg", [{}, {"finetuned_model": True, "predictor_class": 5}])
def test_save_and_load(tmp_path, x2, cfg):
    encoder = tiny(**cfg).eval()
    encoder.label_dict = {0: "a"} if cfg else None
    save_beats(encoder, tmp_path / "x.pt")
    again = load_beats(tmp_path / "x.pt").eval()
    feats = torch.from_numpy(x2["fbank"])
    assert torch.equal(encoder(feats), again(feats))
    assert (again.cfg, again.label_dict) == (encoder.cfg, encoder.label_dict)
    contents = torch.load(tmp_path / "x.pt", weights_only=True)
    assert set(contents) == {"cfg", "model"} | ({"label_dict"} if cfg else set())
    # The table that all layers share is stored once.
    tables = [v for k, v in contents["model"].items() if "relative_attention_bias" in k]
    assert len(tables) == 2 and len({table.data_ptr() for table in tables}) == 1


def test_save_refuses_adapted_networks(encoder, tmp_path):
    add_group_adapter(encoder, GroupAdapterConfig(groups=3, hidden=4))
    with pytest.raises(ValueError, match="unknown encoder.layers.0.adapters.mha"):
        save_beats(encoder, tmp_path / "x.pt")
    assert not list(tmp_path.iterdir())


def test_loaded_weights_can_be_trained(encoder, x2):
    before = encoder.post_extract_proj.weight.clone()
    optimizer = torch.optim.SGD(encoder.parameters(), lr=1e-3)
    encoder(torch.from_numpy(x2["fbank"])).square().sum().backward()
    optimizer.step()
    assert not torch.equal(encoder.post_extract_proj.weight, before)
    assert torch.equal(load_beats(GOLDEN / "beats_tiny.pt").post_extract_proj.weight, before)
