"""A trained system from its checkpoint, made ready for inference."""

from pathlib import Path

import torch
from torch import nn

from asdkit.adapt.around import replace
from asdkit.adapt.lora import merge_lora
from asdkit.config import Config
from asdkit.encoders.base import Encoder
from asdkit.layers.int8 import Int8Linear
from asdkit.models.checkpoint import read_checkpoint
from asdkit.models.families import build_system
from asdkit.models.system import System
from asdkit.utils.device import set_precision


def load_system(config: Config, checkpoint: Path, device: torch.device) -> System:
    """The system of a configuration with the weights of a checkpoint, LoRA merged, in `embed.precision`.

    Raises ValueError naming the file that cannot be read or does not fit, and as `in_precision` does.
    """
    content = read_checkpoint(checkpoint)
    if content["backbone"]:
        content["backbone"] = {**content["backbone"], "path": config.encoder.checkpoint}
    system = build_system(config, content["classes"])
    system.load_state(content, checkpoint)
    return in_precision(merge_lora(system).to(device).eval(), config.embed.precision, device)


def in_precision(system: System, precision: str, device: torch.device) -> System:
    """A system in evaluation mode -> the same, which computes in a precision (`embed.precision`) from now on.

    Raises ValueError for int8 where it is not computed, or nothing is there to compute in it, and for auto, which stage
    4 replaces by what it chooses.
    """
    if precision == "auto":
        raise ValueError("embed.precision auto: not chosen yet for this network: run stage 4 first")
    if precision == "int8":
        _check_int8(system, device)
    set_precision(precision, device)
    if precision == "int8":
        _to_int8(system)
    fold(system, torch.bfloat16 if precision == "bfloat16" else torch.float32)
    return system


def fold(model: nn.Module, dtype: torch.dtype) -> None:
    """Make once, for inference, what every batch would make anew with the same values, in place.

    That is: the weights of linear layers in autocast's `dtype` (float32: as they are), and what modules with a method
    `fold_for_inference(dtype)` make themselves.
    """
    for module in model.modules():
        if hasattr(module, "fold_for_inference"):
            module.fold_for_inference(dtype)
        elif isinstance(module, nn.Linear):
            module.to(dtype)


def has_int8(system: System) -> bool:
    """Whether a system has linear layers that `embed.precision: int8` computes in 8 bits."""
    return any(block.linears for encoder in _encoders(system) for block in encoder.blocks())


def _check_int8(system: System, device: torch.device) -> None:
    if device.type != "cpu":
        raise ValueError("embed.precision int8 is computed by CPUs: --device cpu, or bfloat16 for a GPU")
    if not has_int8(system):
        raise ValueError("embed.precision int8: this network has no transformer blocks to compute in it: use float32")


def _to_int8(system: System) -> None:
    for encoder in _encoders(system):
        for block in encoder.blocks():
            for parent, name in block.linears.values():
                replace(parent, name, Int8Linear(getattr(parent, name)))


def _encoders(system: System) -> list[Encoder]:
    return [module for module in system.modules() if isinstance(module, Encoder)]
