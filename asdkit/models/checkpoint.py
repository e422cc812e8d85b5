"""Checkpoints: plain dicts, read with weights_only, always strict."""

import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from asdkit.utils.files import atomic_path, remove_stale
from asdkit.utils.hub import sha256_weights
from asdkit.utils.kinds import kind

FORMAT = "asdkit-1"


def model_state(model: nn.Module, backbone: str | None) -> dict[str, torch.Tensor]:
    """What a checkpoint keeps of `model`: everything, or only what is trained when the rest lies in a backbone file.

    Buffers are always kept; tensors are copied, so that later steps do not change them.
    """
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad} if backbone else set()
    return {name: t.detach().cpu().clone() for name, t in model.state_dict().items() if name not in frozen}


def backbone_record(path: str | None) -> dict[str, str] | None:
    """Path and SHA-256 of the pre-trained file, or None for random weights."""
    return {"path": str(path), "sha256": sha256_weights(path)} if path else None


def save_checkpoint(path: str | Path, content: dict[str, Any]) -> None:
    """Write a checkpoint to a temporary file, then rename; temporary files that killed runs left are removed."""
    remove_stale(path)
    with atomic_path(path) as temporary:
        torch.save({"format": FORMAT, **content}, temporary)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint; raises ValueError when it is missing, cut short, of another format or carries code."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        if found := kind(path):
            raise ValueError(f"{path}: {found}") from None
        raise ValueError(
            f"{path}: damaged, or carries pickled objects other than tensors and plain values; it is not loaded, "
            "because loading it could run code. Only checkpoints written by this toolkit can be used here"
        ) from None
    # What bytes that mean nothing make torch's reader do is not foreseen.
    except (OSError, RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: not a readable checkpoint ({reason}); run the training stage again") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path}: not an asdkit checkpoint: format is {found!r}, expected {FORMAT!r}")
    if not _is_whole(path):
        raise ValueError(f"{path}: damaged: what it holds is not what was written; run the training stage again")
    return content


def _is_whole(path: str | Path) -> bool:
    """Whether the checksums in a checkpoint hold: torch's reader does not look at them."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError):
        return False


def load_model(model: nn.Module, content: dict[str, Any], path: str | Path) -> None:
    """Put a checkpoint's tensors into `model`; raises ValueError when keys, shapes or the backbone file differ."""
    backbone = content["backbone"]
    if backbone and sha256_weights(backbone["path"]) != backbone["sha256"]:
        raise ValueError(
            f"{path}: was trained on {backbone['path']} with SHA-256 {backbone['sha256'][:16]}..., "
            "but that file has changed: bring the old file back, or train again under another --tag"
        )
    expected = model_state(model, backbone["path"] if backbone else None)
    _compare_keys(path, content["model"], expected)
    model.load_state_dict(content["model"], strict=False)


def load_tensors(module: nn.Module, tensors: dict[str, torch.Tensor], where: str | Path) -> None:
    """Put all tensors of `module` back; raises ValueError with `where` when names or shapes differ."""
    _compare_keys(where, tensors, module.state_dict())
    module.load_state_dict(tensors)


def _compare_keys(path: str | Path, got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    for what, keys in (("lacks", expected.keys() - got.keys()), ("has the unknown", got.keys() - expected.keys())):
        if keys:
            raise ValueError(f"{path}: {what} {len(keys)} tensor(s), the first {min(keys)!r}; does its config fit?")
    for key, tensor in expected.items():
        if tensor.shape != got[key].shape:
            raise ValueError(f"{path}: {key} has shape {tuple(got[key].shape)}, expected {tuple(tensor.shape)}")
