"""Bundles of other experiments: networks of each machine, levels, chunks; and bundles that somebody has changed."""

import copy
import json

import numpy as np
import pytest
from test_bundle import mutated
from test_export_detector import exported, run, test_clips

from asdkit.detectors.folder import read_scores
from asdkit.monitor import bundle as container
from asdkit.monitor.bundle import Bundle, write_bundle
from asdkit.monitor.detector import Detector

test_clips.__test__ = False
AUTOENCODER = """
encoder: {name: autoencoder, hidden: 16, bottleneck: 4}
data: {level: machine_rms}
train: {steps: 20, batch_size: 32, warmup_steps: 1, specaugment: null}
score: {mse: {detector: given, array: score.mse}, mahalanobis: {detector: given, array: score.mahalanobis}}
"""
CHUNKS = """
encoder: {name: logmel}
model: {pooling: mean}
data: {chunk_seconds: 0.3, level: clip_rms}
train: {steps: 0}
embed: {segment: chunk, hop_seconds: 0.2, arrays: {std: {pooling: std}}}
score:
  knn: {array: [embedding, std], distance: whitened, per_domain: false, k: 2}
  lof: {detector: lof, n_neighbors: 2}
  iforest: {detector: iforest, n_estimators: 5}
  gmm: {detector: gmm, reg_covar: 1.0}
"""


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory):
    return run(tmp_path_factory.mktemp("autoencoder") / "x", AUTOENCODER)


@pytest.fixture(scope="module")
def chunks(tmp_path_factory):
    return run(tmp_path_factory.mktemp("chunks") / "x", CHUNKS)


def check(recipe, name, *options):
    detector = exported(recipe, name, "--machines", "fan,pump", *options)
    for machine, found in (("fan", "dev_test"), ("pump", "eval_test")):
        stage5 = read_scores(recipe / f"exp/x/seed0/score/{name}/{found}.tsv")
        for row, path in test_clips(recipe, machine, found):
            got = detector.score(detector.read(path), machine)
            np.testing.assert_allclose(got.score, stage5[row["utt"]], rtol=1e-4, atol=1e-6)
    return detector


@pytest.mark.parametrize("name", ["mse", "mahalanobis"])
def test_a_network_for_each_machine(autoencoder, name):
    found = check(autoencoder, name, "--onnx", "false")
    assert found.machine("fan").rms > 0 and found.machine("fan").rms != found.machine("pump").rms
    with pytest.raises(ValueError, match="one for each machine, which no graph holds.*--onnx false"):
        exported(autoencoder, name)


@pytest.mark.parametrize("name", ["knn", "lof", "iforest", "gmm"])
def test_chunks_at_one_level(chunks, name):
    check(chunks, name, "--onnx", "false")


@pytest.mark.long
def test_chunks_in_a_graph(chunks):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    check(chunks, "knn", "--precision", "float32")


class Fixed:
    """In place of a network."""

    def __init__(self, arrays):
        self.arrays = arrays

    def run(self, wav, machine):
        return {name: array[None] for name, array in self.arrays.items()}


@pytest.mark.parametrize("name", ["knn", "lof", "iforest", "gmm"])
def test_whatever_somebody_writes_into_a_bundle_is_an_error_that_says_where(chunks, name, tmp_path, monkeypatch):
    """Headers changed in 250 ways and signed again: a score, or one ValueError that names the file; nothing else."""
    found = exported(chunks, name, "--onnx", "false", "--machines", "fan")
    fan = found.machine("fan")
    arrays = found.embed(found.read(test_clips(chunks, "fan")[0][1]), fan)
    path, random, scored = tmp_path / "x.asdkit", np.random.default_rng(3), 0
    told = {key: value for key, value in found.header.items() if key not in ("card", "sections")}
    data = {key: found.bundle.array(key) for key in found.bundle.sections if key.startswith("m0.")}
    told["network"] = {**told["network"], "weights": {}, "settings": {}}
    write_bundle(path, {**told, "card": None}, data)
    whole = path.read_bytes()
    length = int.from_bytes(whole[12:16], "little")
    arrays_from = -(-(64 + length) // 4096) * 4096
    header = json.loads(whole[64 : 64 + length])
    monkeypatch.setattr(Detector, "network", Fixed(arrays))
    before = sorted(tmp_path.iterdir())
    for _ in range(250):
        changed = copy.deepcopy(header)
        for key in ("machines", "score") if random.random() < 0.8 else ("reading", "network"):
            changed[key] = mutated(header[key], random)
        text = json.dumps(changed).encode()
        start = container._START.pack(container.MAGIC, 1, len(text), container.hashlib.sha256(text).digest()) + text
        path.write_bytes(start + bytes(-len(start) % 4096) + whole[arrays_from:])
        try:
            detector = Detector.open(path)
            machine = detector.machines[0]
            detector.score(np.ones(16000), machine.name, machine.section)
            assert machine.calibration and detector.reader
            scored += 1
        except ValueError as error:
            assert str(path) in str(error), error
    assert 5 < scored < 200 and sorted(tmp_path.iterdir()) == before


def test_arrays_that_do_not_fit_are_told(chunks, tmp_path):
    found = exported(chunks, "knn", "--onnx", "false", "--machines", "fan")
    path, header = tmp_path / "x.asdkit", {k: v for k, v in found.header.items() if k != "sections"}
    data = {key: found.bundle.array(key) for key in found.bundle.sections}
    row = test_clips(chunks, "fan")[0]
    for name, other in (
        ("m0.all.x", data["m0.all.x"][:, :, :3]),
        ("m0.all.units", data["m0.all.units"][:1]),
        ("m0.all.rows", data["m0.all.rows"] + 100),
        ("m0.all.rows", data["m0.all.rows"][:2]),
    ):
        write_bundle(path, header, {**data, name: other})
        detector = Detector.open(path)
        with pytest.raises(ValueError, match=r"x\.asdkit"):
            detector.score(detector.read(row[1]), "fan")
    assert Bundle.open(path).header["score"]["name"] == "knn"
