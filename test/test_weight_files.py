"""Files of published weights: safetensors and torch files, folders, names, and what is refused."""

import argparse
import hashlib

import numpy as np
import pytest
import torch
from weight_files import write_safetensors

from asdkit.encoders.checkpoints import (
    check_weights,
    depth,
    joined,
    put_in,
    read_folder,
    read_safetensors,
    read_torch,
    read_weights,
    renamed,
    side,
    vit_arch,
)


def tensors():
    made = torch.Generator().manual_seed(0)
    return {
        "flag": torch.tensor([True, False, True]),  # 3 bytes: what follows lies at odd places
        "a": torch.randn(2, 3, generator=made),
        "b": torch.randn(4, generator=made).half(),
        "c": torch.randn(1, 2, generator=made).bfloat16(),
        "n": torch.tensor(7),
        "none": torch.zeros(0, 3),
    }


def test_safetensors(tmp_path):
    path = write_safetensors(tmp_path / "x.safetensors", tensors(), format="pt")
    for found in (read_safetensors(path), read_weights(path, "")):
        assert found.keys() == tensors().keys()
        assert all(torch.equal(found[name], own) and found[name].dtype == own.dtype for name, own in tensors().items())
    before = path.read_bytes()
    found["a"].zero_()  # weights may be trained: the file stays as it is
    assert path.read_bytes() == before


def test_safetensors_as_the_library_writes_them(tmp_path):
    library = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    library.save_file(tensors(), tmp_path / "x.safetensors", {"format": "pt"})
    found = read_safetensors(tmp_path / "x.safetensors")
    assert all(torch.equal(found[name], own) for name, own in tensors().items())
    again = library.load_file(write_safetensors(tmp_path / "y.safetensors", tensors()))
    assert all(torch.equal(again[name], own) for name, own in tensors().items())


def test_damaged_safetensors(tmp_path):
    path = write_safetensors(tmp_path / "x.safetensors", {"a": torch.ones(9)})
    good = path.read_bytes()
    for content in (
        good[:-1],
        good[:30],
        good.replace(b"F32", b"F33"),
        good.replace(b"[9]", b"[8]"),
        good[:8] + good[9:],
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="x.safetensors: .*damaged or cut short") as error:
            read_safetensors(path)
        assert "\n" not in str(error.value)
    (tmp_path / "x.safetensors.sha256").write_text(hashlib.sha256(good).hexdigest())
    with pytest.raises(ValueError, match=r"SHA-256 is \w+, x.safetensors.sha256 says"):
        read_safetensors(path)
    path.write_bytes(good)
    assert torch.equal(read_weights(path, "")["a"], torch.ones(9))
    with pytest.raises(ValueError, match="cannot read .*none: No such file"):
        read_safetensors(tmp_path / "none")


def test_torch_files(tmp_path):
    path = tmp_path / "x.pt"
    torch.save(tensors(), path)
    assert torch.equal(read_weights(path, "")["a"], tensors()["a"])
    torch.save([1], path)
    with pytest.raises(ValueError, match="x.pt: holds list; it must be a dict"):
        read_weights(path, "it must be a dict")
    torch.save({"a": tmp_path}, path)
    with pytest.raises(ValueError, match="holds Python objects besides tensors.*: it must be a dict"):
        read_weights(path, "it must be a dict")


def test_settings_beside_weights(tmp_path):
    path, code = tmp_path / "x.pt", Code()
    for thing in (argparse.Namespace(a=1), np.float64(2)):
        torch.save({"a": thing}, path)
        with pytest.raises(ValueError, match="holds Python objects besides tensors"):
            read_torch(path, "")
        assert read_torch(path, "", settings=True) == {"a": thing}
    for thing in (argparse.Namespace(a=code), {"a": code}):
        torch.save(thing, path)
        with pytest.raises(ValueError, match="holds Python objects besides tensors"):
            read_torch(path, "", settings=True)


class Code:
    def __reduce__(self):
        return (print, ("run",))


def test_folders(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path}: no config.json in it"):
        read_folder(tmp_path, "ast")
    (tmp_path / "config.json").write_text('{"model_type": "hubert", "x": 3}')
    with pytest.raises(ValueError, match="config.json: model_type is 'hubert', expected 'ast': another network"):
        read_folder(tmp_path, "ast")
    with pytest.raises(ValueError, match="has neither model.safetensors nor pytorch_model.bin"):
        read_folder(tmp_path, "hubert")
    for name in ("pytorch_model.bin", "model.safetensors"):  # the second is preferred
        (tmp_path / name).touch()
        assert read_folder(tmp_path, "hubert") == ({"model_type": "hubert", "x": 3}, tmp_path / name)
        assert read_folder(tmp_path / name, "hubert")[1] == tmp_path / name


def test_what_no_network_can_be_in(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path}: a folder, where this encoder reads a file: name the file"):
        read_torch(tmp_path, "an X is this")
    torch.save({3: torch.zeros(2)}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="x.pt: holds a dict in which 3 is a name; an X is this"):
        read_weights(tmp_path / "x.pt", "an X is this")
    with pytest.raises(ValueError, match="^f: no transformer blocks in it: no published X$"):
        vit_arch("f", {"norm.weight": torch.zeros(64)}, 64, None, "no published X")


def test_names():
    weights = {"m.blocks.0.x": 1, "m.head.w": 2, "m.y": 3, "other": 4}
    table = {r"m\.blocks\.(\d+)\.": r"trunk.\1.", r"m\.head\.": None, r"m\.": ""}
    assert renamed(weights, table) == {"trunk.0.x": 1, "y": 3, "other": 4}
    assert depth({"t.0.a": 1, "t.0.b": 1, "t.11.a": 1, "s.2": 1}, "t.") == 2
    q, k, v = torch.arange(24.0).view(3, 4, 2)
    found = joined({"t.0.q.weight": q, "t.0.k.weight": k, "t.0.v.weight": v, "z": 1}, ("q", "k", "v"))
    assert found.keys() == {"z", "t.0.qkv.weight"} and torch.equal(found["t.0.qkv.weight"], torch.cat([q, k, v]))
    assert joined({"q.w": q, "k.w": k}, ("q", "k", "v")).keys() == {"q.w", "k.w"}


def test_sizes_and_shapes():
    assert side("f", {"a": torch.zeros(2, 5)}, "a", 1, "") == 5
    for weights in ({}, {"a": 3}, {"a": torch.zeros(2)}):
        with pytest.raises(ValueError, match="f: no tensor 'a' in it .*; an X has it"):
            side("f", weights, "a", 1, "an X has it")
    good = {"a": torch.zeros(2), "b": torch.zeros(3)}
    check_weights("f", good, dict(good), "an X")
    got = {"a": torch.zeros(3), "c": 1}
    with pytest.raises(
        ValueError, match=r"f: weights do not fit an X: a is \(3,\), expected \(2,\); missing b; unknown c$"
    ):
        check_weights("f", good, got, "an X")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float32])
def test_weights_become_float32(dtype):
    with torch.device("meta"):
        network = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    weights = {name: torch.ones(tuple(own.shape)) for name, own in network.state_dict().items()}
    weights = {name: own.to(torch.int64 if "num" in name else dtype) for name, own in weights.items()}
    weights["0.weight"] = torch.arange(9).view(3, 3).t().to(dtype)
    put_in(network, weights)
    assert all(own.dtype == torch.float32 and own.is_contiguous() for own in network.parameters())
    assert network[1].num_batches_tracked.dtype == torch.int64 and network[0].weight[0, 1] == 3
    if dtype == torch.float32:
        assert network[0].bias.data_ptr() == weights["0.bias"].data_ptr()  # no copy
