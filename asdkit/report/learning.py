"""How much normal sound is enough: AUC of detectors that are fitted on a part of the training clips.

Amounts are compared on the same draws: each draw puts a machine's training recordings into one order, of which an
amount is the beginning, for all scores. Differences between separate draws are as large as what more clips bring.
"""

import logging
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from asdkit.corpus.manifest import read_ref
from asdkit.corpus.names import sets_of, split_set
from asdkit.detectors.domains import PerDomain
from asdkit.detectors.scoring import groups, recordings_of, title
from asdkit.metrics import Undefined, auc
from asdkit.report.tables import table

if TYPE_CHECKING:
    from asdkit.config import ScoreConfig
    from asdkit.infer.experiment import Experiment

FEWEST = 4  # clips of the smallest amount that is chosen without being asked for
AMOUNTS = 6  # at most, each half the next one
Row = dict[str, Any]


class Machine(NamedTuple):
    """Training arrays x [N, ...] of one machine (and section), domains and recordings [N], minutes in all; tests."""

    name: str
    x: np.ndarray
    domains: list[str]
    recordings: np.ndarray
    minutes: float
    tests: np.ndarray
    anomalous: np.ndarray


def learning_curve(
    experiment: "Experiment", data: Path, names: Sequence[str], minutes: Sequence[float] | None, draws: int, seed: int
) -> list[Row]:
    """AUC (0 to 1) of each score, set, machine, amount of sound and draw: a row each.

    data: what stage 1 wrote. minutes: amounts per machine; None: all of the machine with the least, and halves of it.
    What a detector refuses has no AUC, and is logged once for each machine. Raises ValueError for scores that are
    transductive, without the truth, and for more minutes than there are.
    """
    rows: list[Row] = []
    told: set[tuple[str, str, str]] = set()
    for score in names:
        settings = experiment.settings(score)
        if settings.normalise == "test_zscore":
            raise ValueError(f"score.{score}.normalise is {settings.normalise}: it needs no training clips")
        for name in sets_of("test", experiment.sets()):
            found = list(_machines(experiment, data, settings, name))
            for amount in minutes or _amounts(found):
                for machine in found:
                    if amount > machine.minutes * (1 + 1e-6):
                        raise ValueError(
                            f"--minutes {amount:g}: {machine.name} has {machine.minutes:.3g} minutes of training clips"
                        )
                    for draw in range(draws):
                        value, clips, refusal = _scored(settings, machine, amount, draw, seed)
                        if refusal and (score, name, machine.name) not in told:
                            told.add((score, name, machine.name))
                            where = f"score.{score}: {machine.name}, {amount:.3g} minutes ({clips} clips)"
                            logging.warning("%s: no AUC: %s", where, refusal)
                        head = {"score": score, "set": split_set(name)[0], "machine": machine.name}
                        rows.append({**head, "minutes": amount, "draw": draw, "clips": clips, "auc": value})
    return rows


def _machines(experiment: "Experiment", data: Path, settings: "ScoreConfig", name: str) -> list[Machine]:
    path = data / name / "ref.tsv"
    if not path.exists():
        raise ValueError(f"{path}: is not there: a learning curve needs test clips whose truth is known")
    ref, rate = read_ref(path), experiment.dataset.sample_rate
    tests, x = experiment.load(name, *settings.arrays, zeros=settings.zeros)
    whose, train = groups(settings, tests), experiment.training(*settings.arrays, zeros=settings.zeros)
    found = []
    for key in sorted(whose):
        own = [(*sets, i) for sets in train.values() for i in groups(settings, sets[0]).get(key, ())]
        own.sort(key=lambda one: one[0][one[2]]["utt"])  # a draw does not depend on the order of a list
        rows, arrays = [rows[i] for rows, _, i in own], np.stack([arrays[i] for _, arrays, i in own])
        samples = sum(int(row["samples"]) for row in rows)
        anomalous = np.array([ref[tests[i]["utt"]][0] == "anomaly" for i in whose[key]])
        domains, recordings = [row["domain"] for row in rows], recordings_of(rows, arrays)
        found.append(Machine(title(key), arrays, domains, recordings, samples / rate / 60, x[whose[key]], anomalous))
    return found


def _amounts(found: list[Machine]) -> list[float]:
    """All the sound of the machine with the least, and halves of it."""
    least = min(found, key=lambda machine: machine.minutes)
    count = min(AMOUNTS, 1 + int(math.log2(max(len(least.x) / FEWEST, 1))))
    return [least.minutes / 2**i for i in reversed(range(count))]


def _scored(
    settings: "ScoreConfig", machine: Machine, minutes: float, draw: int, seed: int
) -> tuple[float | None, int, str]:
    """AUC with a draw's beginning, of each domain its share, and the clips; None and why where a detector refuses."""
    random = np.random.default_rng([seed, draw])
    place = random.permutation(machine.recordings.max() + 1)[machine.recordings]  # copies stay together
    chosen: list[int] = []
    told = np.array(machine.domains)
    for domain in sorted(set(machine.domains)):
        own = np.flatnonzero(told == domain)
        count = max(1, min(len(own), round(minutes / machine.minutes * len(own))))
        chosen += own[np.argsort(place[own], kind="stable")[:count]].tolist()
    chosen.sort()
    try:
        detector = PerDomain(settings).fit(
            machine.x[chosen], [machine.domains[i] for i in chosen], machine.recordings[chosen]
        )
        return auc(detector.anomaly_score(machine.tests), machine.anomalous), len(chosen), ""
    except Undefined:
        raise ValueError(f"{machine.name}: an AUC needs normal and anomalous test clips") from None
    except ValueError as error:
        return None, len(chosen), str(error)


def summary(rows: list[Row]) -> list[Row]:
    """A row for each score, set and amount: mean AUC over machines and draws, and what it gains on the amount before.

    deviation: of the machines' mean over draws; gain and its standard error, over the same draws. None where there is
    one draw, no amount before, or a detector that refuses so few clips.
    """
    means: dict[tuple[str, str, float], dict[int, list[float | None]]] = defaultdict(lambda: defaultdict(list))
    clips: dict[tuple[str, str, float], list[int]] = defaultdict(list)
    for row in rows:
        key = (row["score"], row["set"], row["minutes"])
        means[key][row["draw"]].append(row["auc"])
        clips[key].append(row["clips"])
    found: list[Row] = []
    before: dict[tuple[str, str], list[float] | None] = {}
    for key, own in means.items():
        score, name, minutes = key
        whole = None if any(None in values for values in own.values()) else [fmean(own[draw]) for draw in sorted(own)]
        row = {"score": score, "set": name, "minutes": minutes, "clips": fmean(clips[key])}
        row |= {"auc": whole and fmean(whole), "deviation": stdev(whole) if whole and len(whole) > 1 else None}
        row |= {"gain": None, "error": None}
        if whole and (last := before.get((score, name))):
            gains = [now - then for now, then in zip(whole, last, strict=True)]
            row["gain"] = fmean(gains)
            row["error"] = stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else None
        before[score, name] = whole
        found.append(row)
    return found


def learning_table(found: list[Row]) -> str:
    """Markdown: a line for each score, set and amount, in percent."""
    lines = []
    for row in found:
        auc_cell = "-" if row["auc"] is None else f"{100 * row['auc']:.2f}{_spread(row['deviation'])}"
        gain = "" if row["gain"] is None else f"{100 * row['gain']:+.2f}{_spread(row['error'])}"
        lines.append([row["score"], row["set"], f"{row['minutes']:.3g}", f"{row['clips']:.1f}", auc_cell, gain])
    return table(["score", "set", "minutes", "clips", "AUC", "gain"], lines)


def _spread(value: float | None) -> str:
    return "" if value is None else f" ± {100 * value:.2f}"
