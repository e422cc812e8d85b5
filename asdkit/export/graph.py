"""A trained system as an ONNX graph: samples in, the arrays of stage 4 out, at any length."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.fx.experimental._config
from torch import Tensor, nn

from asdkit.config import Config
from asdkit.data.batches import Framing
from asdkit.infer.clips import represent
from asdkit.models.system import System

INPUT = "samples"
OPSET = 20
INSTEAD = "Leave the graph out of the bundle: --onnx false (it is then scored with torch)"
WEIGHT = 1024  # bytes from which on a constant is a weight and stays out of the graph


class Whole(nn.Module):
    """Samples to named arrays, as stage 4 makes them of clips that last `config.data.chunk_seconds` at least."""

    def __init__(self, system: System, config: Config) -> None:
        super().__init__()
        self.system, self.embed = system, config.embed
        framing = Framing(system.sample_rate, system.window, system.hop)
        self.samples = round(config.data.chunk_seconds * framing.rate)
        self.chunk = framing.frames(self.samples)  # frames
        self.hop = max(1, round(config.embed.hop_seconds * framing.rate / framing.hop))

    def forward(self, wav: Tensor) -> dict[str, Tensor]:
        """wav [B, T], floats in [-1, 1] -> name -> [B, D], [B, bands, D] or, of chunks, [B, S, D]; float32"""
        found = represent(self.system, self.system.frontend(wav), self.embed, self.chunk, self.hop)
        return {name: array.float() for name, array in found.items()}


def export_graph(system: System, config: Config) -> tuple[bytes, dict[str, np.ndarray]]:
    """The ONNX graph of a system that `load_system` made ready, and its weights by the names that the graph gives them.

    The graph's input `samples` is [B, T], T as long as a chunk at least; its outputs are named as stage 4 names arrays.
    Raises ValueError, with what to do instead, for a system that makes no such graph: whose computing depends on the
    length in a way that a graph does not hold, or differs between machines.
    """
    name = config.encoder.name
    if system.per_machine:
        raise ValueError(f"encoder.name {name}: its networks are one for each machine, which no graph holds. {INSTEAD}")
    if config.embed.precision in ("bfloat16", "int8"):
        told = f"embed.precision {config.embed.precision}: graphs compute in float32, which is not equal"
        raise ValueError(f"{told}. {INSTEAD}")
    whole = Whole(system, config).eval()
    whole.requires_grad_(False)
    example = torch.zeros(2, 2 * whole.samples)
    dynamic = torch.export.Dim.DYNAMIC
    try:
        with torch.no_grad(), quiet(), torch.fx.experimental._config.patch(backed_size_oblivious=True):
            program = torch.export.export(whole, (example,), dynamic_shapes=({0: dynamic, 1: dynamic},), strict=False)
            _check_lengths(program, whole.samples, name)
            graph = torch.onnx.export(
                program, (example,), input_names=[INPUT], opset_version=OPSET, external_data=False, verbose=False
            )
    except _failures() as error:
        raise ValueError(f"encoder.name {name}: torch makes no graph of it: {_first(error)}. {INSTEAD}") from None
    return put_apart(_model(graph.model, list(_names(program))))


def _names(program: Any) -> Iterator[str]:
    """The arrays in the order in which the program gives them."""
    return iter(program.call_spec.out_spec.context)


def _check_lengths(program: Any, least: int, name: str) -> None:
    """Raise ValueError where the program is what the system computes for some lengths alone."""
    length = next(n for n in program.graph.nodes if n.op == "placeholder" and n.name == "wav").meta["val"].shape[1]
    found = program.range_constraints[length.node.expr]
    if found.lower > least or found.upper < int(1e9):
        raise ValueError(f"encoder.name {name}: a graph would hold for {found.lower} to {found.upper} samples")


def _model(model: Any, names: list[str]) -> Any:
    """A model of onnx's intermediate representation -> its protocol buffer, with named outputs."""
    import onnx_ir as ir

    for value, name in zip(model.graph.outputs, names, strict=True):
        value.name = name
    return ir.to_proto(model)


def put_apart(model: Any) -> tuple[bytes, dict[str, np.ndarray]]:
    """An ONNX model -> its graph without weights, and these by name. The graph says that they lie elsewhere."""
    import onnx

    weights = {}
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.nbytes < WEIGHT:
            continue
        weights[tensor.name] = np.ascontiguousarray(array)
        bare = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        bare.data_location = onnx.TensorProto.EXTERNAL
        bare.external_data.add(key="location", value=tensor.name)
        tensor.CopyFrom(bare)
    del model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
    return model.SerializeToString(deterministic=True), weights


def _failures() -> tuple[type[Exception], ...]:
    return (torch._dynamo.exc.UserError, torch.onnx.OnnxExporterError, RuntimeError)


def _first(error: BaseException) -> str:
    """What lies at the bottom of an error, in a line."""
    while error.__cause__:
        error = error.__cause__
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing of what an exporter says to its developers, which takes torch most of its time where anything listens."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
