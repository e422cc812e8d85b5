"""FISHER: the authors' numbers at every rate, all published sizes, bands apart, and what is refused."""

import json

import pytest
import torch
from beats_networks import relative
from weight_files import save_fisher

from asdkit.config import Config, FisherEncoder, VitArch
from asdkit.data.batches import Framing
from asdkit.encoders import build_encoder
from asdkit.encoders.fisher import Fisher, load_fisher
from asdkit.models.embedder import Embedder
from asdkit.utils.typed_yaml import validate

RATES = {4000: 1, 8000: 1, 12000: 1, 16000: 2, 22050: 2, 32000: 4, 44100: 5, 48000: 6, 64000: 8, 96000: 12}


@pytest.fixture
def file(test_data):
    return test_data / "golden/encoders/fisher/fisher_tiny48.pt"


def ordered(tokens: torch.Tensor, encoder: Fisher) -> torch.Tensor:
    """The authors' tokens, [clips * bands, 1 + columns * 6, D], in this package's order."""
    x = tokens.unflatten(0, (-1, encoder.apart))
    patches = x[:, :, 1:].unflatten(2, (-1, 6)).permute(0, 2, 1, 3, 4).flatten(1, 3)
    return torch.cat([x[:, :, 0], patches], 1)


@torch.no_grad()
def test_golden_tensors(file, golden, wavs):
    encoder, stored = load_fisher(file, 16000).eval(), golden("x2_16k")
    feats = encoder.frontend(wavs["x2"])
    assert (feats - stored["spec"][:, 0]).abs().max() < 1e-3
    for x, limit in ((feats, 1e-4), (stored["spec"][:, 0], 5e-6)):
        patches = encoder.patch_embed(encoder.split(x))
        final, blocks = encoder.traced(x, range(2))
        assert relative(patches, stored["patch_embed"]) < limit
        assert relative(encoder.prepare(patches), stored["encoder_input"]) < limit
        assert relative(blocks[0], ordered(stored["block_0"], encoder)) < limit
        assert torch.equal(blocks[1], final) and torch.equal(encoder(x), final)
        assert relative(final, ordered(stored["final"], encoder)) < limit
        assert relative(final[:, :2].flatten(1), stored["embedding"]) < limit
        filled = torch.nn.functional.pad(x, (0, 0, 0, 1024 - x.shape[1]))
        assert relative(encoder(filled)[:, :2].flatten(1), stored["embedding_padded1024"]) < limit


@pytest.mark.parametrize("rate", [4000, 8000, 22050, 32000, 44100, 48000])
@torch.no_grad()
def test_golden_tensors_at_every_rate(file, golden, wavs, rate):
    encoder = load_fisher(file, rate).eval()
    wav, stored = wavs["x2"], None
    if rate == 48000:
        wav, stored = wavs["x2_48k"], golden("x2_48k")
    stored = stored or golden(f"x2_as_{rate}_hz")
    assert encoder.apart == encoder.specials == RATES[rate] and encoder.bands == 6 * RATES[rate]
    feats = encoder.frontend(wav)
    spectrum = encoder.split(feats) if rate == 4000 else feats  # theirs is filled up already
    assert (spectrum[:, ::16] - stored["spec_every_16th_frame"][:, 0]).abs().max() < 1e-3
    final = encoder(feats)
    assert relative(final[:, : encoder.specials].flatten(1), stored["embedding"]) < 1e-4
    if "final" in stored:
        assert relative(final, ordered(stored["final"], encoder)) < 1e-4
    else:
        first = ordered(stored["final_cls_and_first_36"], encoder)
        assert relative(final[:, : first.shape[1]], first) < 1e-4


@torch.no_grad()
def test_golden_tensors_of_longer_and_quieter_clips(file, golden, wavs):
    """The logarithm of rounding noise shows where they are silent."""
    encoder, x10, batch = load_fisher(file, 16000).eval(), golden("x10_16k"), golden("batch2_16k")
    feats = encoder.frontend(wavs["x10"])
    assert (feats[:, ::8] - x10["spec_every_8th_frame"][:, 0]).abs().max() < 3e-2
    for final, stored in ((encoder(feats), x10), (encoder(encoder.frontend(wavs["batch2"])), batch)):
        assert relative(final, ordered(stored["final"], encoder)) < 2e-3
        assert relative(final[:, :2].flatten(1), stored["embedding"]) < 5e-4
    filled = torch.nn.functional.pad(feats, (0, 0, 0, 1024 - feats.shape[1]))
    assert relative(encoder(filled)[:, :2].flatten(1), x10["embedding_padded1024"]) < 5e-4
    x12 = encoder.frontend(wavs["x12"])
    assert x12.shape[1] == 1198
    assert relative(encoder(x12[:, :1024])[:, :2].flatten(1), golden("x12_16k_cut1024")["embedding"]) < 5e-4
    high = load_fisher(file, 48000).eval()
    high_feats = high.frontend(wavs["x10_48k"])
    assert relative(high(high_feats)[:, :6].flatten(1), golden("x10_48k")["embedding"]) < 5e-4


@torch.no_grad()
def test_the_authors_embedding_is_a_pooling(file, golden, wavs):
    section = {"name": "fisher", "checkpoint": str(file), "sample_rate": 48000}
    arrays = {"clip": {"pooling": "cls"}, "parts": {"pooling": "cls", "bands": True}}
    arrays["rdp"] = {"pooling": "rdp", "bands": True}
    raw = {"encoder": section, "model": {"pooling": "cls", "embedding_dim": None}, "embed": {"arrays": arrays}}
    model = Embedder(validate(Config, raw, "test")).eval()
    found = model.represent(model.encoder.frontend(wavs["x2_48k"]))
    stored = golden("x2_48k")["embedding"]
    assert model.dim == 288 and relative(found["embedding"], stored) < 1e-4
    assert torch.equal(found["clip"], found["embedding"]) and torch.equal(found["parts"], found["clip"].view(1, 6, 48))
    assert found["rdp"].shape == (1, 36, 48)


@pytest.mark.parametrize(("name", "dim", "heads"), [("tiny", 192, 3), ("mini", 256, 4), ("small", 384, 6)])
def test_published_keys_and_shapes(test_data, tmp_path, monkeypatch, name, dim, heads):
    stated = json.loads((test_data / f"golden/encoders/shapes/fisher_{name}.json").read_text())
    stored = {key: torch.zeros(()).expand(shape) for key, shape in stated["keys"].items()}
    cfg = {"model": {"num_heads": heads, "band_width": 100, "embed_dim": dim}}
    torch.save({"model": stored, "cfg": cfg}, tmp_path / "x.pt")
    monkeypatch.setattr("asdkit.encoders.fisher.put_in", lambda network, weights: None)  # on the meta device
    published = load_fisher(tmp_path / "x.pt", 16000)
    with torch.device("meta"):
        made = Fisher(VitArch(embed_dim=dim, num_heads=heads), 16000)
    assert {n: x.shape for n, x in made.state_dict().items()} == {n: x.shape for n, x in published.state_dict().items()}
    assert [block.attn.heads for block in published.trunk] == [heads] * 12 and published.longest == 1024
    assert sum(x.numel() for x in published.state_dict().values()) == stated["n_values"]


def test_the_default_size_is_small():
    with torch.device("meta"):
        made = build_encoder(FisherEncoder())
    assert (made.dim, len(made.trunk), made.trunk[0].attn.heads) == (384, 12, 6)
    assert abs(sum(p.numel() for p in made.parameters()) / 21.4e6 - 1) < 0.03


def small(rate: int = 16000, **changes) -> Fisher:
    torch.manual_seed(0)
    made = Fisher(VitArch(embed_dim=16, depth=2, num_heads=2), rate, **changes).eval()
    with torch.no_grad():
        for name, p in made.named_parameters():
            p.normal_(1.0 if "norm" in name and "weight" in name else 0.0, 0.2)
    return made


@pytest.mark.parametrize(("rate", "bands"), RATES.items())
@torch.no_grad()
def test_frames_and_bands_at_any_rate(rate, bands):
    """A tone is heard in the bin of its frequency, 40 Hz wide, at every rate; frames are those of the framing."""
    encoder = small(rate)
    time = torch.arange(round(0.6127 * rate), dtype=torch.float64) / rate
    wav = (0.2 * torch.sin(2 * torch.pi * 1200 * time) + 0.1)[None].float()
    feats = encoder.frontend(wav)
    assert (encoder.window, encoder.hop) == (25 * rate // 1000, 10 * rate // 1000)
    assert feats.shape[1:] == (Framing(rate, encoder.window, encoder.hop).frames(wav.shape[1]), encoder.window // 2 + 1)
    assert abs(feats[0].mean(0).argmax().item() - 30) <= (rate % 4000 > 0)
    tokens = encoder(feats)
    assert tokens.shape == (1, bands * (1 + 3 * 6), 16) and encoder.apart == bands
    spectrum = torch.fft.rfft((wav[0, : encoder.window] - wav.mean()) * torch.hann_window(encoder.window))
    expected = ((spectrum.abs() + 1e-10).log() + 3.017344307886898) / 4.306327031075961
    assert (feats[0, 0] - expected).abs().max() < 0.02


@torch.no_grad()
def test_bands_are_apart():
    """Bands stand side by side, low ones first; one is heard in its own tokens alone; what is above is not heard."""
    encoder = small(22050)  # 276 bins
    feats = torch.randn(2, 37, 276)
    tokens = encoder(feats)
    for bins, heard in ((slice(0, 100), 0), (slice(100, 200), 1), (slice(200, 276), None), (slice(96, 100), None)):
        other = feats.clone()
        other[:, :, bins] += 1
        changed = (encoder(other) - tokens).abs().amax((0, 2)) > 1e-6
        of_bands = [[changed[band], *changed[2:].view(2, 2, 6)[:, band].flatten()] for band in range(2)]
        assert [all(own) for own in of_bands] == [band == heard for band in range(2)]
        assert [any(own) for own in of_bands] == [band == heard for band in range(2)]


@torch.no_grad()
def test_a_lone_band_is_filled_up_with_zeros():
    low, wide = small(4000), small(8000)
    feats = torch.randn(1, 20, 51)
    assert torch.equal(low(feats), wide(torch.nn.functional.pad(feats, (0, 50))))


@torch.no_grad()
def test_longer_than_the_authors_take():
    encoder = small()
    feats = torch.randn(1, 2 * 1024 + 40, 201)
    tokens, blocks = encoder.traced(feats, [0])
    assert tokens.shape == (1, 2 + (64 + 64 + 2) * 12, 16)
    for got, of_part in ((tokens, encoder), (blocks[0], lambda part: encoder.layers(part)[0])):
        own = [of_part(feats[:, start : start + 1024]) for start in (0, 1024, 2048)]
        torch.testing.assert_close(got[:, 2:], torch.cat([x[:, 2:] for x in own], 1))
        clip = sum(x[:, :2] * n for x, n in zip(own, (64, 64, 2), strict=True)) / 130
        torch.testing.assert_close(got[:, :2], clip)
    assert small(rows=30).longest == 5 * 16  # where the table of positions ends before


def test_memory_grows_with_the_rate():
    one, two, long = (
        small(rate).memory(rate * s, 4, "cuda", "float32") for rate, s in ((48000, 8), (96000, 8), (48000, 80))
    )
    assert 1.9 < two / one < 2.1 and 8 < long / one < 11


def test_a_file_tells_its_band_width(tmp_path):
    made = small(width=50)
    assert (made.apart, made.bands) == (4, 12)
    read = build_encoder(FisherEncoder(checkpoint=str(save_fisher(made, tmp_path / "x.pt")), sample_rate=16000)).eval()
    feats = torch.randn(2, 40, 201)
    assert torch.equal(read(feats), made(feats)) and read.trunk[0].attn.heads == 2


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        ({"num_heads": None}, "cfg.model: num_heads"),
        ({"num_heads": 3}, "tokens of 16 numbers are not 3 heads: no published FISHER"),
        ({"layer_norm_first": True}, "cfg.model: layer_norm_first"),
        ({"modalities": {"image": {"flatten": "time"}}}, "cfg.model: modalities.image.flatten"),
        ({"modalities": {"image": {"patch_size": 8}}}, "cfg.model: modalities.image.patch_size"),
    ],
)
def test_other_networks(tmp_path, cfg, message):
    with pytest.raises(ValueError, match=f"x.pt: {message}"):
        load_fisher(save_fisher(small(), tmp_path / "x.pt", **cfg), 16000)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"blocks.1.norm2.bias": None},
            "weights do not fit a FISHER of 16 numbers a token: missing trunk.1.norm2.bias$",
        ),
        ({"other": torch.zeros(2)}, "unknown other$"),
        (
            {"modality_encoders.IMAGE.extra_tokens": None},
            "no tensor 'cls_token' in it .*; a FISHER file is a torch file",
        ),
    ],
)
def test_wrong_weights(tmp_path, changes, message):
    contents = torch.load(save_fisher(small(), tmp_path / "x.pt"), weights_only=True)
    stored = contents["model"] | changes
    contents["model"] = {name: value for name, value in stored.items() if value is not None}
    torch.save(contents, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=message) as error:
        load_fisher(tmp_path / "x.pt", 16000)
    assert "\n" not in str(error.value)


def test_files_that_are_none(tmp_path):
    for contents, message in (
        ({"model": {}}, "no dict 'model' under 'cfg' in it"),
        ({"cfg": {"model": {"num_heads": 1, "band_width": 100}}}, "no dict under 'model' in it"),
    ):
        torch.save(contents, tmp_path / "x.pt")
        with pytest.raises(ValueError, match=f"x.pt: {message}; a FISHER file is a torch file of"):
            load_fisher(tmp_path / "x.pt", 16000)


def test_clips_that_are_too_short():
    encoder = small(48000)
    with pytest.raises(ValueError, match="spectrum: clip of 1199 samples, at least 1200 are needed"):
        encoder.frontend(torch.zeros(1, 1199))
    with pytest.raises(ValueError, match=r"fisher: clip of 15 frames, at least 16 \(0.175 s\) are needed"):
        encoder(torch.zeros(1, 15, 601))
    with pytest.raises(ValueError, match=r"features of shape \(1, 20, 201\), expected \[clips, frames, 601\]"):
        encoder(torch.zeros(1, 20, 201))
