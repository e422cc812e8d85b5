"""Manifests and references: one line per clip, tab separated, sorted by utt."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from asdkit.corpus.names import UNKNOWN
from asdkit.utils.files import read_scp, read_table, read_text, sha256_text, write_table, write_text

CLIP_COLUMNS = ("utt", "wav", "machine", "section", "domain", "attr")
SIZED_COLUMNS = (*CLIP_COLUMNS, "samples", "bytes")  # of the recording: length at the reader's rate, size
CONTENT_COLUMNS = ("mtime", "digest", "peak", "rms")  # of the recording read whole, and when (ns) it was changed before
COLUMNS = (*SIZED_COLUMNS, *CONTENT_COLUMNS)
YEAR_COLUMNS = (*COLUMNS, "year")  # of several corpora that are trained on as one
LABELS = ("utt", "machine", "section", "domain", "attr")  # all of CLIP_COLUMNS that does not say where a clip lies
REF_COLUMNS = ("utt", "condition", "domain")
OLD_SIZES = "utt2bytes"  # where manifests of older versions have their sizes; those tell no lengths
EARLIER = "earlier.txt"  # digests that earlier manifests of the same clips had, which told less of them
ALLOWED = {"condition": ("normal", "anomaly"), "domain": ("source", "target", "-")}

Row = dict[str, str]


def read_manifest(path: str | Path) -> list[Row]:
    """Read and check a manifest: rows of COLUMNS sorted by utt; what it does not tell of a recording is `-`.

    Those of several corpora as one have a `year` too. Raises ValueError naming file and line or clip.
    """
    rows = read_table(path, COLUMNS, YEAR_COLUMNS, SIZED_COLUMNS, CLIP_COLUMNS)
    if rows and "bytes" not in rows[0]:
        old = Path(path).with_name(OLD_SIZES)
        sizes = read_scp(old) if old.exists() else {}
        rows = [row | {"samples": UNKNOWN, "bytes": sizes.get(row["utt"], UNKNOWN)} for row in rows]
    if rows and "digest" not in rows[0]:
        rows = [row | dict.fromkeys(CONTENT_COLUMNS, UNKNOWN) for row in rows]
    check(rows, str(path), COLUMNS)
    return rows


def read_measured(data_dir: str | Path, set_name: str) -> list[Row]:
    """The manifest of a set with the length of every recording; raises ValueError where an older version wrote it."""
    path = Path(data_dir) / set_name / "manifest.tsv"
    return measured(read_manifest(path), path)


def measured(rows: list[Row], path: Path) -> list[Row]:
    """The rows of a manifest with the length of every recording; raises ValueError where an older version wrote it."""
    if not has_lengths(rows):
        raise ValueError(f"{path}: written by an older version: run stage 1 again; nothing is trained again")
    return rows


def has_lengths(rows: Iterable[Row]) -> bool:
    """Whether the length of every recording is known."""
    return all(row["samples"] != UNKNOWN for row in rows)


def write_manifest(path: str | Path, rows: Iterable[Row]) -> None:
    """Check rows of COLUMNS, sort them by utt and write them; raises ValueError, and then writes nothing.

    CONTENT_COLUMNS may be left out; all rows have a `year`, or none has.
    """
    unknown = dict.fromkeys(CONTENT_COLUMNS, UNKNOWN)
    told = [unknown | row for row in rows]
    _write(path, told, YEAR_COLUMNS if told and "year" in told[0] else COLUMNS)


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
    numbers = [column for column in ("samples", "bytes", "mtime") if column in columns]
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


# For done markers. Where no content is known, the texts that are hashed are those of files of older versions, whose
# markers thus hold on.


def digest(rows: list[Row]) -> str:
    """SHA-256 over a set's clips: names, labels, and the content of each recording, or its size where that is unknown.

    It is what networks and embeddings are made from. Where the recordings lie does not count.
    """
    if all(row["digest"] == UNKNOWN for row in rows):
        return sized_digest(rows)
    content = ((row["bytes"] if row["digest"] == UNKNOWN else row["digest"]) for row in rows)
    return sha256_text("".join(f"{label}\t{held}\n" for label, held in zip(_labels(rows), content, strict=True)))


def sized_digest(rows: list[Row]) -> str:
    """`digest` of manifests that tell no content."""
    return sha256_text(clips_digest(rows) + (sizes_digest(rows) or ""))


def labels_digest(rows: list[Row]) -> str:
    """SHA-256 over a set's clips, but not their recordings: what labels are made from."""
    return sha256_text("".join(f"{label}\n" for label in _labels(rows)))


def folders_digest(rows: list[Row]) -> str:
    """SHA-256 over the folders in which a set's recordings lie."""
    return sha256_text("".join(f"{row['utt']} {folder_of(row)}\n" for row in rows))


def folder_of(row: Row) -> str:
    """The folder in which a recording lies, as its place is written in the manifest."""
    return os.path.dirname(row["wav"])


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


def difference(old: Row, new: Row) -> str | None:
    """What differs between two rows of one clip: a label, or the recording as far as both tell of it; None: nothing.

    Recordings of one content are the same whatever their place, size and time.
    """
    for column in LABELS[1:]:
        if old[column] != new[column]:
            return f"{column} {old[column]!r}, now {new[column]!r}"
    return recording_difference(old, new)


def recording_difference(old: Row, new: Row) -> str | None:
    """What differs between the recordings of two rows, as far as both tell of them; None: nothing."""
    if UNKNOWN not in (old["digest"], new["digest"]):
        return None if old["digest"] == new["digest"] else "another sound"
    if UNKNOWN not in (old["bytes"], new["bytes"]) and old["bytes"] != new["bytes"]:
        return f"{old['bytes']} bytes, now {new['bytes']}"
    return None


def same_clips(old: list[Row], new: list[Row]) -> bool:
    """Whether two manifests tell nothing different of a set."""
    return len(old) == len(new) and all(
        a["utt"] == b["utt"] and difference(a, b) is None for a, b in zip(old, new, strict=True)
    )


def read_earlier(folder: Path) -> set[str]:
    """Digests that earlier manifests in `folder` had, of the clips that are there now."""
    path = folder / EARLIER
    return set(read_text(path).split()) if path.exists() else set()


def note_earlier(folder: Path, old: list[Row] | None, new: list[Row]) -> None:
    """Keep what markers hold of the clips `new`, whose manifest told less of them before; to be called before it is
    written. old: the rows of the manifest that is there. Of markers without a manifest, sizes decide.
    """
    known = {sized_digest(new)} if old is None else set()
    if old is not None and same_clips(old, new):
        known = read_earlier(folder) | {digest(old)}
    if known := known - {digest(new)}:
        write_text(folder / EARLIER, "".join(f"{one}\n" for one in sorted(known)))
    else:
        (folder / EARLIER).unlink(missing_ok=True)


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


def _labels(rows: list[Row]) -> Iterator[str]:
    labels = (*LABELS, "year") if rows and "year" in rows[0] else LABELS
    return ("\t".join(row[column] for column in labels) for row in rows)


def _write(path: str | Path, rows: Iterable[Row], columns: tuple[str, ...]) -> None:
    ordered = sorted(rows, key=lambda row: row["utt"])
    check(ordered, str(path), columns)
    write_table(path, columns, ordered)


def _place(row: Row) -> str:
    return row.get("wav", "(reference)")
