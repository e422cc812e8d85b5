"""BEATs against what the official code computes from the same weights (random numbers, 3 layers of 48 channels).

test/golden/beats_tiny.pt is a file in the published layout, test/golden/beats_x2.npz a 2-s recording (`wav`, 16 bit)
and the official network's tensors for it; more of them lie below ASDKIT_TEST_DATA.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from asdkit.config import BeatsArch, EncoderConfig
from asdkit.encoders import build_encoder
from asdkit.encoders.base import shrink_mask
from asdkit.encoders.beats import PUBLISHED, Beats
from asdkit.encoders.beats_checkpoint import load_beats, save_beats
from asdkit.encoders.beats_layers import BeatsConfig, relative_buckets

GOLDEN = Path(__file__).parent / "golden"
TINY = BeatsArch(
    encoder_layers=2, encoder_embed_dim=48, encoder_ffn_embed_dim=64, encoder_attention_heads=4, embed_dim=32
)


def relative(got, expected) -> float:
    """Largest absolute difference over the largest expected value."""
    got, expected = torch.as_tensor(got).detach(), torch.as_tensor(expected).detach()
    assert got.shape == expected.shape
    return float((got - expected).abs().max() / expected.abs().max())


def changed(path: Path, **cfg) -> Path:
    """The golden file with other `cfg` fields."""
    contents = torch.load(GOLDEN / "beats_tiny.pt", weights_only=True)
    contents["cfg"].update(cfg)
    torch.save(contents, path)
    return path


def tiny(**cfg) -> Beats:
    torch.manual_seed(0)
    return Beats(BeatsConfig(**{**PUBLISHED, **TINY.model_dump(), **cfg}))


@pytest.fixture
def encoder() -> Beats:
    return load_beats(GOLDEN / "beats_tiny.pt").eval()


@pytest.fixture(scope="module")
def x2() -> dict:
    golden = dict(np.load(GOLDEN / "beats_x2.npz"))
    golden["wav"] = golden["wav"][None].astype(np.float32) / 2**15
    return golden


def compare(encoder: Beats, wav: np.ndarray, golden: dict) -> None:
    """Every stored tensor from the recording, and the network alone, from the stored features, more tightly."""
    feats = encoder.frontend(torch.from_numpy(wav))
    for x, limit in ((feats, 1e-4), (torch.from_numpy(golden["fbank"]), 5e-6)):
        patches = encoder.patches(x)
        projected = encoder.project(patches)
        got = {"fbank": x, "patch_embed": patches, "post_proj": projected}
        got["encoder_input"] = encoder.encoder.prepare(projected)
        got.update({f"block_{i}": y for i, y in enumerate(encoder(x, all_layers=True))}, final=encoder(x))
        got["mean_pool"] = got["final"].mean(1)
        assert set(golden) - {"wav"} <= set(got)
        for name in set(golden) - {"wav"}:
            assert relative(got[name], golden[name]) < limit, name


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


def padded(test_data):
    """Two clips, features and padding mask of the frames, and the golden numbers for them."""
    wav = torch.from_numpy(np.load(test_data / "golden/encoders/inputs/inputs_16k.npz")["batch2"])
    golden = np.load(test_data / "golden/encoders/beats/batch2_padmask.npz")
    valid = torch.from_numpy(golden["padding_mask_valid_samples"])
    samples = torch.arange(wav.shape[1]) >= valid[:, None]
    return wav, shrink_mask(samples, 198), golden


@pytest.mark.parametrize("grad", [True, False])
def test_golden_padding_mask(encoder, test_data, grad):
    wav, mask, golden = padded(test_data)
    assert np.array_equal(shrink_mask(mask, 96).numpy(), golden["token_padding_mask"])
    with torch.set_grad_enabled(grad):
        outputs = encoder(encoder.frontend(wav), mask, all_layers=True)
    assert relative(outputs[0], golden["block_0"]) < 1e-4
    assert relative(outputs[-1], golden["final"]) < 1e-4


def test_golden_class_probabilities(test_data):
    encoder = load_beats(test_data / "golden/encoders/beats/beats_tiny_finetuned.pt").eval()
    golden = np.load(test_data / "golden/encoders/beats/finetuned.npz")
    wav, mask, _ = padded(test_data)
    feats = encoder.frontend(wav)
    assert relative(encoder.class_probabilities(feats[:1]), golden["x2_prob"]) < 1e-4
    assert relative(encoder.class_probabilities(feats), golden["batch2_prob"]) < 1e-4
    assert relative(encoder.class_probabilities(feats, mask), golden["batch2_padmask_prob"]) < 1e-4
    assert encoder.label_dict[10] == "/m/00073"


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
    with pytest.raises(ValueError, match="cut.pt: not a torch file, damaged or cut short") as error:
        load_beats(path)
    assert "\n" not in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match="cannot read .*none.pt: No such file"):
        build_encoder(EncoderConfig(name="beats", checkpoint=str(tmp_path / "none.pt")))


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
    encoder.blocks()[0].adapters["mha"] = nn.Linear(48, 48)
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


class Plus(nn.Module):
    def forward(self, y):
        self.seen = y
        return y + torch.linspace(-1, 1, y.shape[-1])


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("position", ["mha", "ffn", "transformer"])
def test_adapters(x2, position, first):
    encoder = tiny(layer_norm_first=first).eval()
    feats = torch.from_numpy(x2["fbank"])
    plain = encoder(feats, all_layers=True)
    seen = {}
    block = encoder.blocks()[1]
    module = {"mha": block.self_attn, "ffn": block.fc2, "transformer": block}[position]
    module.register_forward_hook(lambda module, args, output: seen.setdefault("output", output))
    adapter = block.adapters[position] = Plus()
    adapted = encoder(feats, all_layers=True)
    assert torch.equal(adapted[0], plain[0])
    assert relative(adapted[1], plain[1]) > 1e-2
    if position == "transformer":
        assert torch.equal(adapter.seen, plain[1])
        assert torch.equal(adapted[1], plain[1] + torch.linspace(-1, 1, 48))
    else:
        assert torch.equal(adapter.seen, seen["output"])  # before the residual sum


class Double(nn.Module):
    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x):
        return 2 * self.linear(x)


@pytest.mark.parametrize("name", ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"])
def test_linears_can_be_replaced(encoder, x2, name):
    feats = torch.from_numpy(x2["fbank"])
    before = encoder(feats)
    linears = encoder.blocks()[0].linears()
    assert list(linears) == ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
    parent, attribute = linears[name]
    setattr(parent, attribute, Double(getattr(parent, attribute)))
    assert relative(encoder(feats), before) > 1e-3


def test_evaluation_is_deterministic(encoder, x2):
    feats = torch.from_numpy(x2["fbank"])
    assert torch.equal(encoder(feats), encoder(feats))


@pytest.mark.parametrize("rows", [1, 100, 10_000])
@pytest.mark.parametrize("masked", [False, True])
def test_batch_equals_single_clips(encoder, monkeypatch, rows, masked):
    wav = torch.randn(5, 9000, generator=torch.Generator().manual_seed(3))
    feats = encoder.frontend(wav)
    mask = torch.arange(feats.shape[1]) >= torch.tensor([[20], [30], [54], [33], [48]]) if masked else None
    with torch.no_grad():
        singles = torch.cat([encoder(feats[i : i + 1], mask[i : i + 1] if masked else None) for i in range(5)])
        monkeypatch.setattr("asdkit.encoders.beats_layers.ROWS", rows)
        assert relative(encoder(feats, mask), singles) < 1e-5
        assert relative(encoder(feats, mask, all_layers=True)[-1], singles) < 1e-5


def test_padding_is_not_attended_to(encoder, x2):
    feats = torch.from_numpy(x2["fbank"]).repeat(2, 1, 1)
    mask = torch.zeros(2, 198, dtype=torch.bool)
    mask[:, 160:] = True
    feats[1, 160:] = 3.0
    with torch.no_grad():
        tokens = encoder(feats, mask)
    assert relative(tokens[1, :80], tokens[0, :80]) < 1e-5


@pytest.mark.parametrize("masked", [False, True])
def test_bfloat16_autocast(encoder, x2, masked):
    feats = torch.from_numpy(x2["fbank"]).repeat(2, 1, 1)
    mask = torch.arange(198) >= torch.tensor([[198], [128]]) if masked else None
    with torch.no_grad():
        expected = encoder(feats, mask)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = encoder(feats, mask).float()
    valid = slice(None) if mask is None else ~shrink_mask(mask, 96)
    error = (got - expected)[valid].square().mean().sqrt() / expected[valid].square().mean().sqrt()
    assert error < 0.02


def test_random_weights_follow_the_seed():
    config = EncoderConfig(name="beats", arch=TINY)
    encoders = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        encoders.append(build_encoder(config).state_dict())
    assert all(torch.equal(encoders[0][key], encoders[1][key]) for key in encoders[0])
    assert not torch.equal(encoders[0]["patch_embedding.weight"], encoders[2]["patch_embedding.weight"])
    # DeepNet's scale: values and feed-forward start (8 L)^(-1/4) = 1/2 smaller than queries and keys.
    q, v = (encoders[0][f"encoder.layers.0.self_attn.{name}.weight"].std() for name in ("q_proj", "v_proj"))
    assert v / q == pytest.approx(0.5, rel=0.1)


def test_layerdrop(x2):
    feats = torch.from_numpy(x2["fbank"])
    encoder = tiny(encoder_layerdrop=1.0)
    start = encoder.encoder.prepare(encoder.project(encoder.patches(feats)))
    assert torch.equal(encoder.train()(feats), start)
    assert not torch.equal(encoder.eval()(feats), start)
    encoder = tiny(encoder_layerdrop=0.5).train()
    runs = []
    for seed in (0, 0, *range(1, 10)):
        torch.manual_seed(seed)
        runs.append(encoder(feats).detach())
    assert torch.equal(runs[0], runs[1])
    assert len({float(run.sum()) for run in runs}) == 4  # none, either or both of the two layers


@pytest.mark.parametrize("name", ["dropout", "attention_dropout", "activation_dropout", "dropout_input"])
def test_dropouts_act_in_training_only(x2, name):
    encoder = tiny(**{name: 0.5}, encoder_layerdrop=0.0)
    feats = torch.from_numpy(x2["fbank"])
    assert not torch.equal(encoder.train()(feats), encoder(feats))
    assert torch.equal(encoder.eval()(feats), encoder(feats))


def test_norm_before_the_layers(x2):
    encoder = tiny(layer_norm_first=True).eval()
    for block in encoder.blocks():
        for linear in (block.self_attn.out_proj, block.fc2):
            linear.weight.data.zero_()
    feats = torch.from_numpy(x2["fbank"])
    start = encoder.encoder.prepare(encoder.project(encoder.patches(feats)))
    assert torch.equal(encoder(feats, all_layers=True)[-1], start)
    assert torch.equal(encoder(feats), encoder.encoder.layer_norm(start))


def test_other_layouts(x2):
    feats = torch.from_numpy(x2["fbank"])
    reference = tiny().eval()(feats)
    assert "patch_embedding.bias" in tiny(conv_bias=True).state_dict()
    assert tiny(embed_dim=48).post_extract_proj is None
    assert tiny(embed_dim=48).eval()(feats).shape == reference.shape
    assert tiny(input_patch_size=8).eval()(feats).shape == (1, 24 * 16, 48)
    plain = tiny(gru_rel_pos=False)
    assert not any("grep" in key for key in plain.state_dict())
    plain.eval()
    mask = torch.zeros(1, 198, dtype=torch.bool)
    assert relative(plain(feats, mask), plain(feats)) < 1e-5
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert relative(plain(feats, mask).float(), plain(feats)) < 0.1
    none = tiny(relative_position_embedding=False, gru_rel_pos=False)
    assert not any("relative" in key for key in none.state_dict())
    none.eval()(feats)
    shallow = tiny(deep_norm=False)
    shallow.load_state_dict(tiny().state_dict())
    assert relative(shallow.eval()(feats), reference) > 1e-2
    for activation in ("gelu_accurate", "relu", "tanh", "swish", "linear"):
        other = tiny(activation_fn=activation)
        assert relative(other.eval()(feats), reference) > 1e-5


def test_contract(encoder):
    assert (encoder.sample_rate, encoder.window, encoder.hop, encoder.dim) == (16000, 400, 160, 48)
    assert len(encoder.blocks()) == 3


@pytest.mark.parametrize(
    ("feats", "message"),
    [
        (torch.zeros(1, 15, 128), r"15 frames, at least 16 \(0.175 s\)"),
        (torch.zeros(1, 16, 64), r"expected \[clips, frames, 128\]"),
        (torch.zeros(16, 128), r"expected \[clips, frames, 128\]"),
    ],
)
def test_wrong_features(encoder, feats, message):
    with pytest.raises(ValueError, match=message):
        encoder(feats)


def test_pretrained_network_predicts_no_classes(encoder):
    with pytest.raises(ValueError, match="predicts no classes"):
        encoder.class_probabilities(torch.zeros(1, 16, 128))


def test_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="encoder.arch: .*no multiple of encoder_attention_heads"):
        build_encoder(EncoderConfig(name="beats", arch=TINY.model_copy(update={"encoder_attention_heads": 5})))
