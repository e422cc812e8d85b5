"""HDF5 files, and MATLAB files of version 7.3, which are such: arrays read in parts."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

from asdkit.signals.arrays import Held, choose, laid

RATES = ("sample_rate", "sampling_rate", "fs")  # attributes of an array that tell its rate, Hz
UNITS = ("unit", "units")
_NO_NUMBERS = (b"char", b"cell", b"logical")  # what MATLAB keeps as integers


@contextmanager
def open_hdf5(path: str | Path, variable: str | None) -> Iterator[Held]:
    """An array of an HDF5 file, named by its groups and itself (`run1/acc`); its attributes may tell rate and unit."""
    import h5py

    with h5py.File(path, "r") as file:
        found: dict[str, Any] = {}

        def visit(name: str, item: Any) -> None:
            if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "iuf" or prod(item.shape or ()) < 2:
                return
            if item.attrs.get("MATLAB_class", b"double") not in _NO_NUMBERS:
                found[name] = item

        file.visititems(visit)
        array = found[choose(path, found, variable)]
        rate = next((float(array.attrs[name]) for name in RATES if name in array.attrs), None)
        unit = next((array.attrs[name] for name in UNITS if name in array.attrs), None)
        unit = unit.decode() if isinstance(unit, bytes) else unit
        yield laid(path, array.shape, array.dtype, lambda part: array[part], rate, str(unit) if unit else None)
