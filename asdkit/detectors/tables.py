"""Tables of numbers as detectors get them."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

PARTS = 5  # of the training clips, where a detector cannot leave single ones out
FEW = 50  # recordings that a detector which is quick to fit leaves out one by one; of more, in larger parts


def table(x: np.ndarray, what: str, columns: int | None = None) -> np.ndarray:
    """x [N, D] in double precision; raises ValueError for another shape, no clips, NaN or infinity."""
    x = np.asarray(x)
    if x.ndim == 3:
        raise ValueError(f"{what}: a matrix of bands for each clip, which knn alone takes: another array")
    if x.ndim != 2 or x.shape[1] == 0 or x.dtype.kind != "f":
        raise ValueError(f"{what}: expected a table [clips, dimensions] of floats, got {x.shape} of {x.dtype}")
    if columns is not None and x.shape[1] != columns:
        raise ValueError(f"{what} have {x.shape[1]} dimensions, the training embeddings {columns}")
    check_finite(x, what)
    return x.astype(np.float64)


def check_finite(x: np.ndarray, what: str) -> None:
    """Raise ValueError, naming the first such row, for NaN or infinity in x [N, ...]."""
    if not (finite := np.isfinite(x).all(axis=tuple(range(1, np.ndim(x))))).all():
        raise ValueError(f"{what}: row {int(finite.argmin())} holds NaN or infinity")


def side_by_side(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Several arrays of the same clips, each [N, D] or [N, F, D], as the bands of one: [N, arrays, longest].

    Bands of an array lie in one vector; zeros fill up the shorter. One array alone stays as it is.
    """
    if len(arrays) == 1:
        return arrays[0]
    flat = [x.reshape(len(x), -1) for x in arrays]
    longest = max(x.shape[1] for x in flat)
    return np.stack([np.pad(x, ((0, 0), (0, longest - x.shape[1]))) for x in flat], axis=1)


class Together:
    """Arrays of the same clips, each of which gives rows when asked for them, as `side_by_side` makes one of them."""

    def __init__(self, arrays: Sequence[Any]) -> None:
        self.arrays = arrays
        self.shape = arrays[0].shape
        if len(arrays) > 1:
            self.shape = (len(arrays[0]), len(arrays), max(int(np.prod(x.shape[1:])) for x in arrays))
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Some rows: [chosen, D] or [chosen, F, D]."""
        return side_by_side([x[rows] for x in self.arrays])


class Behind:
    """Arrays of different clips, one behind the other, each of which gives rows when asked for them."""

    def __init__(self, tables: Sequence[Any]) -> None:
        self.tables = tables
        self.ends = np.cumsum([len(table) for table in tables])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Rows with some numbers [N], in this order: [N, ...]."""
        whose = np.searchsorted(self.ends, rows, side="right")
        parts = [
            table[rows[whose == number] - (end - len(table))]
            for number, (table, end) in enumerate(zip(self.tables, self.ends, strict=True))
        ]
        found = np.empty((len(rows), *parts[0].shape[1:]), parts[0].dtype)
        for number, part in enumerate(parts):
            found[whose == number] = part
        return found


class Chosen:
    """Rows with some numbers of arrays, read when they are asked for; `rows` [N]."""

    def __init__(self, arrays: Any, rows: Sequence[int]) -> None:
        self.arrays, self.rows = arrays, np.asarray(rows, int)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: Any) -> np.ndarray:
        """Some of these rows."""
        return self.arrays[self.rows[part]]


class TooFew(ValueError):
    """A detector was given fewer training clips than it needs."""


def at_least(x: np.ndarray, clips: int, why: str, instead: str = "add clips") -> None:
    """Raise TooFew for fewer rows than `clips`, which `why` asks for; instead: what to do then."""
    if len(x) < clips:
        raise TooFew(f"{why} needs {clips} training clips or more, got {len(x)}: {instead}")


def least_shared(clips: int) -> float:
    """The part of a variance, at least, that is taken to be alike in all directions: what so few clips cannot tell."""
    return min(1.0, max(0.01, 4 / clips**2))


def parts_of(recordings: int) -> int:
    """How many parts to leave out in turn: as many as recordings where these are few, PARTS where they are many.

    The work grows with recordings times parts. Limits from fifths of 22 recordings lay 1.0 to 1.6, by how these fell.
    """
    return max(PARTS, min(recordings, FEW * FEW // max(recordings, 1)))


def one_thread() -> AbstractContextManager:
    """In it, one thread computes products and means: several add up in another order, to other last digits."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:  # it comes with scikit-learn, which a machine that only detects does not have
        return nullcontext()
    return threadpool_limits(1)
