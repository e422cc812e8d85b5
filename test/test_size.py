"""Parameters and multiply-accumulates of a network, and where they are told."""

import pytest
import torch
from small_encoders import SMALL
from test_report import write_seed

from asdkit.adapt.lora import merge_lora
from asdkit.bin import report
from asdkit.config import Config
from asdkit.models.classifier import Classifier
from asdkit.models.size import macs, size_of
from asdkit.utils.files import read_json
from asdkit.utils.typed_yaml import validate

SIZE = {"parameters": 90803568, "trained": 491776, "macs": 49353889792}


def system_of(encoder=None, arrays=None, **model) -> Classifier:
    torch.manual_seed(0)
    raw = {"encoder": {"name": "beats", **SMALL["beats"], **(encoder or {})}, "model": {"embedding_dim": 8, **model}}
    return Classifier(validate(Config, {**raw, "embed": {"arrays": arrays or {}}}, "test"), ["a", "b"])


def test_multiply_accumulates_counted_by_hand():
    tokens, dim, hidden, patch, taps, groups = 62 * 8, 16, 16, 8, 8, 2
    attention = tokens * (4 * dim**2 + dim // 2 * 8 * 2) + 2 * tokens**2 * dim  # with the gate of both heads
    layer = attention + tokens * 2 * dim * hidden
    # an even kernel makes one token too many, which is dropped
    convolution = (tokens + 1) * dim * dim // groups * taps
    encoder = tokens * (patch * 16 * 16 + patch * dim) + convolution + 2 * layer
    found = size_of(system_of(pooling="mean"))
    assert found["macs"] == encoder + dim * 8
    assert size_of(system_of())["macs"] == encoder + tokens * (dim * 128 + 128) + 2 * tokens * dim + 2 * dim * 8


def test_what_is_trained_and_what_is_there():
    plain = system_of(pooling="mean")
    count = sum(p.numel() for p in plain.model.encoder.parameters())
    assert size_of(plain) == {"parameters": count + 128, "trained": 128, "macs": size_of(plain)["macs"]}
    assert size_of(system_of({"train": True}, pooling="mean"))["trained"] == count + 128
    lora = size_of(system_of(pooling="mean", lora={"branches": 2, "rank": 3}))
    assert lora["parameters"] == count + 128 and lora["macs"] == size_of(plain)["macs"]  # merged
    assert lora["trained"] == 128 + 2 * 6 * 2 * 3 * (16 + 16)


def test_a_network_that_looks_at_values_is_run(monkeypatch):
    system = system_of(arrays={"a": {"pooling": "rdp", "bands": True}})
    expected = size_of(system)
    looks = type(system.model.pooling).forward
    monkeypatch.setattr(
        type(system.model.pooling), "forward", lambda self, x: looks(self, x * (1 + 0 * x.sum().item()))
    )
    assert size_of(system) == expected


def test_attention_counts_on_cpus_too():
    """The counter of torch takes the CPU's own attention for nothing."""
    system = merge_lora(system_of()).eval()
    feats = system.frontend(torch.zeros(1, 160000))
    assert macs(system, feats) == size_of(system)["macs"]


def test_reports_tell_the_size_where_it_is_known(tmp_path):
    exp = tmp_path / "exp"
    write_seed(exp / "old", 0, 0.5)
    report.main(["--exp", str(exp / "old")])
    assert "parameters" not in (exp / "old/RESULTS.md").read_text() + (exp / "RESULTS.md").read_text()
    write_seed(exp / "new", 0, 0.5)
    write_seed(exp / "new", 1, 0.5, size=SIZE)
    report.main(["--exp", str(exp / "new")])
    told = "- network: 90,803,568 parameters, 491,776 trained; 49.35 G multiply-accumulates for 10 s of sound, front"
    assert told in (exp / "new/RESULTS.md").read_text()
    assert read_json(exp / "new/results.json")["scores"]["knn"]["size"] == SIZE
    row = next(line for line in (exp / "RESULTS.md").read_text().split("## Size")[1].splitlines() if "new" in line)
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["new", "90.80", "0.49", "49.35"]
    write_seed(exp / "new", 2, 0.5, size={"parameters": "many"})
    with pytest.raises(ValueError, match=r"seed2/score/knn/results.json: size.parameters: .*integer"):
        report.main(["--exp", str(exp / "new")])
