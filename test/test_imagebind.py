"""ImageBind's audio part: the official network's numbers, out of the whole file; longer and shorter clips."""

import json

import numpy as np
import pytest
import torch
from beats_networks import relative
from small_encoders import small

from asdkit.config import VitArch
from asdkit.encoders import build_encoder
from asdkit.encoders.checkpoints import check_weights
from asdkit.encoders.imagebind import ImageBind, audio_part, load_imagebind


@pytest.fixture
def file(test_data):
    return test_data / "golden/encoders/imagebind/imagebind_tiny.pth"


@pytest.fixture
def encoder(file):
    return load_imagebind(file, heads=4).eval()


def recording(test_data, which: str) -> torch.Tensor:
    return torch.from_numpy(np.atleast_2d(np.load(test_data / "golden/encoders/inputs/inputs_16k.npz")[which]))


def time_major(tokens: np.ndarray) -> torch.Tensor:
    """Official tokens [B, (1 +) 12 * 19, D], band by band -> column by column."""
    x = torch.from_numpy(tokens)
    specials = x.shape[1] - 12 * 19
    return torch.cat([x[:, :specials], x[:, specials:].unflatten(1, (12, 19)).transpose(1, 2).flatten(1, 2)], 1)


@pytest.mark.parametrize("which", ["x2", "batch2"])
@torch.no_grad()
def test_golden_tensors(encoder, file, test_data, which):
    golden = np.load(test_data / f"golden/encoders/imagebind/{which}.npz")
    stored = torch.from_numpy(golden["fbank"])[:, 0, 0].transpose(1, 2)  # [B, 204, 128], of which 6 are filled up
    head = torch.load(file, weights_only=True)["modality_heads.audio.2.weight"]
    feats = encoder.frontend(recording(test_data, which))
    assert feats.shape[1] == 198 and (feats - stored[:, :198]).abs().max() < 3e-4
    for x, limit in ((feats, 1e-4), (stored, 5e-6)):
        patches = encoder.patches(x)
        final, blocks = encoder.traced(x, range(2))
        got = {"patch_embed": patches, "encoder_input": encoder.prepare(patches)}
        got |= {f"block_{number}": tokens for number, tokens in blocks.items()}
        for key in set(got) & set(golden):
            assert relative(got[key], time_major(golden[key])) < limit, key
        assert {"block_0", "block_1"} <= set(golden)
        of_head = final[:, 0] @ head.T
        assert relative(of_head, golden["head_per_clip"]) < limit
        assert relative(20 * torch.nn.functional.normalize(of_head), golden["embedding"]) < limit
        torch.testing.assert_close(encoder(x), final)


@torch.no_grad()
def test_a_long_clip_holds_the_official_pieces(encoder, file, test_data):
    """They are 0 to 2, 4 to 6 and 8 to 10 s of the clip; here the other two are heard as well."""
    golden = np.load(test_data / "golden/encoders/imagebind/x10.npz")
    head = torch.load(file, weights_only=True)["modality_heads.audio.2.weight"]
    final, blocks = encoder.traced(encoder.frontend(recording(test_data, "x10")), range(2))
    assert final.shape == (1, 1 + 5 * 19 * 12, 48)
    for number, piece in enumerate((0, 2, 4)):
        tokens = slice(1 + piece * 228, 1 + (piece + 1) * 228)
        for block in range(2):
            expected = time_major(golden[f"block_{block}"][number : number + 1])[:, 1:]
            assert relative(blocks[block][:, tokens], expected) < 1e-4
    encoder.longest = 0  # the three alone: their mean is the clip's token
    feats = encoder.frontend(recording(test_data, "x10"))
    three = torch.cat([feats[:, start : start + 200] for start in (0, 400, 800)], 1)
    assert relative(encoder(three)[:, 0] @ head.T, golden["head_per_clip"].mean(0, keepdims=True)) < 1e-4


@torch.no_grad()
def test_pieces_are_one_after_the_other():
    torch.manual_seed(0)
    encoder = build_encoder(small("imagebind")).eval()
    feats = torch.randn(2, 998 + 47, 128)
    tokens, blocks = encoder.traced(feats, [0])
    assert (encoder.bands, encoder.specials) == (12, 1)
    assert tokens.shape == blocks[0].shape == (2, 1 + (5 * 19 + 3) * 12, 16)
    for got, of_part in ((tokens, encoder), (blocks[0], lambda part: encoder.layers(part)[0])):
        own = [of_part(feats[:, start : min(start + 198, 1045)]) for start in range(0, 1001, 200)]
        torch.testing.assert_close(got[:, 1:], torch.cat([x[:, 1:] for x in own], 1))
        weights = torch.tensor([19.0] * 5 + [3.0])
        expected = (torch.stack([x[:, 0] for x in own], -1) * weights).sum(-1) / weights.sum()
        torch.testing.assert_close(got[:, 0], expected)
    memory = [encoder.memory(16000 * seconds, 4, "cuda", "float32") for seconds in (2, 10, 100)]
    assert memory[0] < memory[1] < memory[2] < 11 * memory[1]


def test_full_size_file_fits(test_data):
    listed = json.loads((test_data / "golden/encoders/shapes/imagebind_huge.json").read_text())["keys"]
    weights = audio_part({key: torch.empty(shape, device="meta") for key, shape in listed.items()})
    with torch.device("meta"):
        network = ImageBind(VitArch())
    check_weights("x", network.state_dict(), weights, "it")
    audio = sum(np.prod(shape) for key, shape in listed.items() if key.split(".")[1] == "audio")
    assert audio - sum(p.numel() for p in network.parameters()) == 768 * 1024 + 1  # projection and logit scale


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("modality_trunks.audio.blocks.1.attn.bias_k"), "missing trunk.1.attn.bias_k"),
        (lambda w: w.update({"modality_trunks.audio.more": torch.ones(1)}), "unknown modality_trunks.audio.more"),
        (lambda w: w.update({"more": torch.ones(1)}), "unknown more"),
        (lambda w: [w.pop(k) for k in list(w) if ".audio." in k], "an ImageBind file is a torch file"),
        (lambda w: w.update({"modality_preprocessors.audio.cls_token": torch.ones(1, 1, 9)}), "cls_token is"),
    ],
)
def test_what_is_refused(tmp_path, file, change, message):
    weights = torch.load(file, weights_only=True)
    change(weights)
    torch.save(weights, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=message):
        load_imagebind(tmp_path / "x.pth", heads=4)


def test_heads_that_are_not_whole(file):
    with pytest.raises(ValueError, match="whole heads of 64"):
        load_imagebind(file)


def test_too_short_and_other_features():
    encoder = build_encoder(small("imagebind"))
    assert encoder(torch.zeros(1, 16, 128)).shape == (1, 1 + 12, 16)
    assert encoder(torch.zeros(1, 205, 128)).shape == (1, 1 + 19 * 12, 16)
    with pytest.raises(ValueError, match=r"imagebind: clip of 15 frames, at least 16 \(0.175 s\) are needed"):
        encoder(torch.zeros(1, 15, 128))
    with pytest.raises(ValueError, match=r"features of shape \(1, 20, 64\), expected \[clips, frames, 128\]"):
        encoder(torch.zeros(1, 20, 64))
