"""Files of published weights: read without running code in them, checked in full before they are used."""

import argparse
import json
import pickle
import re
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from asdkit.config import VitArch
from asdkit.utils.files import read_json, read_text, sha256_file
from asdkit.utils.kinds import TENSORS, kind, strays

# Names of a weights file in a folder that the library transformers wrote, the first that is there.
IN_FOLDER = ("model.safetensors", "pytorch_model.bin")
HEAD = 64  # size of an attention head
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def check_file(path: str | Path) -> None:
    """Raise ValueError when no network can be in the file, or its SHA-256 is not what `<file>.sha256` says."""
    beside = Path(f"{path}.sha256")
    if Path(path).is_dir():
        raise ValueError(f"{path}: a folder, where this encoder reads a file: name the file of weights in it")
    if stray := strays(path):
        raise ValueError(f"{path}: {stray}")
    if beside.exists() and (expected := read_text(beside).split()[:1]) != [found := sha256_file(path)]:
        raise ValueError(f"{path}: SHA-256 is {found}, {beside.name} says {' '.join(expected)}: get the file again")


def read_torch(path: str | Path, holds: str, settings: bool = False) -> Any:
    """What a torch file holds, without running code in it; a `<file>.sha256` beside it is compared.

    holds: what to say of a file that is none, as in 'a BEATs file is a torch file of "cfg" and "model"'. settings: the
    file may also hold what trainers leave beside the weights, numbers of numpy and argparse's namespaces. Raises
    ValueError naming the file and what is wrong: unreadable, damaged, something else, objects in it.
    """
    check_file(path)
    try:
        with torch.serialization.safe_globals(_settings() if settings else []):
            # Only the zip format can be mapped into memory.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception as error:  # a damaged file can make the unpickler raise anything
        if found := kind(path):
            raise ValueError(f"{path}: {found}{f': {holds}' if found == TENSORS else ''}") from None
        if isinstance(error, pickle.UnpicklingError) and "Unsupported" in str(error) and _is_pickle(path):
            raise ValueError(
                f"{path}: holds Python objects besides tensors and plain values; refused, as loading them could run "
                f"code. Save plain dicts of tensors instead: {holds}"
            ) from None
        raise ValueError(f"{path}: not a torch file, damaged or cut short; download it again") from None


def read_weights(path: str | Path, holds: str) -> dict[str, Any]:
    """What a torch file of a dict, or a safetensors file, holds: name -> tensor, or whatever else lies in the dict.

    Raises ValueError as `read_torch`, and for a torch file that holds no dict.
    """
    contents = read_safetensors(path) if kind(path) == TENSORS else read_torch(path, holds)
    if not isinstance(contents, dict):
        raise ValueError(f"{path}: holds {type(contents).__name__}; {holds}")
    if foreign := [key for key in contents if not isinstance(key, str)]:
        raise ValueError(f"{path}: holds a dict in which {foreign[0]!r} is a name; {holds}")
    return contents


def read_folder(path: str | Path, model_type: str) -> tuple[dict[str, Any], Path]:
    """The config.json and the file of weights of a folder that transformers wrote, or of such a file in its folder.

    Raises ValueError for a folder that lacks one of them, or is of another `model_type`.
    """
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    if not (folder / "config.json").exists():
        raise ValueError(f"{folder}: no config.json in it; a folder of weights has it beside {' or '.join(IN_FOLDER)}")
    config = read_json(folder / "config.json")
    found = config.get("model_type") if isinstance(config, dict) else None
    if found != model_type:
        raise ValueError(f"{folder}/config.json: model_type is {found!r}, expected {model_type!r}: another network")
    if folder != Path(path):
        return config, Path(path)
    file = next((folder / name for name in IN_FOLDER if (folder / name).exists()), None)
    if file is None:
        raise ValueError(f"{folder}: has neither {' nor '.join(IN_FOLDER)}; weights in several parts are not read")
    return config, file


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, mapped into memory; a `<file>.sha256` beside it is compared.

    The format: 8 bytes with the length of a JSON table of names, types, shapes and places; then the numbers. Raises
    ValueError for a file that is damaged or cut short.
    """
    check_file(path)
    try:
        size = Path(path).stat().st_size
        content = torch.tensor([], dtype=torch.uint8).set_(torch.UntypedStorage.from_file(str(path), False, size))
        start = 8 + int.from_bytes(content[:8].numpy().tobytes(), "little")
        table = json.loads(content[8:start].numpy().tobytes())
        return {name: _tensor(content[start:], **entry) for name, entry in table.items() if name != "__metadata__"}
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, TypeError, KeyError, RuntimeError, AttributeError) as error:
        fault = " ".join(str(error).split())[:100]
        raise ValueError(f"{path}: a safetensors file that is damaged or cut short ({fault}): get it again") from None


def renamed(weights: Mapping[str, Any], table: Mapping[str, str | None]) -> dict[str, Any]:
    """`weights` under other names, by the first regular expression of `table` that a name begins with.

    None leaves a foreign part out. A name that nothing fits stays as it is, so that a check tells of it.
    """
    found = {}
    for name, value in weights.items():
        pattern = next((pattern for pattern in table if re.match(pattern, name)), None)
        if pattern is None:
            found[name] = value
        elif (new := table[pattern]) is not None:
            found[re.sub(pattern, new, name, count=1)] = value
    return found


def joined(weights: Mapping[str, Any], parts: tuple[str, str, str], whole: str = "qkv") -> dict[str, Any]:
    """`weights` with query, key and value, `<prefix>.<part>.<suffix>`, joined to one `<prefix>.<whole>.<suffix>`.

    Where one of the three is missing they stay as they are, so that a check tells of it.
    """
    found = dict(weights)
    for name in weights:
        prefix, part, suffix = (["", "", *name.rsplit(".", 2)])[-3:]
        names = [f"{prefix}.{other}.{suffix}" for other in parts]
        if part == parts[0] and all(isinstance(weights.get(own), Tensor) for own in names):
            found[f"{prefix}.{whole}.{suffix}"] = torch.cat([found.pop(own) for own in names])
    return found


def side(path: str | Path, weights: Mapping[str, Any], name: str, dimension: int, holds: str) -> int:
    """Length of one side of a tensor, from which a network's size is read; ValueError where it is not there."""
    tensor = weights.get(name)
    if not isinstance(tensor, Tensor) or tensor.ndim <= dimension:
        some = ", ".join(map(str, list(weights)[:5]))
        raise ValueError(f"{path}: no tensor {name!r} in it (but {some[:200]}, ...); {holds}")
    return tensor.shape[dimension]


def depth(weights: Mapping[str, Any], prefix: str) -> int:
    """Number of blocks: of different numbers that follow `prefix` in the names."""
    return len({name.removeprefix(prefix).split(".")[0] for name in weights if name.startswith(prefix)})


def vit_arch(path: str | Path, weights: Mapping[str, Any], dim: int, heads: int | None, what: str) -> VitArch:
    """Size of a vision transformer whose blocks are named `trunk.N.`.

    Files do not tell the heads of a block: `heads`, or, as in every published network, one for each 64 of the `dim`
    numbers of a token. Raises ValueError where these are not whole heads; what: 'no published CED'.
    """
    if dim % (heads or HEAD):
        wanted = f"{heads} heads" if heads else f"whole heads of {HEAD}"
        raise ValueError(f"{path}: tokens of {dim} numbers are not {wanted}: {what}")
    if not (blocks := depth(weights, "trunk.")):
        raise ValueError(f"{path}: no transformer blocks in it: {what}")
    return VitArch(embed_dim=dim, depth=blocks, num_heads=heads or dim // HEAD)


def check_weights(path: str | Path, expected: Mapping[str, Tensor], got: Mapping[str, Any], what: str) -> None:
    """Raise ValueError unless `got` has the names and shapes of `expected`; what: 'a BEATs of this cfg'."""
    faults = [f"missing {key}" for key in expected if key not in got]
    faults += [f"unknown {key}" for key in got if key not in expected]
    for key in expected.keys() & got.keys():
        value = got[key]
        if not isinstance(value, Tensor) or value.shape != expected[key].shape:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            faults.append(f"{key} is {shape}, expected {tuple(expected[key].shape)}")
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise ValueError(f"{path}: weights do not fit {what}: {'; '.join(sorted(faults)[:3])}{more}")


class _Unset(TorchFunctionMode):
    """Leaves `normal_` out: on the meta device torch loads its compiler for it, which takes longer than the network."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") == "normal_":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Within it, networks are made without values: no time is lost on random weights that are replaced at once."""
    with torch.device("meta"), _Unset():
        yield


def put_in(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give `network` checked weights in its own types, whatever they are stored in; without a copy where they agree."""
    types = {name: own.dtype for name, own in network.state_dict().items()}
    network.load_state_dict({name: own.to(types[name]).contiguous() for name, own in weights.items()}, assign=True)


def _tensor(content: Tensor, dtype: str, shape: list[int], data_offsets: list[int]) -> Tensor:
    start, end = data_offsets
    if not 0 <= start <= end <= len(content):
        raise ValueError(f"numbers end at {end} of {len(content)} bytes")
    own = content[start:end]
    if own.storage_offset() % DTYPES[dtype].itemsize:
        own = own.clone()
    return own.view(DTYPES[dtype]).view(shape)


def _settings() -> list[Any]:
    """What makes numbers of numpy, under the names that numpy 1 and 2 write, and argparse's namespaces."""
    scalar = np.float64(0).__reduce__()[0]
    types = [type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")]
    names = [f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")]
    return [argparse.Namespace, np.dtype, *types, *((scalar, name) for name in names)]


def _is_pickle(path: str | Path) -> bool:
    with open(path, "rb") as file:
        return zipfile.is_zipfile(path) or file.read(1) == pickle.PROTO or tarfile.is_tarfile(path)
