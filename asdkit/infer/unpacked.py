"""A trained system that is run with torch from the arrays of a bundle."""

from typing import Any

import numpy as np
import torch

from asdkit.config import Config
from asdkit.data.batches import Framing
from asdkit.infer.clips import represent
from asdkit.infer.network import in_precision
from asdkit.models.families import build_system
from asdkit.models.system import System
from asdkit.utils.typed_yaml import validate

Arrays = dict[str, np.ndarray]


def packed(system: System, config: Config) -> tuple[dict[str, Any], Arrays]:
    """What makes a system that `load_system` made ready again: plain settings, and its weights by their names.

    Raises ValueError for one whose size no setting tells.
    """
    raw = config.model_dump(mode="json")
    raw["encoder"]["checkpoint"] = None  # the weights are those of the bundle, LoRA is in them
    raw["model"]["lora"] = None
    if config.encoder.checkpoint and "arch" in raw["encoder"]:
        raw["encoder"]["arch"] = _arch(system, config)
    if config.encoder.family == "classifier":
        raw["train"] = {"steps": 0}  # the objective is not needed any more
    kept = {name: raw[name] for name in ("encoder", "model", "embed", "data", "train")}
    settings = {"config": kept, "classes": list(system.classes)}
    tensors = {name: value.detach() for name, value in system.model.state_dict().items()}
    weights = {
        name: (value.float() if value.dtype == torch.bfloat16 else value).numpy() for name, value in tensors.items()
    }
    try:
        Unpacked(settings, weights)
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"encoder.name {config.encoder.name}: a network of another size comes of what the bundle can tell of it: "
            f"{str(error).splitlines()[0]}. Export it as a graph: --onnx true"
        ) from None
    return settings, weights


class Unpacked:
    """Samples to named arrays with torch; raises ValueError for settings and weights that do not fit together."""

    def __init__(self, settings: dict[str, Any], weights: Arrays) -> None:
        config = validate(Config, settings["config"], "the bundle's configuration")
        self.config = config
        with torch.random.fork_rng([]):
            self.system = build_system(config, [str(name) for name in settings["classes"]])
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}
        self.system.load_state({"model": tensors, "backbone": None}, "the bundle's weights")
        self.system.eval()
        in_precision(self.system, config.embed.precision, torch.device("cpu"))
        framing = Framing(self.system.sample_rate, self.system.window, self.system.hop)
        self.chunk = framing.frames(round(config.data.chunk_seconds * framing.rate))  # frames
        self.hop = max(1, round(config.embed.hop_seconds * framing.rate / framing.hop))

    def run(self, wav: np.ndarray, machine: str) -> Arrays:
        """wav float32 [B, T] in [-1, 1], of one machine -> name -> float32 [B, D] or [B, bands, D]."""
        with torch.inference_mode():
            feats = self.system.frontend(torch.from_numpy(wav))
            found = represent(self.system, feats, self.config.embed, self.chunk, self.hop, [machine] * len(wav))
        return {name: array.float().numpy() for name, array in found.items()}


def _arch(system: System, config: Config) -> dict[str, Any]:
    """The size of the network that a checkpoint made, as far as the encoder's section can tell it."""
    encoder, fields = system.model.encoder, type(config.encoder.size()).model_fields
    told = getattr(encoder, "cfg", None)
    blocks = encoder.blocks()
    known = {"embed_dim": encoder.dim, "depth": len(blocks)}
    heads = {getattr(module, "heads", None) for module in blocks[0].module.modules()} - {None} if blocks else set()
    if heads:
        known["num_heads"] = heads.pop()
    found = {name: getattr(told, name, known.get(name)) for name in fields}
    return {name: value for name, value in found.items() if value is not None}
