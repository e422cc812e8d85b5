"""wav2vec 2.0, UniSpeech, HuBERT and WavLM: against the library transformers and numbers of the authors' code."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from small_encoders import LARGE, SPEECH

from asdkit.adapt.lora import add_lora, merge_lora
from asdkit.config import Config, LoraConfig
from asdkit.encoders import build_encoder
from asdkit.encoders.checkpoints import check_weights, renamed
from asdkit.encoders.speech import FAMILIES, quicker, spans
from asdkit.encoders.speech_checkpoint import AUTHORS, MASK
from asdkit.models.embedder import Embedder
from asdkit.models.graphs import graph_blocks
from asdkit.utils.typed_yaml import validate

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

GOLDEN = Path(os.environ.get("ASDKIT_TEST_DATA", "-")) / "golden/encoders"
AUTHORS_FILES = [("wav2vec2", "base"), ("wav2vec2", "large_lv60"), ("wavlm", "base"), ("wavlm", "large")]
golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="ASDKIT_TEST_DATA names no folder with golden/encoders")
LAYERS = {"num_hidden_layers": 4}


def section(name, **fields):
    return validate(Config, {"encoder": {"name": name, **fields}}, "test").encoder


def encoder(name, seed=0, **fields):
    torch.manual_seed(seed)
    fields = fields if "checkpoint" in fields else {"arch": SPEECH, **fields}
    return build_encoder(section(name, **fields)).eval()


def clips(samples=16000, count=2, scale=0.1):
    return scale * torch.randn(count, samples, generator=torch.Generator().manual_seed(1)) + 0.01


def network(name, head="Model", **settings):
    """One of the library's networks with random weights, none of them 0."""
    torch.manual_seed(3)
    family = FAMILIES[name]
    made = getattr(transformers, family + head)(getattr(transformers, f"{family}Config")(**{**SPEECH, **settings}))
    for parameter in made.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    return made.eval()


def saved(made, folder, normalised=True):
    made.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=normalised).save_pretrained(folder)
    return str(folder)


def edit(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# The authors' code.


@golden
@pytest.mark.parametrize(("name", "size"), AUTHORS_FILES)
def test_the_authors_files_give_the_authors_numbers(name, size):
    loaded = encoder(name, checkpoint=str(GOLDEN / name / f"{name}_tiny_{size}.pt"))
    inputs = np.load(GOLDEN / "inputs/inputs_16k.npz")
    for clip in ("x2", "x10", "batch2"):
        expected = np.load(GOLDEN / name / f"{size}_{clip}.npz")
        with torch.no_grad():
            tokens, outputs = loaded.traced(loaded.frontend(torch.from_numpy(np.atleast_2d(inputs[clip]))), range(2))
        for found, array in ((outputs[0], "block_0"), (outputs[1], "block_1"), (tokens, "final")):
            limit = 2e-5 * np.abs(expected[array]).max()
            np.testing.assert_allclose(found.numpy(), expected[array], rtol=0, atol=limit, err_msg=f"{clip} {array}")


@golden
@pytest.mark.parametrize(("name", "size"), AUTHORS_FILES)
def test_full_size_files_fit(name, size):
    keys = json.loads((GOLDEN / f"shapes/{name}_{size}.json").read_text())["keys"]
    large = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    given = {"mask_time_prob": 0.1} | (large | LARGE | {"conv_bias": name == "wav2vec2"} if size != "base" else {})
    family = FAMILIES[name]
    with torch.device("meta"):
        made = quicker(getattr(transformers, f"{family}Model")(getattr(transformers, f"{family}Config")(**given)))
        weights = renamed({key: torch.empty(shape) for key, shape in keys.items()}, AUTHORS)
    check_weights("file", made.state_dict(), weights, "the published size")


@golden
@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("wav2vec2", ("cfg", "model", "_name"), "wav2vec_ctc", "only pre-trained networks are read"),
        ("wav2vec2", ("cfg", "model", "activation_fn"), "relu", "cfg.model: activation_fn: Input should be 'gelu'"),
        ("wav2vec2", ("cfg", "task", "normalize"), None, "cfg.task: 'normalize' is None, expected true or false"),
        ("wav2vec2", ("cfg", "model"), None, "cfg: expected 'model' and 'task', dicts"),
        ("wavlm", ("cfg", "conv_feature_layers"), "exit()", r"conv_feature_layers is 'exit\(\)', expected such as"),
        ("wavlm", ("cfg", "gru_rel_pos"), False, "cfg: gru_rel_pos: Input should be True"),
        ("wavlm", ("cfg", "encoder_layers"), 3, "weights do not fit .*: missing encoder.layers.2.attention"),
        ("wavlm", ("model", "mask_emb"), torch.zeros(3), None),  # pre-training's, not used here
        ("wavlm", ("model", "layer_norm.bias"), torch.zeros(3), r"layer_norm.bias is \(3,\), expected \(32,\)"),
        ("wavlm", ("model", "other"), torch.zeros(3), "unknown other"),
        ("wavlm", ("cfg",), None, "a WavLM file is a torch file of 'cfg' and 'model', each a dict. Or give a folder"),
    ],
)
def test_what_the_authors_files_must_hold(tmp_path, name, place, value, message):
    size = "large_lv60" if name == "wav2vec2" else "large"
    content = torch.load(GOLDEN / name / f"{name}_tiny_{size}.pt", weights_only=True)
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    torch.save(content, tmp_path / "x.pt")
    if message is None:
        encoder(name, checkpoint=str(tmp_path / "x.pt"))
    else:
        with pytest.raises(ValueError, match=message):
            encoder(name, checkpoint=str(tmp_path / "x.pt"))


@pytest.mark.parametrize("name", ["hubert", "unispeech"])
def test_the_others_come_as_folders(tmp_path, name):
    torch.save({"cfg": {}, "model": {}}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=f"for {name}, give a folder of config.json, preprocessor_config.json and"):
        encoder(name, checkpoint=str(tmp_path / "x.pt"))


# The library.


@pytest.mark.parametrize("size", [{}, LARGE | {"conv_bias": True}], ids=["base", "large"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_folder_gives_what_the_library_gives(tmp_path, name, size):
    made = network(name, **size)
    for normalised in (True, False):
        loaded = encoder(name, checkpoint=saved(made, tmp_path, normalised))
        extract = transformers.Wav2Vec2FeatureExtractor.from_pretrained(tmp_path)
        for samples in (400, 1600, 4321, 16000):
            wav = clips(samples)
            wav[1] *= 0.01
            heard = extract([row.numpy() for row in wav], sampling_rate=16000, return_tensors="pt").input_values
            with torch.no_grad():
                expected = made(heard).last_hidden_state
                found = loaded(loaded.frontend(wav))
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
                alone = loaded(loaded.frontend(wav[1:]))
            torch.testing.assert_close(found[1:], alone, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=rf"{name}: clip of 399 samples, at least 400 \(0.025 s\) are needed"):
        loaded(clips(399))
    assert torch.isfinite(encoder(name, checkpoint=saved(made, tmp_path))(torch.zeros(1, 8000))).all()  # silence


@pytest.mark.parametrize("size", [{}, LARGE | {"conv_bias": True}], ids=["base", "large"])
def test_gradients_are_the_librarys(tmp_path, size):
    made = network("wav2vec2", **size)
    loaded = encoder("wav2vec2", checkpoint=saved(made, tmp_path, False))
    for own in (made, loaded.network):
        out = own(clips(4321)).last_hidden_state
        (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    found = {name: p.grad for name, p in loaded.network.named_parameters()}
    expected = {name: p.grad for name, p in made.named_parameters() if name != MASK}
    place = "encoder.pos_conv_embed.conv."
    for number, part in enumerate("gv"):
        expected[f"{place}weight_{part}"] = expected.pop(f"{place}parametrizations.weight.original{number}")
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        limit = 1e-3 * gradient.abs().max() + 1e-4 * ("k_proj.bias" in name or "0.conv.bias" in name)  # those are 0
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=limit.item(), msg=name)


def _older(folder):
    """The files that older versions of the library and of torch wrote."""
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    place = next(key for key in weights if key.endswith("parametrizations.weight.original0"))[: -len("original0")]
    new = place.replace("parametrizations.weight.", "")
    weights[f"{new}weight_g"], weights[f"{new}weight_v"] = (weights.pop(f"{place}original{n}") for n in (0, 1))
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _half(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file({key: value.half() for key, value in weights.items()}, folder / "model.safetensors")
    edit(folder / "config.json", dtype="float16", torch_dtype="float16")


@pytest.mark.parametrize(
    ("name", "head", "change"),
    [
        ("wav2vec2", "ForPreTraining", None),
        ("wav2vec2", "ForCTC", _older),
        ("unispeech", "ForPreTraining", _older),
        ("hubert", "ForSequenceClassification", None),
        ("hubert", "Model", _older),
        ("wavlm", "ForCTC", None),
        ("wavlm", "Model", _half),
        ("hubert", "Model", _half),
    ],
)
def test_layouts_of_the_library(tmp_path, name, head, change):
    made = network(name, head, codevector_dim=16, proj_codevector_dim=16)
    if change is _half:
        made = made.half().float()
    checkpoint = saved(made, tmp_path)
    if change:
        change(tmp_path)
    loaded = encoder(name, checkpoint=checkpoint)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    body = getattr(made, name, made)
    with torch.no_grad():
        wav = clips()
        heard = (wav - wav.mean(1, keepdim=True)) / (wav.var(1, keepdim=True, correction=0) + 1e-7).sqrt()
        torch.testing.assert_close(loaded(wav), body(heard).last_hidden_state, rtol=1e-4, atol=1e-4)


def _lacks(folder):
    edit(folder / "config.json", num_hidden_layers=3)


def _has_more(folder):
    edit(folder / "config.json", num_hidden_layers=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: edit(folder / "config.json", model_type="wav2vec2"), "model_type is 'wav2vec2', expected 'hub"),
        (_lacks, r"weights do not fit .*: missing encoder.layers.2.attention.k_proj.bias; .* more"),
        (_has_more, r"weights do not fit .*: unknown encoder.layers.1"),
        (lambda folder: edit(folder / "config.json", hidden_size=48), "weights do not fit"),
        (lambda folder: edit(folder / "config.json", hidden_size=25), "its configuration makes no network: "),
        (lambda folder: edit(folder / "config.json", add_adapter=True), "add_adapter or adapter_attn_dim: such"),
        (lambda folder: (folder / "config.json").unlink(), "no config.json in it"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "no preprocessor_config.json in it, which"),
        (lambda folder: edit(folder / "preprocessor_config.json", sampling_rate=8000), "sampling_rate is 8000, expect"),
        (lambda folder: (folder / "model.safetensors").write_text("<html>"), "a web page, not a checkpoint"),
        (lambda folder: os.truncate(folder / "model.safetensors", 3000), "damaged or cut short"),
    ],
)  # fmt: skip
def test_folders_that_are_refused(tmp_path, change, message):
    checkpoint = saved(network("hubert"), tmp_path)
    change(tmp_path)
    with pytest.raises(ValueError, match=message):
        encoder("hubert", checkpoint=checkpoint)


def test_a_head_of_another_name_is_no_network(tmp_path):
    """The library loads it as a network of random weights, and says so in its log alone."""
    checkpoint = saved(network("wav2vec2", "ForCTC"), tmp_path)
    edit(tmp_path / "config.json", model_type="hubert")
    with pytest.raises(ValueError, match="weights do not fit .*: missing encoder.layer"):
        encoder("hubert", checkpoint=checkpoint)


def test_the_library_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ValueError, match="encoder.name hubert: .* installed by 'tools/setup_env.sh hf'"):
        encoder("hubert")


# Masks, layers that are left out, layers.


@pytest.mark.parametrize(("tokens", "share", "length"), [(24, 0.2, 10), (99, 0.05, 10), (99, 0.65, 10), (499, 0.1, 3)])
def test_as_much_is_masked_as_is_asked_for(tokens, share, length):
    torch.manual_seed(0)
    masked = spans(4000, tokens, share, length)
    assert masked.shape == (4000, tokens) and masked.dtype == torch.bool
    # spans overlap: at most the share, at least what as many spans would leave, each anywhere
    free = (1 - length / tokens) ** (share * tokens / length)
    assert 0.9 * min(1 - free, share) < masked.float().mean() < 1.03 * share
    edges = torch.nn.functional.pad(masked.int(), (1, 1)).diff(dim=1)  # [clips, tokens + 1]
    runs = (edges < 0).nonzero()[:, 1] - (edges > 0).nonzero()[:, 1]
    assert runs.min() == length


def test_masks_come_from_torchs_generator():
    torch.manual_seed(0)
    one, other = spans(8, 99, 0.3, 10), spans(8, 99, 0.3, 10)
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    torch.manual_seed(0)
    assert torch.equal(spans(8, 99, 0.3, 10), one) and not torch.equal(one, other)
    assert (np.random.get_state()[1] == before).all()
    assert not spans(8, 9, 0.9, 10).any() and spans(8, 10, 1.0, 10).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_masks_act_in_training_alone(name):
    off = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "feat_proj_dropout": 0.0}
    model, plain = encoder(name, mask_time_prob=0.5), encoder(name)
    assert MASK in dict(model.network.named_parameters()) and MASK not in dict(plain.network.named_parameters())
    for own in (model, plain):
        for module in own.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        for layer in own.network.encoder.layers:
            layer.attention.dropout = 0.0
        own.network.config.update(off)
    assert torch.equal(model(clips()), model(clips()))
    for own in (model, plain):
        own.train()
    torch.manual_seed(0)
    state = np.random.get_state()[1].copy()
    first = model(clips())
    assert (np.random.get_state()[1] == state).all()
    torch.manual_seed(0)
    assert torch.equal(model(clips()), first)
    assert not torch.equal(model(clips()), first)
    assert torch.equal(plain(clips()), plain.eval()(clips()))  # off by default
    first.sum().backward()
    assert model.network.masked_spec_embed.grad.abs().sum() > 0
    for samples in (400, 2400, 3199, 3200):  # 1 to 9 tokens; a span has 10
        short = model(clips(samples))
        short.sum().backward()
        assert torch.equal(short, model(clips(samples)))


@pytest.mark.parametrize("size", [{}, LARGE], ids=["base", "large"])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_layer_has_an_entry_whatever_is_left_out(name, size):
    model = encoder(name, arch=SPEECH | LAYERS | size, layerdrop=0.5)
    assert model.layer_drop == 0.5 and encoder(name).layer_drop == 0
    with torch.no_grad():
        whole = model.layers(clips())
        final = model.network.encoder.layer_norm(whole[-1]) if size else whole[-1]
        torch.testing.assert_close(model(clips()), final, rtol=0, atol=0)
        if size:  # the last layer's output, before the norm that follows
            assert not torch.allclose(whole[-1], model(clips()), atol=1e-2)
        torch.manual_seed(0)
        model.train()
        dropped = 0
        for _ in range(10):
            outputs = model.layers(clips(1600))
            assert len(outputs) == 4
            dropped += sum(torch.equal(a, b) for a, b in zip(outputs, outputs[1:], strict=False))
    assert 5 < dropped < 25  # of 30, 15 expected


@pytest.mark.parametrize("target", ["q_proj", "k_proj", "v_proj", "out_proj", "intermediate_dense", "output_dense"])
def test_lora_on_any_layer_of_wavlm_acts_learns_and_merges(target):
    model = encoder("wavlm", arch=SPEECH | LARGE)
    plain = model(clips())
    model.requires_grad_(False)
    add_lora(model, LoraConfig(branches=2, rank=2, targets=[target]))
    torch.testing.assert_close(model(clips()), plain, rtol=1e-4, atol=1e-5)
    for name, parameter in model.named_parameters():
        if "lora_b" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    changed = model(clips())
    assert (changed - plain).abs().max() > 1e-4
    changed.square().sum().backward()
    trained = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert len(trained) == 4 and all(grad is not None and grad.abs().sum() > 0 for grad in trained.values())
    torch.testing.assert_close(merge_lora(model)(clips()), changed, rtol=1e-4, atol=1e-5)


def test_nothing_is_kept_of_convolutions_that_are_not_trained():
    model = Embedder(validate(Config, {"encoder": {"name": "hubert", "arch": SPEECH}}, "test"))
    seen = []
    model.encoder.network.feature_projection.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.train()(clips())
    assert not seen[0].requires_grad


def test_graphs_are_refused():
    with pytest.raises(ValueError, match="train.graphs: this encoder's blocks take more than tensors"):
        graph_blocks(encoder("wavlm"), clips())


def test_memory_grows_as_attention_does():
    for name, growth in (("hubert", 10), ("wavlm", 100)):
        model = encoder(name)
        needs = [model.memory(seconds * 16000, 1, "cpu", "float32") for seconds in (600, 6000)]
        assert needs[1] / needs[0] == pytest.approx(growth, rel=0.05)
        assert model.memory(16000, 4, "cpu", "float32") == 4 * model.memory(16000, 1, "cpu", "float32")
        assert model.memory(16000, 1, "cpu", "bfloat16") < model.memory(16000, 1, "cpu", "float32")
