"""Run the graph of a bundle with onnxruntime, its weights where they lie."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from asdkit.monitor.external import located, place


class Session:
    """The graph of a system, as `asdkit.export.graph` makes it.

    threads: 0 for as many as there are cores. Raises ValueError when onnxruntime is not installed or refuses the graph.
    """

    def __init__(self, graph: bytes, weights: Mapping[str, np.ndarray], threads: int = 0) -> None:
        ort = library()
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        # Each would hold the weights once more.
        options.add_session_config_entry("session.disable_prepacking", "1")
        places = {name: found for name, array in weights.items() if (found := place(array))}
        if len({found.path for found in places.values()}) == 1:  # a bundle: what it maps is not copied
            graph = located(graph, places)
            folder = next(iter(places.values())).path.parent
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
        else:
            places = {}
        others = {name: array for name, array in weights.items() if name not in places}
        self._weights = list(others.values())  # they are read where they are
        values = [ort.OrtValue.ortvalue_from_numpy(array) for array in self._weights]
        options.add_external_initializers(list(others), values)
        try:
            self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library's own, of several kinds
            raise ValueError(f"onnxruntime {ort.__version__} refuses the graph: {_first(error)}") from None
        self.names = [output.name for output in self._session.get_outputs()]
        (self._input,) = [given.name for given in self._session.get_inputs()]

    def run(self, wav: np.ndarray) -> dict[str, np.ndarray]:
        """wav float32 [B, T] in [-1, 1] -> name -> float32 [B, D], [B, bands, D] or [B, S, D].

        Raises ValueError for what the graph cannot take, such as a clip that is too short.
        """
        try:
            found = self._session.run(None, {self._input: wav})
        except Exception as error:  # the library's own, of several kinds
            raise ValueError(f"a clip of {wav.shape[-1]} samples: onnxruntime: {_first(error)}") from None
        return dict(zip(self.names, found, strict=True))


def library() -> Any:
    """onnxruntime, told to be silent; nothing else imports it. Raises ValueError where it is not installed."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # 1.32 tells its makers of its user, on Linux too
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(
            f"the package onnxruntime cannot be used ({error}): pip install -r tools/detect-requirements.txt"
        ) from None
    return onnxruntime


def _first(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
