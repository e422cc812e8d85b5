"""Standard input: raw samples, or wav files one after the other, become clips without touching a disk."""

import os
import struct
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

from asdkit.monitor.inputs import KEPT, Clip, Unread

NAME = "standard input"
LARGEST = 1 << 30  # bytes of a recording that is taken as a whole
# Name of a form of raw samples -> bytes of one, and what a wav calls it.
FORMS = {"u8": (1, 1), "s16le": (2, 1), "s24le": (3, 1), "s32le": (4, 1), "f32le": (4, 3)}
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
Pieces = Generator[Clip | Unread, None, bool]
_CUT = "--clip-seconds cuts it while it comes"


class Cut(NamedTuple):
    """How a stream is cut: clips of `seconds` (None: wav files stay whole, what has no end is cut into `usual`
    ones), one beginning `hop` seconds after the other (None: as long as they are)."""

    seconds: float | None
    hop: float | None
    usual: float


class Raw(NamedTuple):
    """Samples without a header: bytes of one, coding as a wav's header says it (1: integers, 3: floats), Hz."""

    width: int
    coding: int
    rate: int
    channels: int

    @property
    def frame(self) -> int:
        """Bytes of a sample of all channels."""
        return self.width * self.channels


def clips(file: BinaryIO, raw: Raw | None, cut: Cut) -> Iterator[Clip | Unread]:
    """The clips that come on a stream. Each is to be used before the next is asked for.

    raw: what comes are samples alone, and always cut. Otherwise wav files, whole unless `cut` has seconds; one that
    tells no length (of a recorder that writes into a pipe) is cut as raw samples are. Or one flac file. No more than a
    clip is in memory.
    """
    if raw:
        yield from _cut(file, raw, None, cut)
        return
    number = 0
    while head := file.read(12):
        number += 1
        name = NAME if number == 1 else f"{NAME}, recording {number}"
        if head[:4] == b"RIFF" and head[8:] == b"WAVE":
            found = yield from _wav(file, head, name, cut)
            if not found:
                return
        elif number == 1:
            yield from _whole(file, head, name, LARGEST)
            return
        else:
            yield Unread(name, f"what follows the recording before is no wav: it begins with {head!r}")
            return
    if number == 0:
        yield Unread(NAME, "nothing came")


def _wav(file: BinaryIO, head: bytes, name: str, cut: Cut) -> Pieces:
    """The clips of one wav; returns whether another one may follow."""
    said, form = int.from_bytes(head[4:8], "little") + 8, None
    while True:
        chunk = file.read(8)
        head += chunk
        length = int.from_bytes(chunk[4:], "little")
        if len(chunk) < 8 or chunk[:4] == b"data" or len(head) + length > LARGEST:
            break
        body = file.read(length + length % 2)
        head += body
        form = _form(body) if chunk[:4] == b"fmt " else form
    if len(chunk) < 8 or chunk[:4] != b"data":
        yield Unread(name, "not a readable wav: its header tells of no samples")
        return False
    endless = length == 0 or 0x7FFFF000 - 64 <= length <= 0x80000000 or length >= 0xFFFFFF00
    if not (endless or cut.seconds):
        return (yield from _whole(file, head, name, max(said, len(head) + length) - len(head)))
    if form is None:
        yield Unread(name, "its samples are coded, and cannot be cut while they come: convert it to PCM")
        return False
    whole = yield from _cut(file, form, None if endless else length, cut, name)
    file.read(min(max(said - len(head) - length - length % 2, 0), LARGEST))  # chunks behind the samples
    return whole


def _form(chunk: bytes) -> Raw | None:
    """What the chunk `fmt ` of a wav says; None for what is not PCM or float."""
    if len(chunk) < 16:
        return None
    coding, channels, rate, _, align, bits = struct.unpack("<HHIIHH", chunk[:16])
    if coding == _EXTENSIBLE and len(chunk) >= 26:
        coding = int.from_bytes(chunk[24:26], "little")
    known = coding in (_PCM, _FLOAT) and channels and rate and bits in (8, 16, 24, 32)
    return Raw(bits // 8, coding, rate, channels) if known and align == channels * bits // 8 else None


def _whole(file: BinaryIO, head: bytes, name: str, more: int) -> Pieces:
    """A file as one clip, of which `more` bytes are to come at most; returns whether all of them came."""
    if len(head) + more > LARGEST + 12:
        yield Unread(name, f"more than {LARGEST >> 20} MB in one piece; {_CUT}")
        return False
    body = file.read(more)
    with _held(head + body) as path:
        yield Clip(name, path)
    return len(body) == more


def _cut(file: BinaryIO, raw: Raw, length: int | None, cut: Cut, name: str = NAME) -> Pieces:
    """Samples as clips; length: bytes there are (None: as many as come).

    A rest at the end that is not half a clip is left out; where clips overlap, one that is no whole clip.
    """
    seconds = cut.seconds or cut.usual
    size, done, held = max(round(seconds * raw.rate), 1) * raw.frame, 0, b""
    step = min(max(round((cut.hop or seconds) * raw.rate), 1) * raw.frame, size)
    if size > LARGEST:
        told = f"{seconds:g} s of {raw.channels} channels at {raw.rate} Hz"
        yield Unread(name, f"a clip, {told}, has more than {LARGEST >> 20} MB: shorter ones by --clip-seconds")
        return False
    least = size if step < size else KEPT * size
    while length is None or done < length:
        wanted = size - len(held) if length is None else min(size - len(held), length - done)
        fresh = file.read(wanted)
        first, body = done - len(held), held + fresh
        at, odd = first / raw.frame / raw.rate, len(body) % raw.frame
        done += len(fresh)
        if len(body) - odd >= (least if first else raw.frame):
            with _held(_header(raw, len(body) - odd) + body[: len(body) - odd]) as path:
                yield Clip(name, path, seconds=at)
        if odd:
            yield Unread(name, "ends in the middle of a sample: is it cut, or are its format or channels others?", at)
        elif length is not None and len(fresh) < wanted:
            yield Unread(name, f"ends early: {done} of {length} bytes came", at)
        if len(fresh) < wanted:
            if done == 0:
                yield Unread(name, "nothing came")
            return False
        held = body[step:]
    if length:
        file.read(length % 2)
    return True


def _header(raw: Raw, length: int) -> bytes:
    form = struct.pack(
        "<HHIIHH", raw.coding, raw.channels, raw.rate, min(raw.rate * raw.frame, 2**32 - 1), raw.frame, 8 * raw.width
    )
    return (
        b"RIFF"
        + struct.pack("<I", 36 + length)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + (struct.pack("<I", length))
    )


@contextmanager
def _held(content: bytes) -> Iterator[str]:
    """The path of a file in memory."""
    handle = os.memfd_create("clip")
    try:
        with open(handle, "wb", closefd=False) as file:
            file.write(content)
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)
