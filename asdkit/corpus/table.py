"""A corpus as a CSV file that lists recordings."""

import csv
import io
import os
from pathlib import Path

from asdkit.corpus.clips import Corpus, FoundClip
from asdkit.corpus.names import PARTS, UNKNOWN, ClipName, check_name
from asdkit.utils.files import read_text
from asdkit.utils.names import checked, on_disk

CSV_COLUMNS = ("path", "machine", "split", "condition", "domain", "attributes", "section", "set", "id")


def from_csv(path: Path) -> Corpus:
    """The clips that a CSV file with some of CSV_COLUMNS lists; paths start from its folder.

    A path that is missing is looked up in other Unicode forms. Raises ValueError naming file and line for an unknown
    column or value, or a recording that is not there.
    """
    reader = csv.DictReader(io.StringIO(_text(path)), strict=True)
    columns = reader.fieldnames or []
    if len(columns) == 1 and (marks := [mark for mark in ";\t|" if mark in columns[0]]):
        raise ValueError(f"{path}: its columns are separated by {marks[0]!r}: save it with commas")
    if unknown := [column for column in columns if column not in CSV_COLUMNS]:
        raise ValueError(f"{path}: unknown column {unknown[0]!r}. Allowed: {', '.join(CSV_COLUMNS)}")
    if missing := [column for column in CSV_COLUMNS[:3] if column not in columns]:
        raise ValueError(f"{path}: the column {missing[0]!r} is missing. Needed: {', '.join(CSV_COLUMNS[:3])}")
    listed: dict[str, dict[str, list[str]]] = {}
    try:
        clips = [_clip(row, path, f"{path}:{reader.line_num}", listed) for row in reader]
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: {error}") from None
    return Corpus(path.parent, clips, [])


def _text(path: Path) -> str:
    try:
        return read_text(path).removeprefix("\ufeff")
    except ValueError as error:
        if not isinstance(error.__context__, UnicodeDecodeError):
            raise
        raise ValueError(f"{path}: no UTF-8 text: save it as 'CSV UTF-8' (iconv -f latin1 -t utf8)") from None


def _clip(row: dict[str, str], path: Path, where: str, listed: dict[str, dict[str, list[str]]]) -> FoundClip:
    if None in row or None in row.values():
        raise ValueError(f"{where}: the line has more or fewer fields than the header")
    given = "id" in row
    row = {column: row.get(column, "").strip() for column in CSV_COLUMNS}
    split = _one_of(row["split"], ("train", "test"), "split", where)
    condition = _one_of(row["condition"] or UNKNOWN, ("normal", "anomaly", UNKNOWN), "condition", where)
    domain = _one_of(row["domain"] or "source", ("source", "target"), "domain", where)
    part = _one_of(row["set"] or "dev", PARTS, "set", where)
    if not row["path"] or not row["machine"] or (given and not row["id"]):
        raise ValueError(f"{where}: path and machine must be given, and an id in each line where there is a column id")
    attr = UNKNOWN if row["attributes"] in ("", "noAttribute") else row["attributes"]
    name = ClipName(row["section"] or "00", domain, split, condition, attr)
    check_name(name, split, "free", where)
    found = on_disk(os.path.join(path.parent, row["path"]), listed)
    wav = found if os.path.isabs(row["path"]) else os.path.relpath(found, path.parent)
    wav = row["path"] if found == os.path.join(path.parent, row["path"]) else wav
    for text in (wav, row["machine"], name.section, row["id"]):
        checked(text)
    return FoundClip(part, row["machine"], split, wav, size(found, f"{where}: "), name, row["id"] or None)


def size(path: str | Path, where: str = "") -> int:
    """Bytes of a recording; raises ValueError, `where` in front, when it is not there."""
    try:
        return os.stat(path).st_size
    except OSError as error:
        raise ValueError(f"{where}{path}: cannot be opened: {error.strerror}") from None


def _one_of(value: str, allowed: tuple[str, ...], column: str, where: str) -> str:
    if value not in allowed:
        raise ValueError(f"{where}: {column} {value!r} is none of {', '.join(allowed)}")
    return value
