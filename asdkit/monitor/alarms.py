"""The alarms of a machine that is watched, by kind: its sound, its sensor, and faults that are known by name."""

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, NamedTuple

from asdkit.monitor.calibration import Rule
from asdkit.monitor.episodes import Episode, Timed, Watch
from asdkit.monitor.verdict import DOUBTFUL, Verdict

ANOMALY, SENSOR = "anomaly", "sensor"
BEGINS, GOES_ON, OVER = "begins", "goes on", "over"


class Event(NamedTuple):
    """What a clip did to an alarm of `kind`: it begins, goes on or is over.

    ordinal: how many of its kind there were; later: the episode lasts up to this clip now.
    """

    kind: str
    what: str
    ordinal: int
    episode: Episode
    later: bool


class Alarms:
    """Counts a machine's clips: for its sound by `rule`, for its sensor by k of n clips that cannot be trusted."""

    def __init__(self, rule: Rule, faults: Iterable[str] = ()) -> None:
        """faults: names of known ones, of which one clip is enough."""
        self.rule, self.count = rule, 0
        self.watches = {ANOMALY: Watch(rule), SENSOR: Watch(_yes_or_no(rule.k, rule.n))}
        self.watches |= {name: Watch(_yes_or_no(1, rule.n)) for name in faults}

    def add(self, found: Verdict, start: float, end: float) -> list[Event]:
        """Take the next clip, recorded from `start` to `end`; says so in `found`, too, for an alarm of the sound."""
        doubtful = found.verdict == DOUBTFUL
        scores = {ANOMALY: None if doubtful else found.score, SENSOR: float(doubtful)}
        fault = found.fault and found.fault[0]
        events = []
        for kind, watch in self.watches.items():
            before = watch.going
            now = watch.add(Timed(scores[kind] if kind in scores else float(kind == fault), start, end))
            if now is not None:
                events.append(Event(kind, GOES_ON if before else BEGINS, watch.raised, now, watch.quiet == 0))
            elif before is not None:
                events.append(Event(kind, OVER, watch.raised, before, False))
            if kind == ANOMALY:
                found.alarm, found.began = now, now is not None and before is None
                found.ended = before if now is None else None
        self.count += 1
        return events

    def held(self) -> dict[str, dict[str, Any]]:
        """Where the counting stands, by kind, as JSON can hold it."""
        return {kind: watch.held() for kind, watch in self.watches.items()}

    def restore(self, held: dict[str, dict[str, Any]]) -> None:
        """Go on from what `held` gave; kinds that are not counted any more are left out."""
        for kind, state in held.items():
            if kind in self.watches:
                self.watches[kind].restore(state)
        self.count = self.watches[ANOMALY].count
        for watch in self.watches.values():
            watch.count = self.count  # a kind that is new counts from here on


def told(event: Event, machine: str, section: str) -> dict[str, Any]:
    """An event as messages have it."""
    episode = {key: value for key, value in asdict(event.episode).items() if key not in ("clips", "peak", "open")}
    about = {"machine": machine, "section": section, "kind": event.kind, "what": event.what, "alarm": event.ordinal}
    return {"type": "alarm", **about, **episode}


def _yes_or_no(k: int, n: int) -> Rule:
    unasked = dict.fromkeys(("level", "asked", "expected", "worst", "upper"), math.nan)
    return Rule(limit=0.5, release=0.5, k=k, n=n, **unasked)
