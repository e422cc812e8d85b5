"""Arrays pooled from tokens: one pass, bands, chunks, archives, what is refused."""

import kaldiio
import numpy as np
import pytest
import torch
from experiments import Experiment
from test_extraction import ARCH

from asdkit.bin import score
from asdkit.config import Config
from asdkit.config.identity import embedding_identity
from asdkit.infer.clips import represent
from asdkit.models.classifier import Classifier
from asdkit.models.time_pooling import rdp
from asdkit.utils.files import write_text
from asdkit.utils.typed_yaml import validate

ARRAYS = {
    "mean": {"pooling": "mean"},
    "first": {"pooling": "mean", "layers": 1},
    "both": {"pooling": "mean", "layers": [1, -1]},
    "bands": {"pooling": "rdp", "gamma": 8.0, "bands": True},
    "whole": {"pooling": "rdp", "gamma": 8.0, "weights": "frame"},
    "max": {"pooling": "max", "bands": True},
    "deviation": {"pooling": "std"},
    "heard": {"pooling": "mean", "layers": 0},
    "heard_deviation": {"pooling": "std", "layers": 0},
}


def configured(**embed):
    settings = {"encoder": {"arch": ARCH}, "model": {"pooling": "mean", "embedding_dim": None}}
    return validate(Config, {**settings, "train": {"steps": 0}, "embed": {"arrays": ARRAYS, **embed}}, "test")


def system_of(config):
    torch.manual_seed(0)
    return Classifier(config, ["a", "b"]).eval()


def test_one_pass_of_the_encoder_serves_all_arrays(monkeypatch):
    config, feats = configured(), torch.randn(3, 64, 128)
    system = system_of(config)
    encoder, passes = system.model.encoder, []
    forward = type(encoder).forward
    monkeypatch.setattr(type(encoder), "forward", lambda self, x: passes.append(len(x)) or forward(self, x))
    found = represent(system, feats, config.embed, 64, 64)
    assert passes == [3]
    with torch.inference_mode():
        outputs = encoder.layers(feats)
        tokens = encoder(feats)
    frames = tokens.unflatten(1, (4, 8))  # 64 frames are 4 patches of 16, 128 mels 8
    assert encoder.bands == 8 and found["bands"].shape == found["max"].shape == (3, 8, 24)
    same = {
        "embedding": tokens.mean(1),
        "mean": tokens.mean(1),
        "first": outputs[0].mean(1),
        "both": ((outputs[0] + outputs[1]) / 2).mean(1),
        "max": frames.amax(1),
        "bands": rdp(frames, 8),
        "whole": rdp(frames, 8, per_band=False).mean(1),
        "deviation": frames.std(1, correction=0).mean(1),
        "heard": feats.mean(1),
        "heard_deviation": feats.std(1, correction=0),
    }
    assert found.keys() == same.keys()
    for name, expected in same.items():
        torch.testing.assert_close(found[name], expected, rtol=0, atol=1e-6)
    assert not torch.allclose(rdp(frames, 8).mean(1), found["whole"], atol=1e-4)


def test_half_precision_pools_in_float32():
    config, feats = configured(precision="bfloat16"), torch.randn(2, 64, 128)
    system = system_of(config)
    found = represent(system, feats, config.embed, 64, 64)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        tokens = system.model.encoder(feats)
    assert tokens.dtype == torch.bfloat16 and found["bands"].dtype == torch.float32
    torch.testing.assert_close(found["bands"], rdp(tokens.float().unflatten(1, (4, 8)), 8), rtol=0, atol=1e-6)


def test_chunks_give_their_mean():
    config, feats = configured(segment="chunk", chunks=True), torch.randn(2, 96, 128)
    system = system_of(config)
    found = represent(system, feats, config.embed, 64, 16)
    parts = [represent(system, feats[:, start : start + 64], configured().embed, 64, 64) for start in (0, 16, 32)]
    for name in ARRAYS:
        expected = torch.stack([part[name] for part in parts]).mean(0)
        torch.testing.assert_close(found[name], expected, rtol=0, atol=1e-5)
    chunks = {name for name in found if name.endswith(".chunks")}
    assert chunks == {f"{name}.chunks" for name in ("embedding", *ARRAYS) if name not in ("bands", "max")}


def test_markers_know_each_setting_of_an_array():
    flat = embedding_identity(configured())
    assert flat["embed.arrays.bands.gamma"] == 8.0 and flat["embed.arrays.both.layers"] == [1, -1]
    assert not any(key.startswith("embed.arrays") for key in embedding_identity(configured(arrays={})))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"embedding": {"pooling": "max"}}, "'embedding' is the network's own array: take another name"),
        ({"score.x": {"pooling": "max"}}, "String should match pattern"),
        ({"x.chunks": {"pooling": "max"}}, "String should match pattern"),
        ({"x": {"pooling": "attentive"}}, "there is no 'attentive'. Allowed: mean, std, max, gem, gwrp, rdp, hybrid"),
        ({"x": {"pooling": "gem", "gamma": 1.0}}, "unknown key 'embed.arrays.x.gamma'. Allowed: bands, layers, "),
        ({"x": {"pooling": "max", "layers": [0, 1]}}, "blocks are counted from 1"),
        ({"x": {"pooling": "max", "layers": 0, "bands": True}}, "embed.arrays.x.bands: with layers 0 a frame of feat"),
        ({"x": {"pooling": "cls", "layers": 0}}, "embed.arrays.x.pooling cls: with layers 0 a frame of features"),
        ({"x": {"pooling": "max", "layers": 3}}, "embed.arrays.x.layers: there is no block 3: the encoder has 2"),
    ],
)
def test_mistakes_are_named(arrays, message):
    with pytest.raises(ValueError, match=message):
        system_of(configured(arrays=arrays))


def test_bands_are_asked_of_encoders_that_have_some():
    settings = {"encoder": {"name": "logmel"}, "train": {"steps": 0}, "embed": {"arrays": {"a": {"bands": True}}}}
    with pytest.raises(ValueError, match="embed.arrays.a.bands: the tokens of this encoder have no frequency bands"):
        system_of(validate(Config, settings, "test"))


def test_matrices_of_an_archive_are_scored_band_by_band(tmp_path):
    made = Experiment(tmp_path, sets=("dev",))
    arrays = "embed: {arrays: {bands: {pooling: rdp, bands: true}}}\n"
    write_text(made.exp / "config.yaml", f"{arrays}score: {{b: {{array: bands}}, lof: {{array: bands}}}}\n")
    rng = np.random.default_rng(0)
    for name in ("dev_train", "dev_test"):
        table = {utt: rng.normal(0, 1, (3, 5)).astype(np.float32) for utt in made.utts(name)}
        path = str(made.exp / f"seed0/embed/{name}/bands")
        kaldiio.save_ark(f"{path}.ark", table, scp=f"{path}.scp")
    made.run(score, "--score", "b")
    lines = (made.exp / "seed0/score/b/dev_test.tsv").read_text().splitlines()
    scores = {utt: float(value) for utt, value in (line.split() for line in lines)}
    load = [dict(kaldiio.load_ark(str(made.exp / f"seed0/embed/dev_{name}/bands.ark"))) for name in ("train", "test")]
    unit = [{utt: x / np.linalg.norm(x, axis=1, keepdims=True) for utt, x in table.items()} for table in load]
    for utt, query in list(unit[1].items())[::9]:
        machine = utt.split("-")[0]
        best = {}
        for number in range(40):
            domain = "target" if number % 10 == 0 else "source"
            distances = 1 - (unit[0][f"{machine}-train-{number:02d}"] * query).sum(axis=1)
            best[domain] = np.minimum(best.get(domain, np.inf), distances)
        assert scores[utt] == pytest.approx(min(x.mean() for x in best.values()), abs=1e-6)
    with pytest.raises(ValueError, match="fandev: .*: a matrix of bands for each clip, which knn alone takes"):
        made.run(score, "--score", "lof")


def test_samples_are_no_features(monkeypatch):
    config = configured(arrays={"x": {"pooling": "std", "layers": 0}})
    monkeypatch.setattr(type(config.encoder), "spectrogram", False)
    with pytest.raises(ValueError, match="embed.arrays.x.layers 0: this encoder hears samples"):
        system_of(config)


def test_features_are_arrays_of_an_encoder_without_blocks():
    raw = {"encoder": {"name": "logmel"}, "model": {"pooling": "mean", "embedding_dim": None}, "train": {"steps": 0}}
    config = validate(Config, {**raw, "embed": {"arrays": {"x": {"pooling": "mean", "layers": 0}}}}, "test")
    found = represent(system_of(config), torch.randn(2, 30, 128), config.embed, 30, 30)
    torch.testing.assert_close(found["x"], found["embedding"])
