"""A bundle scores as the experiment that it was made of."""

import shutil

import numpy as np
import pytest
from recipe import CONFIG, run_stages
from test_pipeline import MINI

from asdkit.bin import export_detector
from asdkit.corpus.manifest import read_manifest
from asdkit.detectors.folder import read_scores, read_thresholds
from asdkit.monitor.detector import Detector
from asdkit.utils.files import write_text

SCORES = (
    "{knn: {}, three: {k: 3, per_domain: false}, bands: {array: rdp, rescale: {kind: variance, k: 2}, "
    "per_domain: false}, both: {array: [embedding, rdp], distance: standardised, normalise: zscore, per_section: true, "
    "per_domain: false}, mahalanobis: {}, transductive: {normalise: test_zscore}}"
)


def run(root, config):
    """A recipe's folder after stage 5."""
    (root / "weights").mkdir(parents=True)
    shutil.copy(MINI.parent.parent / "test/golden/beats_tiny.pt", root / "weights/tiny.pt")
    (root / "x.yaml").write_text(config)
    run_stages(root)
    return root


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    kept = [line for line in CONFIG.splitlines() if not line.startswith(("encoder", "  arch", "         ", "  train"))]
    config = "\n".join(["encoder: {checkpoint: weights/tiny.pt}", *kept])
    config += "\nembed: {arrays: {rdp: {pooling: rdp, bands: true}, more: {pooling: max}}}\nscore: " + SCORES
    return run(tmp_path_factory.mktemp("recipe") / "x", config)


def exported(recipe, name, *options):
    out = recipe / f"{name}.asdkit"
    words = ["--exp", str(recipe / "exp/x"), "--out", str(out), "--score", name, *options]
    export_detector.main(words)
    return Detector.open(out, threads=1)


def test_clips(recipe, machine, name="dev_test"):
    rows = read_manifest(recipe / "data" / name / "manifest.tsv")
    return [(row, recipe / "mini" / row["wav"]) for row in rows if row["machine"] == machine]


test_clips.__test__ = False


@pytest.mark.parametrize("name", ["knn", "three", "bands", "both", "mahalanobis"])
def test_scores_and_decisions_are_those_of_stage_5(recipe, name):
    detector = exported(recipe, name, "--onnx", "false", "--machines", "fan,bearing")
    assert detector.names == ["bearing", "fan"] and detector.rate == 16000
    folder = recipe / f"exp/x/seed0/score/{name}"
    limits = read_thresholds(folder / "threshold.tsv")
    for machine, found in (("fan", "dev_test"), ("bearing", "eval_test")):
        stage5 = read_scores(folder / f"{found}.tsv")
        for row, path in test_clips(recipe, machine, found)[:12]:
            section = row["section"] if name == "both" else "-"
            got = detector.score(detector.read(path), machine, row["section"])
            np.testing.assert_allclose(got.score, stage5[row["utt"]], rtol=1e-4, atol=1e-6)
            assert got.anomalous == (stage5[row["utt"]] > limits[machine, section])
            own = detector.machine(machine, row["section"])
            assert own.threshold == limits[machine, section] and own.section == section
            if name == "mahalanobis":
                assert got.nearest is None and got.domain == "all"
            else:
                assert own.clips["utt"][got.nearest].startswith(machine) and got.distance > 0 and not got.copy


@pytest.mark.long
@pytest.mark.parametrize("name", ["knn", "both"])
def test_a_graph_gives_the_same_scores(recipe, name):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    detector = exported(recipe, name, "--machines", "fan", "--precision", "float32")
    assert detector.header["network"]["settings"]["proven"]["difference"] < 1e-4
    stage5 = read_scores(recipe / f"exp/x/seed0/score/{name}/dev_test.tsv")
    for row, path in test_clips(recipe, "fan"):
        got = detector.score(detector.read(path), "fan", row["section"])
        np.testing.assert_allclose(got.score, stage5[row["utt"]], rtol=1e-4, atol=1e-6)


@pytest.mark.long
def test_a_graph_of_8_bits_is_compared_with_its_own_training_clips(recipe):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    detector = exported(recipe, "knn", "--machines", "fan", "--precision", "int8")
    fan = detector.machine("fan")
    assert detector.header["network"]["precision"] == "int8"
    row, path = test_clips(recipe, "fan", "dev_train")[2]
    found = detector.score(detector.read(path), "fan")
    assert fan.clips["utt"][found.nearest] == row["utt"] and found.score < 1e-6
    limit = read_thresholds(recipe / "exp/x/seed0/score/knn/threshold.tsv")["fan", "-"]
    assert fan.threshold != limit and 0.3 < fan.threshold / limit < 3


def test_a_training_clip_is_told_as_a_copy_of_itself(recipe):
    detector = exported(recipe, "knn", "--onnx", "false", "--machines", "fan")
    fan = detector.machine("fan")
    row, path = test_clips(recipe, "fan", "dev_train")[2]
    found = detector.score(detector.read(path), "fan")
    assert fan.clips["utt"][found.nearest] == row["utt"] and found.copy and found.score < 1e-6


def test_training_clips_sensors_and_spectra_are_kept(recipe):
    detector = exported(recipe, "knn", "--onnx", "false")
    for machine in detector.machines:
        scores, recordings = machine.calibration
        count = len(machine.clips["utt"])
        own = read_scores(recipe / "exp/x/seed0/score/knn/train.tsv")
        assert scores.tolist() == [own[utt] for utt in machine.clips["utt"]] and len(set(recordings)) == count
        names, values = machine.sensors
        assert values.shape == (count, len(names)) and machine.spectra["mean"].shape[0] == count
        assert machine.seconds > 0
    assert detector.header["card"]["seed"] == 0 and detector.header["card"]["weights"]["file"] == "tiny.pt"


def test_clips_of_one_recording_count_as_one(recipe):
    detector = exported(recipe, "knn", "--onnx", "false", "--machines", "fan", "--recordings", "(normal)")
    scores, recordings = detector.machine("fan").calibration
    assert len(set(recordings)) == 1 and np.isinf(scores).all()
    with pytest.raises(ValueError, match="--recordings 'nothing': no match in .*wav"):
        exported(recipe, "knn", "--onnx", "false", "--recordings", "nothing")
    with pytest.raises(ValueError, match=r"--recordings '\(': no regular expression"):
        exported(recipe, "knn", "--onnx", "false", "--recordings", "(")


def test_what_cannot_be_exported_is_named(recipe, tmp_path):
    with pytest.raises(ValueError, match=r"transductive.normalise is test_zscore: .* Take another score .*knn, three"):
        exported(recipe, "transductive", "--onnx", "false")
    with pytest.raises(ValueError, match="has the scores knn, three, .*: choose one with --score"):
        export_detector.main(["--exp", str(recipe / "exp/x"), "--out", str(tmp_path / "a")])
    with pytest.raises(ValueError, match="has no training clips of 'pres'.* Found: bearing"):
        exported(recipe, "knn", "--onnx", "false", "--machines", "fan,pres")
    fused = tmp_path / "exp/fused/seed0/score/fused"
    fused.mkdir(parents=True)
    (fused / "made_from.json").write_text('{"made_by": "asdkit.bin.fuse", "members": [{"folder": "exp/a/seed0"}]}')
    with pytest.raises(ValueError, match="is a fusion of several scores.*exp/a/seed0"):
        export_detector.main(["--exp", str(tmp_path / "exp/fused"), "--out", str(tmp_path / "a")])


def test_machines_and_samples_that_are_not_there_are_named(recipe):
    detector = exported(recipe, "knn", "--onnx", "false", "--machines", "fan,pump")
    with pytest.raises(ValueError, match="holds several machines, name one: fan, pump"):
        detector.machine()
    with pytest.raises(ValueError, match="got machine 'press'; it holds fan, pump"):
        detector.machine("press")
    for samples in (np.zeros(0), np.zeros((2, 16000)), np.full(16000, np.nan)):
        with pytest.raises(ValueError, match="finite samples of one channel"):
            detector.score(samples, "fan")
    detector.header["network"]["memory"] = [[160000, 10**9], [320000, 4 * 10**9]]
    with pytest.raises(ValueError, match="s long: as a whole it needs about .* GB of memory"):
        detector.score(np.zeros(16000 * 3600), "fan")


def test_packages_that_a_graph_lacks_are_told_before_the_work(tmp_path, monkeypatch):
    exp = tmp_path / "exp/x"
    write_text(exp / "config.yaml", "score: {k: 1}\n")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name != "onnx" else name)
    words = "--onnx true needs onnxscript, onnxruntime: tools/setup_env.sh export, or --onnx false"
    with pytest.raises(ValueError, match=words):
        export_detector.main(["--exp", str(exp), "--out", str(tmp_path / "a")])
    with pytest.raises(ValueError, match="not scored by this version"):
        export_detector.main(["--exp", str(exp), "--out", str(tmp_path / "a"), "--onnx", "false"])


def test_where_no_file_can_be_written_is_told_before_the_work(tmp_path):
    (tmp_path / "file").write_text("x")
    for out, message in ((tmp_path, "is a folder: name a file"), (tmp_path / "file/a", "nothing can be written into")):
        with pytest.raises(ValueError, match=f"--out .*: {message}"):
            export_detector.main(["--exp", str(tmp_path / "nix"), "--out", str(out)])
