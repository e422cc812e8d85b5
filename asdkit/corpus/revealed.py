"""Attributes that the released file names hide, as the organisers told them after the challenge."""

import logging
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from asdkit.corpus.clips import Corpus, FoundClip
from asdkit.corpus.description import Dataset
from asdkit.corpus.names import UNKNOWN, parse_name
from asdkit.corpus.truth import add_row, digest, join_rows, lines

COLUMNS = ["source_file_name", "target_file_name"]


def reveal(corpus: Corpus, dataset: Dataset) -> Corpus:
    """The corpus with attributes of training clips from the organisers' files below dataset.revealed_attributes.

    A machine (section) needs its file when none of its training names has an attribute, and is left as it is otherwise:
    <path of the set>/<machine>/attributes_<section>_train_correspondence.csv with the columns source_file_name (with
    attributes) and target_file_name (as released). Raises ValueError, naming the file, where it is missing, a clip has
    no row or two, a row no clip, or the two names tell different things; and where no attribute is hidden.
    """
    groups: dict[tuple[str, str, str], list[FoundClip]] = defaultdict(list)
    for clip in corpus.clips:
        if clip.split == "train":
            groups[clip.part, clip.machine, clip.name.section].append(clip)
    hidden = {key: own for key, own in sorted(groups.items()) if all(clip.name.attr == UNKNOWN for clip in own)}
    folder = dataset.revealed_attributes
    if not hidden:
        raise ValueError(f"--revealed-attributes {folder}: no machine hides its attributes. Leave the option out")
    attrs: dict[str, str] = {}  # by the clip's path
    for (part, machine, section), own in hidden.items():
        place = Path(folder, getattr(dataset.sets, part).path, machine)
        attrs |= _attributes(own, place / f"attributes_{section}_train_correspondence.csv", dataset.name_style)
    clips = [replace(c, name=replace(c.name, attr=attrs.get(c.path, c.name.attr))) for c in corpus.clips]
    machines = ", ".join(sorted({machine for _, machine, _ in hidden}))
    logging.info("attributes of %s from %s: told after the challenge, unknown to its participants", machines, folder)
    return replace(corpus, clips=clips)


def digest_revealed(folder: str) -> str:
    """SHA-256 over names and contents of the files that `reveal` may read, `-` where there is no such folder."""
    return digest(Path(folder), "**/attributes_*_train_correspondence.csv")


def _attributes(clips: list[FoundClip], path: Path, style: str) -> dict[str, str]:
    if not path.is_file():
        raise ValueError(
            f"--revealed-attributes: {path} is missing, and names of {clips[0].machine} tell no attributes. Give the "
            "folder that holds the sets' folders, or name the machines that it has with --machines"
        )
    rows: dict[str, tuple[str, ...]] = {}
    for number, fields in lines(path):
        if len(fields) != 2 or (number == 1 and fields != COLUMNS):
            expected = f"the header {','.join(COLUMNS)!r}" if number == 1 else "name with attributes,released name"
            raise ValueError(f"{path}:{number}: expected {expected}, got {','.join(fields)!r}")
        if number > 1:
            add_row(rows, fields[::-1], f"{path}:{number}")
    joined = join_rows(clips, rows, path)
    return {clip.path: _attribute(clip, joined[clip.utt][0], path, style) for clip in clips}


def _attribute(clip: FoundClip, source: str, path: Path, style: str) -> str:
    told = parse_name(source.removesuffix(".wav"), style, f"{path}: {source}")
    if replace(told, attr=UNKNOWN) != clip.name:
        raise ValueError(
            f"{path}: {source!r} is to stand for {Path(clip.path).name!r}, but their sections, domains, splits or "
            "conditions differ. Fetch the file again"
        )
    return told.attr
