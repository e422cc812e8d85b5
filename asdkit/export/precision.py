"""The graph of a system in float32, proven, and in int8 where that is as near and faster."""

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from asdkit.config import Config
from asdkit.data.batches import tile
from asdkit.export.graph import INSTEAD, export_graph, put_apart, quiet
from asdkit.export.proof import prove
from asdkit.infer.precision import NEAR, cosine, quickest
from asdkit.models.system import System
from asdkit.monitor.session import Session, library

PRECISIONS = ("float32", "int8", "auto")
SECONDS = 10.0  # of the clips that are timed
CLIPS = 8  # recordings that are compared, at most


class Made(NamedTuple):
    """A graph with its weights, and what was measured: `report` names what a model card tells.

    `report`: `difference` from torch over an array's largest number; where int8 was tried `cosine`, the smallest of any
    array and clip, and `seconds`, of each precision for a clip of 10 s on two threads.
    """

    precision: str
    graph: bytes
    weights: dict[str, np.ndarray]
    report: dict[str, Any]


def make_graph(
    system: System, config: Config, recordings: Sequence[np.ndarray], precision: str = "auto", threads: int = 2
) -> Made:
    """The graph of a system that `load_system` made ready, proven on recordings, in a precision.

    recordings: float32 [T] each, at the system's rate. precision: float32; int8: linear layers with weights of 8 bits
    for each output, and inputs of 8 bits whose range is that of the clip; auto: the quicker of the two, int8 only with
    a cosine of 0.999 to float32 for every array and recording. Raises ValueError for a system without a graph, or whose
    graph differs from torch, or where int8 is asked for and further away than that.
    """
    assert precision in PRECISIONS
    graph, weights = export_graph(system, config)
    exact = Session(graph, weights, threads)
    report: dict[str, Any] = {"difference": max(prove(system, config, exact, recordings).values())}
    if precision == "float32":
        return Made("float32", graph, weights, report)
    small, small_weights = quantise(graph, weights)
    session = Session(small, small_weights, threads)
    least = round(config.data.chunk_seconds * system.sample_rate)
    clips = [tile(wav, max(least, len(wav)))[None] for wav in recordings[:CLIPS]]
    report["cosine"] = min(cosine(session.run(clip), exact.run(clip)) for clip in clips)
    clip = tile(recordings[0], round(max(SECONDS * system.sample_rate, least)))[None]
    report["seconds"] = dict(zip(("float32", "int8"), _seconds((exact, session), clip), strict=True))
    near = report["cosine"] >= NEAR
    if precision == "int8" and not near:
        raise ValueError(
            f"--precision int8: an array of a recording has the cosine {report['cosine']:.4f} to float32's, at least "
            f"{NEAR} is allowed: take --precision float32. Or: {INSTEAD}"
        )
    if precision == "int8" or near and report["seconds"]["int8"] < report["seconds"]["float32"]:
        return Made("int8", small, small_weights, report)
    return Made("float32", graph, weights, report)


def told(made: Made) -> str:
    """Which precision was taken and why, for the log; only of a graph for which both were tried."""
    seconds = made.report["seconds"]
    why = (
        f"for a clip of 10 s float32 takes {seconds['float32']:.2g} s, 8 bits {seconds['int8']:.2g} s; the smallest "
        f"cosine to float32 is {made.report['cosine']:.6f}, at least {NEAR} is allowed"
    )
    if made.precision == "float32":
        return f"the graph is in float32: {why}"
    return (
        f"the graph has 8 bits: {why}. Its scores are its own: training clips are embedded again, limits made anew. "
        "--precision float32 gives those of stage 5"
    )


def quantise(graph: bytes, weights: Mapping[str, np.ndarray]) -> tuple[bytes, dict[str, np.ndarray]]:
    """A graph and its weights with linear layers in 8 bits; the front end stays as it is.

    Weights take 7 of them: processors without VNNI add two products in 16 bits, where 8 would overflow (onnxruntime's
    documentation on quantisation), and a bundle is used on other computers than the one that made it.
    """
    import onnx

    library()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load_model_from_string(graph)
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(onnx.numpy_helper.from_array(weights[tensor.name], tensor.name))
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder, "int8.onnx")
        quantize_dynamic(
            model, path, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True, reduce_range=True,
            weight_type=QuantType.QInt8, nodes_to_exclude=front_end(model.graph),
            extra_options={"MatMulConstBOnly": True},
        )  # fmt: skip
        return put_apart(onnx.load(path))


def front_end(graph: Any) -> list[str]:
    """Names of the nodes that the first logarithm is made from: of most front ends, all that lies before the network.

    Eight bits there would be the recording's own.
    """
    made_by = {output: node for node in graph.node for output in node.output}
    logarithm = next((node for node in graph.node if node.op_type == "Log"), None)
    found: dict[str, None] = {}
    ahead = [logarithm] if logarithm else []
    while ahead:
        node = ahead.pop()
        if node.name not in found:
            found[node.name] = None
            ahead += [made_by[name] for name in node.input if name in made_by]
    return list(found)


def _seconds(sessions: Sequence[Session], clip: np.ndarray) -> list[float]:
    return quickest([partial(session.run, clip) for session in sessions])
