"""What the header of a bundle must hold, checked by hand: the schema is told in `monitor/bundle.py`."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

DTYPES = ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
DIMENSIONS = 8
BYTES = 1 << 40  # of an array: more than any file has, and far from where integers overflow
TEXT = 10_000  # characters
_NAME = re.compile(r"[!-~]{1,300}")
_LINE = re.compile("[^\x00-\x1f\x7f\ud800-\udfff]*")  # what a terminal and a table take

Sections = dict[str, Any]
Rule = Any  # a dict of rules for exactly these keys, a function (value, where, sections) or one of those below


def check_header(header: Any, path: Path, version: int) -> Sections:
    """The header's sections; raises ValueError naming the file and the place in it that is not as it should be."""
    if not isinstance(header, dict) or not isinstance(header.get("sections"), dict):
        raise ValueError(f"{path}: no bundle of version {version}: its header has no sections")
    sections = header["sections"]
    try:
        _check(sections, _map_of(_SECTION, _NAME), "sections", sections)
        _check(header, HEADER, "", sections)
        for number, machine in enumerate(header["machines"]):
            _check_machine(machine, f"machines.{number}", sections)
        keys = [(machine["machine"], machine["section"]) for machine in header["machines"]]
        if len(set(keys)) < len(keys):
            raise ValueError("machines: one occurs twice")
    except ValueError as error:
        raise ValueError(f"{path}: the header is not that of a bundle: {error}") from None
    return sections


def _check(value: Any, rule: Rule, where: str, sections: Sections) -> None:
    if not isinstance(rule, dict):
        rule(value, where, sections)
        return
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected keys and values, got {_shown(value)}")
    if wrong := sorted((value.keys() ^ rule.keys()) - (OPTIONAL - value.keys())):
        told = "is missing" if wrong[0] in rule else "is not known"
        raise ValueError(f"{where + '.' if where else ''}{wrong[0][:100]} {told}")
    for key, inner in rule.items():
        if key in value:
            _check(value[key], inner, f"{where}.{key}" if where else key, sections)


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
    return text[:100]


def _is_text(value: Any, where: str, sections: Sections) -> None:
    if not isinstance(value, str) or len(value) > TEXT or not _LINE.fullmatch(value):
        raise ValueError(f"{where}: expected a text, got {_shown(value)}")


def _is_flag(value: Any, where: str, sections: Sections) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{where}: expected true or false, got {_shown(value)}")


def _is_number(value: Any, where: str, sections: Sections) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{where}: expected a number, got {_shown(value)}")


def _anything(value: Any, where: str, sections: Sections) -> None:
    """Any JSON: who reads it checks it."""


def _whole(low: int, high: int) -> Callable:
    def rule(value: Any, where: str, sections: Sections) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"{where}: expected a whole number from {low} to {high}, got {_shown(value)}")

    return rule


def _above(low: float) -> Callable:
    def rule(value: Any, where: str, sections: Sections) -> None:
        _is_number(value, where, sections)
        if not value > low:
            raise ValueError(f"{where}: expected a number above {low}, got {_shown(value)}")

    return rule


def _one_of(*allowed: str) -> Callable:
    def rule(value: Any, where: str, sections: Sections) -> None:
        if value not in allowed:
            raise ValueError(f"{where}: expected one of {', '.join(allowed)}, got {_shown(value)}")

    return rule


def _or_null(inner: Rule) -> Callable:
    def rule(value: Any, where: str, sections: Sections) -> None:
        if value is not None:
            _check(value, inner, where, sections)

    return rule


def _list_of(inner: Rule) -> Callable:
    def rule(value: Any, where: str, sections: Sections) -> None:
        if not isinstance(value, list):
            raise ValueError(f"{where}: expected a list, got {_shown(value)}")
        for number, item in enumerate(value):
            _check(item, inner, f"{where}.{number}", sections)

    return rule


def _map_of(inner: Rule, names: re.Pattern[str] | None = None) -> Callable:
    def rule(value: Any, where: str, sections: Sections) -> None:
        if not isinstance(value, dict):
            raise ValueError(f"{where}: expected names and values, got {_shown(value)}")
        for key, item in value.items():
            if not names or not names.fullmatch(key):
                _is_text(key, where, sections)
                if names:
                    raise ValueError(f"{where}: {_shown(key)} is no name")
            _check(item, inner, f"{where}.{key[:100]}", sections)

    return rule


def _array(dimensions: int | None = None, *dtypes: str) -> Callable:
    """The name of an array of so many dimensions and one of these dtypes; None, none: of any."""

    def rule(value: Any, where: str, sections: Sections) -> None:
        if not isinstance(value, str) or value not in sections:
            raise ValueError(f"{where}: there is no array {_shown(value)}")
        section = sections[value]
        if dimensions not in (None, len(section["shape"])) or (dtypes and section["dtype"] not in dtypes):
            raise ValueError(
                f"{where}: expected an array of {dimensions} dimensions of {' or '.join(dtypes)}, got "
                f"{section['shape']} of {section['dtype']}"
            )

    return rule


def _is_digest(value: Any, where: str, sections: Sections) -> None:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError(f"{where}: expected a SHA-256, got {_shown(value)}")


def _is_shape(value: Any, where: str, sections: Sections) -> None:
    _list_of(_whole(0, BYTES))(value, where, sections)
    if len(value) > DIMENSIONS or math.prod(value) > BYTES:
        raise ValueError(f"{where}: too large: {_shown(str(value))}")


def _check_machine(machine: dict[str, Any], where: str, sections: Sections) -> None:
    """Raise ValueError where the lengths of a machine's lists and arrays do not agree."""
    clips, rows = len(machine["clips"]["utt"]), sections[machine["self_rows"]]["shape"][0]
    lengths = {f"clips.{key}": (len(value), clips) for key, value in machine["clips"].items()}
    lengths["recordings"] = (sections[machine["recordings"]]["shape"][0], clips)
    lengths["self_scores"] = (sections[machine["self_scores"]]["shape"][0], rows)
    if sensors := machine["sensors"]:
        shape = sections[sensors["values"]]["shape"]
        lengths |= {"sensors.values": (shape[0], clips), "sensors.names": (len(sensors["names"]), shape[1])}
    if spectra := machine["spectra"]:
        bands = len(spectra["edges"]) - 1
        for key in ("mean", "deviation"):
            shape = sections[spectra[key]]["shape"]
            lengths |= {f"spectra.{key}": (shape[0], clips), f"bands of spectra.{key}": (shape[-1], bands)}
    if faults := machine.get("faults"):
        count = len(faults["names"])
        lengths |= {"faults.clips": (len(faults["clips"]), count)}
        lengths |= {f"faults.{key}": (*sections[faults[key]]["shape"], 0)[:1] + (count,) for key in ("x", "radii")}
    for key, (got, wanted) in lengths.items():
        if got != wanted:
            raise ValueError(f"{where}: {key}: {got} of them, {wanted} are wanted")
    if not clips or not machine["detectors"]:
        raise ValueError(f"{where}: has no {'detectors' if clips else 'training clips'}")


OPTIONAL = {"faults"}  # keys that bundles without any do not have
_COUNT = _whole(0, BYTES)
_SECTION = {"dtype": _one_of(*DTYPES), "shape": _is_shape, "offset": _COUNT, "sha256": _is_digest}
_SIGNAL = {
    "variable": _or_null(_is_text),
    "rate": _or_null(_whole(1, 10**9)),
    "unit": _or_null(_is_text),
    "scale": _or_null(_above(0)),
    "full_scale": _or_null(_above(0)),
}
_READING = {
    "rate": _whole(1, 10**9),
    "channel": _or_null(_whole(0, 10**6)),
    "resample": _is_flag,
    "signal": _or_null(_SIGNAL),
    "reference": _one_of("none", "complex", "magnitude"),
    "reference_channel": _or_null(_whole(0, 10**6)),
    "level": _one_of("keep", "clip_rms", "machine_rms"),
}
_NETWORK = {
    "kind": _one_of("onnx", "torch"),
    "precision": _is_text,
    "window": _whole(1, 10**9),
    "hop": _whole(1, 10**9),
    "shortest": _whole(1, 10**12),
    "segment": _one_of("clip", "chunk"),
    "chunk": _whole(1, 10**9),
    "chunk_hop": _whole(1, 10**9),
    "arrays": _map_of(_is_shape),
    "graphs": _map_of(_array(1, "uint8")),
    "weights": _map_of(_array()),
    "memory": _list_of(_list_of(_whole(1, 1 << 62))),
    "settings": _anything,
}
_SCORE = {
    "name": _is_text,
    "detector": _one_of("knn", "given", "kmeans", "lof", "gmm", "mahalanobis", "iforest"),
    "arrays": _list_of(_is_text),
    "non_negative": _is_flag,
    "percentile": _above(0),
    "settings": _anything,
}
_DETECTOR = {"low": _is_number, "width": _above(0), "settings": _anything, "arrays": _map_of(_array())}
_SENSORS = {"names": _list_of(_is_text), "values": _array(2, "float64")}
_SPECTRA = {
    "edges": _list_of(_is_number),
    "seconds": _above(0),
    "mean": _array(2, "float32"),
    "deviation": _array(2, "float32"),
}
_FAULTS = {
    "names": _list_of(_is_text),
    "clips": _list_of(_is_text),
    "x": _array(),
    "radii": _array(1, "float64"),
}
_MACHINE = {
    "machine": _is_text,
    "section": _is_text,
    "rms": _or_null(_is_number),
    "seconds": _above(0),
    "threshold": _or_null(_is_number),
    "clips": {key: _list_of(_is_text) for key in ("utt", "name", "domain", "attr", "section")},
    "recordings": _array(1, "int64"),
    "self_rows": _array(1, "int64"),
    "self_scores": _array(1, "float64"),
    "detectors": _map_of(_DETECTOR),
    "sensors": _or_null(_SENSORS),
    "spectra": _or_null(_SPECTRA),
    "faults": _FAULTS,
}
HEADER = {
    "sections": _anything,
    "made_by": {"version": _is_text, "commit": _or_null(_is_text)},
    "card": _anything,
    "reading": _READING,
    "network": _NETWORK,
    "score": _SCORE,
    "machines": _list_of(_MACHINE),
}
