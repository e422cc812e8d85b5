"""Corpora of several years as one to train on: equal recordings are kept once, test clips are none of them."""

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from asdkit.corpus.clips import SUPPLEMENTAL_COLUMNS
from asdkit.corpus.content import QUIET, SHOWN
from asdkit.corpus.description import Dataset, PartDescription, PartsDescription, load_dataset, present_sets
from asdkit.corpus.manifest import Row, read_measured
from asdkit.corpus.names import PARTS, SETS, UNKNOWN, sets_of, split_set
from asdkit.signals.content import channel_digest
from asdkit.utils.files import read_table

COPIES = "copies.tsv"  # of clips whose recordings lie in the corpora more than once
COPIES_COLUMNS = ("group", "year", "set", "utt", "wav", "fate")
KEPT, LEFT_OUT, HEARD, TEST = "kept", "left out", "left out: a test clip", "test"
_NEAR = 1e-5  # levels are written with six digits


class Member(NamedTuple):
    """A clip of a year; channel: the one that is used of recordings with several, else None."""

    year: str
    set: str
    row: Row
    root: str
    channel: int | None

    @property
    def path(self) -> str:
        """Where its recording lies."""
        return os.path.join(self.root, self.row["wav"])

    @property
    def utt(self) -> str:
        """Its id among all years' clips."""
        return f"{self.year}-{self.row['utt']}"

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it apart from all others, those of other sets too."""
        return self.year, self.set, self.row["utt"]

    @property
    def split(self) -> str:
        """train or test."""
        return split_set(self.set)[1]

    @property
    def levels(self) -> list[float]:
        """RMS of each channel about its mean."""
        return [float(level) for level in self.row["rms"].split(",")]


@dataclass(frozen=True)
class Joined:
    """Years as one: rows of its training sets by set, what became of clips that lie there twice, noise clips."""

    dataset: Dataset
    sets: dict[str, list[Row]]
    copies: list[Row]
    supplemental: list[Row]


def join(data: Path, trained: Sequence[str], scored: Sequence[str], drop: bool) -> Joined:
    """Training clips of the `trained` years below `data`, as stage 1 wrote them, without those of the tests.

    Of equal recordings the first whose attribute is known is kept, else the first. scored: years whose test clips no
    training may hold, beside the trained ones. drop: leave such clips out of the training. Raises ValueError for them
    otherwise, and for years that stage 1 has not read, or that cannot be read alike.
    """
    years = sorted({*trained, *scored})
    datasets = {year: load_dataset(data / year) for year in years}
    whole = _joined_dataset({year: datasets[year] for year in sorted(trained)})
    members = [
        member
        for year in years
        for member in _members(data, year, datasets[year])
        if member.split == "test" or year in trained
    ]
    groups = equal(members)
    if (both := [group for group in groups if len({one.split for one in group}) == 2]) and not drop:
        raise ValueError(_refusal(both))
    fate = {member.key: found for group in groups for member, found in _fates(group)}
    told = [_told(number, one, fate[one.key]) for number, group in enumerate(groups) for one in group]
    sets: dict[str, list[Row]] = {}
    for member in members:
        if member.split == "train":
            own = sets.setdefault(member.set, [])
            if fate.get(member.key, KEPT) == KEPT:
                wav = os.path.relpath(member.path, whole.root)
                own.append({**member.row, "utt": member.utt, "wav": wav, "year": member.year})
    _tell(groups, fate)
    extra = [row for year in sorted(trained) for row in _supplemental(data / year, datasets[year].root, whole.root)]
    return Joined(whole, {name: sorted(sets[name], key=_utt) for name in SETS if sets.get(name)}, told, extra)


def equal(members: Sequence[Member]) -> list[list[Member]]:
    """Clips of equal recordings, together, in their order; a channel of a recording equals one that has it alone.

    Recordings without signal are left out. Those that may be a channel of another, by length and level, are read.
    """
    heard = [one for one in members if max(one.levels) >= QUIET]
    digests = {one.key: one.row["digest"] for one in heard}
    for suspects in _alike(heard):
        for one in suspects:
            if len(one.levels) > 1:
                digests[one.key] = channel_digest(one.path, one.channel or 0)
    groups: dict[str, list[Member]] = defaultdict(list)
    for one in heard:
        groups[digests[one.key]].append(one)
    return [group for group in groups.values() if len(group) > 1]


def label_of(copies: Sequence[Row], utts: set[str]) -> dict[str, str]:
    """{id of a clip that was left out as a copy: id of the one that was kept for it}, of those that `utts` holds."""
    kept = {row["group"]: row["utt"] for row in copies if row["fate"] == KEPT and row["utt"] in utts}
    return {row["utt"]: kept[row["group"]] for row in copies if row["fate"] == LEFT_OUT and row["group"] in kept}


def _members(data: Path, year: str, dataset: Dataset) -> Iterator[Member]:
    for name in present_sets(data / year):
        rows = read_measured(data / year, name)
        if unread := [row["wav"] for row in rows if row["digest"] == UNKNOWN]:
            raise ValueError(
                f"{data / year / name}: the content of {len(unread)} recordings, {unread[0]} the first, is not known, "
                "so copies in other years are not found: run stage 1 of that year again, without --check-content false"
            )
        for row in rows:
            yield Member(year, name, row, dataset.root, dataset.channel)


def _alike(members: Sequence[Member]) -> Iterator[list[Member]]:
    """Clips of one length and nearly one level that may be one sound, one of which has several channels."""
    if len({len(one.levels) for one in members}) < 2 and all(len(one.levels) == 1 for one in members):
        return
    level = {one.key: one.levels[(one.channel or 0) if len(one.levels) > 1 else 0] for one in members}
    ordered = sorted(members, key=lambda one: (int(one.row["samples"]), level[one.key]))
    group: list[Member] = []
    for one in ordered:
        last = group[-1] if group else None
        near = last and one.row["samples"] == last.row["samples"]
        if last and not (near and level[one.key] <= level[last.key] * (1 + _NEAR)):
            if _suspicious(group):
                yield group
            group = []
        group.append(one)
    if _suspicious(group):
        yield group


def _suspicious(group: list[Member]) -> bool:
    return len({one.row["digest"] for one in group}) > 1 and any(len(one.levels) > 1 for one in group)


def _fates(group: list[Member]) -> Iterator[tuple[Member, str]]:
    training = [one for one in group if one.split == "train"]
    tested = len(training) < len(group)
    first = min(training, key=lambda one: (one.row["attr"] == UNKNOWN, one.year, one.set, one.utt), default=None)
    for one in group:
        if one.split == "test":
            yield one, TEST
        else:
            yield one, HEARD if tested else KEPT if one is first else LEFT_OUT


def _refusal(groups: list[list[Member]]) -> str:
    told = []
    for group in groups:
        test, train = (next(one for one in group if one.split == split) for split in ("test", "train"))
        told.append(f"{test.year} {test.row['wav']} = {train.year} {train.row['wav']}")
    tests = sum(one.split == "test" for group in groups for one in group)
    clips = sum(one.split == "train" for group in groups for one in group)
    more = f" and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
    return (
        f"{tests} test clips lie in training too (same sound): {'; '.join(told[:SHOWN])}{more}. A network that has "
        f"heard them is not to be scored on them: --overlap drop leaves these {clips} training clips out; or choose "
        "other --years"
    )


def _told(number: int, one: Member, fate: str) -> Row:
    return {"group": str(number), "year": one.year, "set": one.set, "utt": one.utt, "wav": one.path, "fate": fate}


def _tell(groups: list[list[Member]], fate: dict[tuple[str, str, str], str]) -> None:
    """Log how many clips each pair of years shares in training, and how many were left out."""
    pairs: Counter[tuple[str, str]] = Counter()
    for group in groups:
        years = sorted({one.year for one in group if one.split == "train"})
        pairs.update(combinations(years, 2) if len(years) > 1 else ())
    for (first, second), count in sorted(pairs.items()):
        logging.info("%d recordings lie in the training of %s and of %s", count, first, second)
    counts = Counter(fate.values())
    logging.info(
        "%d training clips left out as copies, %d as test clips of a year; %s tells each",
        counts[LEFT_OUT],
        counts[HEARD],
        COPIES,
    )


def _joined_dataset(datasets: dict[str, Dataset]) -> Dataset:
    """How the training clips of some years are read as one; raises ValueError where that cannot be."""
    first = next(iter(datasets.values()))
    for year, dataset in datasets.items():
        if dataset.channels:
            raise ValueError(f"{year}: its dataset description has 'channels': such recordings cannot be joined")
        if dataset.sample_rate != first.sample_rate:
            raise ValueError(
                f"{year} is read at {dataset.sample_rate} Hz, {next(iter(datasets))} at {first.sample_rate} Hz: set "
                "one 'sample_rate' in their dataset descriptions, and 'resample: true'"
            )
    channels = {dataset.channel for dataset in datasets.values()} - {None}
    if len(channels) > 1:
        raise ValueError(f"channels {sorted(channels)} are read of the years' recordings: choose one for all of them")
    names = " ".join(datasets)
    parts = {part: _machines(list(datasets.values()), part) for part in PARTS}
    return Dataset(
        name=f"dcase {names}",
        name_style=first.name_style,
        protocol=first.protocol,
        sets=PartsDescription(**{part: own for part, own in parts.items() if own}),
        sample_rate=first.sample_rate,
        channel=next(iter(channels), None),
        resample=any(dataset.resample for dataset in datasets.values()),
        root=os.path.commonpath([dataset.root for dataset in datasets.values()]),
        years=list(datasets),
    )


def _machines(datasets: list[Dataset], part: str) -> PartDescription | None:
    found = [getattr(dataset.sets, part) for dataset in datasets]
    names = sorted({name for one in found if one for name in one.machines or ()})
    return PartDescription(path=".", machines=names) if names else None


def _supplemental(folder: Path, root: str, whole: str) -> list[Row]:
    path = folder / "supplemental.tsv"
    rows = read_table(path, SUPPLEMENTAL_COLUMNS) if path.exists() else []
    return [row | {"wav": os.path.relpath(os.path.join(root, row["wav"]), whole)} for row in rows]


def _utt(row: Row) -> str:
    return row["utt"]


def years_present(data: Path, years: Sequence[str]) -> list[str]:
    """The given years, ascending, each of which stage 1 has read; raises ValueError for another one."""
    for year in years:
        load_dataset(data / year)
        if not sets_of("train", present_sets(data / year)):
            raise ValueError(f"{data / year} has no training clips")
    return sorted(set(years))
