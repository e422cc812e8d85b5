"""What is told of a clip: score, decision, how rare such a score is, its sensor, what differs from which recording."""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from asdkit.monitor.calibration import DAY, NEGLIGIBLE, Calibration, Rule
from asdkit.monitor.detector import Detector, Machine
from asdkit.monitor.episodes import Episode, Timed, Watch
from asdkit.monitor.evidence import Difference, Spectra, largest, levels, loudness, most_alike
from asdkit.monitor.inputs import Clip, Ears, Heard, Unread, belongs, why
from asdkit.monitor.sensors import Sensor, measure
from asdkit.monitor.sensors import Verdict as Fault
from asdkit.utils.names import composed

NORMAL, ANOMALOUS, DOUBTFUL, UNREAD = "normal", "anomalous", "doubtful", "not read"


class Wanted(NamedTuple):
    """What counts as a finding: scores above `limit` (None: the bundle's), or as many as `per_day` false alarms allow.

    every: seconds from one clip to the next (None: `hop`, or as long as clips are). k of the last n raise an alarm.
    """

    limit: float | None = None
    per_day: float | None = None
    every: float | None = None
    k: int = 1
    n: int = 1
    hop: float | None = None


@dataclass
class Verdict:
    """What is told of one clip, in the order of the bundle's columns; None and empty where there is nothing to tell.

    seconds: when it begins in its recording or stream (for alarms with `every`: as that says). above: how many of the
    `of` normal recordings that the bundle knows score as high or higher. nearest: the training clip that it is compared
    with, by the score's own distance or (`by` spectrum) by its mean spectrum; copy: it is that clip's own sound, whose
    score says nothing. fault: the known fault that it sounds like, and its recording. alarm: the episode that
    it belongs to, `began` with it or `ended`.
    """

    name: str
    verdict: str
    seconds: float = 0.0
    length: float | None = None
    machine: str | None = None
    section: str | None = None
    score: float | None = None
    limit: float | None = None
    pvalue: float | None = None
    above: int = 0
    of: int = 0
    sensor: list[Fault] = field(default_factory=list)
    nearest: str | None = None
    by: str | None = None
    copy: bool = False
    fault: tuple[str, str] | None = None
    difference: Difference | None = None
    why: str | None = None
    alarm: Episode | None = None
    began: bool = False
    ended: Episode | None = None

    @property
    def anomaly(self) -> bool | None:
        """Whether the score is above the limit, whatever the sensor's state."""
        return None if self.score is None or self.limit is None else self.score > self.limit


class Known:
    """A machine (and section) of a bundle: what its training clips say of new ones.

    Raises ValueError where there is no limit, or the training clips do not support the one asked for.
    """

    def __init__(self, machine: Machine, wanted: Wanted) -> None:
        self.machine, self.names = machine, machine.clips["name"]
        scores, recordings = machine.calibration
        self.calibration = Calibration(scores, recordings) if np.isfinite(scores).any() else None
        self.sensor = Sensor(*machine.sensors) if machine.sensors else None
        told = machine.spectra
        self.spectra = told and Spectra(np.array(told["edges"]), told["mean"], told["deviation"])
        self.rule = self._rule(wanted)
        self.watch = Watch(self.rule) if wanted.n > 1 else None

    @property
    def title(self) -> str:
        """Machine, and section where it counts."""
        return self.machine.title

    def _rule(self, wanted: Wanted) -> Rule:
        every = wanted.every or wanted.hop or self.machine.seconds
        if wanted.per_day is not None:
            if self.calibration is None:
                raise ValueError(f"{self.title}: the bundle holds no scores of normal clips: --limit")
            try:
                return self.calibration.rule(wanted.per_day, DAY / every, wanted.k, wanted.n)
            except ValueError as error:
                often = f"--every says how often a clip comes (here each {every:g} s), --alarm-after how many alarm"
                raise ValueError(f"{self.title}: {error}. {often}") from None
        limit = self.machine.threshold if wanted.limit is None else wanted.limit
        if limit is None:
            raise ValueError(f"{self.title}: the bundle holds no limit: --limit, or --false-alarms-per-day")
        unasked = dict.fromkeys(("level", "asked", "expected", "worst", "upper"), math.nan)
        return Rule(limit=limit, release=limit, k=wanted.k, n=wanted.n, **unasked)


class Judge:
    """Judges one clip after the other.

    machine, section: whose the clips are, where their names do not tell. Raises ValueError for another machine, and as
    `Known` does.
    """

    def __init__(
        self, detector: Detector, wanted: Wanted, machine: str | None = None, section: str | None = None
    ) -> None:
        self.detector, self.wanted, self.name, self.section = detector, wanted, machine, section
        self.faults = False  # whether a clip sounded like a known one
        self.ears = Ears(detector.header["reading"], detector.reader)
        machines = [one for one in detector.machines if machine is None or composed(one.name) == composed(machine)]
        if not machines:
            detector.machine(machine)  # says which there are
        self.known = {(one.name, one.section): Known(one, wanted) for one in machines}

    def judge(self, clip: Clip | Unread) -> Verdict:
        """The verdict on a clip; of one that cannot be judged it says why."""
        if isinstance(clip, Unread):
            return Verdict(clip.name, UNREAD, clip.seconds, why=clip.why)
        try:
            key = belongs(clip.name, list(self.known), self.name, self.section)
        except ValueError as error:
            return Verdict(clip.name, UNREAD, clip.seconds, why=str(error))
        known = self.known[key]
        try:
            heard = self.ears.hear(clip)
            verdict = self._judged(clip, heard, known)
        except (ValueError, OSError) as error:
            return Verdict(clip.name, UNREAD, clip.seconds, None, *key, why=why(error, clip.path, clip.name))
        self._alarm(verdict, known)
        return verdict

    def code(self, counts: Counter[str]) -> int:
        """The exit code after so many verdicts of each kind: 0 nothing found, 1 a finding, 2 something not judged."""
        if counts[UNREAD] or not counts.total():
            return 2
        alarms = any(known.watch.raised for known in self.known.values() if known.watch)
        return int(bool(counts[DOUBTFUL] or self.faults or (alarms if self.wanted.n > 1 else counts[ANOMALOUS])))

    def _judged(self, clip: Clip, heard: Heard, known: Known) -> Verdict:
        found = Verdict(clip.name, NORMAL, clip.seconds, heard.seconds, known.machine.name, known.machine.section)
        if known.sensor:
            found.sensor = known.sensor.verdicts(measure(heard.raw, heard.rate, heard.form, heard.channels))
        try:
            scored = known.machine.score(self.detector.embed(heard.samples, known.machine))
        except ValueError:
            if not found.sensor:
                raise
            found.verdict = DOUBTFUL  # silence, say, that has no direction
            return found
        found.score, found.limit, found.copy = scored.score, known.rule.limit, scored.copy
        if known.calibration:
            found.pvalue = float(known.calibration.pvalues(np.array([scored.score]))[0])
            found.of = known.calibration.count
            found.above = math.ceil(found.pvalue * (found.of + 1) - 1 - NEGLIGIBLE)
        found.verdict = DOUBTFUL if found.sensor else ANOMALOUS if found.anomaly else NORMAL
        if scored.fault:
            found.fault, found.verdict, self.faults = scored.fault, ANOMALOUS, True
        self._compare(found, scored.nearest, heard, known)
        return found

    def _compare(self, found: Verdict, nearest: int | None, heard: Heard, known: Known) -> None:
        """Tell what differs from the nearest training clip, by the score or else by the spectrum."""
        found.by = "score"
        if known.spectra:
            rate, spectra = self.detector.rate, known.spectra
            course = levels(heard.samples, rate)
            if self.ears.reading["level"] == "clip_rms":  # nor does the network hear how loud a clip is
                course = course - loudness(course.mean(axis=0))
                spectra = spectra._replace(mean=spectra.mean - loudness(spectra.mean)[:, None])
            if nearest is None:
                nearest, found.by = most_alike(course, spectra), "spectrum"
            found.difference = largest(course, spectra, nearest, heard.seconds, rate)
        found.nearest, found.by = (None, None) if nearest is None else (known.names[nearest], found.by)

    def _alarm(self, verdict: Verdict, known: Known) -> None:
        if known.watch is None:
            return
        before = known.watch.going
        if self.wanted.every is not None:
            verdict.seconds = known.watch.count * self.wanted.every
        start = verdict.seconds
        score = None if verdict.verdict == DOUBTFUL else verdict.score
        now = known.watch.add(Timed(score, start, start + (verdict.length or 0)))
        verdict.alarm, verdict.began = now, now is not None and before is None
        verdict.ended = before if before is not None and now is None else None
