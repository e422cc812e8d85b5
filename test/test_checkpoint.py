import os
import pickle

import pytest
import torch
from torch import nn

from asdkit.config import BeatsArch
from asdkit.encoders.beats import random_beats
from asdkit.encoders.beats_checkpoint import load_beats, save_beats
from asdkit.models.checkpoint import (
    FORMAT,
    backbone_record,
    load_model,
    model_state,
    read_checkpoint,
    save_checkpoint,
)  # fmt: skip
from asdkit.utils.files import sha256_file


class Code:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (str(self.marker),))


def small_model():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    return model


@pytest.fixture
def backbone(tmp_path):
    path = tmp_path / "backbone.pt"
    path.write_bytes(b"published weights")
    return str(path)


def saved(tmp_path, backbone):
    model = small_model()
    path = tmp_path / "final.pt"
    save_checkpoint(path, {"model": model_state(model, backbone), "backbone": backbone_record(backbone)})
    return path


def test_round_trip_keeps_trained_tensors_only_beside_a_backbone(tmp_path, backbone):
    content = read_checkpoint(saved(tmp_path, backbone))
    assert sorted(content["model"]) == ["1.bias", "1.weight"]
    model = small_model()
    nn.init.zeros_(model[1].weight)
    load_model(model, content, "x")
    assert torch.equal(model[1].weight, small_model()[1].weight)


def test_temporary_files_of_killed_runs_go_with_the_next_checkpoint(tmp_path, backbone):
    stale, other = tmp_path / ".final.pt.x1.tmp", tmp_path / ".last.pt.x1.tmp"
    stale.touch(), other.touch()
    saved(tmp_path, backbone)
    assert not stale.exists() and other.exists()


def test_without_backbone_everything_is_kept(tmp_path):
    assert sorted(model_state(small_model(), None)) == ["0.bias", "0.weight", "1.bias", "1.weight"]


def test_another_backbone_file_is_refused(tmp_path, backbone):
    path = saved(tmp_path, backbone)
    with open(backbone, "ab") as file:
        file.write(b"!")
    with pytest.raises(ValueError, match="that file has changed"):
        load_model(small_model(), read_checkpoint(path), path)


def test_pickled_code_is_refused_and_not_run(tmp_path):
    marker = tmp_path / "code-ran"
    torch.save({"format": FORMAT, "model": Code(marker)}, tmp_path / "evil.pt")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Code(marker)))
    for name in ("evil.pt", "bare.pt"):
        with pytest.raises(ValueError, match="carries pickled objects"):
            read_checkpoint(tmp_path / name)
    assert not marker.exists()
    pickle.loads((tmp_path / "bare.pt").read_bytes())
    assert marker.exists(), "not even pickle runs it"


@pytest.mark.parametrize("size", [0, 10, 300])
def test_cut_file_is_one_clear_error(tmp_path, backbone, size):
    path = saved(tmp_path, backbone)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match="final.pt: (not a readable checkpoint|damaged, or carries pickled)"):
        read_checkpoint(path)


def test_text_is_not_taken_for_pickled_code_alone(tmp_path):
    (tmp_path / "last.pt").write_text("not a checkpoint")
    with pytest.raises(ValueError, match="last.pt: damaged, or carries pickled"):
        read_checkpoint(tmp_path / "last.pt")


def test_foreign_format_missing_file_and_wrong_keys(tmp_path, backbone):
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="not an asdkit checkpoint: format is None"):
        read_checkpoint(tmp_path / "other.pt")
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        read_checkpoint(tmp_path / "absent.pt")
    content = read_checkpoint(saved(tmp_path, backbone))
    extra = {**content, "model": {**content["model"], "head": torch.zeros(1)}}
    with pytest.raises(ValueError, match="has the unknown 1 tensor.*'head'"):
        load_model(small_model(), extra, "x")
    fewer = {**content, "model": {"1.bias": content["model"]["1.bias"]}}
    with pytest.raises(ValueError, match="lacks 1 tensor.*'1.weight'"):
        load_model(small_model(), fewer, "x")
    wrong = {**content, "model": {**content["model"], "1.bias": torch.zeros(5)}}
    with pytest.raises(ValueError, match=r"1.bias has shape \(5,\), expected \(2,\)"):
        load_model(small_model(), wrong, "x")


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"model": {}, "step": 1})
    monkeypatch.setattr(torch, "save", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError):
        save_checkpoint(path, {"model": {}, "step": 2})
    monkeypatch.undo()
    assert read_checkpoint(path)["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_encoder_file_is_compared_with_the_sha256_beside_it(tmp_path):
    weights = tmp_path / "encoder.pt"
    arch = BeatsArch(encoder_layers=1, encoder_embed_dim=16, encoder_ffn_embed_dim=16, encoder_attention_heads=2)
    save_beats(random_beats(arch), weights)
    beside = tmp_path / "encoder.pt.sha256"
    beside.write_text(f"{sha256_file(weights)}  encoder.pt\n")
    assert load_beats(weights).dim == 16
    beside.write_text(f"{'0' * 64}  encoder.pt\n")
    with pytest.raises(ValueError, match="encoder.pt: SHA-256 is .*encoder.pt.sha256 says 000"):
        load_beats(weights)
