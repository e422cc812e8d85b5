"""Recordings that are arrays in files of measurements: which array, which rate, which unit, read in parts."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from asdkit.signals.recording import BLOCK, Signal, check_floats, shown_unit

SAME_RATE = 1e-5  # relative: a rate of six digits is the declared one
LARGEST = 2**31  # bytes of an array that its format lets nobody read in part


@dataclass(frozen=True)
class Held:
    """One array of an open file, `frames` samples of `channels` channels.

    read(start, stop): the file's numbers [T, C], by its scale where it has one. rate: Hz, as far as the file tells it.
    unit: of the numbers; "": the file scales them to a unit that it does not name; None: it tells no unit.
    """

    frames: int
    channels: int
    dtype: np.dtype
    read: Callable[[int, int], np.ndarray]
    rate: float | None = None
    unit: str | None = None


@dataclass(frozen=True)
class ArrayRecording:
    """An open array as `recording.Recording` is an open sound file."""

    path: str | Path
    held: Held
    rate: int
    factor: float
    physical: bool

    @property
    def frames(self) -> int:
        """Samples of each channel."""
        return self.held.frames

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.held.channels

    @property
    def coded(self) -> bool:
        """Whether only reading tells that its samples are samples: broken ones are found nowhere else."""
        return True

    @property
    def steps(self) -> bool:
        """Whether its samples are to be had as integers of 16 bits."""
        return False

    def read(self, start: int, stop: int, dtype: str = "float32") -> np.ndarray:
        """Samples [start, stop) of all channels: float32 [T, C], in the unit asked for, else full scale 1.

        Raises ValueError naming the file where it is broken or ends early, or holds what are no samples.
        """
        assert dtype == "float32"
        with named(self.path):
            found = self.held.read(start, stop)
        if found.shape != (stop - start, self.channels):
            raise ValueError(f"{self.path}: ends early: {len(found)} of {stop - start} samples from {start} on")
        with np.errstate(over="ignore"):
            samples = (found * np.float64(self.factor)).astype(np.float32)
        if samples.size:
            check_floats(samples, self.path, self.physical)
        return samples

    def blocks(self, start: int, stop: int, dtype: str = "float32") -> Iterator[np.ndarray]:
        """Samples [start, stop) as `read` gives them, in blocks of bounded size."""
        step = max(BLOCK // self.channels, 1)
        for first in range(start, stop, step):
            yield self.read(first, min(first + step, stop), dtype)

    def check_end(self, whole: bool = False) -> None:
        """Nothing lies behind an array."""


def recorded(path: str | Path, held: Held, signal: Signal) -> ArrayRecording:
    """The array as it was declared; raises ValueError naming the file where it does not tell what it was declared as.

    A file's rate within SAME_RATE of the declared one is that: text holds rates of six digits.
    """
    if held.frames == 0:
        raise ValueError(f"{path}: holds no samples")
    return ArrayRecording(path, held, _rate(path, held, signal), _factor(path, held, signal), signal.unit is not None)


def _rate(path: str | Path, held: Held, signal: Signal) -> int:
    if held.rate is None:
        if signal.rate is None:
            raise ValueError(
                f"{path}: the file tells no sample rate: declare it, 'rate' of a channel in 'channels' of the dataset "
                "description"
            )
        return signal.rate
    if not math.isfinite(held.rate) or held.rate < 0.5:
        raise ValueError(f"{path}: its sample rate is {held.rate} Hz, which is none")
    if signal.rate and abs(held.rate / signal.rate - 1) < SAME_RATE:
        return signal.rate
    return round(held.rate)


def _factor(path: str | Path, held: Held, signal: Signal) -> float:
    """What the file's numbers are multiplied by."""
    kind = held.dtype.kind
    if signal.unit is None:
        if kind == "u":
            raise ValueError(
                f"{path}: unsigned integers have no full scale about 0: declare 'unit' and 'scale' of the channel"
            )
        return 2.0 ** (1 - 8 * held.dtype.itemsize) if kind == "i" else 1.0
    if signal.scale is not None:
        return signal.scale
    if held.unit is None:
        raise ValueError(
            f"{path}: samples are asked for in {signal.unit}, and the file tells no unit of its numbers: declare "
            f"'scale', what 1 in the file is in {signal.unit}, of the channel in the dataset description"
        )
    if held.unit and shown_unit(held.unit) != shown_unit(signal.unit):
        raise ValueError(
            f"{path}: samples are asked for in {signal.unit}, the file holds {held.unit}: declare 'unit: {held.unit}' "
            f"of the channel, or 'scale', what 1 {held.unit} is in {signal.unit}"
        )
    return 1.0


def laid(
    path: str | Path,
    shape: tuple[int, ...],
    dtype: Any,
    take: Callable[[tuple[slice, ...]], np.ndarray],
    rate: float | None = None,
    unit: str | None = None,
) -> Held:
    """An array of numbers of any orientation as [T, C]: its longer side is time. take: reads a part of it.

    Raises ValueError naming the file for what is no signed, unsigned or floating-point number, and for more sides.
    """
    dtype, sides = np.dtype(dtype), [size for size in shape if size != 1]
    if dtype.kind not in "iuf":
        raise ValueError(f"{path}: holds no numbers of a signal, but {dtype}")
    if len(sides) > 2 or (len(sides) == 2 and sides[0] == sides[1]):
        text = " x ".join(map(str, shape))
        raise ValueError(f"{path}: an array of {text}: a recording is samples, or samples x channels, of unequal sides")
    axis = int(np.argmax(shape)) if shape and 0 not in shape else 0
    frames = math.prod(shape) and shape[axis] if shape else 0

    def read(start: int, stop: int) -> np.ndarray:
        part = np.asarray(take(tuple(slice(start, stop) if n == axis else slice(None) for n in range(len(shape)))))
        return np.moveaxis(part, axis, 0).reshape(part.shape[axis], -1)

    return Held(frames, math.prod(sides) // max(frames, 1) or 1, dtype, read, rate, unit)


def choose(path: str | Path, names: Iterable[str], variable: str | None) -> str:
    """The array that is meant: the only one, or the only one that `variable` (which may hold *) names.

    Raises ValueError naming the file and what is in it.
    """
    names = list(names)
    there = f"there: {', '.join(names[:20])}{' ...' if len(names) > 20 else ''}" if names else "it holds none"
    found = names if variable is None else [name for name in names if name == variable]
    found = found or [name for name in names if variable and fnmatchcase(name, variable)]
    if len(found) == 1:
        return found[0]
    if not names or (variable is not None and not found):
        raise ValueError(f"{path}: no array {variable or 'of numbers'!r}; {there}")
    raise ValueError(f"{path}: {len(found)} arrays, {there}: name one, 'variable' of the channel in the description")


def check_size(path: str | Path, size: int) -> None:
    """Raise ValueError for an array of so many bytes that its format lets nobody read in part."""
    if size > LARGEST:
        raise ValueError(
            f"{path}: {size / 2**30:.1f} GiB, and its format cannot be read in parts: cut it into shorter recordings, "
            "or convert it to .npy, .h5 or .parquet"
        )


@contextmanager
def named(path: str | Path) -> Iterator[None]:
    """Turn what a library raises for a broken file into a ValueError naming it."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # libraries raise anything where bytes are not what they expect
        if isinstance(error, ValueError) and str(error).startswith(str(path)):
            raise
        told = getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{path}: broken, or not what its name says: {told}") from None
