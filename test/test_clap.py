"""CLAP's audio branch: the authors' numbers, both layouts of its files, lengths, and what is refused."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_encoders import SMALL, small

from asdkit.config import ClapArch, Config
from asdkit.encoders import build_encoder
from asdkit.encoders.checkpoints import check_weights
from asdkit.encoders.clap import Clap
from asdkit.encoders.clap_checkpoint import load_clap, ours
from asdkit.layers.resampler import Resampler
from asdkit.models.embedder import Embedder
from asdkit.signals.resample import resample
from asdkit.utils.typed_yaml import validate

RATES = ((16000, 48000), (44100, 48000), (48000, 16000), (22000, 48000))


@pytest.fixture(scope="module")
def golden(test_data):
    return test_data / "golden/encoders"


@pytest.fixture(scope="module")
def network(golden):
    return load_clap(golden / "clap/clap_tiny_630k_layout.pt", 48000).eval()


@pytest.fixture
def clap():
    torch.manual_seed(0)
    return build_encoder(small("clap")).eval()


def noise(clips, samples, seed=1):
    return 0.1 * torch.randn(clips, samples, generator=torch.Generator().manual_seed(seed))


def time_major(tokens):
    """The authors' tokens, row by row of an image of four times 10 s / 4, one moment after the other."""
    tokens = torch.from_numpy(tokens)
    side = round(tokens.shape[1] ** 0.5)
    places = [(part * side // 4 + band) * side + column
              for part in range(4) for column in range(side) for band in range(side // 4)]  # fmt: skip
    return tokens[:, places]


def close(got, expected, part):
    expected = torch.as_tensor(expected)
    assert got.shape == expected.shape
    assert (got - expected).abs().max() < part * expected.abs().max()


@pytest.mark.parametrize("clip", ["x2", "x10"])
@torch.no_grad()
def test_the_network_gives_the_authors_numbers(golden, network, clip):
    expected = np.load(golden / f"clap/{clip}_48k.npz")
    feats = torch.from_numpy(expected["logmel"][0])
    tokens, blocks = network.traced(feats, range(8))
    close(tokens, time_major(expected["final"]), 2e-5)
    close(tokens.mean(1), expected["pooled"], 1e-5)
    assert torch.equal(tokens, network(feats))
    if clip == "x10":
        close(network.image(feats)[0, :, ::8], expected["image_every_8th_column"], 2e-5)
        close(network.patches(network.image(feats)), expected["patch_embed"], 2e-5)
        for number, block in blocks.items():
            close(block, time_major(expected[f"stage{number // 2}_block{number % 2}"]), 2e-5)


@torch.no_grad()
def test_from_the_samples_to_the_embedding(golden, network):
    heads = torch.load(golden / "clap/clap_tiny_630k_layout.pt", weights_only=True)["state_dict"]
    first, second = (
        [heads[f"module.audio_projection.{n}.{kind}"] for kind in ("weight", "bias")] for n in (0, 2)
    )  # fmt: skip
    clips = np.load(golden / "inputs/inputs_48k.npz")
    for clip in ("x2", "x10"):
        expected = np.load(golden / f"clap/{clip}_48k.npz")
        wav = torch.from_numpy(clips[f"{clip}_48k"])[None]
        wav = wav.repeat(1, 480000 // wav.shape[1])
        for wanted, given in (
            ("embedding_without_int16_round_trip", wav),
            ("embedding", (wav.clamp(-1, 1) * 32767).short() / 32767),
        ):
            pooled = network(network.frontend(given)).mean(1)
            made = F.normalize(F.linear(F.linear(pooled, *first).relu(), *second))
            close(made, expected[wanted], 2e-5)


@torch.no_grad()
def test_a_clip_is_repeated_in_its_features(golden, network):
    # Frames where two copies meet are the clip's own ends, reflected, instead of both at once.
    expected = np.load(golden / "clap/x2_48k.npz")["pooled"][0]
    wav = torch.from_numpy(np.load(golden / "inputs/inputs_48k.npz")["x2_48k"])[None]
    pooled = network(network.frontend(wav)).mean(1)[0].numpy()
    assert np.abs(pooled - expected).max() < 0.005 * np.abs(expected).max()


def test_both_layouts_hold_the_same(golden, network):
    other = load_clap(golden / "clap/hf", 48000).state_dict()
    assert network.state_dict().keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("name", ["clap_630k_htsat_tiny_unfused", "clap_hf_htsat_unfused"])
def test_full_size_files_fit_without_a_rest(golden, name):
    keys = json.loads((golden / f"shapes/{name}.json").read_text())["keys"]
    with torch.device("meta"):
        stored = {key: torch.empty(shape) for key, shape in keys.items()}
        full = Clap(ClapArch(), 16000)
        check_weights(name, full.state_dict(), ours(stored), "CLAP")
    assert sum(p.numel() for p in full.parameters()) == 27_534_488
    assert full.dim == 768 and [block.dim for block in full.blocks()] == [96] * 2 + [192] * 2 + [384] * 6 + [768] * 2


@torch.no_grad()
def test_equals_the_library_on_random_weights():
    library = pytest.importorskip("transformers", reason="transformers is not installed")
    sizes = {"patch_embeds_hidden_size": 8, "hidden_size": 64, "depths": [2, 1, 3, 2]}
    config = library.ClapAudioConfig(**sizes, num_attention_heads=[1, 2, 4, 8])
    torch.manual_seed(3)
    theirs = library.ClapAudioModel(config).eval()
    for parameter in theirs.parameters():
        parameter.normal_(0, 0.2)
    own = Clap(ClapArch(embed_dim=8, depths=sizes["depths"], num_heads=config.num_attention_heads), 48000).eval()
    own.load_state_dict(ours(theirs.state_dict()))
    feats = 20 * torch.randn(2, 1001, 64) - 40
    expected = theirs(input_features=feats[:, None], is_longer=torch.tensor([[True], [False]]))
    tokens = expected.last_hidden_state.permute(0, 3, 2, 1).flatten(1, 2)  # of [B, D, bands, moments]
    close(own(feats), tokens, 1e-4)
    close(own(feats).mean(1), expected.pooler_output, 1e-5)


def test_the_librarys_extractor_draws_a_clip_and_calls_it_long(network, golden):
    library = pytest.importorskip("transformers", reason="transformers is not installed")
    extractor = library.ClapFeatureExtractor.from_pretrained(golden / "clap/hf")
    wav = noise(1, 480000)
    for truncation in ("fusion", "rand_trunc"):
        made = extractor(wav[0].numpy(), sampling_rate=48000, truncation=truncation, return_tensors="pt")
        assert bool(made["is_longer"]) is (truncation == "fusion")  # of 10 s
        error = (network.frontend(wav) - made["input_features"][:, 0]).abs().max()
        assert error > 10 if truncation == "fusion" else error < 1e-3  # those are other mel filters, too


@torch.no_grad()
def test_lengths(clap):
    for samples, pieces in ((1600, 1), (1707, 1), (32000, 1), (160000, 1), (160159, 1), (160160, 2), (480000, 3)):
        feats = clap.frontend(noise(2, samples))
        assert feats.shape == (2, 1 + samples // 160, 64)
        assert clap(feats).shape == (2, 64 * pieces, 32)
    parts = torch.cat([clap(feats[:, start : start + 1001]) for start in (0, 1000, 2000)], 1)
    assert torch.allclose(clap(feats), parts, atol=1e-5)
    tokens, (block,) = clap.traced(feats[:, :1500], [1])[0], clap.traced(feats[:, :1500], [1])[1].values()
    assert block.shape == (2, 2 * 1024, 8)  # the second stage
    assert torch.allclose(tokens[:, 64:], clap(feats[:, 499:1500]), atol=1e-5)
    assert torch.allclose(block[:, 1024:], clap.traced(feats[:, 499:1500], [1])[1][1], atol=1e-5)
    repeated = torch.cat([feats[:, :200]] * 5 + [feats[:, 200:201]], 1)
    assert torch.equal(clap(feats[:, :201]), clap(repeated))
    for wrong, message in ((noise(1, 170), "clip of 170 samples, at least 171"), (noise(1, 1600)[0], "of shape")):
        with pytest.raises(ValueError, match=message):
            clap.frontend(wrong)
    with pytest.raises(ValueError, match=r"features of shape \(1, 100, 128\)"):
        clap(torch.zeros(1, 100, 128))


@torch.no_grad()
def test_a_sound_is_found_where_it_was(clap):
    quiet = torch.full((1, 1001, 64), -60.0)
    loud = quiet.clone()
    loud[:, 300:310, 40:44] = 20
    for number in (0, 1):
        change = clap.traced(loud, [number])[1][number] - clap.traced(quiet, [number])[1][number]
        block = clap.blocks()[number]
        places = change.abs().sum(2).view(-1, block.bands)  # [moments, bands]
        moment, band = divmod(int(places.argmax()), block.bands)
        assert abs((moment + 0.5) / len(places) - 305 / 1001) < 0.03
        assert abs((band + 0.5) / block.bands - 42 / 64) < 0.1


@torch.no_grad()
def test_bands_of_an_early_block(clap):
    settings = {"encoder": {"name": "clap", **SMALL["clap"]}, "model": {"lora": None, "group_adapter": None}}
    arrays = {"early": {"pooling": "mean", "bands": True, "layers": 1}, "late": {"pooling": "mean", "bands": True}}
    torch.manual_seed(0)
    model = Embedder(validate(Config, {**settings, "embed": {"arrays": arrays}}, "test")).eval()
    feats = clap.frontend(noise(2, 32000))
    found = model.represent(feats)
    assert found["early"].shape == (2, 16, 4) and found["late"].shape == (2, 2, 32)
    first = model.encoder.traced(feats, [0])[1][0]
    assert torch.allclose(found["early"][:, 3], first[:, 3::16].mean(1), atol=1e-6)
    settings["encoder"]["layers"] = [1, 2]
    with pytest.raises(ValueError, match=r"encoder.layers: tokens of these blocks differ in size \(1: 4, 2: 8\)"):
        Embedder(validate(Config, settings, "test"))


def test_what_random_numbers_there_are_changes_nothing(clap):
    feats = clap.frontend(noise(1, 32000))
    expected = clap(feats)
    np.random.seed(5)
    torch.manual_seed(6)
    assert torch.equal(clap.train()(feats), expected)  # no dropout, no statistics of the batch
    assert torch.equal(clap.bn0.running_mean, torch.full((64,), -40.0))


@pytest.mark.parametrize(("old", "new"), RATES)
def test_resampling_of_batches(old, new):
    common = int(np.gcd(old, new))
    clips = noise(3, 12345)
    made = Resampler(old, new)(clips)
    expected = [
        resample(lambda a, b, clip=clip: clip[a:b], len(clip), 0, made.shape[1], old // common, new // common)
        for clip in clips.numpy()
    ]
    assert made.shape[1] == -(-12345 * new // old)
    assert np.abs(made.numpy() - np.stack(expected)).max() < 1e-6
    assert torch.allclose(Resampler(old, new)(clips[1:2]), made[1:2], atol=1e-6)
    assert torch.equal(Resampler(old, old)(clips), clips)


@torch.no_grad()
def test_a_recording_at_16_khz_is_heard_as_at_48(clap):
    # what lies below 7 kHz
    time = torch.arange(48000 * 2, dtype=torch.float64) / 48000
    wav = sum(0.1 * torch.sin(2 * np.pi * hertz * time) for hertz in (220, 1330, 5000))[None]
    high = Clap(ClapArch(**SMALL["clap"]["arch"]), 48000)
    low, there = clap.frontend(wav[:, ::3]), high.frontend(wav)
    assert low.shape == there.shape
    loud = there > there.amax() - 60
    assert (low - there)[:, 5:-5][loud[:, 5:-5]].abs().max() < 0.01
    assert (low[:, 5:-5, -8:] < -95).all()


def test_what_is_refused(golden, tmp_path):
    good = torch.load(golden / "clap/clap_tiny_630k_layout.pt", weights_only=True)["state_dict"]
    branch = "module.audio_branch."
    file = tmp_path / "clap.pt"
    for change, message in (
        ({branch + "patch_embed.mel_conv2d.weight": torch.zeros(1)}, "CLAP with fusion, which draws parts"),
        ({branch + "logmel_extractor.melW": torch.zeros(513, 64)}, "its mel filters are not those of 64 bands from 50"),
        ({branch + "norm.weight": None}, "do not fit the audio branch of a CLAP: missing norm.weight"),
        ({branch + "layers.0.blocks.0.gate": torch.zeros(1)}, "unknown stages.0.blocks.0.gate"),
        ({branch + "patch_embed.proj.weight": None}, "no tensor 'patch_embed.proj.weight' in it"),
        ({branch + f"layers.{n}.blocks.0.attn.relative_position_bias_table": None for n in range(4)}, "no tensor"),
    ):
        stored = {key: value for key, value in (good | change).items() if value is not None}
        torch.save({"state_dict": stored}, file)
        with pytest.raises(ValueError, match=message):
            load_clap(file)
    torch.save({"state_dict": {key.removeprefix("module."): value.half() for key, value in good.items()}}, file)
    assert {p.dtype for p in load_clap(file).parameters()} == {torch.float32}
    torch.save({"state_dict": 3}, file)
    with pytest.raises(ValueError, match="'state_dict' holds int; CLAP is a torch file"):
        load_clap(file)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((golden / "clap/hf" / name).read_bytes())
    assert load_clap(tmp_path).dim == 64
    (tmp_path / "preprocessor_config.json").write_text('{"frequency_min": 0}')
    with pytest.raises(ValueError, match=r"config.json: frequency_min is 0, expected 50.0: another network"):
        load_clap(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["audio_config"]["hidden_act"] = "relu"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="config.json: audio_config: hidden_act is relu, expected gelu"):
        load_clap(tmp_path)


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ({"depths": [2, 2]}, "depths: got .2, 2.; four numbers"),
        ({"num_heads": [4, 8, 16, 0]}, "num_heads: got .4, 8, 16, 0.; four numbers of at least 1"),
        ({"embed_dim": 6}, "num_heads 4 does not divide the width of its stage, 6"),
    ],
)
def test_sizes_that_do_not_fit(arch, message):
    with pytest.raises(ValueError, match=message):
        validate(Config, {"encoder": {"name": "clap", "arch": arch}}, "test")
