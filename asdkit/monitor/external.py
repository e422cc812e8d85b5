"""Tell onnxruntime where in a file the weights of a graph lie: it then reads them there and keeps no copy of its own.

A few lines instead of the package onnx, which is not needed where bundles are used. The format is protocol buffers'
(encoding: a field is its number and kind, then its value); numbers of fields are those of onnx.proto.
"""

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

GRAPH, INITIALIZER, NAME, EXTERNAL = 7, 5, 8, 13  # of ModelProto, GraphProto, TensorProto
PAGE = 4096  # bytes: arrays that begin elsewhere are not mapped


class Place(NamedTuple):
    """Where an array lies in a file."""

    path: Path
    offset: int
    length: int


def place(array: np.ndarray) -> Place | None:
    """Where an array's numbers lie, if that is in one piece of a mapped file, at a page."""
    root = array
    while isinstance(root, np.ndarray) and not isinstance(root.base, mmap.mmap):
        root = root.base
    if not isinstance(root, np.memmap) or root.filename is None or not array.flags.c_contiguous:
        return None
    offset = root.offset + array.ctypes.data - root.ctypes.data
    return Place(Path(root.filename).resolve(), offset, array.nbytes) if offset % PAGE == 0 else None


def located(graph: bytes, places: Mapping[str, Place]) -> bytes:
    """A graph whose initializers of these names lie at these places, in files of one folder."""
    model = [_field(number, _graph(value, places)) if number == GRAPH else raw for number, raw, value in _fields(graph)]
    return b"".join(model)


def _graph(graph: bytes, places: Mapping[str, Place]) -> bytes:
    parts = []
    for number, raw, value in _fields(graph):
        parts.append(_field(number, _tensor(value, places)) if number == INITIALIZER else raw)
    return b"".join(parts)


def _tensor(tensor: bytes, places: Mapping[str, Place]) -> bytes:
    fields = list(_fields(tensor))
    name = next((value.decode() for number, _, value in fields if number == NAME), "")
    if name not in places:
        return tensor
    there = places[name]
    told = {"location": there.path.name, "offset": str(there.offset), "length": str(there.length)}
    entries = [_field(EXTERNAL, _field(1, key.encode()) + _field(2, text.encode())) for key, text in told.items()]
    return b"".join([raw for number, raw, _ in fields if number != EXTERNAL] + entries)


def _fields(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, the whole field, and its value where that has a length; ValueError for what is no message."""
    at = 0
    while at < len(data):
        start = at
        key, at = _whole(data, at)
        value = b""
        if key & 7 == 2:
            length, at = _whole(data, at)
            value = data[at : at + length]
            at += length
        elif key & 7 == 0:
            _, at = _whole(data, at)
        elif key & 7 in (1, 5):
            at += 8 if key & 7 == 1 else 4
        else:
            raise ValueError("the graph is damaged")
        if at > len(data):
            raise ValueError("the graph is damaged")
        yield key >> 3, data[start:at], value


def _whole(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    found = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte, at = data[at], at + 1
        found |= (byte & 127) << shift
        if byte < 128:
            return found, at
    raise ValueError("the graph is damaged")


def _field(number: int, value: bytes) -> bytes:
    return _number(number << 3 | 2) + _number(len(value)) + value


def _number(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
