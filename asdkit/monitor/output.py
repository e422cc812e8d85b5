"""Verdicts as plain words, as a table, or as a line of JSON each."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from asdkit.monitor.episodes import Episode
from asdkit.monitor.evidence import Difference
from asdkit.monitor.verdict import ANOMALOUS, DOUBTFUL, NORMAL, UNREAD, Judge, Known, Verdict
from asdkit.utils.names import shown

COLUMNS = (
    *("recording", "start", "seconds", "machine", "section", "verdict", "score", "limit", "p_value", "sensor"),
    *("nearest", "nearest_by", "louder_db", "low_hz", "high_hz", "from_s", "to_s", "unusual", "alarm", "why"),
    "fault",
)
_LABEL = {NORMAL: "normal   ", ANOMALOUS: "ANOMALOUS", DOUBTFUL: "DOUBTFUL ", UNREAD: "NOT READ "}
_INDENT = " " * 11
_FAULTS = {  # kind of a sensor's fault -> what it means
    "rate": "it was recorded in another way than the normal recordings",
    "channels": "it was recorded in another way than the normal recordings",
    "silence": "the microphone gives no signal",
    "clipping": "it is too loud for the microphone: peaks are cut off",
    "dropouts": "pieces of the sound are missing",
    "offset": "the microphone or its amplifier is off balance",
    "gain": "the recording level is another than that of the normal recordings",
    "spectrum": "the high sounds are missing",
}


class Writer(Protocol):
    """Lines for the reader: before the clips, of each, and after them. stderr: lines that are no part of the table."""

    def begin(self, judge: Judge) -> Iterator[str]:
        """What the verdicts are made with."""

    def clip(self, found: Verdict) -> Iterator[str]:
        """One clip's verdict."""

    def end(self, counts: Counter[str], judge: Judge, code: int) -> Iterator[str]:
        """How many there were, and the exit code."""


class Words:
    """Plain words, for people who know the machine and not the method."""

    def __init__(self, several: bool, stream: bool, clock: Callable[[float], str] | None = None) -> None:
        """several: machines; stream: clips of one recording; clock: how the times of alarms are told (else h:mm:ss)."""
        self.several, self.stream, self.clock = several, stream, clock or _clock

    def begin(self, judge: Judge) -> Iterator[str]:
        """What the verdicts are made with."""
        bundle = judge.detector.bundle
        yield f"Judged with {shown(str(bundle.path))}. The higher a score, the less a recording sounds like the normal"
        yield "recordings that were learnt; above the limit it counts as anomalous."
        for known in judge.known.values():
            line = f"  {known.title}: {len(known.names)} normal recordings, limit {_number(known.rule.limit)}"
            if not math.isnan(known.rule.asked):
                alarms = f"{known.rule.asked:g} false alarm{'s' * (known.rule.asked != 1)}"
                line += f", at most {alarms} a day ({known.rule.expected:.2g} expected)"
            if known.rule.n > 1:
                line += f"; an alarm takes {known.rule.k} of {known.rule.n} clips above it"
            yield line
        yield ""

    def clip(self, found: Verdict) -> Iterator[str]:
        """One clip's verdict."""
        name = shown(found.name) + (f" at {_clock(found.seconds)}" if self.stream or found.seconds else "")
        whose = f"{found.machine}  " if self.several and found.machine else ""
        if found.verdict == UNREAD:
            yield f"{_LABEL[UNREAD]}  {whose}{name}: {found.why}"
            return
        line = f"{_LABEL[found.verdict]}  {whose}{name}  score {_number(found.score)}, limit {_number(found.limit)}"
        if found.verdict == NORMAL:
            yield f"{line} (the sound of {found.nearest} itself: it was learnt)" if found.copy else line
        elif found.verdict == DOUBTFUL:
            yield line if found.score is not None else f"{_LABEL[DOUBTFUL]}  {whose}{name}  no score"
            for one in found.sensor:
                yield f"{_INDENT}{_FAULTS[one.kind]} ({one.text})"
            yield f"{_INDENT}so it may say nothing about the machine: look at the microphone first"
        else:
            yield f"{line}: {_rank(found)}" if found.of else line
            if found.fault:
                yield f"{_INDENT}KNOWN FAULT {found.fault[0]}: it sounds like {found.fault[1]}"
            yield f"{_INDENT}{_difference(found)}"
        if found.began and found.alarm:
            yield f"  ALARM    {whose}since {self.clock(found.alarm.start)}: {_over(found.alarm)} above the limit"
        if found.ended:
            yield f"  alarm over: {whose}{self._episode(found.ended)}"

    def end(self, counts: Counter[str], judge: Judge, code: int) -> Iterator[str]:
        """How many there were, and the exit code."""
        yield ""
        for known in judge.known.values():
            if known.watch and known.watch.going:
                yield f"  alarm goes on: {known.title}: {self._episode(known.watch.going)}"
        total = counts.total()
        parts = [f"{counts[kind]} {kind}" for kind in _LABEL if counts[kind]]
        yield f"{total} {'clips' if self.stream else 'recordings'}: {', '.join(parts) or 'nothing to judge'}"

    def _episode(self, one: Episode) -> str:
        high = f"{_over(one)} above the limit, highest score {_number(one.peak_score)}"
        return f"from {self.clock(one.start)} to {self.clock(one.end)}, {high}"


class Table:
    """Tab-separated values with a header."""

    def begin(self, judge: Judge) -> Iterator[str]:
        """The header."""
        yield "\t".join(COLUMNS)

    def clip(self, found: Verdict) -> Iterator[str]:
        """One clip's row; empty fields where there is nothing to tell."""
        row = values(found) | {"recording": shown(found.name), "sensor": ",".join(one.kind for one in found.sensor)}
        fields = ["" if row[key] is None else str(row[key]) for key in COLUMNS]
        yield "\t".join(field.replace("\t", " ").replace("\n", " ") for field in fields)

    def end(self, counts: Counter[str], judge: Judge, code: int) -> Iterator[str]:
        """Nothing: the table ends."""
        yield from ()


class Lines:
    """A JSON object on each line, `type` first: about, clip, alarm, end."""

    def begin(self, judge: Judge) -> Iterator[str]:
        """What was compared with what, and the limits."""
        header = judge.detector.header
        score, spectra = header["score"], header["machines"][0]["spectra"]
        about = {
            "type": "about",
            "bundle": str(judge.detector.bundle.path),
            "made_by": header["made_by"],
            "score": {key: score[key] for key in ("name", "detector", "arrays")},
            "levels": spectra and {"bands_hz": spectra["edges"], "step_s": spectra["seconds"]},
            "machines": [_known(known) for known in judge.known.values()],
        }
        yield _json(about)

    def clip(self, found: Verdict) -> Iterator[str]:
        """One clip's verdict, and the alarm that ended with it."""
        yield _json({"type": "clip"} | values(found))
        if found.ended:
            yield _json(_alarm(found.machine, found.section, found.ended))

    def end(self, counts: Counter[str], judge: Judge, code: int) -> Iterator[str]:
        """Alarms that go on, and how many clips there were."""
        for known in judge.known.values():
            if known.watch and known.watch.going:
                yield _json(_alarm(known.machine.name, known.machine.section, known.watch.going))
        yield _json({"type": "end", "clips": counts.total(), **{kind: counts[kind] for kind in _LABEL}, "exit": code})


def values(found: Verdict) -> dict[str, Any]:
    """A clip's columns, and what --json has beside them."""
    moved = found.difference
    state = "begins" if found.began else "goes on" if found.alarm else "over" if found.ended else None
    return {
        "recording": found.name,
        "start": found.seconds,
        "seconds": found.length,
        "machine": found.machine,
        "section": found.section,
        "verdict": found.verdict,
        "anomaly": found.anomaly,
        "score": found.score,
        "limit": found.limit,
        "p_value": found.pvalue,
        "sensor": [one._asdict() for one in found.sensor],
        "nearest": found.nearest,
        "nearest_by": found.by,
        "copy": found.copy,
        "louder_db": moved and round(moved.db, 2),
        "low_hz": moved and round(moved.low, 1),
        "high_hz": moved and round(moved.high, 1),
        "from_s": moved and round(moved.start, 3),
        "to_s": moved and round(moved.end, 3),
        "unusual": moved and round(moved.unusual, 2),
        "alarm": state,
        "why": found.why,
        "fault": found.fault and found.fault[0],
    }


def _known(known: Known) -> dict[str, Any]:
    rule = {key: value for key, value in known.rule._asdict().items() if not math.isnan(value)}
    recordings = known.calibration.count if known.calibration else 0
    return {
        "machine": known.machine.name,
        "section": known.machine.section,
        "clips": len(known.names),
        "recordings": recordings,
        **rule,
    }


def _alarm(machine: str | None, section: str | None, one: Episode) -> dict[str, Any]:
    told = {"start": one.start, "end": one.end, "raised": one.raised, "open": one.open}
    return {
        "type": "alarm",
        "machine": machine,
        "section": section,
        **told,
        "peak_score": one.peak_score,
        "over": one.over,
        "clips": one.clips,
    }


def _json(value: dict[str, Any]) -> str:
    finite = {key: None if isinstance(one, float) and not math.isfinite(one) else one for key, one in value.items()}
    return json.dumps(finite, allow_nan=False)


def _rank(found: Verdict) -> str:
    if found.above == 0:
        return f"higher than all {found.of} normal recordings"
    return f"{found.above} of {found.of} normal recordings score as high"


def _difference(found: Verdict) -> str:
    moved = found.difference
    than = f"{found.nearest}, the most similar normal recording"
    if moved is None:
        return f"compared with {than}" if found.nearest else "nothing is known of where it differs"
    if moved.unusual <= 1:
        return f"no single pitch or moment stands out against {than}: the sound as a whole differs"
    how = f"{abs(moved.db):.0f} dB {'louder' if moved.db > 0 else 'quieter'}"
    time = "all the time" if moved.throughout else f"from {moved.start:.1f} s to {moved.end:.1f} s"
    return f"most of all {how} {_band(moved)}, {time}, than {than}"


def _band(moved: Difference) -> str:
    if moved.high < 1000:
        return f"between {moved.low:.0f} and {moved.high:.0f} Hz"
    low = f"{moved.low:.0f} Hz" if moved.low < 1000 else f"{moved.low / 1000:.2g}"
    return f"between {low} and {moved.high / 1000:.2g} kHz"


def _over(one: Episode) -> str:
    return f"{one.over} clip{'s' * (one.over != 1)}"


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.4g}"
