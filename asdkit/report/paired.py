"""Experiments side by side: how much an experiment's official score differs from others', and how sure that is."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from asdkit.config import Config, open_config
from asdkit.config.differences import differences
from asdkit.corpus.manifest import read_manifest, read_ref
from asdkit.detectors.folder import read_scores
from asdkit.protocols import PROTOCOLS, ScoredClip, Section, sections_of
from asdkit.report.bootstrap import DRAWS, Drawn, bootstrap, official_scores, spread
from asdkit.report.decisions import same_clips
from asdkit.report.results import over_seeds, seed_folders
from asdkit.report.tables import cell, ordered, table, title

SETS = ("dev", "eval")
METHOD = (
    "Differences: this experiment's official score less the other's, each the mean over its seeds. The interval (95%) "
    "and the share of draws above 0 come from {draws} draws of the test clips with replacement, the same clips for all "
    "experiments and seeds, as many of each machine, section, domain and condition as there are (paired bootstrap). "
    "They tell how far other test clips could change the difference, not other seeds."
)
RUN_AGAIN = "Evaluate it again: ./run.sh --tag {tag} --stage 6 --force true"


class _Member(NamedTuple):
    """A score of an experiment."""

    exp: Path
    found: dict[str, Any]  # from `results.over_seeds`
    config: Config | None  # None: fused scores, or an experiment without a configuration

    @property
    def title(self) -> str:
        return title(self.found)


def compare(exp: Path, results: dict[str, Any], others: list[str], data: Path) -> dict[str, Any]:
    """This experiment beside others of the same folder, ready for JSON.

    results: of `exp`, from `results.over_seeds`; others: TAG or TAG:SCORE, without SCORE its first one (`knn`, if it is
    there); data: what stage 1 wrote. This experiment enters with its first score.

    Returns draws, method, experiments [{title, tag, score, seeds, sets, all}], this one first, differences [{other,
    sets: {dev | eval | all: {difference, low, high, above, below, machines: [...]}}}] and settings [{key, values}].
    Raises ValueError, naming it, for an experiment or score that is not there or named twice, another protocol, other
    test clips or labels, and scores that have changed since they were evaluated.
    """
    members = [_Member(exp, next(iter(ordered(results["scores"]).values())), _config(exp))]
    for name in others:
        members.append(_member(exp.resolve().parent, name))
        if members[-1].title in [one.title for one in members[:-1]]:
            raise ValueError(f"--compare {name}: named twice; {members[0].title} itself is always there")
        _check_alike(members[0], members[-1])
    sets = {}
    for name in SETS:
        folder = data / f"{name}_test"
        if (folder / "ref.tsv").exists():
            sets[name] = _drawn(members, folder, members[0].found["protocol"])
    if not sets:
        raise ValueError(f"--compare: no test set of {data} has labels (ref.tsv), so there are no official scores")
    return {
        "draws": DRAWS,
        "method": METHOD.format(draws=DRAWS),
        "experiments": [_told(member) for member in members],
        "differences": [_differences(number, members, sets) for number in range(1, len(members))],
        "settings": _settings(members),
        "unknown": [one.title for one in members if one.config is None],
    }


def comparison_text(found: dict[str, Any]) -> str:
    """What `compare` found, as a part of RESULTS.md."""
    experiments, parts = found["experiments"], ["## Beside other experiments\n"]
    rows = [
        [one["title"], str(len(one["seeds"])), *(cell(one["sets"].get(name)) for name in SETS), cell(one["all"])]
        for one in experiments
    ]
    parts.append(table(["experiment", "seeds", *SETS, "all"], rows))
    rows = [
        [f"{other['other']}, {name}", *_numbers(one)]
        for other in found["differences"]
        for name, one in other["sets"].items()
    ]
    parts += ["### Difference to\n", table(["experiment", "difference", "95% interval", "draws above 0"], rows)]
    parts.append(found["method"] + " In points: hundredths of the score.\n")
    rows = [
        [f"{other['other']}, {name}: {row['machine']}", *_numbers(row)]
        for other in found["differences"]
        for name, one in other["sets"].items()
        for row in one["machines"]
    ]
    parts += ["### Difference to, by machine\n", table(["experiment", "difference", "95% interval", "above 0"], rows)]
    parts.append(
        "Where nothing differs, one interval in twenty leaves out 0 all the same: of many machines, trust the official "
        "score first.\n"
    )
    if found["settings"]:
        rows = [
            [one["key"], *("-" if value is None else value[0] + " (default)" * value[1] for value in one["values"])]
            for one in found["settings"]
        ]
        header = ["setting", *(one["title"] for one in experiments)]
        parts += ["### What differs in their configurations\n", table(header, rows)]
    else:
        parts.append("Their configurations are the same.\n")
    parts += [f"No configuration is known of {', '.join(found['unknown'])}.\n"] if found["unknown"] else []
    return "\n".join(parts)


def _numbers(one: dict[str, Any]) -> list[str]:
    return [
        f"{100 * one['difference']:+.2f}",
        f"{100 * one['low']:+.2f} to {100 * one['high']:+.2f}",
        f"{100 * one['above']:.1f} %",
    ]


def _member(folder: Path, name: str) -> _Member:
    tag, _, score = name.partition(":")
    exp = folder / tag
    if not tag or not exp.is_dir():
        there = sorted(path.parent.name for path in folder.glob("*/results.json"))
        raise ValueError(f"--compare {name}: there is no {exp}. Experiments there: {', '.join(there) or 'none'}")
    found = ordered(over_seeds(exp)["scores"])
    if score and score not in found:
        raise ValueError(f"--compare {name}: {exp} has no results of a score {score!r}, but of {', '.join(found)}")
    return _Member(exp, found[score or next(iter(found))], _config(exp))


def _config(exp: Path) -> Config | None:
    return open_config(exp / "config.yaml") if (exp / "config.yaml").exists() else None


def _check_alike(first: _Member, other: _Member) -> None:
    """Raise ValueError for what is scored by other rules, or holds another test set."""
    if other.found["protocol"] != first.found["protocol"]:
        raise ValueError(
            f"--compare: {other.title} is scored by {other.found['protocol']}, {first.title} by "
            f"{first.found['protocol']}: their scores are not the same quantity"
        )
    if set(other.found["sets"]) != set(first.found["sets"]):
        told = "; ".join(f"{one.title} has {', '.join(one.found['sets'])}" for one in (first, other))
        raise ValueError(f"--compare: other test sets: {told}. Score both with the same --data")


def _drawn(members: list[_Member], folder: Path, protocol: str) -> tuple[list[slice], Drawn, Drawn]:
    """The place of each member's seeds among the runs, and the scores of these: as they are, and drawn."""
    rows, ref = read_manifest(folder / "manifest.tsv"), read_ref(folder / "ref.tsv")
    runs: list[dict[str, list[Section]]] = []
    places = []
    for member in members:
        seeds = seed_folders(member.exp)
        for number, seed in enumerate(member.found["seeds"]):
            path = seeds[seed] / "score" / member.found["score"] / f"{folder.name}.tsv"
            scores = read_scores(path)
            same_clips(scores, path, {row["utt"] for row in rows}, folder / "manifest.tsv")
            labels = [(row["machine"], row["section"], *reversed(ref[row["utt"]]), row["utt"]) for row in rows]
            clips = [ScoredClip(*told, scores[utt]) for *told, utt in labels]
            runs.append(sections_of(clips, protocol))
            _check_evaluated(member, number, path, folder, runs[-1])
        places.append(slice(len(runs) - len(member.found["seeds"]), len(runs)))
    return places, official_scores(runs, protocol), bootstrap(runs, protocol)


def _check_evaluated(member: _Member, number: int, path: Path, folder: Path, run: dict[str, list[Section]]) -> None:
    """Raise ValueError unless results.json holds the official score of these scores and labels."""
    told = member.found["sets"][folder.name.removesuffix("_test")]["official"]
    now = official_scores([run], member.found["protocol"]).official.ravel()
    if (told is None) != (len(now) == 0) or (told and abs(told["seeds"][number] - now[0]) > 1e-9):
        was, found = "none" if told is None else told["seeds"][number], now[0] if len(now) else "none"
        raise ValueError(
            f"--compare: {path} has the official score {found} with the labels of {folder}, but was evaluated as "
            f"{was}: other labels, or scores that have changed. {RUN_AGAIN.format(tag=member.found['tag'])}"
        )


def _differences(
    number: int, members: list[_Member], sets: dict[str, tuple[list[slice], Drawn, Drawn]]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (places, now, drawn) in sets.items():
        if not now.official.size:
            continue
        one = _spread(now.official, drawn.official, places[0], places[number])
        machines = [
            {"machine": machine, **_spread(now.machines[machine], drawn.machines[machine], places[0], places[number])}
            for machine in now.machines
        ]
        found[name] = {**one, "machines": machines}
    if len(found) == len(SETS):
        parts = [sets[name] for name in SETS]
        now, drawn = (_both([part[kind].official for part in parts], members[0]) for kind in (1, 2))
        found["all"] = {**_spread(now, drawn, parts[0][0][0], parts[0][0][number]), "machines": []}
    return {"other": members[number].title, "sets": found}


def _both(official: list[np.ndarray], member: _Member) -> np.ndarray:
    """The paper's 'All' of each run and draw."""
    if PROTOCOLS[member.found["protocol"]].mean == "harmonic":
        return 2 / sum(1 / np.maximum(one, np.finfo(float).eps) for one in official)
    return np.mean(official, axis=0)


def _spread(now: np.ndarray, drawn: np.ndarray, mine: slice, theirs: slice) -> dict[str, float]:
    def difference(scores: np.ndarray) -> np.ndarray:
        return scores[mine].mean(axis=0) - scores[theirs].mean(axis=0)

    return spread(float(difference(now)[0]), difference(drawn))._asdict()


def _told(member: _Member) -> dict[str, Any]:
    found = member.found
    return {
        "title": member.title,
        **{key: found[key] for key in ("tag", "score", "seeds", "all")},
        "sets": {name: one["official"] for name, one in found["sets"].items()},
        "half_widths95": {name: one["half_width95"] for name, one in found["sets"].items()},
    }


def _settings(members: list[_Member]) -> list[dict[str, Any]]:
    """What differs in configurations, and in what else the experiments were made from."""
    found = differences([one.config for one in members], [one.found["score"] for one in members])
    rows: list[dict[str, Any]] = [{"key": one.key, "values": one.settings} for one in found]
    fused = [("detector", "detector")] if any(one.config is None for one in members) else []
    for key, what in (
        *fused,
        ("trained_sha256", "SHA-256 of the training clips"),
        ("revealed_attributes", "revealed attributes"),
        ("asdkit", "asdkit"),
    ):
        values = [_word(one.found[key], 16) for one in members]
        if len(set(values) - {None}) > 1 or (key == "revealed_attributes" and len(set(values)) > 1):
            rows.append({"key": what, "values": [None if value is None else (value, False) for value in values]})
    return rows


def _word(value: Any, length: int) -> str | None:
    text = ", ".join(value) if isinstance(value, list) else value
    return text[:length] if text and len(text) == 64 else text
