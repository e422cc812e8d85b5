"""Manifests and references: one line per clip, tab separated, sorted by utt."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from asdkit.corpus.names import UNKNOWN
from asdkit.utils.files import read_scp, read_table, sha256_text, write_table

CLIP_COLUMNS = ("utt", "wav", "machine", "section", "domain", "attr")
COLUMNS = (*CLIP_COLUMNS, "samples", "bytes")  # of the recording: length at the reader's rate, size
REF_COLUMNS = ("utt", "condition", "domain")
OLD_SIZES = "utt2bytes"  # where manifests of older versions have their sizes; those tell no lengths
ALLOWED = {"condition": ("normal", "anomaly"), "domain": ("source", "target", "-")}

Row = dict[str, str]


def read_manifest(path: str | Path) -> list[Row]:
    """Read and check a manifest: rows of COLUMNS sorted by utt; samples and bytes are `-` where an old one has none.

    Raises ValueError naming file and line or clip.
    """
    rows = read_table(path, COLUMNS, CLIP_COLUMNS)
    if rows and "bytes" not in rows[0]:
        old = Path(path).with_name(OLD_SIZES)
        sizes = read_scp(old) if old.exists() else {}
        rows = [row | {"samples": UNKNOWN, "bytes": sizes.get(row["utt"], UNKNOWN)} for row in rows]
    check(rows, str(path), COLUMNS)
    return rows


def read_measured(data_dir: str | Path, set_name: str) -> list[Row]:
    """The manifest of a set with the length of every recording; raises ValueError where an older version wrote it."""
    path = Path(data_dir) / set_name / "manifest.tsv"
    rows = read_manifest(path)
    if not has_lengths(rows):
        raise ValueError(f"{path}: written by an older version: run stage 1 again; nothing is trained again")
    return rows


def has_lengths(rows: Iterable[Row]) -> bool:
    """Whether the length of every recording is known."""
    return all(row["samples"] != UNKNOWN for row in rows)


def write_manifest(path: str | Path, rows: Iterable[Row]) -> None:
    """Check rows of COLUMNS, sort them by utt and write them; raises ValueError, and then writes nothing."""
    _write(path, rows, COLUMNS)


def read_ref(path: str | Path) -> dict[str, tuple[str, str]]:
    """Read a reference: {utt: (condition, domain)}. Raises ValueError naming file and clip."""
    rows = read_table(path, REF_COLUMNS)
    check(rows, str(path), REF_COLUMNS)
    return {row["utt"]: (row["condition"], row["domain"]) for row in rows}


def write_ref(path: str | Path, rows: Iterable[Row]) -> None:
    """Check rows of REF_COLUMNS, sort them by utt and write them; raises ValueError, and then writes nothing."""
    _write(path, rows, REF_COLUMNS)


def check(rows: list[Row], where: str, columns: tuple[str, ...]) -> None:
    """Raise ValueError for an empty field, white space in an id, an unknown value, a repeated or unsorted id."""
    names = [column for column in ("utt", "machine", "section") if column in columns]
    limited = [(column, allowed) for column, allowed in ALLOWED.items() if column in columns]
    numbers = [column for column in ("samples", "bytes") if column in columns]
    before: Row | None = None
    for row in rows:
        utt, fields = row["utt"], "".join(row.values())
        if not all(row.values()):
            empty = next(column for column in row if not row[column])
            raise ValueError(f"{where}: clip {utt!r} has no {empty}; write - where it is unknown")
        for name in [row[column] for column in names]:
            if "/" in name or name.split() != [name]:
                raise ValueError(
                    f"{where}: {name!r}: names of machines, sections and clips hold no white space or '/'; rename it"
                )
        if "\t" in fields or "\n" in fields or "\r" in fields:
            raise ValueError(f"{where}: clip {utt!r}: a field holds a tab or line break: {row}")
        for column, allowed in limited:
            if row[column] not in allowed:
                raise ValueError(f"{where}: clip {utt!r}: {column} {row[column]!r} is none of {', '.join(allowed)}")
        for column in numbers:
            if not (row[column].isdecimal() or row[column] == UNKNOWN):
                raise ValueError(f"{where}: clip {utt!r}: {column} {row[column]!r} is neither a number nor -")
        if before and before["utt"] >= utt:
            if before["utt"] > utt:
                raise ValueError(f"{where}: not sorted by utt: {utt!r} after {before['utt']!r}")
            raise ValueError(f"{where}: two clips with one id {utt!r}: {_place(before)} and {_place(row)}")
        before = row


# For done markers. The texts that are hashed are those of files of older versions, whose markers thus hold on.


def digest(rows: list[Row]) -> str:
    """SHA-256 over a set's clips and their recordings' sizes: what lists, networks and embeddings are made from."""
    return sha256_text(clips_digest(rows) + (sizes_digest(rows) or ""))


def clips_digest(rows: list[Row]) -> str:
    """SHA-256 over a set's clips alone: what scores are made from, beside embeddings."""
    lines = ["\t".join(CLIP_COLUMNS), *("\t".join(row[column] for column in CLIP_COLUMNS) for row in rows)]
    return sha256_text("\n".join(lines) + "\n")


def sizes_digest(rows: list[Row]) -> str | None:
    """SHA-256 over the sizes of a set's recordings; None where no size is known."""
    lines = [f"{row['utt']} {row['bytes']}\n" for row in rows if row["bytes"] != UNKNOWN]
    return sha256_text("".join(lines)) if lines else None


def lengths_digest(rows: list[Row]) -> str:
    """SHA-256 over the lengths of a set's recordings, all of which are known."""
    assert has_lengths(rows)
    return sha256_text("".join(f"{row['utt']} {row['samples']}\n" for row in rows))


def summary(clips: Iterable[tuple[str, str, str, str]]) -> str:
    """Table of the number of clips per machine x section x domain.

    `clips`: (set, machine, section, domain) of each clip, domain `-` where unknown.
    """
    counts = Counter(clips)
    domains = [domain for domain in ALLOWED["domain"] if any(key[3] == domain for key in counts)]
    lines = [["set", "machine", "section", *("unknown" if domain == "-" else domain for domain in domains)]]
    for group in sorted({key[:3] for key in counts}):
        lines.append([*group, *(str(counts[(*group, domain)]) for domain in domains)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _write(path: str | Path, rows: Iterable[Row], columns: tuple[str, ...]) -> None:
    ordered = sorted(rows, key=lambda row: row["utt"])
    check(ordered, str(path), columns)
    write_table(path, columns, ordered)


def _place(row: Row) -> str:
    return row.get("wav", "(reference)")
