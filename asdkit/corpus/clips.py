"""The clips of a corpus as they were found, and their ids."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from asdkit.corpus.names import ClipName
from asdkit.utils.files import sha256_text
from asdkit.utils.names import composed, one_form

SUPPLEMENTAL_COLUMNS = ("wav", "machine", "part", "kind")


@dataclass(frozen=True, slots=True)
class FoundClip:
    """A recording of the corpus. part: dev|eval, split: train|test, path: from the corpus root, bytes: its size.

    id: what tells it apart from the others of its machine and split; none: the file's name without its ending.
    """

    part: str
    machine: str
    split: str
    path: str
    bytes: int
    name: ClipName
    id: str | None = None

    @property
    def set(self) -> str:
        """dev_train, dev_test, eval_train or eval_test."""
        return f"{self.part}_{self.split}"

    @property
    def utt(self) -> str:
        """The clip's id in all lists."""
        return f"{self.machine}-{self.split}-{self.id or _stem(self.path)}"


@dataclass(frozen=True)
class Corpus:
    """What was found: the root that paths start from, the clips, and lines about what was left out.

    supplemental: rows of SUPPLEMENTAL_COLUMNS, clips that no set holds. doubt: what the names of training clips tell
    against them.
    """

    root: Path
    clips: list[FoundClip]
    notes: list[str]
    supplemental: list[dict[str, str]] = field(default_factory=list)
    doubt: str | None = None

    def digest(self) -> str:
        """SHA-256 over the sorted paths and sizes of all clips."""
        lines = [f"{clip.path}\t{clip.bytes}" for clip in self.clips] + [row["wav"] for row in self.supplemental]
        return sha256_text("\n".join(sorted(lines)))


def joined(folders: Iterable[str], stem: str) -> str:
    """An id from a clip's folders and its file's name without ending; white space of folders becomes `_`."""
    return "-".join([*("_".join(folder.split()) for folder in folders), stem])


def tell_apart(root: Path, clips: list[FoundClip]) -> list[FoundClip]:
    """Clips whose ids take in their folders, those below what all have in common, where file names repeat.

    All clips of a machine and split have such ids, or none has; where no set holds two of one name, none.
    """
    counts = Counter((clip.set, clip.machine, clip.split, clip.utt) for clip in clips)
    folders: dict[tuple[str, str], list[str]] = {key[1:3]: [] for key, count in counts.items() if count > 1}
    if not folders:
        return clips
    for clip in clips:
        if (clip.machine, clip.split) in folders:
            folders[clip.machine, clip.split].append(_folder(root, clip))
    common = {key: os.path.commonpath(own) for key, own in folders.items()}
    return [_with_folders(root, clip, common.get((clip.machine, clip.split))) for clip in clips]


def _with_folders(root: Path, clip: FoundClip, common: str | None) -> FoundClip:
    if common is None or clip.id is not None:
        return clip
    below = os.path.relpath(_folder(root, clip), common)
    return replace(clip, id=joined(below.split("/") if below != "." else (), _stem(clip.path)))


def _folder(root: Path, clip: FoundClip) -> str:
    return os.path.dirname(os.path.normpath(os.path.join(root, clip.path)))


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def one_spelling(clips: list[FoundClip]) -> list[FoundClip]:
    """Clips whose machines, sections and attributes are one where they differ in Unicode form alone."""
    machines = one_form(clip.machine for clip in clips)
    sections = one_form(clip.name.section for clip in clips)
    attrs = one_form(clip.name.attr for clip in clips)
    if all(old == new for forms in (machines, sections, attrs) for old, new in forms.items()):
        return clips
    return [
        replace(
            clip,
            machine=machines[clip.machine],
            name=replace(clip.name, section=sections[clip.name.section], attr=attrs[clip.name.attr]),
        )
        for clip in clips
    ]


def twin_names(clips: list[FoundClip]) -> tuple[FoundClip, FoundClip] | None:
    """Two clips of a set whose ids differ in Unicode form alone, or None."""
    seen: dict[tuple[str, str], FoundClip] = {}
    for clip in clips:
        if not clip.utt.isascii():
            other = seen.setdefault((clip.set, composed(clip.utt)), clip)
            if other.utt != clip.utt:
                return other, clip
    return None
