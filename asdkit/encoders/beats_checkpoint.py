"""BEATs files in the published format: a dict of `cfg` and `model`, for fine-tuned networks also `label_dict`."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asdkit.config import BeatsEncoder
from asdkit.encoders.beats import Beats, random_beats
from asdkit.encoders.checkpoints import check_weights, put_in, read_torch, shapes_alone
from asdkit.layers.beats_layers import BeatsConfig
from asdkit.utils.files import atomic_path
from asdkit.utils.typed_yaml import validate

SHARED = "self_attn.relative_attention_bias.weight"


def build_beats(config: BeatsEncoder) -> Beats:
    """The network of a configuration: a published file's, or one with random weights; ValueError as `load_beats`."""
    return load_beats(config.checkpoint) if config.checkpoint else random_beats(config.size())


def load_beats(path: str | Path) -> Beats:
    """Read a published BEATs file (pre-trained or fine-tuned), strictly; a `<file>.sha256` beside it is compared.

    Raises ValueError naming the file and what is wrong: unreadable or damaged, code in the file, unknown or missing
    `cfg` fields, missing, unknown or wrongly shaped weights.
    """
    contents = read_torch(path, "a BEATs file is a torch file of 'cfg' and 'model'")
    if not isinstance(contents, dict) or not {"cfg", "model"} <= set(contents) <= {"cfg", "model", "label_dict"}:
        got = ", ".join(map(str, contents)) if isinstance(contents, dict) else type(contents).__name__
        raise ValueError(f"{path}: holds {got[:200]}; a BEATs file holds cfg, model and perhaps label_dict")
    if not isinstance(contents["cfg"], dict) or not isinstance(contents["model"], dict):
        raise ValueError(f"{path}: 'cfg' and 'model' must be dicts")
    cfg = validate(BeatsConfig, contents["cfg"], f"{path}: cfg")
    with shapes_alone():
        encoder = Beats(cfg)
    _check(path, encoder.state_dict(), contents["model"])
    put_in(encoder, contents["model"])
    encoder.label_dict = contents.get("label_dict")
    return encoder


def save_beats(encoder: Beats, path: str | Path) -> None:
    """Write `encoder` in the published format, atomically.

    Raises ValueError when it holds more than a plain BEATs: merge LoRA and take out adapters first.
    """
    model = {key: value.detach().cpu() for key, value in encoder.state_dict().items()}
    with shapes_alone():
        plain = Beats(encoder.cfg)
    _check(path, plain.state_dict(), model)
    contents: dict[str, Any] = {"cfg": encoder.cfg.model_dump(), "model": model}
    if encoder.label_dict is not None:
        contents["label_dict"] = encoder.label_dict
    with atomic_path(path) as temporary:
        torch.save(contents, temporary)


def _check(path: str | Path, expected: dict[str, Tensor], got: dict[str, Any]) -> None:
    check_weights(path, expected, got, "a BEATs of this cfg")
    tables = [value for key, value in got.items() if key.endswith(SHARED)]
    if any(not torch.equal(table, tables[0]) for table in tables):
        raise ValueError(f"{path}: {SHARED} differs between layers; all layers of a BEATs share one table")
