"""The systems that a fusion is made of: folders of scores, read and brought to one scale."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asdkit.corpus.manifest import Row
from asdkit.corpus.names import sets_of
from asdkit.detectors.folder import MADE_FROM, TRAIN, MadeFrom, read_made_from, read_scores
from asdkit.detectors.fusion import join, on_scale, ranks
from asdkit.utils.files import read_json, sha256_file

Scores = dict[str, dict[str, float]]  # set -> utt -> score; the training clips of all sets are the set `train`
OWN = "train"
MADE_BY = "asdkit.bin.fuse"


class Member(NamedTuple):
    """A folder of scores, what it says of itself, and its scores."""

    folder: Path
    made_from: MadeFrom
    scores: Scores

    def provenance(self) -> dict[str, str]:
        """What tells this member from another: its files' hashes."""
        files = sorted(path for path in self.folder.glob("*.tsv") if path.name != "threshold.tsv")
        names = [*files, *(path for path in [self.folder / MADE_FROM] if path.exists())]
        return {"folder": str(self.folder), **{path.name: sha256_file(path) for path in names}}


def read_member(folder: Path, tests: Iterable[str]) -> Member:
    """Read a folder of scores; raises ValueError for a test set without scores."""
    scores: Scores = {}
    for name in tests:
        if not (folder / f"{name}.tsv").exists():
            raise ValueError(f"{folder}: no {name}.tsv: run stage 5 of that experiment on the same data first")
        scores[name] = read_scores(folder / f"{name}.tsv")
    if (folder / TRAIN).exists():
        scores[OWN] = read_scores(folder / TRAIN)
    return Member(folder, read_made_from(folder), scores)


def check_members(folder: Path) -> None:
    """Raise ValueError where a member of a fusion is not what it was when they were fused; others pass."""
    path = folder / MADE_FROM
    told = read_json(path) if path.exists() else {}
    for member in told["members"] if told.get("made_by") == MADE_BY else []:
        for name, digest in member.items():
            if name in ("folder", "weight"):
                continue
            file = Path(member["folder"]) / name
            if not file.exists() or sha256_file(file) != digest:
                raise ValueError(f"{folder}: fused from another {file} than is there now: fuse again with --force true")


def scaled(member: Member, rows: dict[str, list[Row]], scale: str) -> Scores:
    """The scores of a member, on one scale for each machine (or section, where it has detectors for these).

    rows: manifest of each set. scale: one of fusion.SCALES, by the training clips' scores, or rank, among the test
    clips. Raises ValueError, naming the member and the machine, where there is no scale.
    """
    if scale != "rank" and scale != "none" and OWN not in member.scores:
        why = "its scores are transductive" if member.made_from.transductive else "it has no train.tsv"
        raise ValueError(f"{member.folder}: {why}: no training clips to take a scale from; take --scale rank or none")
    keys = {
        row["utt"]: (row["machine"], row["section"] if member.made_from.per_section else "-")
        for found in rows.values()
        for row in found
    }
    found: Scores = {name: {} for name in member.scores}
    own = _grouped(member.scores.get(OWN, {}), keys, member.folder / TRAIN)
    for name, scores in member.scores.items():
        for key, utts in _grouped(scores, keys, member.folder / f"{name}.tsv").items():
            values = np.array([scores[utt] for utt in utts])
            reference = np.array([member.scores[OWN][utt] for utt in own.get(key, ())])
            try:
                values = ranks(values) if scale == "rank" else on_scale(values, reference, scale)
            except ValueError as error:
                raise ValueError(f"{member.folder}: {' '.join(key).removesuffix(' -')}: {error}") from None
            found[name] |= dict(zip(utts, values.tolist(), strict=True))
    return found


def fuse(
    members: list[Member], rows: dict[str, list[Row]], scale: str, how: str, weights: list[float] | None
) -> Scores:
    """One score per clip from several members: set -> utt -> score; training clips are those that all members scored.

    Raises ValueError where members hold scores of other test clips.
    """
    systems = [scaled(member, rows, scale) for member in members]
    fused: Scores = {}
    for name in sets_of("test", rows):
        for member, system in zip(members[1:], systems[1:], strict=True):
            if other := sorted(system[name].keys() ^ systems[0][name].keys()):
                raise ValueError(
                    f"{member.folder}/{name}.tsv and {members[0].folder}/{name}.tsv: scores of other clips: {other[0]}"
                )
        fused[name] = _joined([system[name] for system in systems], how, weights)
    if scale != "rank" and all(OWN in system for system in systems):
        fused[OWN] = _joined([system[OWN] for system in systems], how, weights)
    return fused


def _joined(systems: list[dict[str, float]], how: str, weights: list[float] | None) -> dict[str, float]:
    utts = sorted(set(systems[0]).intersection(*systems[1:]))
    table = np.array([[system[utt] for utt in utts] for system in systems])
    return dict(zip(utts, join(table, how, None if weights is None else np.array(weights)).tolist(), strict=True))


def _grouped(
    scores: dict[str, float], keys: dict[str, tuple[str, str]], where: Path
) -> dict[tuple[str, str], list[str]]:
    groups: dict[tuple[str, str], list[str]] = {}
    for utt in scores:
        if utt not in keys:
            raise ValueError(f"{where}: {utt!r} is no clip of the manifests: made on other data?")
        groups.setdefault(keys[utt], []).append(utt)
    return groups
