"""Universal files (UFF, .unv): measured functions of type 58."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from asdkit.signals.arrays import Held, check_size, choose, laid

_TIME = (0, 1)  # general function, time response


@contextmanager
def open_uff(path: str | Path, variable: str | None) -> Iterator[Held]:
    """A time signal of a universal file, named `identification/node/direction`: id1, rsp_node and rsp_dir of its set.

    Decoded whole when it is opened. The file's rate has six digits: the declared one holds where it agrees. Raises
    ValueError for a file that was cut.
    """
    import pyuff

    check_size(path, os.stat(path).st_size)
    with open(path, "rb") as file:
        file.seek(max(os.stat(path).st_size - 200, 0))
        if file.read().split()[-1:] != [b"-1"]:
            raise ValueError(f"{path}: truncated, or no universal file: its last line is no end of a set (-1)")
    file = pyuff.UFF(str(path))
    heads = {n: file.read_sets(n, header_only=True) for n, kind in enumerate(file.get_set_types()) if int(kind) == 58}
    found: dict[str, Any] = {
        f"{head['id1'].strip()}/{head['rsp_node']}/{head['rsp_dir']}": n
        for n, head in heads.items()
        if head["func_type"] in _TIME and head["ord_data_type"] in (2, 4) and head["abscissa_spacing"] == 1
    }
    number = found[choose(path, found, variable)]
    head, samples = heads[number], np.asarray(file.read_sets(number)["data"])
    if len(samples) != head["num_pts"]:
        raise ValueError(f"{path}: ends early: {len(samples)} of {head['num_pts']} samples")
    unit = head["ordinate_axis_units_lab"].strip()
    told = None if unit in ("", "NONE") else unit
    step = head["abscissa_inc"]
    yield laid(path, samples.shape, samples.dtype, lambda part: samples[part], 1 / step if step > 0 else None, told)
