"""A trained system from its checkpoint, made ready for inference."""

from pathlib import Path

import torch
from torch import nn

from asdkit.adapt.lora import merge_lora
from asdkit.config import Config
from asdkit.models.checkpoint import read_checkpoint
from asdkit.models.families import build_system
from asdkit.models.system import System
from asdkit.utils.device import set_precision


def load_system(config: Config, checkpoint: Path, device: torch.device) -> System:
    """The system of a configuration with the weights of a checkpoint, LoRA merged.

    Raises ValueError naming the file that cannot be read or does not fit.
    """
    content = read_checkpoint(checkpoint)
    if content["backbone"]:
        content["backbone"] = {**content["backbone"], "path": config.encoder.checkpoint}
    system = build_system(config, content["classes"])
    system.load_state(content, checkpoint)
    set_precision(config.embed.precision, device)
    system = merge_lora(system).to(device).eval()
    fold(system, torch.bfloat16 if config.embed.precision == "bfloat16" else torch.float32)
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
