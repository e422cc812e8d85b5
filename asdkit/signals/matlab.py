"""MATLAB files: up to version 7 by scipy, 7.3 as HDF5. They tell neither rate nor unit."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from math import prod
from pathlib import Path

import numpy as np

from asdkit.signals.arrays import Held, check_size, choose, laid
from asdkit.signals.hdf5 import open_hdf5

# MATLAB's names of classes -> numpy's.
_CLASSES = {"double": "float64", "single": "float32"} | {
    f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}


@contextmanager
def open_matlab(path: str | Path, variable: str | None) -> Iterator[Held]:
    """A variable of a MATLAB file; structures and cells are not looked into.

    Up to version 7 it is decoded whole when it is first read; of 7.3 parts are read.
    """
    with open(path, "rb") as file:
        hdf5 = file.read(10) == b"MATLAB 7.3"
    if hdf5:
        with open_hdf5(path, variable) as held:
            yield held
        return
    from scipy.io import loadmat, whosmat

    told = {name: (shape, _CLASSES[kind]) for name, shape, kind in whosmat(path) if kind in _CLASSES}
    name = choose(path, (name for name, (shape, _) in told.items() if prod(shape) > 1), variable)
    shape, kind = told[name]
    check_size(path, prod(shape) * np.dtype(kind).itemsize)

    @cache
    def whole() -> np.ndarray:
        return loadmat(path, variable_names=[name])[name]

    yield laid(path, shape, kind, lambda part: whole()[part])
