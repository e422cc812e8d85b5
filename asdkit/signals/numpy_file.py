"""Arrays that numpy wrote: .npy, read in parts, and .npz."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from math import prod
from pathlib import Path

import numpy as np

from asdkit.signals.arrays import Held, check_size, choose, laid


@contextmanager
def open_npy(path: str | Path, variable: str | None) -> Iterator[Held]:
    """The array of a .npy file, which tells neither rate nor unit; pickled objects are refused."""
    if variable:
        raise ValueError(f"{path}: holds one array without a name: take 'variable: {variable}' out of the channel")
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    yield laid(path, array.shape, array.dtype, lambda part: array[part])


@contextmanager
def open_npz(path: str | Path, variable: str | None) -> Iterator[Held]:
    """An array of a .npz file, decoded whole when it is first read; pickled objects are refused."""
    with zipfile.ZipFile(path) as archive:
        heads = {name[:-4]: _head(archive, name) for name in archive.namelist() if name.endswith(".npy")}
        found = {name: head for name, head in heads.items() if head[1].kind in "iuf" and prod(head[0]) > 1}
        name = choose(path, found, variable)
        shape, dtype = found[name]
        check_size(path, prod(shape) * dtype.itemsize)

        @cache
        def whole() -> np.ndarray:
            with archive.open(f"{name}.npy") as file:
                return np.lib.format.read_array(file, allow_pickle=False)

        yield laid(path, shape, dtype, lambda part: whole()[part])


def _head(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        one = version == (1, 0)
        read = np.lib.format.read_array_header_1_0 if one else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        return shape, dtype
