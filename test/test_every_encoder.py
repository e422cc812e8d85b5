"""What holds for every encoder of the registry, on small networks with random weights."""

import copy
import math
import re

import numpy as np
import pytest
import torch
from small_encoders import SMALL, WEIGHTLESS, small

from asdkit.adapt.group_adapter import GroupAdapter
from asdkit.adapt.lora import LoraLinear, merge_lora
from asdkit.config import Config
from asdkit.data.batches import Framing
from asdkit.encoders import ENCODERS, build_encoder
from asdkit.infer.network import fold, load_system
from asdkit.models.checkpoint import save_checkpoint
from asdkit.models.classifier import Classifier
from asdkit.models.embedder import Embedder
from asdkit.models.size import macs, without_weights
from asdkit.utils.typed_yaml import validate

LORA, ADAPTER = {"branches": 2, "rank": 2}, {"groups": 3, "hidden": 4}
SECONDS = (0.1, 0.1873, 0.5, 1.0, 2.0, 3.3331, 10.0, 12.5, 30.0)
IN_SECONDS = re.compile(r"at least .*?([0-9.]+) s\b")


# The autoencoder is a family of networks of its own: test_autoencoder.py.
@pytest.fixture(params=sorted(ENCODERS.keys() - {"autoencoder"}))
def name(request):
    """The name of each encoder in turn."""
    if request.param not in SMALL:
        pytest.fail(f"{request.param} has no small section in test/small_encoders.py")
    return request.param


@pytest.fixture
def section(name):
    """Its section, that of a small network."""
    return built(name)[0]


@pytest.fixture
def encoder(name):
    """Its network, ready for inference."""
    return copy.deepcopy(built(name)[1]).eval()


@pytest.fixture
def with_blocks(section):
    """Skips encoders without blocks, in which nothing can be put."""
    if section.LINEARS == ():
        pytest.skip("it has no blocks")


KEPT = {}


def built(name):
    """Section and network, made once."""
    if name not in KEPT:
        section = small(name)
        torch.manual_seed(0)
        try:
            KEPT[name] = section, build_encoder(section)
        except ValueError as error:
            if "transformers" not in str(error):
                raise
            pytest.skip(str(error))
    return KEPT[name]


def config_of(name, encoder=None, arrays=None, **model) -> Config:
    built(name)
    raw = {"encoder": {"name": name, **SMALL[name], **(encoder or {})}, "model": {"embedding_dim": 8, **model}}
    return validate(Config, {**raw, "embed": {"arrays": arrays or {}}}, "test")


def embedder(name, encoder=None, arrays=None, seed=0, **model) -> Embedder:
    config = config_of(name, encoder, arrays, **model)
    torch.manual_seed(seed)
    return Embedder(config).eval()


def sounds(rate, seconds=1.0, count=2, seed=1) -> torch.Tensor:
    """Noise that comes and goes, one clip louder than the other."""
    samples = round(seconds * rate)
    noise = torch.randn(count, samples, generator=torch.Generator().manual_seed(seed))
    swing = 1.2 + torch.sin(torch.arange(samples) * (2 * math.pi * 3 / rate))
    return 0.02 * noise * swing * 3.0 ** torch.arange(count)[:, None]


def features(model, seconds=1.0, count=2):
    encoder = model.encoder if isinstance(model, Embedder) else model
    with torch.no_grad():
        return encoder.frontend(sounds(encoder.sample_rate, seconds, count))


def differ(a, b) -> float:
    """Largest difference over the largest value."""
    return ((a - b).abs().max() / b.abs().max()).item()


def test_the_contract(section, encoder):
    wav = sounds(encoder.sample_rate)
    feats = encoder.frontend(wav)
    framing = Framing(encoder.sample_rate, encoder.window, encoder.hop)
    if section.spectrogram:
        assert feats.ndim == 3 and feats.dtype == torch.float32 and isinstance(section.frontend, str)
    else:
        assert feats.shape == wav.shape and (encoder.window, encoder.hop) == (1, 1)
    for samples in (wav.shape[1], wav.shape[1] - 1, wav.shape[1] - encoder.hop):
        assert encoder.frontend(wav[:, :samples]).shape[1] == framing.frames(samples)
    with torch.no_grad():
        tokens = encoder(feats)
    frames, rest = divmod(tokens.shape[1] - encoder.specials, encoder.bands)
    assert tokens.shape[::2] == (2, encoder.dim) and frames > 0 and rest == 0
    assert tokens.isfinite().all() and not tokens.requires_grad
    for block in encoder.blocks():
        assert tuple(block.linears) == section.LINEARS
        assert all(isinstance(getattr(*place), torch.nn.Linear) for place in block.linears.values())
        assert block.points.keys() <= {"mha", "ffn"}
    memory = [encoder.memory(round(s * encoder.sample_rate), 1, "cpu", "float32") for s in (1, 10, 100)]
    assert memory == sorted(memory) and memory[0] > 0


def test_outputs_of_blocks(encoder, with_blocks):
    feats = features(encoder)
    with torch.no_grad():
        tokens = encoder(feats)
        layers = encoder.layers(feats)
        last, traced = encoder.traced(feats, range(len(layers)))
    assert torch.equal(last, tokens) and list(traced) == list(range(len(encoder.blocks())))
    for block, own, other in zip(encoder.blocks(), layers, traced.values(), strict=True):
        assert torch.equal(own, other) and own.shape[::2] == (2, block.dim or encoder.dim)
        if block.dim is None:
            assert own.shape[1] == tokens.shape[1]


def test_the_same_seed_gives_the_same_network_and_the_same_step(name):
    found = []
    for numpy_seed in (0, 1):
        np.random.seed(numpy_seed)  # noqa: NPY002 - what a library may draw from
        model = embedder(
            name, {"train": True} if built(name)[1].state_dict() and name not in WEIGHTLESS else {}
        ).train()
        torch.manual_seed(5)
        out = model(features(model))
        if out.requires_grad:
            out.square().sum().backward()
        found.append([out, *(p.grad for p in model.parameters() if p.grad is not None)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_clips_of_any_length(encoder):
    for seconds in SECONDS:
        wav = sounds(encoder.sample_rate, seconds, count=1)
        try:
            with torch.inference_mode():
                tokens = encoder(encoder.frontend(wav))
        except ValueError as error:
            least = IN_SECONDS.search(str(error))
            assert least, f"{error}: names no shortest length"
            assert seconds < float(least[1]) <= 0.5
            wav = sounds(encoder.sample_rate, float(least[1]) + 0.5 / encoder.sample_rate, count=1)
            tokens = encoder(encoder.frontend(wav))
        assert tokens.isfinite().all() and (tokens.shape[1] - encoder.specials) % encoder.bands == 0


def test_alone_and_in_a_batch(encoder):
    wav = torch.cat([sounds(encoder.sample_rate, 1.37, count=3), torch.zeros(1, round(1.37 * encoder.sample_rate))])
    with torch.inference_mode():
        feats = encoder.frontend(wav)
        alone = torch.cat([encoder.frontend(clip[None]) for clip in wav])
        tokens = encoder(feats)
        assert differ(alone, feats) < 1e-5
        assert differ(torch.cat([encoder(clip[None]) for clip in feats]), tokens) < 1e-5


def change(encoder, feats, other) -> torch.Tensor:
    """How far the tokens of other features lie from those of `feats`, [frames, bands]."""
    with torch.no_grad():
        difference = (encoder(other) - encoder(feats))[0, encoder.specials :]
    return difference.norm(dim=1).unflatten(0, (-1, encoder.bands))


def test_tokens_are_time_major(encoder):
    feats = features(encoder, 10.0, 1)
    late = feats.clone()
    last = 3 * feats.shape[1] // 4
    late[:, last:] = feats[:, : feats.shape[1] - last].flip(1)
    frames = change(encoder, feats, late).square().mean(1)
    assert frames[3 * len(frames) // 4 :].mean() > 2 * frames[: len(frames) // 2].mean()
    if encoder.bands > 1:
        low = feats.clone()
        low[:, :, : feats.shape[2] // encoder.bands // 2] += feats.std()
        assert change(encoder, feats, low).mean(0).argmax() <= (encoder.hop > 500)  # convolutions mix neighbours


def test_its_cost_is_counted_without_weights(name, section):
    system = Classifier(config_of(name), ["a", "b"]).eval()
    feats = features(system.model, 2.0, 1)
    found = macs(without_weights(system), feats.to("meta"))
    assert found == macs(system, feats) and (found > 0 or name in WEIGHTLESS)


def test_gradients_reach_what_is_trained_and_nothing_else(name, section):
    for encoder in ({}, {"train": True}):
        if encoder and section.LINEARS == () and name in WEIGHTLESS:
            continue
        model = embedder(name, encoder).train()
        torch.manual_seed(1)
        model(features(model)).square().sum().backward()
        for key, parameter in model.named_parameters():
            own = not key.startswith("encoder.")
            assert parameter.requires_grad is (own or bool(encoder)), key
            assert (parameter.grad is not None) is parameter.requires_grad, f"{name}: {key}"
            if parameter.grad is not None and not encoder:
                assert parameter.grad.abs().max() > 0, key
        trained = [p for key, p in model.named_parameters() if key.startswith("encoder.") and p.grad is not None]
        moved = sum(int(p.grad.abs().max() > 0) for p in trained)
        assert moved >= 0.9 * len(trained)


def test_bfloat16_is_near_float32(name, section):
    # at the usual temperature of 0.1 groups are chosen by the last bits of bfloat16
    off = {} if section.LINEARS == () else {"lora": LORA, "group_adapter": {**ADAPTER, "temperature": 1.0}}
    model = embedder(name, **off)
    randomise(model)
    feats = features(model)
    folded = merge_lora(copy.deepcopy(model))
    fold(folded, torch.bfloat16)
    with torch.no_grad():
        exact = model(feats)
        for half in (model, folded):
            with torch.autocast("cpu", torch.bfloat16):
                found = half(feats)
            assert found.dtype == torch.float32
            assert ((found - exact).norm() / exact.norm()).item() < 0.05


def randomise(model):
    for module in model.modules():
        if isinstance(module, LoraLinear):
            torch.nn.init.normal_(module.lora_b, std=0.2)


def test_saved_and_restored(name, section, tmp_path):
    off = {} if section.LINEARS == () else {"lora": LORA, "group_adapter": ADAPTER}
    config = config_of(name, {} if section.LINEARS == () else {"layers": layers_of(name)}, **off)
    torch.manual_seed(0)
    system = Classifier(config, ["a", "b"]).eval()
    randomise(system)
    if system.model.layer_weights is not None:
        torch.nn.init.normal_(system.model.layer_weights)
    save_checkpoint(tmp_path / "final.pt", system.state())
    torch.manual_seed(1)
    other = Classifier(config, ["a", "b"]).eval()
    feats = features(system.model)
    with torch.no_grad():
        expected = system.model(feats)
        if expected.abs().max() > 0:
            assert not torch.equal(other.model(feats), expected)
        other.load_state({**system.state(), "model": system.state()["model"]}, "here")
        assert torch.equal(other.model(feats), expected)
        again = load_system(config, tmp_path / "final.pt", torch.device("cpu"))
        assert differ(again.model(feats), expected) < 1e-4


def layers_of(name):
    """What all blocks of it can be joined by: a sum with weights, or the last one where they differ in size."""
    widths = {block.dim for block in built(name)[1].blocks()}
    return "weighted" if len(widths) == 1 else -1


def test_lora_in_every_place_acts_and_learns(name, with_blocks):
    model, plain = embedder(name, lora=LORA), embedder(name)
    feats = features(model)
    places = [(block, target) for block in model.encoder.blocks() for target in block.linears]
    layers = [getattr(*block.linears[target]) for block, target in places]
    with torch.no_grad():
        before = model.encoder(feats)
        assert differ(before, plain.encoder(feats)) < 1e-5
        for layer, (_, target) in zip(layers, places, strict=True):
            torch.nn.init.normal_(layer.lora_b)
            assert differ(model.encoder(feats), before) > 1e-6, target
            torch.nn.init.zeros_(layer.lora_b)
    randomise(model)
    changed = model.encoder(feats)
    (changed * torch.randn(changed.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    for layer, (_, target) in zip(layers, places, strict=True):
        assert all(part.grad is not None and part.grad.abs().max() > 0 for part in (layer.lora_a, layer.lora_b)), target
    merged = merge_lora(copy.deepcopy(model))
    assert not any(isinstance(module, LoraLinear) for module in merged.modules())
    assert differ(merged.encoder(feats), changed) < 1e-4


def test_plain_lora_merges(name, with_blocks):
    model = embedder(name, lora={**LORA, "fully_connected": False})
    randomise(model)
    feats = features(model)
    with torch.no_grad():
        assert differ(merge_lora(copy.deepcopy(model)).encoder(feats), model.encoder(feats)) < 1e-4


def test_group_adapters_at_every_position_act_and_learn(name, encoder, with_blocks):
    for position in ("transformer", *encoder.blocks()[0].points):
        model = embedder(name, group_adapter={**ADAPTER, "position": position})
        adapters = [module for module in model.modules() if isinstance(module, GroupAdapter)]
        assert len(adapters) == len(encoder.blocks())
        feats = features(model)
        before = model.encoder(feats)
        (before * torch.randn(before.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
        assert all(adapter.groups.grad.abs().max() > 0 for adapter in adapters)
        with torch.no_grad():
            for clip, own in zip(feats, before, strict=True):
                assert differ(model.encoder(clip[None])[0], own) < 1e-5
            for adapter in adapters:
                adapter.groups.data.neg_()
                assert differ(model.encoder(feats), before) > 1e-5
                adapter.groups.data.neg_()


def test_sums_of_blocks_and_poolings(name, encoder, with_blocks):
    layers = layers_of(name)
    arrays = {"bands": {"pooling": "rdp", "bands": encoder.bands > 1}, "first": {"pooling": "max", "layers": 1}}
    if encoder.specials:
        arrays["clip"] = {"pooling": "cls"}
    model = embedder(name, {"layers": layers}, arrays, pooling="mean", embedding_dim=None)
    feats = features(model)
    outputs = model.encoder.layers(feats)
    tokens = torch.stack(outputs).mean(0) if layers == "weighted" else outputs[-1]
    expected = tokens[:, encoder.specials :].mean(1)
    assert differ(model(feats), expected) < 1e-5
    with torch.no_grad():
        found = model.represent(feats)
        assert differ(found["embedding"], expected) < 1e-5
        shape = (2, encoder.bands, encoder.dim) if encoder.bands > 1 else (2, encoder.dim)
        assert found["bands"].shape == shape and found["first"].ndim == 2
        if encoder.specials:
            parts = model.encoder(feats)[:, : encoder.specials].unflatten(1, (encoder.apart, -1)).mean(2)
            assert differ(found["clip"], parts.flatten(1)) < 1e-5
            clip = embedder(name, pooling="cls", embedding_dim=None)
            assert differ(clip(feats), found["clip"]) < 1e-5
    if layers == "weighted" and len(outputs) > 1:
        model(feats).square().sum().backward()
        assert model.layer_weights.grad.abs().max() > 0
        model = embedder(name, {"layers": "concatenated"}, pooling="mean")
        model(feats).square().sum().backward()
        parts = model.concatenated.network[0].weight.grad.split(outputs[0].shape[2], dim=1)
        assert len(parts) == len(outputs) and all(part.abs().max() > 0 for part in parts)
        with torch.no_grad():
            for clip, own in zip(feats, model(feats), strict=True):
                assert differ(model(clip[None])[0], own) < 1e-5
