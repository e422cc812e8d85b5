"""Training clips that no batch gets (`data.held_out`)."""

from collections import Counter, defaultdict
from pathlib import Path

from asdkit.config import Config
from asdkit.corpus.manifest import Row, folder_of, read_manifest
from asdkit.corpus.names import UNKNOWN
from asdkit.data.chain import training_sets
from asdkit.utils.files import sha256_text

STRATUM = ("machine", "section", "domain")
FEWEST = 2  # of a machine, for one normal clip is no sample


def held_out(config: Config, data_dir: str | Path) -> frozenset[str]:
    """Ids of an experiment's training clips that are held out; the same for every seed."""
    if config.data.held_out is None or not config.train.steps:
        return frozenset()
    sets = training_sets(config, data_dir)
    rows = [row for name in sets for row in read_manifest(Path(data_dir) / name / "manifest.tsv")]
    return choose_held_out(rows, config.data.held_out.fraction, config.data.held_out.by)


def choose_held_out(rows: list[Row], fraction: float, by: str = "clip") -> frozenset[str]:
    """Ids of so many clips of each machine, section and domain, at least one of each and two of a machine.

    Copies stay on one side, with `by` folder all recordings of a folder, so that it may be fewer, or one such folder.
    Which are taken depends on SHA-256 of the ids, or of the folders' names; of a machine's section, domain and
    attribute something is always left to learn from, even if that means that nothing is held out.
    """
    units = sorted(_units(rows, by), key=lambda unit: _key(unit, by))
    left = Counter(_kind(row) for row in rows)
    wanted = {s: max(1, round(fraction * size)) for s, size in Counter(_stratum(row) for row in rows).items()}
    taken: set[str] = set()
    strata: Counter[tuple[str, ...]] = Counter()
    machines: Counter[str] = Counter()
    for more in (False, True):  # then what is lacking to two of a machine
        for unit in units:
            kinds, own = Counter(map(_kind, unit)), Counter(map(_stratum, unit))
            if unit[0]["utt"] in taken or any(left[kind] <= count for kind, count in kinds.items()):
                continue
            fits = all(strata[s] + count <= wanted[s] or not strata[s] for s, count in own.items())
            if any(machines[s[0]] < FEWEST for s in own) if more else fits:
                taken |= {row["utt"] for row in unit}
                left -= kinds
                strata += own
                machines += Counter(row["machine"] for row in unit)
    return frozenset(taken)


def _stratum(row: Row) -> tuple[str, ...]:
    return tuple(row[column] for column in STRATUM)


def _kind(row: Row) -> tuple[str, ...]:
    return (*_stratum(row), row["attr"])


def _key(unit: list[Row], by: str) -> tuple[str, str]:
    names = [folder_of(row) if by == "folder" else row["utt"] for row in unit]
    return min((sha256_text(name), name) for name in names)


def _units(rows: list[Row], by: str) -> list[list[Row]]:
    """Rows that stay together: copies of one recording, and with `by` folder what lies in one folder."""
    parent = list(range(len(rows)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = number = parent[parent[number]]
        return number

    first: dict[tuple[str, str], int] = {}
    for number, row in enumerate(rows):
        keys = [("copy", row["digest"])] if row["digest"] != UNKNOWN else []
        keys += [("folder", folder_of(row))] if by == "folder" else []
        for key in keys:
            parent[root(number)] = root(first.setdefault(key, number))
    units: dict[int, list[Row]] = defaultdict(list)
    for number, row in enumerate(rows):
        units[root(number)].append(row)
    return list(units.values())
