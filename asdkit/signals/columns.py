"""Tables: CSV text and Parquet. A column is a signal, and a column of time tells the rate."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from asdkit.signals.arrays import Held, check_size, choose, laid

_UNIT = re.compile(r"(?P<name>.*?)\s*[\[(](?P<unit>[^\])]*)[\])]\s*")  # acc [m/s^2], acc (g)
_TIME = re.compile(r"t|time(stamp)?", re.I)
_SECONDS = {"": 1.0, "s": 1.0, "sec": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}
_UNEVEN = 0.5  # of a step: what a time may be off without a sample lacking
_LINES = 200_000  # of text that are parsed at once


@contextmanager
def open_csv(path: str | Path, variable: str | None) -> Iterator[Held]:
    """A column of a CSV file, read whole when it is opened: `name [unit]` in the first line, or a number from 0.

    Separated by commas, semicolons or tabs; with the last two, numbers may have decimal commas. The first column is the
    time where its name is t or time (s; `time [ms]` and `time [us]` too). Raises ValueError naming file and row.
    """
    check_size(path, os.stat(path).st_size)
    with open(path, encoding="utf-8-sig") as file:
        first = file.readline()
        mark = next((mark for mark in ";\t" if mark in first), ",")
        words = [word.strip().strip('"') for word in first.rstrip("\r\n").split(mark)]
        headless = all(_number(word, mark) for word in words)
        names = [str(number) for number in range(len(words))] if headless else words
        if headless:
            file.seek(0)
        table = _Table(path, names, variable)
        parts, row = [], 0 if headless else 1
        lines = (line.replace(",", ".") for line in file) if mark != "," else file
        while True:
            part = _parse(path, lines, mark, table.used, row)
            if not len(part):
                break
            parts, row = [*parts, part], row + len(part)
    columns = np.concatenate(parts) if parts else np.empty((0, len(table.used)))
    samples = columns[:, -1]
    rate = table.rate(columns[:, 0]) if table.time is not None else None
    yield laid(path, samples.shape, samples.dtype, lambda part: samples[part], rate, table.unit)


def _parse(path: str | Path, lines: Iterator[str], mark: str, used: list[int], row: int) -> np.ndarray:
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a part without lines
            return np.loadtxt(lines, delimiter=mark, usecols=used, ndmin=2, max_rows=_LINES, comments=None)
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path}: no table of numbers, after row {row}: {error}") from None


@contextmanager
def open_parquet(path: str | Path, variable: str | None) -> Iterator[Held]:
    """A column of a Parquet file, read in parts; its field's metadata may tell a `unit`, as may its name.

    The first column is the time as `open_csv` has it; its first and last value tell the rate.
    """
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        schema, ends = file.schema_arrow, [0]
        for number in range(file.num_row_groups):
            ends.append(ends[-1] + file.metadata.row_group(number).num_rows)
        table = _Table(path, schema.names, variable)
        field = schema.field(table.used[-1])

        def read(column: int, start: int, stop: int) -> np.ndarray:
            groups = [n for n in range(len(ends) - 1) if ends[n] < stop and ends[n + 1] > start]
            if not groups:
                return np.empty(0, field.type.to_pandas_dtype())
            found = file.read_row_groups(groups, columns=[schema.names[column]]).column(0)
            part = found.slice(start - ends[groups[0]], stop - start)
            if part.null_count:
                raise ValueError(f"{path}: column {schema.names[column]!r} has empty fields")
            return part.to_numpy()

        told = (field.metadata or {}).get(b"unit", b"").decode() or table.unit
        rate = table.rate(read(0, 0, ends[-1])) if table.time is not None else None
        column, kind = table.used[-1], field.type.to_pandas_dtype()
        yield laid(path, (ends[-1],), kind, lambda part: read(column, part[0].start, part[0].stop), rate, told)


class _Table:
    """Which of the columns `names` is the signal, which the time (None: none), and what their names tell."""

    def __init__(self, path: str | Path, names: list[str], variable: str | None) -> None:
        self.path, told = path, [_split(name) for name in names]
        self.time = 0 if len(names) > 1 and _TIME.fullmatch(told[0][0]) else None
        self.step = _SECONDS.get(told[0][1] or "") if self.time is not None else None
        if self.time is not None and self.step is None:
            raise ValueError(f"{path}: column {names[0]!r}: the time is in none of s, ms, us")
        found = {name: n for n, (name, _) in enumerate(told) if n != self.time}
        whole = {name: n for n, name in enumerate(names) if n != self.time}
        column = whole[variable] if variable in whole else found[choose(path, found, variable)]
        self.unit = told[column][1]
        self.used = [column] if self.time is None else [self.time, column]

    def rate(self, times: np.ndarray) -> float | None:
        """Hz, of the first and last time; raises ValueError where a sample lacks between them, or is there twice."""
        times = times.astype(np.float64)
        if len(times) < 2:
            return None
        step = (times[-1] - times[0]) / (len(times) - 1)
        if not np.isfinite(times).all() or step <= 0:
            raise ValueError(f"{self.path}: its times do not rise from {times[0]} to {times[-1]}")
        off = np.abs(times - (times[0] + step * np.arange(len(times))))
        if off.max() > _UNEVEN * step:
            raise ValueError(
                f"{self.path}: its times are not even: sample {int(off.argmax())} is {off.max() / step:.1f} steps off"
            )
        assert self.step
        return 1 / (step * self.step)


def _split(name: str) -> tuple[str, str | None]:
    match = _UNIT.fullmatch(name)
    return (match["name"], match["unit"].strip() or None) if match else (name, None)


def _number(word: str, mark: str) -> bool:
    try:
        float(word.replace(",", ".") if mark != "," else word)
    except ValueError:
        return False
    return True
