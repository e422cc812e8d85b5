"""A bundle with more clips that are known to be normal, or faults that are known: limits anew, nothing trained."""

import copy
import datetime
import hashlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from asdkit.detectors.threshold import threshold
from asdkit.monitor.bundle import Bundle, write_bundle
from asdkit.monitor.detector import Detector, Machine
from asdkit.monitor.evidence import levels, summary
from asdkit.monitor.faults import Faults, radii
from asdkit.monitor.inputs import Ears, Heard, Key, Unread, belongs, find
from asdkit.monitor.learnt import Learnt, learnt_again
from asdkit.monitor.sensors import Sensor, measure
from asdkit.utils.names import shown


class Known(NamedTuple):
    """A clip that a person has judged: its name, what was heard, its embedding x [1, ...], its score before."""

    name: str
    heard: Heard
    x: np.ndarray
    score: float


class Side(NamedTuple):
    """A machine before and after: clips, limit, and how many of the new ones score above it (after: each compared
    with the others). joined: whether its detector keeps the new clips themselves."""

    title: str
    clips: tuple[int, int]
    limit: tuple[float | None, float | None]
    above: tuple[int, int]
    of: int
    joined: bool


def hear(detector: Detector, paths: Iterable[str], machine: str | None, section: str | None) -> dict[Key, list[Known]]:
    """The clips of files and folders, by machine.

    Raises ValueError naming what cannot be read, is heard by a sensor that cannot be trusted, is known already or comes
    twice.
    """
    ears, keys = Ears(detector.header["reading"], detector.reader), [(m.name, m.section) for m in detector.machines]
    found: dict[Key, list[Known]] = defaultdict(list)
    sounds: dict[tuple[Key, bytes], str] = {}
    for clip in find(paths, ears, None):
        if isinstance(clip, Unread):
            raise ValueError(f"{shown(clip.name)}: {clip.why}")
        key = belongs(clip.name, keys, machine, section)
        own = detector.machine(*key)
        heard = ears.hear(clip)
        if own.sensors and (wrong := Sensor(*own.sensors).verdicts(_measured(heard))):
            kinds = ("gain", "spectrum", "rate", "channels")  # what may have changed for good
            if any(one.kind not in kinds for one in wrong):
                raise ValueError(f"{shown(clip.name)}: {wrong[0].text}: nothing can be learnt from it, leave it out")
        arrays = detector.embed(heard.samples, own)
        scored = own.score(arrays)
        sound = key, hashlib.blake2b(heard.samples.tobytes()).digest()
        if sound in sounds:
            raise ValueError(f"{shown(clip.name)}: the same sound as {sounds[sound]}: leave one of them out")
        sounds[sound] = shown(clip.name)
        if scored.copy:
            raise ValueError(f"{shown(clip.name)}: the bundle knows it: {own.clips['name'][scored.nearest]}")
        found[key].append(Known(shown(clip.name), heard, own.joined(arrays), scored.score))
    return found


def recalibrate(
    bundle: Bundle, normal: dict[Key, list[Known]], faults: dict[str, dict[Key, list[Known]]], out: Path
) -> list[Side]:
    """Write `out`: the bundle with these clips as normal ones, and those of faults by their names; both side by side.

    Nearest neighbours keep the new clips; other detectors stay, and the clips count for the limits alone. Raises
    ValueError for a file that is there, and faults where no clips are kept.
    """
    if out.exists():
        raise ValueError(f"--out {out}: is there already; nothing is overwritten: name another file")
    arrays = {name: np.asarray(bundle.array(name)) for name in bundle.sections}
    header = {key: value for key, value in bundle.header.items() if key != "sections"}
    header["machines"] = copy.deepcopy(header["machines"])
    _apart(header["machines"], arrays)
    sides = []
    for old, told in zip(bundle.header["machines"], header["machines"], strict=True):
        machine, key = Machine(bundle, old), (told["machine"], told["section"])
        if clips := normal.get(key):
            sides.append(_add(machine, told, arrays, clips, header))
        for name, groups in faults.items():
            if groups.get(key):
                _add_fault(told, arrays, name, groups[key])
        if told.get("faults"):
            _measure_faults(machine, told, arrays)
    note = {"at": datetime.datetime.now().isoformat(timespec="seconds"), "of": bundle.path.name}
    note["machines"] = {side.title: {"clips": side.clips, "limit": side.limit} for side in sides}
    card = header["card"] if isinstance(header["card"], dict) else {"card": header["card"]}
    header["card"] = card | {"recalibrated": [*card.get("recalibrated", []), note]}
    write_bundle(out, header, arrays)
    return sides


def _apart(machines: list[dict[str, Any]], arrays: dict[str, np.ndarray]) -> None:
    """Give each place of a machine an array of its own name."""
    seen: set[str] = set()
    for told in machines:
        places = [(told, key) for key in ("recordings", "self_rows", "self_scores")]
        places += [(part["arrays"], key) for part in told["detectors"].values() for key in part["arrays"]]
        places += [(told["sensors"], "values")] if told["sensors"] else []
        places += [(told["spectra"], key) for key in ("mean", "deviation")] if told["spectra"] else []
        for place, key in places:
            name = place[key]
            while place[key] in seen:
                place[key] += "+"
            seen.add(place[key])
            arrays.setdefault(place[key], arrays[name])


def _add(
    machine: Machine, told: dict[str, Any], arrays: dict[str, np.ndarray], clips: list[Known], header: dict[str, Any]
) -> Side:
    before, count = len(told["clips"]["utt"]), len(clips)
    numbers = np.arange(before, before + count)
    own = int(machine.recordings.max()) + 1 + np.arange(count)
    recordings = np.concatenate([machine.recordings, own])
    domain = next((name for name in ("target", "all") if name in machine.domains), next(iter(machine.domains)))
    joined = all(_keeps(learnt) for learnt, _, _ in machine.domains.values())
    if joined:
        names = told["detectors"][domain]["arrays"]
        arrays[names["x"]] = np.concatenate(
            [arrays[names["x"]], *(clip.x.astype(arrays[names["x"]].dtype) for clip in clips)]
        )
        arrays[names["rows"]] = np.concatenate([arrays[names["rows"]], numbers])
        settings = told["detectors"][domain]["settings"]
        if settings["distance"] == "whitened":  # clips that a whitening was not learnt from are farther away
            again = learnt_again(settings, {"x": arrays[names["x"]]})
            arrays |= {names[key]: array for key, array in again.items()}
        memories = {
            name: (Learnt("knn", part["settings"], {key: arrays[array] for key, array in part["arrays"].items()}), part)
            for name, part in told["detectors"].items()
        }
        rows = np.concatenate([arrays[told["self_rows"]], numbers])
        scores = _left_out(memories, rows, recordings)
    else:
        rows = np.concatenate([arrays[told["self_rows"]], numbers])
        scores = np.concatenate([arrays[told["self_scores"]], [clip.score for clip in clips]])
    arrays[told["recordings"]], arrays[told["self_rows"]], arrays[told["self_scores"]] = recordings, rows, scores
    _describe(told, arrays, clips, machine)
    limit = told["threshold"]
    if limit is not None:
        told["threshold"] = threshold(scores, header["score"]["percentile"], header["score"]["non_negative"])
    new = scores[-count:]
    above = [0 if one is None else int((np.asarray(them) > one).sum()) for one, them in (
        (limit, [clip.score for clip in clips]), (told["threshold"], new))]  # fmt: skip
    limits = (limit, told["threshold"])
    return Side(machine.title, (before, before + count), limits, (above[0], above[1]), count, joined)


def _keeps(learnt: Learnt) -> bool:
    """Whether a detector is its clips, so that more of them can join."""
    arrays = learnt.arrays
    return learnt.knn is not None and not {"times", "minus"} & arrays.keys() and bool((arrays["rows"] >= 0).all())


def _left_out(memories: dict[str, tuple[Learnt, Any]], rows: np.ndarray, recordings: np.ndarray) -> np.ndarray:
    """Scores of the clips `rows`, none compared with its own recording."""
    where = {
        int(row): (learnt, place) for learnt, _ in memories.values() for place, row in enumerate(learnt.arrays["rows"])
    }
    x = np.concatenate([where[row][0].arrays["x"][[where[row][1]]] for row in rows.tolist()])
    scores = []
    for learnt, part in memories.values():
        assert learnt.knn is not None
        for bank in learnt.knn.banks:
            bank.recordings = recordings[learnt.arrays["rows"]][:, None]
        scores.append((learnt.knn.leave_one_out(x, recordings[rows]) - part["low"]) / part["width"])
    return np.min(scores, axis=0)


def _describe(told: dict[str, Any], arrays: dict[str, np.ndarray], clips: list[Known], machine: Machine) -> None:
    """What is normal for the sensor and the spectrum, with the new clips."""
    lists = {key: list(values) for key, values in told["clips"].items()}
    domain = "target" if "target" in lists["domain"] else lists["domain"][-1]
    for clip in clips:
        new = {"utt": clip.name, "name": clip.name, "domain": domain, "attr": "", "section": lists["section"][-1]}
        for key, value in new.items():
            lists[key].append(value)
    told["clips"] = lists
    if sensors := told["sensors"]:
        values = [[_measured(clip.heard)[name] for name in sensors["names"]] for clip in clips]
        arrays[sensors["values"]] = np.concatenate([arrays[sensors["values"]], values])
    if spectra := told["spectra"]:
        rate = machine.bundle.header["reading"]["rate"]
        found = [summary(levels(clip.heard.samples, rate)) for clip in clips]
        for place, key in enumerate(("mean", "deviation")):
            new = np.stack([one[place] for one in found]).astype(np.float32)
            arrays[spectra[key]] = np.concatenate([arrays[spectra[key]], new])


def _add_fault(told: dict[str, Any], arrays: dict[str, np.ndarray], name: str, clips: list[Known]) -> None:
    prefix = f"{told['recordings'].rpartition('.')[0]}.faults"
    known = told.get("faults") or {"names": [], "clips": [], "x": f"{prefix}.x", "radii": f"{prefix}.radii"}
    x = np.concatenate([clip.x for clip in clips])
    if known["names"]:
        x = np.concatenate([arrays[known["x"]], x])
    arrays[known["x"]] = x.astype(np.float32)
    told["faults"] = known | {
        "names": [*known["names"], *(name for _ in clips)],
        "clips": [*known["clips"], *(clip.name for clip in clips)],
    }


def _measure_faults(machine: Machine, told: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """How near clips must come to known faults: normal ones may have come nearer."""
    kept = [Learnt("knn", part["settings"], {key: arrays[array] for key, array in part["arrays"].items()})
            if machine.bundle.header["score"]["detector"] == "knn" else machine.domains[domain][0]
            for domain, part in told["detectors"].items()]  # fmt: skip
    known = told["faults"]
    arrays[known["radii"]] = radii(kept, arrays[known["x"]]).astype(np.float64)
    Faults(kept[0], known["names"], arrays[known["x"]], arrays[known["radii"]])


def _measured(heard: Heard) -> dict[str, float]:
    return measure(heard.raw, heard.rate, heard.form, heard.channels)
