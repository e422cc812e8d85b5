"""ATST-Clip and ATST-Frame: the official networks' numbers, both layouts of their files, long clips."""

import argparse
import json

import numpy as np
import pytest
import torch
from beats_networks import relative
from small_encoders import small

from asdkit.config import VitArch
from asdkit.encoders import build_encoder
from asdkit.encoders.atst import Atst, load_atst, teacher
from asdkit.encoders.checkpoints import check_weights

KINDS = {"atst_clip": True, "atst_frame": False}


@pytest.fixture(params=KINDS)
def name(request):
    return request.param


@pytest.fixture
def folder(test_data, name):
    return test_data / "golden/encoders" / name


@pytest.fixture
def file(folder, name):
    return folder / f"{name}_tiny_lightning.ckpt"


@pytest.fixture
def encoder(file, name):
    return load_atst(file, KINDS[name], heads=4).eval()


def contents(file) -> dict:
    return torch.load(file, weights_only=True)


def recording(test_data, which: str) -> torch.Tensor:
    return torch.from_numpy(np.atleast_2d(np.load(test_data / "golden/encoders/inputs/inputs_16k.npz")[which]))


@pytest.mark.parametrize("which", ["x2", "x10", "batch2"])
@torch.no_grad()
def test_golden_tensors(encoder, test_data, folder, which):
    golden = dict(np.load(folder / f"{which}.npz"))
    mel = np.load(test_data / f"golden/encoders/atst_clip/{which}.npz")["mel"][:, 0]  # [B, 64, F]
    mel = torch.from_numpy(mel).transpose(1, 2)
    feats = encoder.frontend(recording(test_data, which))
    assert (feats - mel).abs().max() < 2e-3 * 2 / 130  # 2e-3 dB
    for x, limit in ((feats, 1e-4), (mel, 5e-6)):
        patches = encoder.patch_embed(x)
        final, blocks = encoder.traced(x, range(len(encoder.blocks())))
        got = {"patch_embed": patches, "encoder_input": encoder.prepare(patches), "final": final, "cls": final[:, 0]}
        got |= {f"block_{number}": tokens for number, tokens in blocks.items()}
        assert set(got) - set(golden) <= {"patch_embed", "cls"}
        for key in set(got) & set(golden):
            assert relative(got[key], golden[key]) < limit, key
        assert relative(encoder(x), golden["final"]) < limit


@torch.no_grad()
def test_a_shorter_clip_alone_is_what_the_official_mask_leaves_of_a_longer_one(encoder, test_data, folder):
    golden = np.load(folder / "batch2_lengths.npz")
    frames = int(golden["length"][1])
    mel = np.load(test_data / "golden/encoders/atst_clip/batch2.npz")["mel"][1, 0, :, :frames]
    tokens = encoder(torch.from_numpy(mel).T[None])
    assert relative(tokens, golden["final"][1:, : encoder.specials + frames // 4]) < 5e-6


@pytest.mark.parametrize("which", ["x2", "x10", "batch2"])
@torch.no_grad()
def test_golden_embeddings_of_clips(encoder, test_data, folder, name, which):
    """What the authors' evaluations take: for ATST-Clip of pieces of 6 s."""
    golden = np.load(folder / f"{which}.npz")
    feats = encoder.frontend(recording(test_data, which))
    if name == "atst_frame":
        outputs = [encoder.norm(tokens).mean(1) for tokens in encoder.layers(feats)[-2:]]
        assert relative(outputs[1], golden["scene_n1"]) < 1e-4
        assert relative(torch.cat(outputs, 1), golden["scene_n2"]) < 1e-4
        return
    encoder.longest = 601
    pieces = []
    for part in encoder.cut(feats):  # [B, S, frames, 64]
        tokens = [encoder.norm(x) for x in encoder.layers(part.flatten(0, 1))[-2:]]
        # the official code divides the sum over the 150 tokens of a piece that is not the last by 250
        factor = 150 / 250 if which == "x10" and part.shape[2] == 601 else 1
        pieces.append(torch.cat([x[:, 0] for x in tokens] + [x[:, 1:].mean(1) * factor for x in tokens], 1))
    assert relative(torch.stack(pieces).mean(0), golden["official_chunks_n2_cls_avg"]) < 1e-4


@torch.no_grad()
def test_long_clips_go_through_in_pieces(name):
    torch.manual_seed(0)
    encoder = build_encoder(small(name)).eval()
    size = 601 if name == "atst_clip" else 1001
    feats = torch.randn(2, 2 * size + 203, 64)
    parts = [feats[:, :size], feats[:, size : 2 * size], feats[:, 2 * size :]]
    tokens, blocks = encoder.traced(feats, [1])
    torch.testing.assert_close(encoder(feats), tokens)
    torch.testing.assert_close(encoder.layers(feats)[1], blocks[1])
    for got, of_part in ((tokens, encoder), (blocks[1], lambda part: encoder.layers(part)[1])):
        own = [of_part(part) for part in parts]
        body = torch.cat([x[:, encoder.specials :] for x in own], 1)
        torch.testing.assert_close(got[:, encoder.specials :], body)
        if encoder.specials:
            counts = [x.shape[1] - 1 for x in own]
            assert counts == [150, 150, 50]
            cls = sum(x[:, 0] * n for x, n in zip(own, counts, strict=True)) / sum(counts)
            torch.testing.assert_close(got[:, 0], cls)
    # three frames that are left over fill no patch
    assert encoder(feats[:, : 2 * size + 3]).shape[1] == encoder.specials + 2 * (size // 4)
    assert encoder(feats[:, :1003]).shape[1] == encoder.specials + 250  # not longer than the table
    memory = [encoder.memory(16000 * seconds, 1, "cpu", "float32") for seconds in (10, 60, 600)]
    assert memory[0] < memory[1] < memory[2] < 12 * memory[1]


def test_full_size_files_fit(test_data, name):
    for size, dim, heads in (("base", 768, 12), ("small", 384, 6)):
        listed = json.loads((test_data / f"golden/encoders/shapes/{name}_{size}.json").read_text())["keys"]
        stored = {key: torch.empty(shape, device="meta") for key, shape in listed.items()}
        with torch.device("meta"):
            network = Atst(VitArch(embed_dim=dim, num_heads=heads), KINDS[name])
        weights = teacher("x", {"state_dict": stored}, KINDS[name], "")
        check_weights("x", network.state_dict(), weights, "it")
        own = sum(np.prod(shape) for key, shape in listed.items() if key.startswith("model.teacher.encoder."))
        unused = dim if KINDS[name] else 2 * dim  # mask_embed, and the position of a class token that is not there
        count = sum(p.numel() for p in network.parameters())
        assert count == own - unused and round(count / 1e6, 2) == {"base": 85.42, "small": 21.48}[size]


def test_the_older_layout(tmp_path, file, name, encoder):
    own = {k: v for k, v in contents(file)["state_dict"].items() if k.startswith("model.teacher.encoder.")}
    stored = {k.replace("model.teacher.encoder.", "module.backbone."): v for k, v in own.items()}
    stored["module.head.mlp.0.weight"] = torch.ones(2, 2)
    torch.save({"args": argparse.Namespace(arch="base"), "teacher": stored, "student": {}}, tmp_path / "old.ckpt")
    old = load_atst(tmp_path / "old.ckpt", KINDS[name], heads=4)
    assert all(torch.equal(value, old.state_dict()[key]) for key, value in encoder.state_dict().items())


@pytest.mark.parametrize("old", [True, False])
def test_numbers_of_numpy_beside_the_weights(tmp_path, file, name, encoder, old):
    """The authors' files hold some, among losses and schedules, by the name that numpy 1 gave them."""
    stored = contents(file) | {"lr_schedulers": [np.float64(0.5), np.float32(0.5), np.int64(3), np.bool_(True)]}
    torch.save(stored, tmp_path / "x.ckpt", _use_new_zipfile_serialization=False)
    raw = (tmp_path / "x.ckpt").read_bytes()
    assert raw.count(b"multiarray\nscalar") == 1
    names = (b"cnumpy._core.mult", b"cnumpy.core.mult")
    (tmp_path / "x.ckpt").write_bytes(raw.replace(*names) if old else raw.replace(*names[::-1]))
    read = load_atst(tmp_path / "x.ckpt", KINDS[name], heads=4)
    assert all(torch.equal(value, read.state_dict()[key]) for key, value in encoder.state_dict().items())


def test_a_student_is_never_read(encoder):
    """The golden files' students are 0.01 throughout."""
    assert all(p.std() > 1e-3 or (p == 1).all() or (p == 0).all() for p in encoder.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: {"weights": {}}, "holds weights; an ATST file is"),
        (lambda c: c["state_dict"].pop("model.teacher.encoder.blocks.1.norm2.bias"), "missing trunk.1.norm2.bias"),
        (lambda c: c["state_dict"].update({"model.teacher.encoder.more": torch.ones(1)}), "unknown more"),
        (lambda c: c["state_dict"].update({"model.teacher.encoder.pos_embed": torch.ones(1, 99, 48)}), "pos_embed is"),
        (lambda c: {"state_dict": {k: v for k, v in c["state_dict"].items() if "student" in k}}, "ATST-Clip|no tensor"),
    ],
)
def test_what_is_refused(tmp_path, file, name, change, message):
    stored = contents(file)
    changed = change(stored)
    torch.save(changed if isinstance(changed, dict) else stored, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=message):
        load_atst(tmp_path / "x.ckpt", KINDS[name], heads=4)


def test_the_other_of_the_two_is_named(file, name):
    other = "Frame" if name == "atst_frame" else "Clip"
    with pytest.raises(ValueError, match=f"this is an ATST-{other}: set encoder.name"):
        load_atst(file, not KINDS[name], heads=4)
    with pytest.raises(ValueError, match="whole heads of 64"):
        load_atst(file, KINDS[name])


def test_too_short_and_other_features(name):
    encoder = build_encoder(small(name))
    with pytest.raises(ValueError, match="at least 513"):
        encoder.frontend(torch.zeros(1, 512))
    assert encoder(encoder.frontend(torch.zeros(1, 513))).shape == (1, encoder.specials + 1, 16)
    with pytest.raises(ValueError, match=rf"{name}: clip of 3 frames, at least 4 \(0.03 s\)"):
        encoder(torch.zeros(1, 3, 64))
    with pytest.raises(ValueError, match=rf"{name}: features of shape \(1, 9, 63\), expected \[clips, frames, 64\]"):
        encoder(torch.zeros(1, 9, 63))
