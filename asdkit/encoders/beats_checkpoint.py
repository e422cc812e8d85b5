"""BEATs files in the published format: a dict of `cfg` and `model`, for fine-tuned networks also `label_dict`."""

import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asdkit.config import BeatsArch, BeatsEncoder
from asdkit.encoders.beats import Beats, random_beats
from asdkit.layers.beats_layers import BeatsConfig
from asdkit.utils.files import atomic_path, read_text, sha256_file
from asdkit.utils.kinds import TENSORS, kind, strays
from asdkit.utils.typed_yaml import validate

SHARED = "self_attn.relative_attention_bias.weight"


def build_beats(config: BeatsEncoder) -> Beats:
    """The network of a configuration: a published file's, or one with random weights; ValueError as `load_beats`."""
    return load_beats(config.checkpoint) if config.checkpoint else random_beats(config.arch or BeatsArch())


def load_beats(path: str | Path) -> Beats:
    """Read a published BEATs file (pre-trained or fine-tuned), strictly; a `<file>.sha256` beside it is compared.

    Raises ValueError naming the file and what is wrong: unreadable or damaged, code in the file, unknown or missing
    `cfg` fields, missing, unknown or wrongly shaped weights.
    """
    _check_file(path)
    contents = _read(path)
    if not isinstance(contents, dict) or not {"cfg", "model"} <= set(contents) <= {"cfg", "model", "label_dict"}:
        got = ", ".join(map(str, contents)) if isinstance(contents, dict) else type(contents).__name__
        raise ValueError(f"{path}: holds {got[:200]}; a BEATs file holds cfg, model and perhaps label_dict")
    if not isinstance(contents["cfg"], dict) or not isinstance(contents["model"], dict):
        raise ValueError(f"{path}: 'cfg' and 'model' must be dicts")
    cfg = validate(BeatsConfig, contents["cfg"], f"{path}: cfg")
    with torch.device("meta"):  # no time lost on random weights that are replaced at once
        encoder = Beats(cfg)
    _check(path, encoder.state_dict(), contents["model"])
    encoder.load_state_dict({key: value.float() for key, value in contents["model"].items()}, assign=True)
    encoder.label_dict = contents.get("label_dict")
    return encoder


def save_beats(encoder: Beats, path: str | Path) -> None:
    """Write `encoder` in the published format, atomically.

    Raises ValueError when it holds more than a plain BEATs: merge LoRA and take out adapters first.
    """
    model = {key: value.detach().cpu() for key, value in encoder.state_dict().items()}
    with torch.device("meta"):
        plain = Beats(encoder.cfg)
    _check(path, plain.state_dict(), model)
    contents: dict[str, Any] = {"cfg": encoder.cfg.model_dump(), "model": model}
    if encoder.label_dict is not None:
        contents["label_dict"] = encoder.label_dict
    with atomic_path(path) as temporary:
        torch.save(contents, temporary)


def _check_file(path: str | Path) -> None:
    beside = Path(f"{path}.sha256")
    if stray := strays(path):
        raise ValueError(f"{path}: {stray}")
    if beside.exists() and (expected := read_text(beside).split()[:1]) != [found := sha256_file(path)]:
        raise ValueError(f"{path}: SHA-256 is {found}, {beside.name} says {' '.join(expected)}: get the file again")


def _read(path: str | Path) -> Any:
    try:
        # Only the zip format can be mapped into memory.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception as error:  # a damaged file can make the unpickler raise anything
        if found := kind(path):
            hint = "" if found != TENSORS else ": a BEATs file is a torch file of 'cfg' and 'model'"
            raise ValueError(f"{path}: {found}{hint}") from None
        if isinstance(error, pickle.UnpicklingError) and "Unsupported" in str(error) and _is_pickle(path):
            raise ValueError(
                f"{path}: holds Python objects besides tensors and plain values; refused, as loading them could run "
                "code. Save its 'cfg' and 'model' as plain dicts"
            ) from None
        raise ValueError(f"{path}: not a torch file, damaged or cut short; download it again") from None


def _is_pickle(path: str | Path) -> bool:
    with open(path, "rb") as file:
        return zipfile.is_zipfile(path) or file.read(1) == pickle.PROTO or tarfile.is_tarfile(path)


def _check(path: str | Path, expected: dict[str, Tensor], got: dict[str, Any]) -> None:
    faults = [f"missing {key}" for key in expected if key not in got]
    faults += [f"unknown {key}" for key in got if key not in expected]
    for key in expected.keys() & got.keys():
        value = got[key]
        if not isinstance(value, Tensor) or value.shape != expected[key].shape:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            faults.append(f"{key} is {shape}, expected {tuple(expected[key].shape)}")
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise ValueError(f"{path}: weights do not fit a BEATs of this cfg: {'; '.join(sorted(faults)[:3])}{more}")
    tables = [value for key, value in got.items() if key.endswith(SHARED)]
    if any(not torch.equal(table, tables[0]) for table in tables):
        raise ValueError(f"{path}: {SHARED} differs between layers; all layers of a BEATs share one table")
