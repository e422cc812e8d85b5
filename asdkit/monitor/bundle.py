"""A bundle: one file that holds what scores recordings of some machines. Written whole, refused where it is damaged.

The file, little-endian: 8 bytes `asdkit` CR LF; its version and the header's length, uint32 each; 16 bytes of zeros;
SHA-256 of the header (32 bytes); the header, JSON in UTF-8, at most HEADER_BYTES long; then, from the next page of
ALIGN bytes on, the arrays as raw numbers. An array begins at a page where it has LARGE bytes or more (others at SMALL
bytes), so that it can be mapped; what lies between is zeros. Nothing follows. No byte of it can change unnoticed.

The header has these keys, no others, and every one of them; `|null`: may be null, A(n): the name of an array of n
dimensions. `monitor/header.py` checks it.

sections    name -> {dtype, shape, offset (from the first page on), sha256}: the arrays, in the order in which they lie
made_by     {version, commit|null} of the package that wrote it
card        what a person should know: any JSON (data, configuration, official scores, licence of the weights)
reading     how recordings are read: {rate (Hz), channel|null, resample, signal|null (as signals.recording.Signal),
            reference: none|complex|magnitude, reference_channel|null, level: keep|clip_rms|machine_rms}
network     what makes arrays of samples: {kind: onnx|torch, precision, window, hop (samples of a frame; 1 and 1 where
            there are none), shortest (samples; a shorter recording is repeated to them), segment: clip|chunk, chunk,
            chunk_hop (frames), arrays: name -> shape of one clip's, graphs: name -> A(1) uint8 (an ONNX model without
            weights, `-`; kind torch: none), weights: name -> A (of any dimensions), memory: [[samples, bytes]] that
            clips need, ascending, none where it is not known, settings: any JSON that the kind needs}
score       {name (of the experiment's score), detector, arrays: [names; several: side by side],
            non_negative, percentile (0..100, that the threshold is meant to be), settings: the score's, any JSON}
machines    a list, an entry for each machine (of one with detectors for its sections: for each of these):
  machine, section ("-": all of them), rms|null (its level, of reading.level machine_rms), threshold|null (stage 5's),
              seconds (median length of the training clips: what a stream is cut into)
  clips       {utt, name, domain, attr, section}: lists of N texts, of the training clips
  recordings  A(1) int64 [N]: a number for each training clip, the same for clips of one recording
  self_rows   A(1) int64 [R], self_scores  A(1) float64 [R]: numbers of training clips, and their scores when no clip of
              the same recording is compared with them; infinity where no other was left
  detectors   domain -> {low, width (the domain's score is (score - low) / width), settings: any JSON,
              arrays: name -> A, what was learnt (monitor/detector.py)}; the smallest of the domains' scores counts
  sensors|null   {names: [K texts], values: A(2) float64 [N, K]}: statistics of the training clips' samples
  spectra|null   {edges: [B + 1 frequencies, Hz], seconds (of a step), mean: A(2) float32 [N, B] dB, deviation: A(2)
              float32 [N, B] dB over time}: spectra of the training clips
  faults      left out where none is known: {names: [F], clips: [F texts], x: A [F, ...] as the detector reads it,
              radii: A(1) float64 [F]}: references of known faults, a clip within a radius is that fault (faults.py)
"""

import hashlib
import json
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from asdkit.monitor.header import DTYPES, check_header
from asdkit.utils.files import atomic_path

MAGIC = b"asdkit\r\n"
VERSION = 1
ALIGN, SMALL, LARGE = 4096, 64, 65536  # bytes: of a page; what small arrays lie at; those that begin at a page
HEADER_BYTES = 64 << 20
_START = struct.Struct("<8sII16x32s")
_BLOCK = 1 << 20
AGAIN = "Export it again from the experiment (asdkit.bin.export_detector), or copy it again"


class Section(NamedTuple):
    """Where an array lies in the file: offset and length in bytes, dtype and shape."""

    offset: int
    length: int
    dtype: np.dtype
    shape: tuple[int, ...]


class Bundle:
    """An open bundle: its header, and its arrays as read-only views of the mapped file."""

    def __init__(self, path: Path, header: dict[str, Any], sections: dict[str, Section], file: BinaryIO) -> None:
        self.path, self.header, self.sections = path, header, sections
        self._map = np.memmap(file, np.uint8, "r")  # of the file that was checked: another may take its name
        self._stamp = _stamp(os.fstat(file.fileno()))

    @classmethod
    def open(cls, path: str | Path) -> "Bundle":
        """Open a bundle, every byte of it checked; raises ValueError saying why not.

        The file must stay as it is while arrays of it are used.
        """
        path = Path(path)
        try:
            # A pipe or a device would be waited for.
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise ValueError(f"{path}: not a file")
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                header, start = _read_header(file, size, path)
                sections = check_header(header, path, VERSION)
                return cls(path, header, _check_sections(file, size, sections, start, path), file)
        except OSError as error:
            raise ValueError(f"{path}: cannot be read: {error.strerror}") from None

    def array(self, name: str) -> np.ndarray:
        """An array by its name in `sections`, without a copy of it."""
        found = self.sections[name]
        part = self._map[found.offset : found.offset + found.length].view(np.ndarray)
        return part.view(found.dtype).reshape(found.shape)

    def check_unchanged(self, named: bool = False) -> None:
        """Raise ValueError where the file was written over since it was opened; named: or another has its name."""
        try:
            now = _stamp(os.stat(self.path))
        except OSError:
            now = (0, 0, 0, 0)  # removed: what is mapped stays
        if now != self._stamp and (named or now[:2] == self._stamp[:2]):
            raise ValueError(f"{self.path}: has changed since it was opened: start again, with the new file in place")


def write_bundle(path: str | Path, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write a bundle, whole or not at all: `header` without `sections`, which are made from `arrays`.

    Raises ValueError for a header that `Bundle.open` would refuse.
    """
    sections, offset = {}, 0
    for name, array in arrays.items():
        if array.dtype.name not in DTYPES:
            raise ValueError(f"array {name}: a bundle cannot hold {array.dtype}, but {', '.join(DTYPES)}")
        offset = _aligned(offset, array.nbytes)
        digest = hashlib.sha256(_raw(array)).hexdigest()
        sections[name] = {
            "dtype": array.dtype.name,
            "shape": list(array.shape),
            "offset": offset,
            "sha256": digest,
        }
        offset += array.nbytes
    text = json.dumps({"sections": sections, **header}, ensure_ascii=False, allow_nan=False).encode()
    if len(text) > HEADER_BYTES:
        raise ValueError(f"{path}: the header has {len(text)} bytes, {HEADER_BYTES} are allowed: fewer machines")
    check_header(json.loads(text), Path(path), VERSION)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(_START.pack(MAGIC, VERSION, len(text), hashlib.sha256(text).digest()) + text)
        start = -(-file.tell() // ALIGN) * ALIGN if arrays else file.tell()
        for name, array in arrays.items():
            file.write(bytes(start + sections[name]["offset"] - file.tell()))
            file.write(_raw(array))


def _stamp(told: os.stat_result) -> tuple[int, int, int, int]:
    return told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns


def _raw(array: np.ndarray) -> memoryview:
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return memoryview(little.reshape(-1).view(np.uint8))


def _aligned(offset: int, length: int) -> int:
    unit = ALIGN if length >= LARGE else SMALL
    return -(-offset // unit) * unit


def _read_header(file: BinaryIO, size: int, path: Path) -> tuple[Any, int]:
    """The header as JSON has it, and where it ends."""
    start = file.read(_START.size)
    if not start.startswith(MAGIC):
        raise ValueError(f"{path}: not a bundle of asdkit: it begins with {start[:8]!r}")
    if len(start) < _START.size:
        raise ValueError(f"{path}: cut short: {size} bytes. {AGAIN}")
    _, version, length, digest = _START.unpack(start)
    if version != VERSION:
        told = "a newer asdkit wrote it: install that here, or export it" if version > VERSION else "export it again"
        raise ValueError(f"{path}: a bundle of version {version}, this asdkit reads version {VERSION}: {told}")
    if any(start[16:32]):
        raise ValueError(f"{path}: damaged: bytes 16 to 31 are not zero. {AGAIN}")
    if length > min(size - _START.size, HEADER_BYTES):
        raise ValueError(f"{path}: cut short or damaged: a header of {length} bytes in a file of {size}. {AGAIN}")
    text = file.read(length)
    if hashlib.sha256(text).digest() != digest:
        raise ValueError(f"{path}: damaged: the header's SHA-256 is another than was written. {AGAIN}")
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number), _START.size + length
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: the header is no JSON: {str(error)[:200]}. {AGAIN}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _check_sections(file: BinaryIO, size: int, told: dict[str, Any], end: int, path: Path) -> dict[str, Section]:
    """Where the arrays lie in the file, all bytes from `end` on having been looked at."""
    start, found = -(-end // ALIGN) * ALIGN if told else end, {}
    for name, section in told.items():
        dtype = np.dtype(section["dtype"]).newbyteorder("<")
        length = dtype.itemsize
        for count in section["shape"]:
            length *= count
        offset = start + section["offset"]
        if section["offset"] != _aligned(max(end - start, 0), length) or offset + length > size:
            raise ValueError(f"{path}: cut short or damaged: array {name} lies in another place. {AGAIN}")
        if any(file.read(offset - end)):
            raise ValueError(f"{path}: damaged: something lies before array {name}. {AGAIN}")
        digest = hashlib.sha256()
        for block in _blocks(file, length):
            digest.update(block)
        if digest.hexdigest() != section["sha256"]:
            raise ValueError(f"{path}: damaged: the SHA-256 of array {name} is another than was written. {AGAIN}")
        found[name], end = Section(offset, length, dtype, tuple(section["shape"])), offset + length
    if end != size:
        raise ValueError(f"{path}: damaged: {size - end} bytes more than there should be. {AGAIN}")
    return found


def _blocks(file: BinaryIO, length: int) -> Iterator[bytes]:
    while length and (block := file.read(min(length, _BLOCK))):
        length -= len(block)
        yield block
