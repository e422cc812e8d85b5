"""Finding the clips of a corpus: folders of machines, or a CSV file that lists recordings."""

import csv
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from asdkit.corpus.description import Description, PartDescription
from asdkit.corpus.names import PARTS, STYLES, UNKNOWN, ClipName, check_name, parse_name
from asdkit.signals.audio import SUFFIXES
from asdkit.utils.files import read_text, sha256_text

SUPPLEMENTAL_COLUMNS = ("wav", "machine", "part", "kind")
CSV_COLUMNS = ("path", "machine", "split", "condition", "domain", "attributes", "section", "set")


@dataclass(frozen=True)
class FoundClip:
    """A recording of the corpus. part: dev|eval, split: train|test, path: from the corpus root, bytes: its size."""

    part: str
    machine: str
    split: str
    path: str
    bytes: int
    name: ClipName

    @property
    def set(self) -> str:
        """dev_train, dev_test, eval_train or eval_test."""
        return f"{self.part}_{self.split}"

    @property
    def utt(self) -> str:
        """The clip's id."""
        return f"{self.machine}-{self.split}-{os.path.splitext(os.path.basename(self.path))[0]}"


@dataclass(frozen=True)
class Corpus:
    """What was found: the root that paths start from, the clips, and lines about what was left out.

    supplemental: rows of SUPPLEMENTAL_COLUMNS, clips that no set holds.
    """

    root: Path
    clips: list[FoundClip]
    notes: list[str]
    supplemental: list[dict[str, str]] = field(default_factory=list)

    def digest(self) -> str:
        """SHA-256 over the sorted paths and sizes of all clips."""
        lines = [f"{clip.path}\t{clip.bytes}" for clip in self.clips] + [row["wav"] for row in self.supplemental]
        return sha256_text("\n".join(sorted(lines)))


def find(
    description: Description,
    corpus: str | Path,
    machines: list[str] | None = None,
    sections: list[str] | None = None,
) -> Corpus:
    """Find all clips of a corpus folder or CSV file and read their names; `machines`, `sections` keep only these.

    Raises ValueError when there is no corpus, a machine or section is missing or lacks clips, or a name cannot be read.
    """
    corpus = Path(corpus).absolute()
    if corpus.is_file():
        found = _from_csv(corpus, machines)
    elif corpus.is_dir():
        found = _from_folders(description, corpus, machines)
    else:
        raise ValueError(f"no corpus: {corpus} does not exist. Give its folder, or a CSV file, with --corpus")
    if not found.clips:
        raise ValueError(f"{corpus}: no recordings in it. {'; '.join(found.notes)}")
    if sections is not None:
        found = _only_sections(found, sections)
    _check_splits(found)
    return found


def _from_folders(description: Description, corpus: Path, machines: list[str] | None) -> Corpus:
    clips: list[FoundClip] = []
    notes: list[str] = []
    supplemental: list[dict[str, str]] = []
    found: set[str] = set()
    for part in PARTS:
        chosen = getattr(description.sets, part)
        if chosen is None:
            continue
        base = corpus / chosen.path
        if not base.is_dir():
            notes.append(f"{part} set left out: there is no folder {base}")
            continue
        base = base / "raw" if (base / "raw").is_dir() else base
        there = _machines(base, chosen, machines is None, description.name_style, notes)
        found.update(there)
        for machine in there:
            if machines is None or machine in machines:
                clips += _machine_clips(corpus, base / machine, part, description.name_style, notes)
                supplemental += _supplemental(corpus, base / machine, part, notes)
    if not found:
        layout = "<machine>/train/*.wav and <machine>/test/*.wav"
        raise ValueError(f"no corpus in {corpus}: expected {layout}. {'; '.join(notes)}".rstrip())
    _check_wanted(machines, found, corpus)
    return Corpus(corpus, clips, notes, supplemental)


def _machines(base: Path, chosen: PartDescription, all_needed: bool, style: str, notes: list[str]) -> list[str]:
    """The machines of a part that are on disk; all that the description lists must be there if `all_needed`."""
    folders = [entry.name for entry in os.scandir(base) if entry.is_dir() and not _is_junk(entry.name)]
    found = sorted(name for name in folders if any((base / name / sub).is_dir() for sub in STYLES[style].folders))
    names = found if chosen.machines is None else chosen.machines
    missing = [name for name in names if name not in found]
    if missing and all_needed:
        raise ValueError(
            f"{base}: the machine {missing[0]!r} of the dataset description is missing. Found: "
            f"{', '.join(found) or 'nothing'}. Use --machines to prepare only some"
        )
    if ignored := sorted(set(folders) - set(names)):
        notes.append(f"ignored in {base}: {', '.join(ignored)}")
    return [name for name in names if name in found]


def _check_wanted(wanted: list[str] | None, found: set[str], corpus: Path) -> None:
    if missing := sorted(set(wanted or ()) - found):
        raise ValueError(f"{corpus}: no machine {missing[0]!r}. Found: {', '.join(sorted(found)) or 'nothing'}")


def _only_sections(corpus: Corpus, wanted: list[str]) -> Corpus:
    found = {clip.name.section for clip in corpus.clips}
    if missing := sorted(set(wanted) - found):
        raise ValueError(f"{corpus.root}: no section {missing[0]!r}. Found: {', '.join(sorted(found))}")
    clips = [clip for clip in corpus.clips if clip.name.section in wanted]
    for part in sorted({clip.part for clip in corpus.clips} - {clip.part for clip in clips}):
        corpus.notes.append(f"{part} set left out: it has no clips of the sections {', '.join(wanted)}")
    return replace(corpus, clips=clips)


def _machine_clips(corpus: Path, folder: Path, part: str, style: str, notes: list[str]) -> Iterator[FoundClip]:
    others: list[str] = []
    for sub, split in STYLES[style].folders.items():
        if not (folder / sub).is_dir():
            continue
        for entry in os.scandir(folder / sub):
            if _is_junk(entry.name) or not entry.name.lower().endswith(SUFFIXES):
                others.append(f"{sub}/{entry.name}")
                continue
            name = parse_name(os.path.splitext(entry.name)[0], style, entry.path)
            check_name(name, sub, style, entry.path)
            path = os.path.relpath(entry.path, corpus)
            yield FoundClip(part, folder.name, split, path, _bytes(entry.path), name)
    if others:
        notes.append(f"ignored: {len(others)} entries of {folder} (folders, or no wav or flac), such as {min(others)}")


def _supplemental(corpus: Path, folder: Path, part: str, notes: list[str]) -> list[dict[str, str]]:
    """Clips of the clean machine, or of the noise alone (their names say so)."""
    found = sorted((folder / "supplemental").glob("*")) if (folder / "supplemental").is_dir() else []
    found = [path for path in found if path.suffix.lower() in SUFFIXES and not _is_junk(path.name)]
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


def _from_csv(path: Path, machines: list[str] | None) -> Corpus:
    reader = csv.DictReader(io.StringIO(read_text(path).removeprefix("\ufeff")), strict=True)
    columns = reader.fieldnames or []
    if unknown := [column for column in columns if column not in CSV_COLUMNS]:
        raise ValueError(f"{path}: unknown column {unknown[0]!r}. Allowed: {', '.join(CSV_COLUMNS)}")
    if missing := [column for column in CSV_COLUMNS[:3] if column not in columns]:
        raise ValueError(f"{path}: the column {missing[0]!r} is missing. Needed: {', '.join(CSV_COLUMNS[:3])}")
    try:
        clips = [_csv_clip(row, path, f"{path}:{reader.line_num}") for row in reader]
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: {error}") from None
    _check_wanted(machines, {clip.machine for clip in clips}, path)
    return Corpus(path.parent, [clip for clip in clips if machines is None or clip.machine in machines], [])


def _csv_clip(row: dict[str, str], path: Path, where: str) -> FoundClip:
    if None in row or None in row.values():
        raise ValueError(f"{where}: the line has more or fewer fields than the header")
    row = {column: row.get(column, "").strip() for column in CSV_COLUMNS}
    split = _one_of(row["split"], ("train", "test"), "split", where)
    condition = _one_of(row["condition"] or UNKNOWN, ("normal", "anomaly", UNKNOWN), "condition", where)
    domain = _one_of(row["domain"] or "source", ("source", "target"), "domain", where)
    part = _one_of(row["set"] or "dev", PARTS, "set", where)
    if not row["path"] or not row["machine"]:
        raise ValueError(f"{where}: path and machine must be given")
    attr = UNKNOWN if row["attributes"] in ("", "noAttribute") else row["attributes"]
    name = ClipName(row["section"] or "00", domain, split, condition, attr)
    check_name(name, split, "free", where)
    held = _bytes(path.parent / row["path"], f"{where}: ")
    return FoundClip(part, row["machine"], split, row["path"], held, name)


def _bytes(path: str | Path, where: str = "") -> int:
    try:
        return os.stat(path).st_size
    except OSError as error:
        raise ValueError(f"{where}{path}: cannot be opened: {error.strerror}") from None


def _one_of(value: str, allowed: tuple[str, ...], column: str, where: str) -> str:
    if value not in allowed:
        raise ValueError(f"{where}: {column} {value!r} is none of {', '.join(allowed)}")
    return value


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
                "name the machines to prepare with --machines"
            )
        if machines["test"] and (lacking := sorted(machines["train"] - machines["test"])):
            raise ValueError(
                f"{corpus.root}: no test clips of {', '.join(lacking)} in the {part} set, but of other "
                "machines. Add them, or name the machines to prepare with --machines"
            )
        if not machines["test"]:
            corpus.notes.append(f"the {part} set has no test clips")
        _note_sections(corpus, part)


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


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
