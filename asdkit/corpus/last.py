"""What the last run of stage 1 left in data/, and what differs now: what goes on by itself, and what is refused."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asdkit.corpus import manifest
from asdkit.corpus.description import Dataset, dump_dataset, load_dataset
from asdkit.corpus.names import SETS, UNKNOWN
from asdkit.corpus.prepare import Tables
from asdkit.utils.done import compare
from asdkit.utils.files import read_json

ELSEWHERE = "the options of that run, other --data, --dump and --expdir folders"
AGAIN = "Put the old ones back, or run stage 1 alone with --force true; each later stage then says what it needs"
# Nothing that is made from the recordings depends on these; clips are compared one by one.
_FREE = ("root", "ground_truth", "truth", "counts", "clips", "reference_channel")


@dataclass(frozen=True)
class Last:
    """What lies in a folder of data. whole: stage 1 ended there, and is not to start anew. looked: when, ns."""

    folder: Path
    whole: bool = False
    dataset: Dataset | None = None
    tables: dict[str, Tables] = field(default_factory=dict)
    looked: int = 0

    @classmethod
    def read(cls, folder: Path, force: bool) -> "Last":
        """What is there. What cannot be read is not there for `force`, or where stage 1 has not ended."""
        whole = not force and (folder / ".done").exists() and (folder / "dataset.yaml").exists()
        tables, dataset = {}, None
        try:
            dataset = load_dataset(folder)
            for name in SETS:
                path = folder / name / "manifest.tsv"
                if path.exists():
                    ref = path.with_name("ref.tsv")
                    tables[name] = Tables(manifest.read_manifest(path), _ref(ref) if ref.exists() else [])
        except ValueError:
            if whole:
                raise
        looked = (folder / "dataset.yaml").stat().st_mtime_ns if dataset else 0
        return cls(folder, whole, dataset, tables, looked)

    def rows(self) -> dict[str, manifest.Row]:
        """The clips of all sets by path."""
        return {row["wav"]: row for tables in self.tables.values() for row in tables.manifest}

    def check_settings(self, inputs: dict[str, Any]) -> None:
        """Raise ValueError where stage 1 was run with other settings than `inputs` holds."""
        made = read_json(self.folder / ".done")
        free = set(_FREE)
        if made.get("revealed_attributes") and inputs.get("revealed_attributes"):
            free.add("revealed_attributes")  # a folder; what is in it counts
        made, now = (
            {key: value for key, value in flat.items() if key.split(".")[0] not in free} for flat in (made, inputs)
        )
        compare(self.folder / ".done", made, now, ELSEWHERE)

    def check_clips(self, tables: dict[str, Tables], recordings: bool) -> None:
        """Raise ValueError for a clip that is new, gone or of another label; with `recordings` also for another sound.

        Raises it too where the truth of a set is not known any more.
        """
        for name in sorted({*self.tables, *tables}, key=SETS.index):
            old, new = (found.get(name, Tables([], [])) for found in (self.tables, tables))
            path = self.folder / name / "manifest.tsv"
            _compare_clips(path, old.manifest, new.manifest, _recording if recordings else _label)
            if old.ref and not new.ref:
                raise ValueError(
                    f"{path.with_name('ref.tsv')}: the truth of {name} is not there any more. Put it back, or let "
                    "stage 1 forget it with --force true"
                )

    def check_written(self, dataset: Dataset, rows: list[manifest.Row], read: bool) -> list[str]:
        """Ids of those of `rows`, written since stage 1 ended without reading them, that may be other recordings.

        Raises ValueError where stage 1 is not to start anew. A warning alone where they are not `read` now either,
        and in a corpus that has moved, where all are new files.
        """
        if not rows:
            return []
        told = (
            f"{_first(sorted(row['wav'] for row in rows))} of the same size, but written after stage 1 ran, which did "
            "not read them: whether what was made from them has their sound cannot be told"
        )
        if self.dataset and self.dataset.root != dataset.root:
            logging.warning("%s (the corpus has moved). If they are others, --stage 1 --force true", told)
            return []
        if not read:
            logging.warning("%s. They are taken for the same", told)
        elif self.whole:
            raise ValueError(f"{self.folder}: {told}. {AGAIN}; --check-content false takes them for the same")
        return [row["utt"] for row in rows]

    def keep_time(self) -> None:
        """Let what was written since the last look, and was not read, be found the next time too."""
        os.utime(self.folder / "dataset.yaml", ns=(self.looked, self.looked))

    def without(self, utts: list[str]) -> dict[str, Tables]:
        """The tables without some of the clips."""
        gone = set(utts)
        return {
            name: Tables([row for row in table.manifest if row["utt"] not in gone], table.ref)
            for name, table in self.tables.items()
        }

    def news(self, dataset: Dataset, tables: dict[str, Tables]) -> list[str]:
        """What is to be written although nothing made from it changes, in words; nothing: all is there."""
        pairs = [
            pair for name, new in tables.items() for pair in zip(self.tables[name].manifest, new.manifest, strict=True)
        ]
        found = []
        if any(old["samples"] == UNKNOWN for old, _ in pairs):
            found.append("the recordings' lengths were added")
        if read := sum(old["digest"] == UNKNOWN != new["digest"] for old, new in pairs):
            found.append(f"the content of {read} recordings was read")
        if self.dataset and self.dataset.root != dataset.root:
            found.append(f"the corpus lies in {dataset.root}")
        if any(self.tables[name].ref != table.ref for name, table in tables.items()):
            found.append("the truth is new")
        other = any(old != new for old, new in pairs) or not self.dataset
        if not found and (other or dump_dataset(self.dataset) != dump_dataset(dataset)):
            found.append("places, times or checks of recordings are new")
        return found


def _ref(path: Path) -> list[manifest.Row]:
    return [{"utt": utt, "condition": told[0], "domain": told[1]} for utt, told in manifest.read_ref(path).items()]


def _label(old: manifest.Row, new: manifest.Row) -> str | None:
    return manifest.difference(old, new | {"digest": UNKNOWN, "bytes": UNKNOWN})


def _recording(old: manifest.Row, new: manifest.Row) -> str | None:
    return manifest.recording_difference(old, new)


def _compare_clips(
    path: Path,
    old: list[manifest.Row],
    new: list[manifest.Row],
    differs: Callable[[manifest.Row, manifest.Row], str | None],
) -> None:
    before, now = ({row["utt"]: row for row in rows} for rows in (old, new))
    for what, some, others in (("new", now, before), ("gone", before, now)):
        if found := [row["wav"] for utt, row in some.items() if utt not in others]:
            raise ValueError(f"{path}: made with other clips: {_first(found)} {what}. {AGAIN}")
    found = [(row["wav"], told) for utt, row in now.items() if (told := differs(before[utt], row))]
    if found:
        raise ValueError(
            f"{path}: made with other clips: {_first([wav for wav, _ in found])} changed ({found[0][1]}). {AGAIN}"
        )


def _first(found: list[str]) -> str:
    return f"{found[0]} is" if len(found) == 1 else f"{len(found)} recordings, {found[0]} the first, are"
