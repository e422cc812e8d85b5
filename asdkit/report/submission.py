"""The files that the challenge's evaluators read: scores and decisions of one test set."""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from asdkit.corpus.manifest import Row
from asdkit.corpus.names import parse_name
from asdkit.utils.files import write_text


class Files(NamedTuple):
    """name: what one file holds, as in its name; kinds: its scores alone, or decisions too."""

    name: str
    kinds: tuple[str, ...] = ("anomaly_score", "decision_result")


# By name style; 'dcase2022' serves all later years. Other names (free) have no official files.
STYLES = {
    "dcase2020": Files("{machine}_id_{section}", ("anomaly_score",)),
    "dcase2021": Files("{machine}_section_{section}_{domain}_test"),
    "dcase2022": Files("{machine}_section_{section}_test"),
}


def contents(rows: list[Row], style: str) -> dict[str, dict[str, Row]]:
    """What each file has to hold, `<machine>_section_...` -> base name of the recording -> manifest row, sorted.

    rows: manifest of a test set, style: one of STYLES. Raises ValueError for two recordings of one name in one file,
    or a name of another style where the file depends on it.
    """
    files: dict[str, dict[str, Row]] = {}
    for row in rows:
        wav, domain = PurePosixPath(row["wav"]), ""
        if "{domain}" in STYLES[style].name:
            domain = parse_name(wav.stem, style, row["wav"]).domain
        name = STYLES[style].name.format(machine=row["machine"], section=row["section"], domain=domain)
        other = files.setdefault(name, {}).setdefault(wav.name, row)
        if other is not row:
            raise ValueError(f"{name}: two recordings of one name: {other['wav']} and {row['wav']}")
    return {name: dict(sorted(clips.items())) for name, clips in sorted(files.items())}


def write_submission(
    folder: str | Path,
    rows: list[Row],
    style: str,
    scores: dict[str, float],
    thresholds: dict[tuple[str, str], float],
) -> int:
    """Write the official files of one test set into `folder`, in place of what it held; returns their number.

    Rows are `<base name>,<score>` and `<base name>,<1 for an anomaly, else 0>`, sorted by name, without a header.
    rows: manifest; scores: utt -> score; thresholds: as in `scoring.Scored`. Errors as for `contents`.
    """
    folder = Path(folder)
    making = folder.with_name(f".{folder.name}.making")
    if making.exists():
        shutil.rmtree(making)
    count = 0
    for name, clips in contents(rows, style).items():
        lines: dict[str, list[str]] = {kind: [] for kind in STYLES[style].kinds}
        for wav, row in clips.items():
            score, machine = scores[row["utt"]], row["machine"]
            limit = thresholds[machine, row["section"] if (machine, row["section"]) in thresholds else "-"]
            values = {"anomaly_score": repr(score), "decision_result": str(int(score > limit))}
            for kind, own in lines.items():
                own.append(f"{wav},{values[kind]}\n")
        for kind, own in lines.items():
            write_text(making / f"{kind}_{name}.csv", "".join(own))
            count += 1
    if folder.exists():
        shutil.rmtree(folder)
    making.rename(folder)
    return count


def faults(folder: str | Path, rows: list[Row], style: str) -> Iterator[str]:
    """What is wrong with a submission of one test set, one line each; nothing when the evaluators can read it.

    rows: manifest, style: one of STYLES. The order of rows is free, as for the evaluators. Raises ValueError when there
    is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    wanted = {
        f"{kind}_{name}.csv": (kind, set(clips))
        for name, clips in contents(rows, style).items()
        for kind in STYLES[style].kinds
    }
    found = {path.name for path in folder.iterdir()}
    yield from (f"{name}: this file is missing" for name in sorted(wanted.keys() - found))
    yield from (f"{name}: no such file belongs to a submission of this set" for name in sorted(found - wanted.keys()))
    for name in sorted(wanted.keys() & found):
        try:
            text = (folder / name).read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            yield f"{name}: not readable as UTF-8 text: {error}"
            continue
        yield from (f"{name}: {fault}" for fault in _file_faults(text, *wanted[name]))


def _file_faults(text: str, kind: str, names: set[str]) -> Iterator[str]:
    if text.startswith("\ufeff"):
        yield "line 1: a byte-order mark before the first name; save it as plain UTF-8"
    if "\r" in text:
        yield "lines end in CR LF; save it with LF alone"
    lines = text.removeprefix("\ufeff").replace("\r", "").removesuffix("\n").split("\n")
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        name, comma, value = line.partition(",")
        if not line.strip():
            yield f"line {number}: empty"
        elif not comma or "," in value:
            yield f"line {number}: expected two columns, name and {kind}, got {line!r}"
        elif name not in names:
            yield f"line {number}: {_name_fault(name, value, number, names)}"
        elif name in seen:
            yield f"line {number}: {name} occurs twice"
        elif fault := _value_fault(kind, value):
            yield f"line {number}: {name}: {fault}"
        seen.add(name)
    if missing := sorted(names - seen):
        some = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        yield f"{len(missing)} of {len(names)} clips are missing: {some}"


def _name_fault(name: str, value: str, number: int, names: set[str]) -> str:
    base = PurePosixPath(name.strip().strip('"').replace("\\", "/")).name
    for right in (base, f"{base}.wav"):
        if right in names:
            return f"the name is {name!r}, expected the recording's base name {right!r}"
    if number == 1 and _number(value) is None:
        return f"a header, {f'{name},{value}'!r}; the file has to start with the first clip"
    return f"{name!r} is no clip of this file, such as {min(names)}"


def _value_fault(kind: str, value: str) -> str | None:
    if kind == "decision_result":
        return None if value in ("0", "1") else f"the decision is {value!r}, allowed: 0 and 1"
    score = _number(value)
    if score is None:
        return f"the score {value!r} is not a number"
    return None if math.isfinite(score) else f"the score is {value}, expected a finite number"


def _number(text: str) -> float | None:
    if text.strip() != text or "_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        return None
