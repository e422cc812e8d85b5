"""What is to be judged: files, folders and lists become clips, and a clip becomes samples."""

import math
import os
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from asdkit.signals.audio import AudioReader
from asdkit.signals.files import is_other_sound, is_recording, told, walk
from asdkit.signals.formats import SOUND, SUFFIXES, open_signal
from asdkit.utils.names import composed, shown

MOST = 3e7  # numbers in the filters of a rate: those of recorders have a hundredth of it
KEPT = 0.5  # of a clip: a shorter rest at the end of a recording is left out
_SECTION = re.compile(r"(?:^|_)(?:section|id)_(\d\d)(?:_|\.|$)")

Key = tuple[str, str]  # machine, section


class Clip(NamedTuple):
    """A clip to be judged: `count` samples from `first` on (None: all) of the file `path`, at the rate that is read.

    name: for people; seconds: when it begins, of its recording or stream.
    """

    name: str
    path: str
    first: int = 0
    count: int | None = None
    seconds: float = 0.0


class Unread(NamedTuple):
    """What cannot be judged, and why."""

    name: str
    why: str
    seconds: float = 0.0


class Heard(NamedTuple):
    """samples [T] as the network's reader gives them; raw [T'] as they were recorded, at `rate` Hz, full scale 1.

    form: how the file holds them (PCM_16, FLOAT, ...; empty where that is not told). seconds: how long.
    """

    samples: np.ndarray
    raw: np.ndarray
    rate: int
    channels: int
    form: str
    seconds: float


@dataclass(frozen=True)
class Ears:
    """Reads clips by a bundle's `reader`, as its experiment did; `reading`: what its header says."""

    reading: dict[str, Any]
    reader: AudioReader

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the names that count as recordings in a folder."""
        return SUFFIXES if self.reader.signal else SOUND

    def pieces(self, path: str, name: str, clip_seconds: float | None, hop: float | None = None) -> Iterator[Clip]:
        """A file as clips of so many seconds, or as one; hop: seconds from one to the next (None: they do not overlap).

        A rest that is not half a clip is left out; where clips overlap, one that is no whole clip. Raises ValueError
        naming a file that cannot be read.
        """
        if clip_seconds is None:
            yield Clip(name, path)
            return
        self._check(path)
        total, size = self.reader.length(path), round(clip_seconds * self.reading["rate"])
        step = min(max(round((hop or clip_seconds) * self.reading["rate"]), 1), size)
        least = size if step < size else KEPT * size
        for first in range(0, total, step):
            count = min(size, total - first)
            if first == 0 or count >= least:
                yield Clip(name, path, first, count, first / self.reading["rate"])

    def hear(self, clip: Clip) -> Heard:
        """A clip's samples. Raises ValueError naming a file that is broken, or is not what the bundle reads."""
        self._check(clip.path)
        rate, channel = self.reading["rate"], self.reading["channel"] or 0
        samples = self.reader.read(clip.path, clip.first, -1 if clip.count is None else clip.count)
        with open_signal(clip.path, self.reader.signal) as recording:
            first = clip.first * recording.rate // rate
            last = recording.frames
            if clip.count is not None:
                last = min(last, -(-(clip.first + clip.count) * recording.rate // rate))
            blocks = [block[:, channel] for block in recording.blocks(first, last)]
            form = getattr(getattr(recording, "file", None), "subtype", "")
            full = self.reader.signal and self.reader.signal.full_scale
            raw = np.concatenate(blocks) / np.float32(full or 1)
            return Heard(samples, raw, recording.rate, recording.channels, form, len(samples) / rate)

    def _check(self, path: str) -> None:
        """Raise ValueError, saying what to do here, for a file that the reader would refuse."""
        told = self.reading
        with open_signal(path, self.reader.signal) as recording:
            if recording.rate != told["rate"] and not told["resample"]:
                raise ValueError(
                    f"{path}: {recording.rate} samples a second, the bundle was made from recordings of "
                    f"{told['rate']}: record at {told['rate']} Hz, or convert: sox in.wav -r {told['rate']} out.wav"
                )
            if _work(recording.rate, told["rate"]) > MOST:
                raise ValueError(f"{path}: {recording.rate} samples a second is no rate of a recorder: it is damaged")
            if told["channel"] is None and recording.channels > 1:
                raise ValueError(
                    f"{path}: {recording.channels} channels, the bundle was made from recordings of one: "
                    "take one out: sox in.wav out.wav remix 1"
                )
            needed = max(told["channel"] or 0, (told["reference_channel"] or 0) * (told["reference"] != "none"))
            if needed >= recording.channels:
                raise ValueError(
                    f"{path}: has {recording.channels} channel{'s' * (recording.channels > 1)}, the bundle was made "
                    f"from channel {needed} (0 is first)"
                )


def _work(old: int, new: int) -> float:
    """Numbers that the filters from one rate to another have, about."""
    slower = max(old / new, 1.0)
    return 0 if old == new else new / math.gcd(old, new) * 4 * 64 * slower


def find(
    paths: Iterable[str], ears: Ears, clip_seconds: float | None, hop: float | None = None
) -> Iterator[Clip | Unread]:
    """The clips of files and folders, in order, and what of them cannot be read; hop as for `Ears.pieces`."""
    for path in paths:
        if not os.path.isdir(path):
            yield from _pieces(path, ears, clip_seconds, hop)
            continue
        count, closed = 0, []
        for _, entry in walk(path, closed):
            if is_recording(entry.name, ears.suffixes):
                count += 1
                yield from _pieces(entry.path, ears, clip_seconds, hop)
            elif is_other_sound(entry.name):
                count += 1
                yield other_sound(entry.path, ears)
        for folder, error in closed:
            yield Unread(folder, f"a folder that cannot be read: {error.strerror}")
        if not (count or closed):
            yield Unread(path, f"a folder without recordings ({told(ears.suffixes)})")


def other_sound(path: str, ears: Ears) -> Unread:
    """What is told of sound in a format that is not read."""
    convert = "convert it, as by: ffmpeg -i in -c:a pcm_s16le out.wav"
    return Unread(path, f"in a format that is not read ({told(ears.suffixes)} are): {convert}")


def _pieces(path: str, ears: Ears, clip_seconds: float | None, hop: float | None) -> Iterator[Clip | Unread]:
    try:
        yield from ears.pieces(path, path, clip_seconds, hop)
    except (ValueError, OSError) as error:
        yield Unread(path, why(error, path))


def why(error: Exception, path: str, name: str | None = None) -> str:
    """An error's message without the file's name in front of it."""
    text = str(error).removeprefix(f"{path}: ").removeprefix(f"{shown(path)}: ")
    return text.replace(path, name or path).replace("\n", " ")


def read_list(lines: Iterable[bytes]) -> Iterator[str]:
    """Paths of a list, one a line, as bytes, for names may be no text; empty lines are passed over."""
    for number, line in enumerate(lines):
        if path := (line.removeprefix(BOM_UTF8) if number == 0 else line).rstrip(b"\r\n"):
            yield os.fsdecode(path)


def belongs(path: str, known: list[Key], machine: str | None, section: str | None) -> Key:
    """The machine and section of a recording: as given, the only one there is, or as its folders and name say.

    known: those of the bundle. Raises ValueError where that leaves a choice, or there is no such machine.
    """
    machines = list(dict.fromkeys(one for one, _ in known))
    chosen = _machine(path, machines, machine)
    sections = [own for one, own in known if one == chosen]
    if sections == ["-"]:
        return chosen, "-"
    if section is None and len(sections) > 1:
        match = _SECTION.search(os.path.basename(path))
        section = match[1] if match else None
    found = sections[0] if section is None and len(sections) == 1 else section
    if found not in sections:
        got = "which section it belongs to is not told" if found is None else f"there is no section {found!r}"
        raise ValueError(f"{got}: name one of {chosen}'s, --section {' or '.join(sections)}")
    return chosen, found


def _machine(path: str, machines: list[str], given: str | None) -> str:
    forms = {composed(name): name for name in machines}
    if given is not None:
        if composed(given) not in forms:
            raise ValueError(f"--machine {given}: the bundle knows {', '.join(machines)}")
        return forms[composed(given)]
    if len(machines) == 1:
        return machines[0]
    for part in reversed(os.path.abspath(path).split(os.sep)[:-1]):
        if composed(part) in forms:
            return forms[composed(part)]
    stem = composed(os.path.basename(path))
    starts = [form for form in forms if re.match(re.escape(form) + r"(?![^\W\d_])", stem)]
    if not starts:
        raise ValueError(
            f"which machine it belongs to is not told by its folders or name: --machine {' or '.join(machines)}"
        )
    return forms[max(starts, key=len)]
