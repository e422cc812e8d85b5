"""The challenge's scoring rules: which clips a value is computed from, and how values become one official score."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from asdkit.metrics import EPSILON, Undefined, auc, harmonic_mean, pauc, pauc_eq12, without_each

METRICS = {"auc": auc, "pauc": pauc, "pauc_eq12": pauc_eq12}
MAX_FPR = {"auc": 1.0, "pauc": 0.1}
CONDITIONS = ("normal", "anomaly")
DOMAINS = ("source", "target", "-")


class ScoredClip(NamedTuple):
    """A scored test clip; condition normal | anomaly, domain source | target | - (unknown)."""

    machine: str
    section: str
    domain: str
    condition: str
    score: float


class Value(NamedTuple):
    """A metric over a section's normal clips of one domain against its anomalies of one domain ('any': all)."""

    metric: str
    normals: str = "any"
    anomalies: str = "any"


class Protocol(NamedTuple):
    """official: the values that enter the score. no_domains: the same for a section without domains. extras: not in it.

    mean: 'harmonic' is one mean over all values of all sections; 'arithmetic' averages within a machine, then machines.
    """

    rule: str
    mean: str
    official: dict[str, Value]
    no_domains: dict[str, Value]
    extras: dict[str, Value]


PROTOCOLS = {
    "dcase2020": Protocol(
        "arithmetic mean of AUC and pAUC, over the machine ids of a machine, then over machines",
        "arithmetic",
        {"auc": Value("auc"), "pauc": Value("pauc")},
        {"auc": Value("auc"), "pauc": Value("pauc")},
        {"pauc_eq12": Value("pauc_eq12")},
    ),
    "dcase2021": Protocol(
        "harmonic mean of AUC and pAUC over machines, sections and domains; "
        "each compares normal clips and anomalies of one domain",
        "harmonic",
        {f"{metric}_{domain}": Value(metric, domain, domain) for metric in ("auc", "pauc") for domain in DOMAINS[:2]},
        {"auc_all": Value("auc"), "pauc_all": Value("pauc")},
        {"auc_all": Value("auc"), "pauc_all": Value("pauc"), "pauc_eq12": Value("pauc_eq12")},
    ),
    "dcase2022": Protocol(
        "harmonic mean of AUC source, AUC target and pAUC over machines and sections; AUC source (target) compares "
        "the normal clips of the domain with the anomalies of both domains, pAUC takes all clips",
        "harmonic",
        {
            "auc_source": Value("auc", "source"),
            "auc_target": Value("auc", "target"),
            "pauc": Value("pauc"),
        },
        {"auc_all": Value("auc"), "pauc": Value("pauc")},
        {
            "auc_all": Value("auc"),
            "auc_source_in_domain": Value("auc", "source", "source"),
            "auc_target_in_domain": Value("auc", "target", "target"),
            "pauc_source_in_domain": Value("pauc", "source", "source"),
            "pauc_target_in_domain": Value("pauc", "target", "target"),
            "pauc_eq12": Value("pauc_eq12"),
        },
    ),
}


def evaluate(clips: Iterable[ScoredClip], protocol: str) -> dict[str, Any]:
    """Official score and tables of one test set.

    Returns (plain values, ready for JSON; every number is in 0..1, None = not defined):
      official, half_width95 (of the official score, by leaving out each clip), clips,
      values / extras: name -> mean over the set, machines: [{machine, score, values, extras}],
      sections: [{machine, section, normal, anomaly, values, extras}], notes: [why a value is not defined].
    `score` is a machine's mean of its official values. A value that is not defined stays out of every mean.
    Raises ValueError for an unknown protocol, condition or domain, or a score that is not finite.
    Source: the evaluators of the DCASE challenges; paper Sec. IV-B.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol {protocol!r}, allowed: {', '.join(PROTOCOLS)}")
    rule, notes = PROTOCOLS[protocol], _Notes()
    machines = _machines(clips, rule, notes)
    sections = [section for own in machines.values() for section in own]
    return {
        **_summary("official", list(machines.values()), rule.mean),
        "half_width95": _half_width95(sections, rule.mean, notes),
        "clips": sum(len(section.scores) for section in sections),
        "machines": [{"machine": name, **_summary("score", [own], rule.mean)} for name, own in machines.items()],
        "sections": [section.row() for section in sections],
        "notes": notes.lines(),
    }


def machine_half_widths95(clips: Iterable[ScoredClip], protocol: str) -> dict[str, dict[str, float | None]]:
    """Half width of the 95% interval of each machine's official values, as `evaluate` gives that of the score.

    Returns machine -> value -> half width, None where one is not defined. protocol: one of PROTOCOLS.
    """
    rule, found = PROTOCOLS[protocol], {}
    for machine, own in _machines(clips, rule, _Notes()).items():
        names = dict.fromkeys(name for section in own for name in section.values)
        found[machine] = {name: _half_width95(own, rule.mean, _Notes(), [name]) for name in names}
    return found


def sections_of(clips: Iterable[ScoredClip], protocol: str) -> dict[str, list["Section"]]:
    """The sections of each machine with their official values, both sorted by name. Errors as for `evaluate`."""
    return _machines(clips, PROTOCOLS[protocol], _Notes())


def combine(dev: float | None, evaluation: float | None, protocol: str) -> float | None:
    """The paper's 'All': the mean (harmonic; dcase2020: arithmetic) of the official scores of the two sets."""
    if dev is None or evaluation is None:
        return None
    return _mean([[dev, evaluation]], PROTOCOLS[protocol].mean)


def _machines(clips: Iterable[ScoredClip], rule: Protocol, notes: "_Notes") -> dict[str, list["Section"]]:
    """The sections of each machine, sorted by name."""
    groups: dict[tuple[str, str], list[ScoredClip]] = defaultdict(list)
    for clip in clips:
        if clip.condition not in CONDITIONS or clip.domain not in DOMAINS:
            allowed = f"{', '.join(CONDITIONS)} and {', '.join(DOMAINS)}"
            raise ValueError(
                f"{clip.machine}: condition {clip.condition!r}, domain {clip.domain!r}, allowed: {allowed}"
            )
        groups[clip.machine, clip.section].append(clip)
    machines: dict[str, list[Section]] = defaultdict(list)
    for key in sorted(groups):
        machines[key[0]].append(Section(key, groups[key], rule, notes))
    return machines


class _Notes:
    """Why values are not defined, gathered so that each reason is said once."""

    def __init__(self) -> None:
        self.names: dict[tuple[str, str], list[str]] = defaultdict(list)

    def add(self, place: str, reason: str, name: str = "") -> None:
        self.names[place, reason].append(name)

    def lines(self) -> list[str]:
        places: dict[str, list[str]] = defaultdict(list)
        for (place, reason), names in self.names.items():
            values = ", ".join(filter(None, names))
            places[f"{values} not defined, {reason}" if values else reason].append(place)
        return [f"{text}: {', '.join(found)}" for text, found in places.items()]


class Section:
    """The clips of one section of one machine, and its values."""

    def __init__(self, key: tuple[str, str], clips: list[ScoredClip], rule: Protocol, notes: _Notes) -> None:
        self.machine, self.section = key
        self.name = self.machine if self.section == "-" else f"{self.machine} {self.section}"
        self.scores = np.array([clip.score for clip in clips], dtype=float)
        self.anomalous = np.array([clip.condition == "anomaly" for clip in clips], dtype=bool)
        self.domains = np.array([clip.domain for clip in clips], dtype=str)
        self.rules, extras = rule.official, rule.extras
        if rule.no_domains != rule.official and (self.domains == "-").all():
            self.rules = rule.no_domains
            extras = {name: v for name, v in extras.items() if v.normals == "any" and name not in self.rules}
            notes.add(self.name, f"no domains known, the official values are {' and '.join(self.rules)} over all clips")
        self.values = {name: self._value(name, value, notes) for name, value in self.rules.items()}
        self.extras = {name: self._value(name, value, notes) for name, value in extras.items()}

    def row(self) -> dict[str, Any]:
        counts = {"normal": int((~self.anomalous).sum()), "anomaly": int(self.anomalous.sum())}
        return {
            "machine": self.machine,
            "section": self.section,
            **counts,
            "values": self.values,
            "extras": self.extras,
        }

    def official(self, names: Sequence[str] | None = None) -> list[float]:
        """Its official values that are defined; of these names alone, where they are given."""
        chosen = self.values if names is None else names
        return [value for name in chosen if (value := self.values.get(name)) is not None]

    def strata(self) -> list[np.ndarray]:
        """Clips of one condition and domain, as masks [clips]."""
        return [
            (self.domains == domain) & (self.anomalous == anomalous)
            for domain in np.unique(self.domains)
            for anomalous in (False, True)
        ]

    def shifts(self, weight: float, mean: str, names: Sequence[str] | None = None) -> np.ndarray:
        """Change of the weighted sum of (inverted, if harmonic) official values when each clip is left out, [clips]."""
        shift = np.zeros(len(self.scores))
        for name, value in self.values.items():
            if value is not None and (names is None or name in names):
                mask = self.mask(self.rules[name])
                max_fpr = MAX_FPR[self.rules[name].metric]
                left = without_each(self.scores[mask], self.anomalous[mask], max_fpr)
                shift[mask] += weight * (_term(left, mean) - _term(value, mean))
        return shift

    def mask(self, value: Value) -> np.ndarray:
        normals = (value.normals == "any") | (self.domains == value.normals)
        anomalies = (value.anomalies == "any") | (self.domains == value.anomalies)
        return np.where(self.anomalous, anomalies, normals)

    def _value(self, name: str, value: Value, notes: _Notes) -> float | None:
        mask = self.mask(value)
        for condition, domain, clips in (
            ("normal", value.normals, mask & ~self.anomalous),
            ("anomalous", value.anomalies, mask & self.anomalous),
        ):
            if not clips.any():
                notes.add(
                    self.name, f"no {condition} clips" + (f" of domain {domain}" if domain != "any" else ""), name
                )
                return None
        try:
            return METRICS[value.metric](self.scores[mask], self.anomalous[mask])
        except Undefined as reason:
            notes.add(self.name, str(reason), name)
            return None
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None


def _summary(title: str, machines: list[list[Section]], mean: str) -> dict[str, Any]:
    """The mean of all official values, and of each value and each extra by itself."""
    summary: dict[str, Any] = {title: _mean([[v for s in own for v in s.official()] for own in machines], mean)}
    for kind in ("values", "extras"):
        names = dict.fromkeys(name for own in machines for section in own for name in getattr(section, kind))
        columns = {name: [[getattr(s, kind).get(name) for s in own] for own in machines] for name in names}
        summary[kind] = {name: _mean(column, mean) for name, column in columns.items()}
    return summary


def _mean(machines: list[list[float | None]], mean: str) -> float | None:
    defined = [[value for value in values if value is not None] for values in machines]
    defined = [values for values in defined if values]
    if not defined:
        return None
    if mean == "harmonic":
        return harmonic_mean([value for values in defined for value in values])
    return float(np.mean([np.mean(values) for values in defined]))


def _half_width95(
    sections: list[Section], mean: str, notes: _Notes, names: Sequence[str] | None = None
) -> float | None:
    """Half width of the official score's 95% interval, or that of the mean of the values `names`: delete-one
    jackknife, stratified by section, domain, condition.

    1.96 sqrt(sum over strata of (n - 1) / n sum (score without clip i - their mean)^2) (Efron and Tibshirani 1993).
    """
    counts = Counter(section.machine for section in sections for _ in section.official(names))
    if not counts:
        return None
    weights = {machine: 1 / (len(counts) * count) for machine, count in counts.items()}
    if mean == "harmonic":
        weights = dict.fromkeys(counts, 1 / counts.total())
    sections = [section for section in sections if section.official(names)]
    total = sum(weights[s.machine] * _term(value, mean) for s in sections for value in s.official(names))
    variance = 0.0
    for section in sections:
        try:
            scores = _term(total + section.shifts(weights[section.machine], mean, names), mean)
        except Undefined as reason:
            notes.add(section.name, f"no 95% interval, {reason}")
            return None
        variance += sum((mask.sum() - 1) * np.var(scores[mask]) for mask in section.strata() if mask.any())
    return float(1.96 * np.sqrt(variance))


def _term(value: np.ndarray | float, mean: str) -> np.ndarray | float:
    """What is summed in the mean; its own inverse."""
    return 1 / np.maximum(value, EPSILON) if mean == "harmonic" else value
