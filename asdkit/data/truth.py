"""Conditions and domains of test clips whose names tell none, from the organisers' files."""

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path

from asdkit.data.corpus import Clip
from asdkit.data.dcase import UNKNOWN, parse_name
from asdkit.utils.files import read_text, sha256_text

_CONDITIONS = {"0": "normal", "1": "anomaly"}
_DOMAINS = {"0": "source", "1": "target"}


def references(clips: Iterable[Clip], truth: Path | None, style: str) -> list[dict[str, str]]:
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
            "Give it for all of them (file name, CSV column, ground_truth) or for none"
        )
    return [{"utt": utt, "condition": condition, "domain": domain} for utt, (condition, domain) in known.items()]


def digest(truth: Path | None) -> str:
    """SHA-256 over names and contents of the organisers' files, `-` where there are none."""
    if truth is None or not truth.exists():
        return "-"
    files = [truth] if truth.is_file() else sorted(truth.glob("ground_truth_*/*.csv"))
    return sha256_text("\n".join(f"{os.path.relpath(file, truth)}\n{read_text(file)}" for file in files))


def _from_folder(clips: list[Clip], truth: Path, style: str) -> dict[str, tuple[str, str]]:
    groups: dict[str, list[Clip]] = {}
    for clip in clips:
        domain = f"_{clip.name.domain}" if style == "dcase2021" else ""
        groups.setdefault(f"ground_truth_{clip.machine}_section_{clip.name.section}{domain}_test.csv", []).append(clip)
    known = {}
    for name, group in sorted(groups.items()):
        conditions = _read(truth / "ground_truth_data" / name, group, _CONDITIONS)
        if style == "dcase2021":
            domains = {clip.utt: clip.name.domain for clip in group}
        else:
            domains = _read(truth / "ground_truth_domain" / name, group, _DOMAINS)
        known |= {utt: (conditions[utt], domains[utt]) for utt in conditions}
    return known


def _from_list(clips: list[Clip], truth: Path, style: str) -> dict[str, tuple[str, str]]:
    rows: dict[str, dict[str, tuple[str, ...]]] = {}
    machine = None
    for number, fields in _lines(truth):
        if len(fields) == 1:
            machine = fields[0]
        elif machine is None:
            raise ValueError(f"{truth}:{number}: the first line must be the name of a machine")
        else:
            _add(rows.setdefault(machine, {}), fields, f"{truth}:{number}")
    known = {}
    for name in sorted({clip.machine for clip in clips}):
        group = [clip for clip in clips if clip.machine == name]
        sections = {clip.name.section for clip in group}
        mine = {
            stem: row
            for stem, row in rows.get(name, {}).items()
            if parse_name(stem, style, f"{truth}: {stem}").section in sections
        }
        for utt, (full, *label) in _join(group, mine, truth).items():
            told = parse_name(Path(full).stem, style, f"{truth}: {full}")
            if told.condition == UNKNOWN or (label and _CONDITIONS.get(label[0]) != told.condition):
                raise ValueError(f"{truth}: {full}: the name and its label {label} tell no single condition")
            known[utt] = (told.condition, told.domain)
    return known


def _read(path: Path, clips: list[Clip], values: dict[str, str]) -> dict[str, str]:
    rows: dict[str, tuple[str, ...]] = {}
    for number, fields in _lines(path):
        if len(fields) != 2 or fields[1] not in values:
            raise ValueError(f"{path}:{number}: expected 'file name,{'|'.join(values)}', got {','.join(fields)!r}")
        _add(rows, fields, f"{path}:{number}")
    return {utt: values[value] for utt, (value,) in _join(clips, rows, path).items()}


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    text = read_text(path).removeprefix("\ufeff")
    reader = csv.reader(io.StringIO(text))
    return [(reader.line_num, [field.strip() for field in fields]) for fields in reader if fields]


def _add(rows: dict[str, tuple[str, ...]], fields: list[str], where: str) -> None:
    stem = Path(fields[0]).stem
    if stem in rows:
        raise ValueError(f"{where}: a second row for {fields[0]!r}")
    rows[stem] = tuple(fields[1:])


def _join(clips: list[Clip], rows: dict[str, tuple[str, ...]], path: Path) -> dict[str, tuple[str, ...]]:
    stems = {Path(clip.path).stem: clip for clip in clips}
    if missing := sorted(stems.keys() - rows.keys()):
        raise ValueError(f"{path}: no row for {stems[missing[0]].path} ({len(missing)} clips without a row)")
    if extra := sorted(rows.keys() - stems.keys()):
        raise ValueError(f"{path}: a row for {extra[0]!r}, but no such test clip ({len(extra)} rows without a clip)")
    return {clip.utt: rows[stem] for stem, clip in stems.items()}
