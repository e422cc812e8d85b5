"""egs/pretrain/yardstick.sh: what frozen encoders are worth in noise."""

import shlex
import subprocess
import sys

import numpy as np
import pytest
import torch
from recipe import ROOT, environment, make_corpus

from asdkit.bin import prepare_data
from asdkit.config import BeatsArch
from asdkit.encoders.beats import random_beats
from asdkit.encoders.beats_checkpoint import save_beats
from asdkit.pretrain.config import load_pretrain_config
from asdkit.utils.typed_yaml import settings_of

LOCAL = ROOT / "egs/pretrain/local"
ARCH = BeatsArch(
    encoder_layers=2, encoder_embed_dim=32, encoder_ffn_embed_dim=64, encoder_attention_heads=4, embed_dim=16,
    conv_pos=16, conv_pos_groups=4, encoder_layerdrop=0.0,
)  # fmt: skip


@pytest.fixture
def yardstick(monkeypatch):
    monkeypatch.syspath_prepend(str(LOCAL))
    import yardstick

    yield yardstick
    sys.modules.pop("yardstick")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A small corpus of mini's machines, as yardstick.sh prepares it, and an encoder."""
    out = tmp_path_factory.mktemp("yardstick")
    corpus = make_corpus(out / "corpora/mini", clips=2)
    description = str(ROOT / "egs/mini/conf/dataset.yaml")
    prepare_data.main(["--dataset", description, "--corpus", str(corpus), "--data", str(out / "data/mini")])
    torch.manual_seed(0)
    save_beats(random_beats(ARCH), out / "tiny.pt")
    return out


def test_the_table_has_a_row_for_each_noise_and_is_measured_once(yardstick, out, capsys, monkeypatch):
    words = ["--encoders", str(out / "tiny.pt"), "--out", str(out), "--random-seeds", "0 1"]
    yardstick.main([*words, "--conditions", "clean pink_-18"])
    first = (out / "table.md").read_text()
    assert [row.split("|")[1].strip() for row in first.splitlines()[2:]] == [
        "mini dev, clean", "mini eval, clean", "mini dev, pink -18", "mini eval, pink -18", "mean"
    ]  # fmt: skip
    head = [cell.strip() for cell in first.splitlines()[0].split("|")[2:-1]]
    assert head == [
        "log-mels, mean", "log-mels, both", "log-mels, whitened", "logmel.yaml", "tiny, mean", "tiny, both",
        "tiny, default",
        "random as tiny, mean", "random as tiny, both", "random as tiny, default",
    ]  # fmt: skip
    numbers = np.array([[float(cell) for cell in row.split("|")[2:-1]] for row in first.splitlines()[2:]])
    np.testing.assert_allclose(numbers[:-1].mean(0), numbers[-1], atol=0.11)
    assert not np.allclose(numbers[0], numbers[2]), "noise changes the scores"
    monkeypatch.setattr(yardstick, "embed", None)
    yardstick.main([*words, "--conditions", "clean pink_-18"])
    assert (out / "table.md").read_text() == first
    with monkeypatch.context() as changed:
        read = yardstick.read_manifest
        changed.setattr(yardstick, "read_manifest", lambda path: [row | {"digest": "0" * 64} for row in read(path)])
        with pytest.raises(TypeError):  # other recordings under the same names are measured
            yardstick.main([*words, "--conditions", "clean pink_-18"])
    monkeypatch.setitem(yardstick.DETECTORS, "both", ("default", []))
    with pytest.raises(TypeError):  # measured again by other detectors: `embed` is called
        yardstick.main([*words, "--conditions", "clean pink_-18"])


def test_a_clip_has_its_own_noise_and_always_the_same(yardstick):
    wav = np.random.default_rng(0).standard_normal(16000)
    one, again, other = (yardstick.heard(wav, 16000, utt, "brown_-6") for utt in ("a", "a", "b"))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)
    noise = one / yardstick.QUIETER - wav
    assert 10 * np.log10(np.mean(wav**2) / np.mean(noise**2)) == pytest.approx(-6)
    assert len(yardstick.heard(wav, 4000, "a", "2s")) == 8000


def test_an_unknown_condition_is_explained(yardstick, out):
    with pytest.raises(ValueError, match="grey: allowed are clean pink_0"):
        yardstick.main(["--encoders", str(out / "tiny.pt"), "--out", str(out), "--conditions", "grey"])


def test_encoders_of_one_name_and_seeds_that_are_none_are_refused(yardstick, out, tmp_path):
    (tmp_path / "tiny.pt").write_bytes((out / "tiny.pt").read_bytes())
    words = ["--out", str(out), "--conditions", "clean", "--encoders", str(out / "tiny.pt")]
    with pytest.raises(ValueError, match="tiny.pt and .*tiny.pt would both be called tiny: rename one"):
        yardstick.main([*words, str(tmp_path / "tiny.pt")])
    with pytest.raises(ValueError, match="--random-seeds x: give whole numbers"):
        yardstick.main([*words, "--random-seeds", "0 x"])


def test_recordings_are_listed_by_train_and_test(test_data, monkeypatch):
    monkeypatch.syspath_prepend(str(LOCAL))
    import real

    rows = real.clips_of(test_data / "data/real")
    count = {(machine, split): sum(row[1:3] == (machine, split) for row in rows) for _, machine, split, _ in rows}
    assert count["slider", "train"] == real.TRAINED and count["BLDCMotor", "train"] > 0
    assert all(condition == "normal" for _, _, split, condition in rows if split == "train")
    assert {condition for _, machine, split, condition in rows if split == "test"} == {"normal", "anomaly"}
    with pytest.raises(ValueError, match="needs bldc/dev_data"):
        real.clips_of(test_data / "data")
    sys.modules.pop("real")


def test_the_ablation_changes_one_part_each_time():
    script = ROOT / "egs/pretrain/ablation.sh"
    words = ["bash", str(script), "--corpus", "x y", "--dry-run"]
    lines = subprocess.run(words, check=True, capture_output=True, text=True, env=environment()).stdout.splitlines()
    *runs, yardstick = map(shlex.split, lines)
    made = []
    for run in runs:
        settings = [run[i + 1] for i, word in enumerate(run) if word == "--set"]
        made.append(load_pretrain_config(ROOT / "egs/pretrain/conf/machines.yaml", settings))
        assert made[-1].train.steps == 2250 and run[run.index("--corpus") + 1] == "x y"
    whole = settings_of(made[0])
    for one in made[1:]:
        own = settings_of(one)
        assert len({key.split(".")[0] for key in whole.keys() | own.keys() if whole.get(key) != own.get(key)}) == 1
    assert yardstick[yardstick.index("--encoders") + 1].count("/encoder.pt") == len(runs) == 6
    done = subprocess.run(words[:2], capture_output=True, text=True, env=environment())
    assert done.returncode and "--corpus: a folder of recordings" in done.stderr
