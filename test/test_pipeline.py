"""Stages 1 to 4 as programs on a tiny generated corpus: what shards, features and restarts may and may not change."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
import torch
import yaml

from asdkit.bin import extract_embeddings, extract_feats, make_lists, prepare_data, train
from asdkit.config import BeatsArch
from asdkit.encoders.beats import random_beats
from asdkit.encoders.beats_checkpoint import save_beats
from asdkit.models.checkpoint import read_checkpoint, save_checkpoint
from asdkit.utils import files
from asdkit.utils.ark import read_ark, write_ark

MINI = Path(__file__).parents[1] / "egs" / "mini"
CONFIG = """
encoder:
  arch: {encoder_layers: 2, encoder_embed_dim: 24, encoder_ffn_embed_dim: 48, encoder_attention_heads: 4,
         embed_dim: 16, conv_pos: 16, conv_pos_groups: 4}
  train: true
data: {chunk_seconds: 0.5}
model: {lora: {branches: 2, rank: 2}, group_adapter: {groups: 3}, embedding_dim: 8}
loss: {dlcl: {codes: 4, memory: 16}}
train: {steps: 4, batch_size: 8, lr: 1e-3, warmup_steps: 1, log_every: 2, checkpoint_every: 2}
embed: {batch_size: 4}
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpus with space")
    options = ["--out", str(root / "mini"), "--clips-per-domain", "2", "--seconds", "1"]
    subprocess.run([sys.executable, str(MINI / "local/generate.py"), *options], check=True, capture_output=True)
    data = root / "data"
    prepare_data.main(
        ["--dataset", str(MINI / "conf/dataset.yaml"), "--corpus", str(root / "mini"), "--data", str(data)]
    )
    return data


class Recipe:
    """The folders of one experiment and its programs."""

    def __init__(self, root: Path, data: Path, *settings: str) -> None:
        self.root, self.exp = root, root / "exp/tiny"
        (root / "conf.yaml").write_text(CONFIG)
        self.work = ["--data", str(data), "--dump", str(root / "dump"), "--exp", str(self.exp)]
        sets = [word for setting in settings for word in ("--set", setting)]
        make_lists.main(["--config", str(root / "conf.yaml"), *sets, *self.work])
        for job in ("1", "2"):
            extract_feats.main([*self.work, "--num-jobs", "2", "--job", job])
        extract_feats.main([*self.work, "--num-jobs", "2", "--merge", "true"])

    def train(self, *options):
        train.main([*self.work, "--device", "cpu", *options])
        return read_checkpoint(self.exp / "seed0/checkpoint/final.pt")

    def embed(self, jobs=1, *options):
        shards = [*self.work, "--device", "cpu", "--num-jobs", str(jobs), *options]
        for job in range(1, jobs + 1):
            extract_embeddings.main([*shards, "--job", str(job)])
        extract_embeddings.main([*shards, "--merge", "true"])
        sets = sorted((self.exp / "seed0/embed").iterdir())
        return {path.name: dict(kaldiio.load_scp(str(path / "embedding.scp"))) for path in sets}


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    recipe = Recipe(tmp_path_factory.mktemp("trained"), corpus)
    recipe.train()
    return recipe


def assert_equal(a, b):
    assert a.keys() == b.keys() and len(a) == 4
    for name in a:
        assert a[name].keys() == b[name].keys() and len(a[name]) > 0
        for utt in a[name]:
            assert np.array_equal(a[name][utt], b[name][utt]), utt


def test_every_clip_has_one_finite_embedding(trained, corpus):
    for name, table in trained.embed(1, "--force", "true").items():
        manifest = (corpus / name / "manifest.tsv").read_text().splitlines()[1:]
        assert sorted(table) == [line.split("\t")[0] for line in manifest]
        matrix = np.stack(list(table.values()))
        assert matrix.shape[1] == 8 and np.isfinite(matrix).all() and matrix.std(0).min() > 0


def test_number_of_shards_changes_no_bit(trained):
    whole = trained.embed(1, "--force", "true")
    words = [*trained.work, "--device", "cpu", "--num-jobs", "2", "--force", "true"]
    for job in ("1", "2"):
        extract_embeddings.main([*words, "--job", job])
    one, two = (read_ark(trained.exp / f"seed0/embed/dev_test/split2/embedding.{job}.ark") for job in (1, 2))
    assert one and two and not one.keys() & two.keys()
    assert_equal(whole, trained.embed(3, "--force", "true"))
    assert not list(trained.exp.glob("seed0/embed/*/split*"))


def test_second_run_does_nothing(trained, monkeypatch):
    trained.embed()
    stamps = {path: path.stat().st_mtime_ns for path in trained.exp.rglob("*") if path.is_file()}
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("loaded a checkpoint"))
    train.main([*trained.work])
    extract_embeddings.main([*trained.work, "--num-jobs", "2", "--job", "2"])
    assert stamps == {path: path.stat().st_mtime_ns for path in trained.exp.rglob("*") if path.is_file()}


def test_training_from_dumped_features_is_training_from_recordings(trained, corpus, tmp_path):
    dumped = Recipe(tmp_path, corpus, "data.feats_type=fbank")
    raw, fbank = read_checkpoint(trained.exp / "seed0/checkpoint/final.pt"), dumped.train()
    for key, tensor in raw["model"].items():
        torch.testing.assert_close(fbank["model"][key], tensor, rtol=1e-3, atol=1e-4)
    a, b = trained.embed(1, "--force", "true"), dumped.embed()
    for name in a:
        for utt in a[name]:
            np.testing.assert_allclose(a[name][utt], b[name][utt], rtol=1e-2, atol=1e-2)


def test_chunk_mean_differs_from_the_whole_clip(trained, corpus, tmp_path):
    chunked = Recipe(tmp_path, corpus, "embed.segment=chunk", "embed.hop_seconds=0.25")
    chunked.train()
    a, b = trained.embed(1, "--force", "true"), chunked.embed()
    utt = next(iter(a["dev_test"]))
    assert a["dev_test"][utt].shape == b["dev_test"][utt].shape
    assert not np.allclose(a["dev_test"][utt], b["dev_test"][utt], atol=1e-4)


def test_chunks_are_at_least_one_frame_apart(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("asdkit.encoders.beats.Beats.hop", 320)  # 20 ms
    recipe = Recipe(tmp_path, corpus, "embed.segment=chunk", "embed.hop_seconds=0.01", "train.steps=0")
    recipe.train()
    assert recipe.embed()["dev_test"]


def test_reader_processes_change_no_bit(trained, corpus, tmp_path):
    recipe = Recipe(tmp_path, corpus, "data.workers=2")
    again, first = recipe.train()["model"], read_checkpoint(trained.exp / "seed0/checkpoint/final.pt")["model"]
    assert all(torch.equal(again[key], first[key]) for key in first)


def test_a_forced_training_starts_anew(trained, tmp_path):
    last = trained.exp / "seed0/checkpoint/last.pt"
    once, content = read_checkpoint(last.with_name("final.pt")), read_checkpoint(last)
    save_checkpoint(last, content | {"model": {name: tensor + 1 for name, tensor in content["model"].items()}})
    again = trained.train("--force", "true")
    assert all(torch.equal(again["model"][name], tensor) for name, tensor in once["model"].items())


def test_kept_step_can_be_embedded(corpus, tmp_path):
    recipe = Recipe(tmp_path, corpus, "train.save_steps=[2]", "embed.checkpoint=step2")
    recipe.train()
    assert recipe.embed()["eval_test"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_stops_training_and_embedding(corpus, tmp_path):
    recipe = Recipe(tmp_path, corpus, "train.steps=0")
    for program in (train, extract_embeddings):
        with pytest.raises(ValueError, match="--device cuda: no GPU is visible"):
            program.main([*recipe.work, "--device", "cuda"])
        recipe.train()


def test_embedding_needs_finished_training(corpus, tmp_path):
    recipe = Recipe(tmp_path, corpus)
    with pytest.raises(ValueError, match="training is not finished: run stage 3"):
        recipe.embed()


def test_weights_of_another_configuration_are_not_embedded(corpus, tmp_path):
    recipe = Recipe(tmp_path, corpus)
    recipe.train()
    config = recipe.exp / "config.yaml"
    whole = config.read_text()
    for old, new, key in (
        ("lr: 0.001", "lr: 0.002", "train.lr = 0.001, now 0.002"),
        ("groups: 3", "groups: 4", "model.group_adapter.groups = 3, now 4"),
        ("  dlcl:\n    weight: 1.0", "  dlcl:\n    weight: 2.0", "loss.dlcl.weight = 1.0, now 2.0"),
    ):
        assert whole.count(old) == 1
        config.write_text(whole.replace(old, new))
        with pytest.raises(ValueError, match=f"checkpoint/.done: made with {key}.*--stage 3 --force true"):
            recipe.embed(1, "--force", "true")
    assert not (recipe.exp / "seed0/embed").exists()
    config.write_text(whole.replace("k: 1", "k: 2"))  # of stage 5 alone
    assert recipe.embed()["eval_test"]


def test_changed_shard_and_cut_shard_are_refused(trained, tmp_path):
    extract_embeddings.main([*trained.work, "--force", "true", "--num-jobs", "1"])
    ark = trained.exp / "seed0/embed/dev_test/split1/embedding.1.ark"
    table = read_ark(ark)
    write_ark(ark, {utt: table[utt] for utt in list(table)[1:]})
    with pytest.raises(ValueError, match=f"1 clip.* too few or too many, the first '{min(table)}'; use --force true"):
        extract_embeddings.main([*trained.work, "--num-jobs", "1", "--merge", "true"])
    ark.write_bytes(ark.read_bytes()[:-5])
    with pytest.raises(ValueError, match="embedding.1.ark: cut short"):
        extract_embeddings.main([*trained.work, "--num-jobs", "1", "--merge", "true"])
    assert not (trained.exp / "seed0/embed/dev_test/.done").exists()
    shutil.rmtree(ark.parent)
    trained.embed(1)


def test_stage_4_reads_each_file_once_to_hash_it(corpus, tmp_path, monkeypatch):
    weights = tmp_path / "encoder.pt"
    save_beats(random_beats(BeatsArch(**yaml.safe_load(CONFIG)["encoder"]["arch"])), weights)
    recipe = Recipe(tmp_path, corpus, f"encoder={{checkpoint: {weights}}}")
    recipe.train()
    final = recipe.exp / "seed0/checkpoint/final.pt"
    for path in (weights, final):
        os.utime(path, times=(time.time() - 60,) * 2)
    monkeypatch.setattr(files, "_digests", {})  # as in a process of its own
    read = []
    digest = files._digest
    monkeypatch.setattr(files, "_digest", lambda file: (read.append(Path(file.name)), digest(file))[1])
    extract_embeddings.main([*recipe.work, "--device", "cpu"])
    assert (read.count(weights), read.count(final)) == (1, 1)


def test_job_outside_the_shards(trained):
    with pytest.raises(ValueError, match="--job 3 lies outside 1..2"):
        extract_embeddings.main([*trained.work, "--num-jobs", "2", "--job", "3"])


@pytest.fixture
def own(corpus, tmp_path):
    """A corpus whose recordings a test may change, prepared: its folder and data/."""
    shutil.copytree(corpus.parent / "mini", tmp_path / "mini")
    options = ["--dataset", str(MINI / "conf/dataset.yaml"), "--corpus", str(tmp_path / "mini")]
    prepare_data.main([*options, "--data", str(tmp_path / "data")])
    return tmp_path / "mini", tmp_path / "data"


def test_broken_recording_stops_training_and_leaves_no_final(own, tmp_path):
    recipe = Recipe(tmp_path, own[1])
    for path in own[0].rglob("train/*.wav"):
        path.write_text("this is no recording")
    with pytest.raises(ValueError, match=r"train clip has changed: .*\.wav has 20 bytes, stage 1 found 32044"):
        recipe.train()
    assert not (recipe.exp / "seed0/checkpoint/final.pt").exists()


@pytest.mark.parametrize("seconds", [0.5, 1.5])
def test_recording_of_another_size_than_stage_1_found_is_named_by_stages_3_and_4(own, tmp_path, seconds):
    recipe = Recipe(tmp_path, own[1])
    samples = round(16000 * seconds)
    changed = next(own[0].rglob("fan/test/*.wav"))
    whole = changed.read_bytes()
    recipe.train()
    soundfile.write(changed, np.zeros(samples), 16000)
    with pytest.raises(ValueError, match=f"{changed} has {44 + 2 * samples} bytes, stage 1 found 32044"):
        recipe.embed()
    changed.write_bytes(whole)
    for path in own[0].rglob("train/*.wav"):
        soundfile.write(path, np.zeros(samples), 16000)
    with pytest.raises(ValueError, match=f"train/.* has {44 + 2 * samples} bytes, stage 1 found"):
        recipe.train("--force", "true")
