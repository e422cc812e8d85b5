"""A trained experiment, opened from anywhere."""

import os
import shutil
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
import torch
from recipe import CONFIG, run_stages
from test_pipeline import MINI

from asdkit.config import Config
from asdkit.corpus.manifest import read_manifest
from asdkit.data.lists import Clip
from asdkit.detectors.folder import read_scores
from asdkit.infer.clips import arrays
from asdkit.infer.experiment import Experiment
from asdkit.models.system import System
from asdkit.signals.audio import AudioReader
from asdkit.utils.ark import read_ark


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A recipe's folder after stage 5; the weights that it starts from are named from there."""
    root = tmp_path_factory.mktemp("a recipe")
    (root / "weights").mkdir()
    shutil.copy(MINI.parent.parent / "test/golden/beats_tiny.pt", root / "weights/tiny.pt")
    lines = [line for line in CONFIG.splitlines() if not line.startswith(("encoder", "  arch", "         ", "  train"))]
    (root / "x.yaml").write_text(
        "\n".join(["encoder: {checkpoint: weights/tiny.pt}", *lines])
        + "\nembed: {chunks: true, hop_seconds: 0.25, arrays: {rdp: {pooling: rdp, bands: true}}}\n"
        "score: {knn: {}, three: {k: 3, per_domain: false}, bands: {array: rdp, rescale: {kind: variance, k: 2}, "
        "per_domain: false}}\n"
    )
    run_stages(root, jobs=2)
    return root


def recordings(recipe, machine="fan", name="dev_test"):
    rows = [row for row in read_manifest(recipe / "data" / name / "manifest.tsv") if row["machine"] == machine]
    return [row["utt"] for row in rows], [recipe / "mini" / row["wav"] for row in rows]


def test_arrays_and_scores_are_those_of_the_stages(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment = Experiment.open(os.path.relpath(recipe / "exp/x"), device="cpu")
    utts, paths = recordings(recipe)
    found = experiment.embed([*paths, paths[0]])
    assert not any(module.training for module in experiment.system.modules())
    assert (
        found.keys() == {"embedding", "rdp"}
        and found["rdp"].shape[1] == 8
        and np.array_equal(found["embedding"][0], found["embedding"][-1])
    )
    stage4 = read_ark(recipe / "exp/x/seed0/embed/dev_test/embedding.ark")
    np.testing.assert_allclose(found["embedding"][:-1], [stage4[utt] for utt in utts], rtol=1e-4, atol=1e-5)
    for name in ("knn", "three", "bands"):
        stage5 = read_scores(recipe / f"exp/x/seed0/score/{name}/dev_test.tsv")
        scores = experiment.score(paths, "fan", name=name)
        np.testing.assert_allclose(scores, [stage5[utt] for utt in utts], rtol=1e-3, atol=1e-5)
        assert experiment.threshold(name, "fan") > (0 if name != "bands" else -np.inf)
    assert experiment.score([], "fan").shape == (0,)
    monkeypatch.setattr("asdkit.infer.experiment.StoredArrays", lambda *a: pytest.fail("read the archives again"))
    monkeypatch.setattr("asdkit.infer.experiment.read_manifest", lambda *a: pytest.fail("read a manifest again"))
    assert np.array_equal(experiment.score(paths, "fan"), experiment.score(paths, "fan"))


class Nan(System):
    sample_rate, window, hop = 16000, 1, 1

    def frontend(self, wav):
        return wav

    def represent(self, feats, machines=()):
        return {"embedding": feats[:, :2] * float("nan")}


def test_arrays_that_are_not_finite_are_refused(recipe):
    utts, paths = recordings(recipe)
    clips = [Clip(utt, str(path), 16000, "fan") for utt, path in zip(utts[:2], paths[:2], strict=True)]
    with pytest.raises(ValueError, match=f"embedding of {utts[0]} {utts[1]}: not finite: look at the training curve"):
        dict(arrays(Nan(), Config(), [clips], AudioReader(), torch.device("cpu")))


def test_it_needs_neither_the_corpus_nor_the_data_nor_the_recipe(recipe, tmp_path):
    utts, paths = recordings(recipe)
    copy, new = tmp_path / "elsewhere", tmp_path / "new.wav"
    shutil.copytree(recipe / "exp/x", copy)
    (copy / "env.txt").unlink()  # it tells where stage 2 was run
    samples, rate = soundfile.read(paths[0])
    soundfile.write(new, samples, rate, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"SHA-256 .* are at none of .*weights/tiny.pt, .*elsewhere/tiny.pt. Put them"):
        Experiment.open(copy, device="cpu").embed([new])
    shutil.copy(MINI / "conf/default.yaml", copy / "tiny.pt")
    with pytest.raises(ValueError, match="elsewhere/tiny.pt holds other weights"):
        Experiment.open(copy, device="cpu").embed([new])
    shutil.copy(recipe / "weights/tiny.pt", copy / "tiny.pt")
    alone = Experiment.open(copy, device="cpu").score([new], "fan")
    expected = read_scores(recipe / "exp/x/seed0/score/knn/dev_test.tsv")[utts[0]]
    assert alone[0] == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_weights_are_found_from_where_stage_2_was_run(recipe, tmp_path, monkeypatch):
    """Wherever --expdir lies: the path of the weights is a recipe's."""
    shutil.copytree(recipe / "exp/x", tmp_path / "far/away/x")
    monkeypatch.chdir(tmp_path)
    assert Experiment.open("far/away/x", device="cpu").embed([recordings(recipe)[1][0]])["embedding"].shape == (1, 8)


def test_what_is_not_there_is_named(recipe, tmp_path):
    with pytest.raises(ValueError, match="no experiment: it holds no config.yaml"):
        Experiment.open(tmp_path)
    experiment = Experiment.open(recipe / "exp/x", device="cpu")
    with pytest.raises(ValueError, match="has the scores knn, three, bands, not 'four'"):
        experiment.score([], name="four")
    with pytest.raises(ValueError, match="got no machine; trained were bearing, fan, gearbox, pump, valve"):
        experiment.score([])
    with pytest.raises(ValueError, match="got machine 'saw'; trained were bearing"):
        experiment.score([], "saw")
    with pytest.raises(ValueError, match="seed7: training is not finished: run stage 3"):
        Experiment.open(recipe / "exp/x", 7).embed([])
    with pytest.raises(ValueError, match="take a list of recordings: .'new.wav'"):
        experiment.score("new.wav", "fan")
    with pytest.raises(ValueError, match="has the scores knn, three, bands, not 'fan'"):
        experiment.threshold("fan")
    (tmp_path / "text.wav").write_text("no recording")
    with pytest.raises(ValueError, match="text.wav: not a readable"):
        experiment.embed([tmp_path / "text.wav"])
    changed = tmp_path / "exp/changed"
    shutil.copytree(recipe / "exp/x", changed)
    shutil.copy(recipe / "weights/tiny.pt", changed)
    config = changed / "config.yaml"
    config.write_text(config.read_text().replace("lr: 0.001", "lr: 0.002"))
    with pytest.raises(ValueError, match="made with train.lr = 0.001, now 0.002.*--stage 3 --force true"):
        Experiment.open(changed, device="cpu").embed([])


def test_transductive_scores_are_refused(recipe, tmp_path):
    shutil.copytree(recipe / "exp/x", tmp_path / "x")
    config = tmp_path / "x/config.yaml"
    config.write_text(config.read_text().replace("normalise: none", "normalise: test_zscore"))
    with pytest.raises(ValueError, match="score.knn.normalise is test_zscore: it scores whole test sets alone"):
        Experiment.open(tmp_path / "x").score([], "fan")


def test_stage_4_writes_an_archive_for_each_array(recipe):
    folder = recipe / "exp/x/seed0/embed/dev_test"
    assert sorted(path.name for path in folder.iterdir()) == [
        ".done", ".written", "embedding.ark", "embedding.chunks.ark", "embedding.chunks.scp", "embedding.scp",
        "manifest.tsv", "rdp.ark", "rdp.scp",
    ]  # fmt: skip
    chunks = dict(kaldiio.load_scp(str(folder / "embedding.chunks.scp")))
    assert chunks.keys() == read_ark(folder / "embedding.ark").keys()
    assert {matrix.shape for matrix in chunks.values()} == {(3, 8)}  # 1 s in windows of 0.5 s, every 0.25 s
    assert read_manifest(folder / "manifest.tsv") == read_manifest(recipe / "data/dev_test/manifest.tsv")


def test_opening_needs_no_torch(recipe):
    import subprocess
    import sys

    code = (
        "import sys; from asdkit.infer.experiment import Experiment\n"
        f"experiment = Experiment.open({str(recipe / 'exp/x')!r})\n"
        "experiment.detector('knn', 'fan'); assert 'torch' not in sys.modules"
    )
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=root)
