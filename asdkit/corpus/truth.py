"""Conditions and domains of test clips whose names tell none, from the organisers' files."""

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path

from asdkit.corpus.clips import FoundClip
from asdkit.corpus.names import STYLES, UNKNOWN, parse_name
from asdkit.corpus.words import WORDS
from asdkit.utils.files import read_text, sha256_text
from asdkit.utils.names import composed

_CONDITIONS = {"0": "normal", "1": "anomaly"}
_DOMAINS = {"0": "source", "1": "target"}


def references(clips: Iterable[FoundClip], truth: Path | None, style: str) -> list[dict[str, str]]:
    """Condition and domain of each test clip as rows of ref.tsv; empty when they are not known.

    Names that carry a condition are believed. Others are looked up in `truth`: a folder with ground_truth_data/ (and
    ground_truth_domain/ where names carry no domain), or a list `file name,full name[,0|1]` below each machine's
    name. Raises ValueError where a clip has no row or two, a row no clip, or only some clips are known.
    """
    clips = list(clips)
    known = {clip.utt: (clip.name.condition, clip.name.domain) for clip in clips if clip.name.condition != UNKNOWN}
    unknown = [clip for clip in clips if clip.utt not in known]
    if unknown and truth is not None and truth.exists():
        known |= (_from_list if truth.is_file() else _from_folder)(unknown, truth, style)
    elif unknown and known:
        raise ValueError(
            f"{unknown[0].path}: the condition of {len(unknown)} of {len(clips)} test clips is unknown. "
            "Give it for all of them or for none: by names of files, or of folders in test, that start with a word of "
            f"{', '.join(WORDS['normal'])} or of {', '.join(WORDS['anomaly'])}; by a CSV column; by ground_truth"
        )
    return [{"utt": utt, "condition": condition, "domain": domain} for utt, (condition, domain) in known.items()]


def digest(truth: Path | None, pattern: str = "ground_truth_*/*.csv") -> str:
    """SHA-256 over names and contents of the organisers' files (`pattern`, in a folder), `-` where there are none."""
    if truth is None or not truth.exists():
        return "-"
    files = [truth] if truth.is_file() else sorted(truth.glob(pattern))
    return sha256_text("\n".join(f"{os.path.relpath(file, truth)}\n{read_text(file)}" for file in files))


def _from_folder(clips: list[FoundClip], truth: Path, style: str) -> dict[str, tuple[str, str]]:
    groups: dict[str, list[FoundClip]] = {}
    for clip in clips:
        domain = f"_{clip.name.domain}" if STYLES[style].domain_in_test else ""
        groups.setdefault(f"ground_truth_{clip.machine}_section_{clip.name.section}{domain}_test.csv", []).append(clip)
    known = {}
    for name, group in sorted(groups.items()):
        conditions = _read(truth / "ground_truth_data" / name, group, _CONDITIONS)
        if STYLES[style].domain_in_test:
            domains = {clip.utt: clip.name.domain for clip in group}
        else:
            domains = _read(truth / "ground_truth_domain" / name, group, _DOMAINS)
        known |= {utt: (conditions[utt], domains[utt]) for utt in conditions}
    return known


def _from_list(clips: list[FoundClip], truth: Path, style: str) -> dict[str, tuple[str, str]]:
    rows: dict[str, dict[str, tuple[str, ...]]] = {}
    machine = None
    for number, fields in lines(truth):
        if len(fields) == 1:
            machine = fields[0]
        elif machine is None:
            raise ValueError(f"{truth}:{number}: the first line must be the name of a machine")
        else:
            add_row(rows.setdefault(machine, {}), fields, f"{truth}:{number}")
    known = {}
    for name in sorted({clip.machine for clip in clips}):
        group = [clip for clip in clips if clip.machine == name]
        sections = {clip.name.section for clip in group}
        mine = {
            stem: row
            for stem, row in rows.get(name, {}).items()
            if parse_name(stem, style, f"{truth}: {stem}").section in sections
        }
        for utt, (full, *label) in join_rows(group, mine, truth).items():
            told = parse_name(Path(full).stem, style, f"{truth}: {full}")
            if told.condition == UNKNOWN or (label and _CONDITIONS.get(label[0]) != told.condition):
                raise ValueError(f"{truth}: {full}: the name and its label {label} tell no single condition")
            known[utt] = (told.condition, told.domain)
    return known


def _read(path: Path, clips: list[FoundClip], values: dict[str, str]) -> dict[str, str]:
    rows: dict[str, tuple[str, ...]] = {}
    for number, fields in lines(path):
        if len(fields) != 2 or fields[1] not in values:
            raise ValueError(f"{path}:{number}: expected 'file name,{'|'.join(values)}', got {','.join(fields)!r}")
        add_row(rows, fields, f"{path}:{number}")
    return {utt: values[value] for utt, (value,) in join_rows(clips, rows, path).items()}


def lines(path: Path) -> list[tuple[int, list[str]]]:
    """Number and fields of each line of a CSV file that is not empty; raises ValueError when it cannot be read."""
    text = read_text(path).removeprefix("\ufeff")
    reader = csv.reader(io.StringIO(text))
    return [(reader.line_num, [field.strip() for field in fields]) for fields in reader if fields]


def add_row(rows: dict[str, tuple[str, ...]], fields: list[str], where: str) -> None:
    """Put the fields after the first into `rows`, under the first (a file name) without its ending.

    Raises ValueError with `where` (file and line) for a second row of one name.
    """
    stem = composed(Path(fields[0]).stem)
    if stem in rows:
        raise ValueError(f"{where}: a second row for {fields[0]!r}. Fetch the file again")
    rows[stem] = tuple(fields[1:])


def join_rows(clips: list[FoundClip], rows: dict[str, tuple[str, ...]], path: Path) -> dict[str, tuple[str, ...]]:
    """Each clip's row by the clip's utt; rows: from `add_row`, path: their file, for messages.

    Raises ValueError for a clip without a row and a row without a clip.
    """
    stems: dict[str, FoundClip] = {}
    for clip in clips:
        other = stems.setdefault(composed(Path(clip.path).stem), clip)
        if other is not clip:
            raise ValueError(f"{path}: its rows are file names, but {other.path} and {clip.path} have the same one")
    advice = "They are not of one release: fetch the file and the recordings again"
    if missing := sorted(stems.keys() - rows.keys()):
        raise ValueError(f"{path}: no row for {stems[missing[0]].path} ({len(missing)} clips without a row). {advice}")
    if extra := sorted(rows.keys() - stems.keys()):
        nowhere = f"but no such {clips[0].split} clip ({len(extra)} rows without a clip)"
        raise ValueError(f"{path}: a row for {extra[0]!r}, {nowhere}. {advice}")
    return {clip.utt: rows[stem] for stem, clip in stems.items()}
