"""A system as an ONNX graph: equal to torch at any length, or refused."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_encoders import SMALL, small
from test_every_encoder import sounds

from asdkit.adapt.lora import LoraLinear, merge_lora
from asdkit.config import Config
from asdkit.export.graph import export_graph, put_apart
from asdkit.export.precision import cosine, make_graph, quantise, told
from asdkit.export.proof import ALLOWED, difference, lengths, prove
from asdkit.infer.network import fold
from asdkit.models.families import build_system
from asdkit.monitor.external import located, place
from asdkit.monitor.session import Session
from asdkit.utils.typed_yaml import validate

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.timeout(900)
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")

LORA = {"lora": {"branches": 2, "rank": 2}, "group_adapter": {"groups": 3, "hidden": 4}, "embedding_dim": 8}
ARRAYS = {
    "std": {"pooling": "std", "bands": True},
    "rdp": {"pooling": "rdp", "layers": 1},
    "input": {"pooling": "gwrp", "layers": 0},
    "input_std": {"pooling": "std", "layers": 0},
}


def ready(raw):
    """Configuration and system, as stage 4 would run it, with LoRA that acts."""
    config = validate(Config, raw, "test")
    torch.manual_seed(0)
    system = build_system(config, ["press/a", "pump/b"]).eval()
    for module in system.modules():
        if isinstance(module, LoraLinear):
            torch.nn.init.normal_(module.lora_b, std=0.1)
    system = merge_lora(system)
    fold(system, torch.float32)
    return config, system


@pytest.fixture(scope="module")
def beats():
    encoder = small("beats").model_dump(mode="json")
    embed = {"arrays": ARRAYS}
    config, system = ready({"encoder": encoder, "data": {"chunk_seconds": 0.5}, "model": LORA, "embed": embed})
    return config, system, *export_graph(system, config)


def test_a_graph_equals_torch_at_every_length(beats):
    config, system, graph, weights = beats
    session = Session(graph, weights, threads=1)
    recordings = list(sounds(16000, 3.0, 3).numpy())
    found = prove(system, config, session, recordings)
    assert set(found) == {"embedding", *ARRAYS}
    assert max(found.values()) < ALLOWED
    assert len(graph) < 500_000 and all(array.nbytes >= 1024 for array in weights.values())


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("beats", "weighted"),
        pytest.param("beats", "concatenated", marks=pytest.mark.long),
        *(pytest.param("ast", layers, marks=pytest.mark.long) for layers in ("weighted", "concatenated")),
    ],
)
def test_all_blocks_as_one_make_a_graph(name, layers):
    encoder = {**small(name).model_dump(mode="json"), "layers": layers}
    model = {"embedding_dim": 8, "layers_dim": 5, "lora": {"branches": 2, "rank": 2}}
    config, system = ready({"encoder": encoder, "data": {"chunk_seconds": 0.5}, "model": model})
    if layers == "weighted":
        torch.nn.init.normal_(system.model.layer_weights, std=2)
    found = prove(system, config, Session(*export_graph(system, config)), list(sounds(16000, 3.0, 2).numpy()))
    assert found.keys() == {"embedding"} and found["embedding"] < ALLOWED


def test_lengths_are_shorter_and_longer_than_the_example(beats):
    config, system, *_ = beats
    found = lengths(system, config)
    assert len(set(found)) == 5 and found == sorted(found) and found[0] == 8000 and found[-1] > 30 * 16000


def test_clips_together_are_what_they_are_alone(beats):
    *_, graph, weights = beats
    session = Session(graph, weights)
    wav = sounds(16000, 1.37, 3).numpy()
    together = session.run(wav)
    for row, clip in enumerate(wav):
        for name, array in session.run(clip[None]).items():
            assert difference(array[0], together[name][row]) < 1e-5


def test_weights_lie_outside_the_graph(beats):
    *_, graph, weights = beats
    wav = sounds(16000, 1.0, 1).numpy()
    before = Session(graph, weights).run(wav)["embedding"]
    other = {name: 1.1 * array if array.dtype == np.float32 else array for name, array in weights.items()}
    assert difference(Session(graph, other).run(wav)["embedding"], before) > 1e-3


def test_weights_of_a_mapped_file_stay_there(tmp_path):
    onnx = pytest.importorskip("onnx")
    numbers = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
    (tmp_path / "b.asdkit").write_bytes(bytes(4096) + numbers.tobytes() + bytes(100))
    mapped = np.memmap(tmp_path / "b.asdkit", np.uint8, "r")
    there = mapped[4096 : 4096 + numbers.nbytes].view(np.ndarray).view(np.float32).reshape(64, 32)
    found = place(there)
    assert found == ((tmp_path / "b.asdkit").resolve(), 4096, numbers.nbytes)
    assert place(numbers) is None and place(there.T) is None and place(there[1:]) is None
    weight = onnx.numpy_helper.from_array(numbers, "weight")
    ports = [onnx.helper.make_tensor_value_info(name, 1, ["b", size]) for name, size in (("samples", 64), ("y", 32))]
    node = onnx.helper.make_node("MatMul", ["samples", "weight"], ["y"])
    graph = onnx.helper.make_graph([node], "g", ports[:1], ports[1:], [weight])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    bare, weights = put_apart(model)
    assert set(weights) == {"weight"} and len(bare) < 400
    told = onnx.load_model_from_string(located(bare, {"weight": found})).graph.initializer[0].external_data
    assert {entry.key: entry.value for entry in told} == {"location": "b.asdkit", "offset": "4096", "length": "8192"}
    x = np.ones((2, 64), np.float32)
    for own in (weights, {"weight": there}):
        assert difference(Session(bare, own).run(x)["y"], x @ numbers) < 1e-5
    with pytest.raises(ValueError, match="the graph is damaged"):
        located(bare[:-3], {"weight": found})


def test_a_graph_that_differs_is_refused(beats):
    config, system, graph, weights = beats
    name = max(weights, key=lambda name: weights[name].size if weights[name].ndim > 1 else 0)
    session = Session(graph, weights | {name: weights[name] * 1.01})
    with pytest.raises(ValueError, match=r"for a clip of 8000 samples .* differs from torch's by .*--onnx false"):
        prove(system, config, session, list(sounds(16000, 1.0, 1).numpy()))


def test_what_makes_no_graph_is_refused():
    config, system = ready({"encoder": {"name": "autoencoder"}})
    with pytest.raises(ValueError, match="autoencoder: its networks are one for each machine.*--onnx false"):
        export_graph(system, config)
    config, system = ready({"encoder": {"name": "logmel"}, "embed": {"precision": "bfloat16"}})
    with pytest.raises(ValueError, match="bfloat16.*--onnx false"):
        export_graph(system, config)


def test_faults_of_a_session_are_told(beats, monkeypatch):
    *_, graph, weights = beats
    with pytest.raises(ValueError, match="a clip of 100 samples: onnxruntime"):
        Session(graph, weights).run(np.zeros((1, 100), np.float32))
    with pytest.raises(ValueError, match=r"onnxruntime .* refuses the graph"):
        Session(graph[:1000], weights)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"onnxruntime cannot be used .*pip install"):
        Session(graph, weights)


def test_nobody_is_told_who_runs_a_graph(tmp_path):
    program = "from asdkit.monitor.session import library; library().SessionOptions(); import time; time.sleep(0.5)"
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", program], env=home, cwd=tmp_path, check=True)
    assert not list(tmp_path.iterdir())


def test_eight_bits_leave_the_front_end_alone(beats):
    *_, graph, weights = beats
    small_graph, small_weights = quantise(graph, weights)
    wav = sounds(16000, 1.37, 2).numpy()
    exact, found = Session(graph, weights).run(wav), Session(small_graph, small_weights).run(wav)
    assert all(np.array_equal(found[name], exact[name]) for name in ("input", "input_std"))
    assert 0.9 < cosine(found, exact) < 1 and cosine(exact, exact) == 1
    assert not np.array_equal(found["embedding"], exact["embedding"])
    assert b"MatMulInteger" in small_graph and b"MatMulInteger" not in graph
    eight = [array for array in small_weights.values() if array.dtype == np.int8]
    assert eight and max(np.abs(array).max() for array in eight) <= 64  # two products fit into 16 bits


def test_a_precision_is_what_is_near_and_quick(beats, monkeypatch):
    config, system, graph, weights = beats
    monkeypatch.setattr("asdkit.export.precision.export_graph", lambda *_: (graph, weights))
    monkeypatch.setattr("asdkit.export.precision.prove", lambda *_: {"embedding": 1e-6})
    clips = list(sounds(16000, 1.0, 2).numpy())
    made = make_graph(system, config, clips, "float32")
    assert made.precision == "float32" and made.graph is graph and made.report == {"difference": 1e-6}
    for near, seconds, expected in (
        (0.9999, [2.0, 1.0], "int8"), (0.9999, [1.0, 2.0], "float32"), (0.99, [2.0, 1.0], "float32")
    ):  # fmt: skip
        monkeypatch.setattr("asdkit.export.precision.cosine", lambda *_, near=near: near)
        monkeypatch.setattr("asdkit.export.precision._seconds", lambda *_, seconds=seconds: seconds)
        made = make_graph(system, config, clips, "auto")
        assert made.precision == expected and made.report["cosine"] == near
        assert made.report["seconds"] == {"float32": seconds[0], "int8": seconds[1]}
        assert (made.graph is graph) == (expected == "float32") and f"{near:.6f}" in told(made)
        assert told(made).startswith("the graph has 8 bits" if expected == "int8" else "the graph is in float32")
    with pytest.raises(ValueError, match=r"--precision int8: .* 0.9900 .* 0.999 is allowed: take --precision float32"):
        make_graph(system, config, clips, "int8")


# What no graph is made of is in `NONE`, with what the refusal says.
NONE = {"clap": "torch makes no graph of it", "envelope": "torch makes no graph of it: .*complex"}
EVERY = sorted(SMALL.keys() - {"beats"})


@pytest.mark.long
@pytest.mark.parametrize("name", EVERY)
def test_every_encoder(name):
    """At lengths beyond every table of positions, in pieces too; whole clips and chunks."""
    try:
        section = small(name).model_dump(mode="json")
        config, system = ready({"encoder": section, "model": {"pooling": "mean", "embedding_dim": 8}})
    except ValueError as error:
        if "transformers" not in str(error):
            raise
        pytest.skip(str(error))
    if name in NONE:
        with pytest.raises(ValueError, match=f"{NONE[name]}.*--onnx false"):
            export_graph(system, config)
        return
    made = make_graph(system, config, list(sounds(system.sample_rate, 3.0, 3).numpy()))
    print(f"{name}: from torch {made.report['difference']:.1e}, 8 bits: cosine {made.report['cosine']:.6f}")
    assert made.report["difference"] < ALLOWED and 0.9 < made.report["cosine"] <= 1


@pytest.mark.long
@pytest.mark.parametrize("segment", ["clip", "chunk"])
def test_chunks(segment):
    embed = {"arrays": {"std": {"pooling": "std"}}, "chunks": True, "segment": segment}
    config, system = ready({"encoder": {"name": "logmel"}, "embed": embed})
    found = prove(system, config, Session(*export_graph(system, config)), list(sounds(16000, 3.0, 3).numpy()))
    assert set(found) == {"embedding", "std", "embedding.chunks", "std.chunks"}


@pytest.mark.long
@pytest.mark.parametrize("name", ["beats", "logmel"])
def test_the_shipped_encoder_on_real_recordings(name, test_data):
    import soundfile

    paths = sorted((test_data / "data" / "real").rglob("*.flac"))[::50]
    recordings = [soundfile.read(path, dtype="float32", always_2d=True)[0][:, 0] for path in paths]
    encoder = {"name": name}
    model = {"pooling": "attentive"}
    if name == "beats":
        encoder["checkpoint"] = str(ROOT / "egs/pretrain/pretrained/asdkit_medium2.pt")
        model |= {"lora": {}, "group_adapter": {}}
    config, system = ready({"encoder": encoder, "model": model})
    session = Session(*export_graph(system, config))
    assert max(prove(system, config, session, recordings).values()) < ALLOWED
