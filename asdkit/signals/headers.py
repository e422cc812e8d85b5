"""What the headers of a wav say, against what the file holds. libsndfile passes over most of what is wrong there."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CODINGS = {1: "PCM", 2: "MS ADPCM", 3: "float", 6: "A-law", 7: "mu-law", 0x11: "IMA ADPCM"}  # seek to the sample
_OTHERS = {0x31: "GSM 6.10", 0x40: "G.721", 0x45: "G.726", 0x50: "MPEG", 0x55: "mp3", 0xFF: "AAC", 0xF1AC: "flac"}
_EXTENSIBLE = 0xFFFE  # the coding stands in a GUID
_ADPCM = (2, 0x11)
_W64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_STARTS_A_FILE = (b"data", b"RIFF", b"RIFX", b"RF64", b"riff", b"fLaC")  # after the samples: more samples
_PADDING = 1 << 20  # bytes to the end of a block of a disk
_TAGS = (b"ID3", b"TAG", b"APE")  # music players' tags, outside the chunks


@dataclass
class Wav:
    """What counts of a wav's header; lengths in bytes.

    coding: format tag. align: bytes of one sample of all channels, or of a block. held: bytes of samples. said:
    samples that the chunk 'fact' tells.
    """

    coding: int = 0
    align: int = 0
    block: int = 0  # samples of a block of ADPCM
    said: int = 0
    held: int = 0

    def frames(self, found: int, path: str | Path) -> int:
        """How many samples there are, where libsndfile finds `found`; it takes filling and other chunks for samples.

        Raises ValueError naming the file where it finds fewer than there are.
        """
        if self.coding in _ADPCM:  # the last block is filled up
            return self.said if found - self.block < self.said < found else found
        there = self.held // self.align
        if found < there:
            raise ValueError(
                f"{path}: {found} samples can be read of the {there} that it holds: its header is damaged, or it is "
                "too long for a wav: sox --ignore-length in.wav out.wav trim 0 3600 : newfile : restart"
            )
        return there


@dataclass
class _Form:
    """How a kind of wav lays out its chunks: an id of `name` bytes and a length of `size` bytes."""

    file: io.FileIO
    end: int  # length of the file
    order: str = "little"
    wide: bool = False  # Wave64: 16-byte ids, 8-byte lengths that count themselves, chunks begin at multiples of 8
    large: list[int] = field(default_factory=list)  # RF64: the lengths that did not fit

    def chunk(self, position: int) -> tuple[bytes, int, int] | None:
        """Id, first byte and length of the content of the chunk at `position`; None where there is none."""
        self.file.seek(position)
        head = self.file.read(24 if self.wide else 8)
        if self.wide:
            length = int.from_bytes(head[16:], "little") - 24
            return (head[:4], position + 24, length) if len(head) == 24 and length >= 0 else None
        named = len(head) == 8 and all(32 <= byte < 127 for byte in head[:4])
        return (head[:4], position + 8, int.from_bytes(head[4:], self.order)) if named else None  # type: ignore[arg-type]

    def padded(self, position: int) -> int:
        """Where the next chunk begins."""
        return position + -position % (8 if self.wide else 2)

    def chunks(self, position: int) -> Iterator[tuple[bytes, int, int]]:
        """The chunks from `position` on, up to the first that is none; some writers leave the padding out."""
        found = self.chunk(position)
        while found:
            yield found
            after = found[1] + found[2]
            found = self.chunk(self.padded(after)) or self.chunk(after)


def read_wav(file: io.FileIO, size: int, start: int, path: str | Path) -> Wav:
    """Check the header at byte `start` of a wav (RIFF, RIFX, RF64, Wave64) of `size` bytes.

    Raises ValueError naming the file where its samples are not all there, where there are more than the header says, or
    where they are coded so that no part of them can be read.
    """
    file.seek(start)
    head, form, wav = file.read(16), _Form(file, size), Wav()
    form.wide = head == _W64
    form.order = "big" if head[:4] == b"RIFX" else "little"
    for name, begin, length in form.chunks(start + (40 if form.wide else 12)):
        file.seek(begin)
        if name == b"ds64":
            form.large = [int.from_bytes(file.read(8), "little") for _ in range(3)]
        elif name == b"fmt ":
            _read_format(file.read(min(length, 40)), form.order, wav, path)
        elif name == b"fact":
            wav.said = int.from_bytes(file.read(min(length, 4)), form.order)  # type: ignore[arg-type]
        elif name == b"data":
            if not wav.align:
                raise ValueError(f"{path}: not a readable wav or flac file: its samples come before their format")
            if form.large and length == 0xFFFFFFFF:
                length = form.large[1]
            wav.held = _held(form, begin, length, path)
            return wav
    raise ValueError(f"{path}: not a readable wav or flac file: its header tells of no samples (no chunk 'data')")


def _read_format(chunk: bytes, order: str, wav: Wav, path: str | Path) -> None:
    def number(first: int) -> int:
        return int.from_bytes(chunk[first : first + 2], order)  # type: ignore[arg-type]

    wav.coding = number(24) if number(0) == _EXTENSIBLE else number(0)
    wav.align, wav.block = max(number(12), 1), number(18)
    if wav.coding not in CODINGS:
        name = _OTHERS.get(wav.coding, "unknown")
        raise ValueError(
            f"{path}: its samples are coded (format {wav.coding:#x}, {name}), and no part of them can be read by "
            "itself: convert it to PCM, as by: ffmpeg -i in.wav -c:a pcm_s16le out.wav"
        )


def _held(form: _Form, begin: int, said: int, path: str | Path) -> int:
    there = form.end - begin
    if _placeholder(form, said):
        return there
    if said > there:
        raise ValueError(f"{path}: truncated: the header promises {said} bytes of samples, the file holds {there}")
    if not _harmless(form, begin + said):
        _refuse_rest(form, said, there, path)
    return said


def _placeholder(form: _Form, said: int) -> bool:
    # Written by what cannot know the length, into a pipe: 0xffffffff by ffmpeg, 0x80000000 by arecord, 0x7ffff000 or a
    # multiple of the samples' bytes just below by SoX.
    if form.wide or form.large:
        return said >= 2**62 - 24
    return 0x7FFFF000 - 64 <= said <= 0x80000000 or said >= 0xFFFFFF00


def _refuse_rest(form: _Form, said: int, there: int, path: str | Path) -> None:
    parts = " trim 0 3600 : newfile : restart" if there >= 2**32 else ""
    mend = "" if form.wide or form.large else f", as by: sox --ignore-length in.wav out.wav{parts}"
    if said == 0:
        raise ValueError(
            f"{path}: its header was never closed (the recorder lost power?): it says 0 bytes of samples, {there} "
            f"bytes follow. Write it again with its length{mend}"
        )
    raise ValueError(
        f"{path}: its header says {said} bytes of samples, but {there - said} bytes follow them that are no whole "
        f"chunks, {there} in all. Write it again with its length{mend}"
    )


def _harmless(form: _Form, position: int) -> bool:
    # Whether what follows the samples is chunks, tags, zeros, or too little to be a chunk.
    rest = form.end - position
    if rest < 8 or any(_only_chunks(form, start) for start in {position, form.padded(position)}):
        return True
    form.file.seek(position)
    if form.file.read(3) in _TAGS:
        return True
    form.file.seek(position)
    return rest <= _PADDING and not form.file.read().strip(b"\0")


def _only_chunks(form: _Form, position: int) -> bool:
    after = position
    for name, begin, length in form.chunks(position):
        after = begin + length
        if name in _STARTS_A_FILE or after > form.end:
            return False
    return form.end - form.padded(after) < 8
