"""Finding the clips of a corpus: folders of machines, or a CSV file that lists recordings."""

from dataclasses import replace
from pathlib import Path

from asdkit.corpus.clips import Corpus, FoundClip, one_spelling, tell_apart, twin_names
from asdkit.corpus.description import Description
from asdkit.corpus.folders import from_conditions, from_folders
from asdkit.corpus.names import STYLES, UNKNOWN
from asdkit.corpus.table import from_csv
from asdkit.corpus.words import suspicious, told
from asdkit.utils.names import checked, choose, composed, on_disk


def find(
    description: Description,
    corpus: str | Path,
    machines: list[str] | None = None,
    sections: list[str] | None = None,
) -> Corpus:
    """Find all clips of a corpus folder or CSV file and read their names; `machines`, `sections` keep only these.

    machines, sections: what was written between commas; a name may hold some. Raises ValueError when there is no
    corpus, a machine or section is missing or lacks clips, or a name cannot be read.
    """
    corpus = Path(on_disk(checked(str(Path(corpus).absolute())), {}))
    if corpus.is_file():
        found = from_csv(corpus)
        if machines is not None:
            wanted = choose(machines, {clip.machine for clip in found.clips}, f"{corpus}: no machine")
            found = replace(found, clips=[clip for clip in found.clips if clip.machine in wanted])
    elif corpus.is_dir():
        read = from_conditions if STYLES[description.name_style].tree else from_folders
        found = read(description, corpus, machines)
    else:
        raise ValueError(f"no corpus: {corpus} does not exist. Give its folder, or a CSV file, with --corpus")
    if not found.clips:
        raise ValueError(f"{corpus}: no recordings in it. {'; '.join(found.notes)}")
    if sections is not None:
        found = _only_sections(found, sections)
    clips = one_spelling(found.clips)
    if renamed := {old.machine for old, new in zip(found.clips, clips, strict=True) if old.machine != new.machine}:
        found.notes.append(f"written in several Unicode forms, taken as one machine: {', '.join(sorted(renamed))}")
    found = replace(found, clips=tell_apart(found.root, clips))
    if twins := twin_names(found.clips):
        found.notes.append(
            f"{twins[0].path!a} and {twins[1].path!a} have one name in two Unicode forms, and count as two clips: is "
            "one a copy?"
        )
    if corpus.is_file():
        _note_contradictions(found)
    _check_splits(found)
    return replace(found, doubt=_doubt(found))


def _only_sections(corpus: Corpus, given: list[str]) -> Corpus:
    wanted = choose(given, {clip.name.section for clip in corpus.clips}, f"{corpus.root}: no section")
    clips = [clip for clip in corpus.clips if clip.name.section in wanted]
    for part in sorted({clip.part for clip in corpus.clips} - {clip.part for clip in clips}):
        corpus.notes.append(f"{part} set left out: it has no clips of the sections {', '.join(given)}")
    return replace(corpus, clips=clips)


def _doubt(corpus: Corpus) -> str | None:
    """Training clips are normal ones; what to say of names that tell otherwise."""
    doubtful = [
        (clip, word)
        for clip in corpus.clips
        if clip.split == "train" and clip.name.condition != "normal" and (word := suspicious(_names(corpus, clip)))
    ]
    if not doubtful:
        return None
    clip, word = min(doubtful, key=lambda found: found[0].path)
    return (
        f"{corpus.root}: {len(doubtful)} training clips are anomalies by their names, such as {clip.path} ({word!r}). "
        "Only normal clips train: move the others to test. If they are normal, say so: let the file's name, or a "
        "folder in train, start with 'normal', or write 'normal' into the CSV file's column 'condition'"
    )


def _note_contradictions(corpus: Corpus) -> None:
    """A CSV file's conditions are believed, whatever names tell; but where they differ there may be a mistake."""
    known = [clip for clip in corpus.clips if clip.name.condition != UNKNOWN]
    if wrong := [c for c in known if {*map(told, _names(corpus, c))} - {UNKNOWN, c.name.condition}]:
        corpus.notes.append(
            f"{len(wrong)} clips have another condition than their names tell, such as {wrong[0].path}: "
            f"{wrong[0].name.condition} is believed"
        )


def _names(corpus: Corpus, clip: FoundClip) -> list[str]:
    """Names that may tell a clip's condition: its file's and those of its folders below the machine's.

    A machine's name may hold any word, but one that starts with an anomaly's is no machine's. Of absolute paths
    outside the corpus the last two folders count.
    """
    path = Path(clip.path)
    if path.is_relative_to(corpus.root):
        path = path.relative_to(corpus.root)
    folders = path.parent.parts[-2:] if path.is_absolute() else path.parent.parts
    below = next((n for n, name in enumerate(folders, 1) if composed(name) == composed(clip.machine)), 0)
    machine = [clip.machine] if told(clip.machine) == "anomaly" else []
    return [*machine, *folders[below:], path.stem]


def _check_splits(corpus: Corpus) -> None:
    """Every machine of a part needs training clips; test clips are given for all of them or for none."""
    for part in sorted({clip.part for clip in corpus.clips}):
        machines = {
            split: {clip.machine for clip in corpus.clips if clip.set == f"{part}_{split}"}
            for split in ("train", "test")
        }
        if lacking := sorted(machines["test"] - machines["train"]):
            raise ValueError(
                f"{corpus.root}: no training clips of {', '.join(lacking)} in the {part} set. Add them, or "
                f"name the machines to prepare with --machines{_unread(corpus)}"
            )
        if machines["test"] and (lacking := sorted(machines["train"] - machines["test"])):
            raise ValueError(
                f"{corpus.root}: no test clips of {', '.join(lacking)} in the {part} set, but of other "
                f"machines. Add them, or name the machines to prepare with --machines{_unread(corpus)}"
            )
        if not machines["test"]:
            corpus.notes.append(f"the {part} set has no test clips")
        _note_sections(corpus, part)


def _unread(corpus: Corpus) -> str:
    """What was found but not read, for the end of a message."""
    return "".join(f"; {note}" for note in corpus.notes if note.startswith("ignored") and "recordings" in note)


def _note_sections(corpus: Corpus, part: str) -> None:
    lacking: dict[str, set[str]] = {}
    trained = {(clip.machine, clip.name.section) for clip in corpus.clips if clip.set == f"{part}_train"}
    for clip in corpus.clips:
        if clip.set == f"{part}_test" and (clip.machine, clip.name.section) not in trained:
            lacking.setdefault(clip.machine, set()).add(clip.name.section)
    for machine, sections in sorted(lacking.items()):
        corpus.notes.append(
            f"no training clips of {machine}, sections {', '.join(sorted(sections))} in the {part} set: a detector per "
            "section (score.per_section) will refuse them. --sections names the sections to prepare"
        )
