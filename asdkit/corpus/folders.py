"""A corpus as folders of machines."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from asdkit.corpus.clips import Corpus, FoundClip, joined
from asdkit.corpus.description import Description, PartDescription
from asdkit.corpus.names import PARTS, STYLES, UNKNOWN, ClipName, check_name, parse_name
from asdkit.corpus.table import size
from asdkit.corpus.words import told
from asdkit.signals.files import Left, entries, is_junk, is_recording, recordings, walk
from asdkit.utils.names import choose, composed, on_disk, shown

_SNR = re.compile(r"(?P<minus>-|min)?(?P<snr>\d+)_?dB_?")


def from_folders(description: Description, corpus: Path, machines: list[str] | None) -> Corpus:
    """The clips below the folders of machines that the description's parts have; `machines` keeps only these.

    Raises ValueError when there is none, a machine is missing, or a name cannot be read.
    """
    notes: list[str] = []
    style = description.name_style
    bases = dict(_bases(description, corpus, notes))
    there = {}
    for part, (base, chosen) in bases.items():
        there[part] = _machines(base, chosen, machines is None, description, notes)
    found = {machine for names in there.values() for machine in names}
    if not found:
        looks = [f"found in {base}: {_what_is_there(base, description.suffixes)}" for base, _ in bases.values()]
        kind = description.suffixes[0]
        raise ValueError(
            f"no corpus in {corpus}: expected <machine>/train/*{kind} and <machine>/test/*{kind}. "
            f"{'; '.join(looks or notes)}. egs/mimii reads <machine>/id_<nn>/{{normal,abnormal}}/*.wav; for another "
            "layout list the recordings in a CSV file"
        )
    wanted = found if machines is None else choose(machines, found, f"{corpus}: no machine")
    clips: list[FoundClip] = []
    supplemental: list[dict[str, str]] = []
    for part, (base, _) in bases.items():
        for machine in there[part]:
            if machine in wanted:
                clips += _machine_clips(corpus, base / machine, part, description, notes)
                supplemental += _supplemental(corpus, base / machine, part, description.suffixes, notes)
    if STYLES[style].deep and (told_of := Counter(c.name.condition for c in clips if c.split == "test")):
        words = {"normal": "normal", "anomaly": "anomalous", UNKNOWN: "unknown"}
        notes.append(f"test clips by their names: {', '.join(f'{told_of[key]} {words[key]}' for key in words)}")
    return Corpus(corpus, clips, notes, supplemental)


def from_conditions(description: Description, corpus: Path, machines: list[str] | None) -> Corpus:
    """The clips of a layout that sorts them by condition alone (`Style.tree`), split as the makers of MIMII do.

    Of each machine and section, the test part takes all anomalous clips and as many normal ones, the first by name; the
    other normal clips train. Raises ValueError when a section has no more normal clips than that.
    """
    style = STYLES[description.name_style]
    assert style.tree
    notes: list[str] = []
    groups: dict[tuple[str, str, str], dict[str, list[tuple[str, str]]]] = {}
    for part, (base, _) in dict(_bases(description, corpus, notes)).items():
        left = Left(base, description.suffixes)
        for folders, entry in recordings(base, left):
            match = style.tree.fullmatch("/".join((*folders, entry.name)))
            if match is None:
                left.add(entry.path)
                continue
            condition = told(match["condition"])
            key = part, _with_snr(match["machine"], folders[:-2]), match["section"]
            places = groups.setdefault(key, {"normal": [], "anomaly": []})[condition]
            places.append((entry.path, match["id"].replace("/", "-")))
        notes += left.notes()
    if not groups:
        raise ValueError(
            f"no corpus in {corpus}: expected {style.example}. Found: {_what_is_there(corpus, description.suffixes)}"
        )
    known = {machine for _, machine, _ in groups}
    wanted = known if machines is None else choose(machines, known, f"{corpus}: no machine")
    clips: list[FoundClip] = []
    for (part, machine, section), found in sorted(groups.items()):
        if machine in wanted:
            clips += _split(corpus, part, machine, section, found)
    return Corpus(corpus, clips, notes)


def _split(
    corpus: Path, part: str, machine: str, section: str, found: dict[str, list[tuple[str, str]]]
) -> Iterator[FoundClip]:
    tests = len(found["anomaly"])
    if len(found["normal"]) <= tests:
        raise ValueError(
            f"{corpus}: {machine}, section {section}: {len(found['normal'])} normal and {tests} anomalous clips. The "
            "test part takes as many normal clips as there are anomalous ones, which leaves none to train on: list the "
            "recordings in a CSV file to split them otherwise"
        )
    for condition, places in found.items():
        for number, (path, name) in enumerate(sorted(places)):
            split = "test" if condition == "anomaly" or number < tests else "train"
            told_by = ClipName(section, "source", split, condition, UNKNOWN)
            yield FoundClip(part, machine, split, os.path.relpath(path, corpus), size(path), told_by, name)


def _with_snr(machine: str, folders: tuple[str, ...]) -> str:
    """`fan` or `6_dB_fan` below `-6_dB_fan` -> `fan_min6dB`, as MIMII's makers name their results."""
    for folder in reversed(folders):  # the machine's own first
        if match := _SNR.match(folder):
            return f"{_SNR.sub('', machine)}_{'min' if match['minus'] else ''}{match['snr']}dB"
    return machine


def _bases(
    description: Description, corpus: Path, notes: list[str]
) -> Iterator[tuple[str, tuple[Path, PartDescription]]]:
    for part in PARTS:
        chosen = getattr(description.sets, part)
        if chosen is None:
            continue
        base = Path(on_disk(str(corpus / chosen.path), {}))
        if not base.is_dir():
            notes.append(f"{part} set left out: there is no folder {base}")
            continue
        yield part, (base / "raw" if (base / "raw").is_dir() else base, chosen)


def _machines(
    base: Path, chosen: PartDescription, all_needed: bool, description: Description, notes: list[str]
) -> list[str]:
    """The machines of a part that are on disk; all that the description lists must be there if `all_needed`."""
    style, kinds = description.name_style, description.suffixes
    inside = [entry for entry in entries(base) if not is_junk(entry.name)]
    folders = sorted(entry.name for entry in inside if entry.is_dir())
    found = [name for name in folders if any(_split_folders(base / name, style))]
    listed = None if chosen.machines is None else {composed(name) for name in chosen.machines}
    names = [name for name in found if listed is None or composed(name) in listed]
    missing = [name for name in chosen.machines or () if composed(name) not in {composed(name) for name in names}]
    if missing and all_needed:
        raise ValueError(
            f"{base}: the machine {missing[0]!r} of the dataset description is missing. Found: "
            f"{', '.join(found) or 'nothing'}. Use --machines to prepare only some"
        )
    ignored = [name for name in folders if name not in names and (listed is None or composed(name) not in listed)]
    if ignored:
        counts = [
            (shown(name), sum(is_recording(entry.name, kinds) for _, entry in walk(base / name))) for name in ignored
        ]
        lines = [f"{name} ({count} recordings)" if count else name for name, count in counts]
        notes.append(f"ignored in {base}: {', '.join(lines)}")
    if loose := [entry.name for entry in inside if is_recording(entry.name, kinds) and not entry.is_dir()]:
        notes.append(f"ignored: {len(loose)} recordings in {base} itself, such as {shown(min(loose))}")
    return names


def _split_folders(folder: Path, style: str) -> Iterator[tuple[str, str]]:
    """Name and lower-case name of the folders of a machine that hold its training or test clips."""
    for entry in entries(folder):
        if entry.name.lower() in STYLES[style].folders and entry.is_dir():
            yield entry.name, entry.name.lower()


def _machine_clips(
    corpus: Path, folder: Path, part: str, description: Description, notes: list[str]
) -> Iterator[FoundClip]:
    style, kinds = description.name_style, description.suffixes
    rules, left, read = STYLES[style], Left(folder, kinds), dict(_split_folders(folder, style))
    for entry in entries(folder):
        if entry.is_dir() and not is_junk(entry.name) and entry.name != "supplemental" and entry.name not in read:
            for _, other in recordings(entry.path, Left(folder, kinds)):
                left.add(other.path)
        elif is_recording(entry.name, kinds):
            left.add(entry.path, "that lie beside its folders")
    for name, sub in read.items():
        for folders, entry in recordings(folder / name, left):
            if folders and not rules.deep:
                left.add(entry.path)
                continue
            stem = os.path.splitext(entry.name)[0]
            clip = parse_name(stem, style, entry.path)
            if rules.deep:
                clip = replace(clip, condition=_condition(clip.condition, (*folders, stem), entry.path))
            # A style that reads sub-folders has its training clips checked together, for there are many such words.
            check_name(replace(clip, condition=UNKNOWN) if rules.deep else clip, sub, style, entry.path)
            path, split = os.path.relpath(entry.path, corpus), rules.folders[sub]
            own = joined(folders, stem) if folders else None
            yield FoundClip(part, folder.name, split, path, size(entry.path), clip, own)
    notes += left.notes()


def _condition(condition: str, names: tuple[str, ...], where: str) -> str:
    """What a clip's name (condition) and `names`, its folders and itself, tell of it."""
    found = {condition, *map(told, names)} - {UNKNOWN}
    if len(found) > 1:
        raise ValueError(f"{where}: its names tell both normal and anomaly: rename the folder or the file")
    return found.pop() if found else UNKNOWN


def _supplemental(
    corpus: Path, folder: Path, part: str, kinds: tuple[str, ...], notes: list[str]
) -> list[dict[str, str]]:
    """Clips of the clean machine, or of the noise alone (their names say so)."""
    found = sorted((folder / "supplemental").glob("*")) if (folder / "supplemental").is_dir() else []
    found = [path for path in found if is_recording(path.name, kinds)]
    if found:
        notes.append(f"ignored: {len(found)} supplemental clips in {folder}; supplemental.tsv lists them")
    return [
        {
            "wav": os.path.relpath(path, corpus),
            "machine": folder.name,
            "part": part,
            "kind": "noise" if "noise" in path.stem else "machine",
        }
        for path in found
    ]


def _what_is_there(base: Path, kinds: tuple[str, ...]) -> str:
    """The folders with recordings below one, the first three, for messages."""
    found = Counter("/".join(folders) or "." for folders, entry in walk(base) if is_recording(entry.name, kinds))
    if not found:
        return f"no {' or '.join(kind[1:] for kind in kinds)}"
    some = ", ".join(f"{shown(name)}/*{kinds[0]} ({number})" for name, number in sorted(found.items())[:3])
    return some + (f" and {len(found) - 3} more folders" if len(found) > 3 else "")
