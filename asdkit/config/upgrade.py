"""Configurations and markers that older versions wrote, in today's terms."""

from copy import deepcopy
from typing import Any

from asdkit.config.scoring import by_name

# Old key -> (new key, old value -> new value); other values stay.
RENAMED: dict[tuple[str, ...], tuple[str, dict[Any, Any]]] = {
    ("train", "amp"): ("precision", {"none": "float32"}),
    ("embed", "amp"): ("precision", {"none": "float32"}),
    ("score", "*", "backend"): ("detector", {}),
}


def today(raw: Any) -> Any:
    """A raw configuration with the keys of today. Raises ValueError where both an old key and its new one are given."""
    if not isinstance(raw, dict):
        return raw
    raw = deepcopy(raw)
    if "score" in raw:
        raw["score"] = by_name(raw["score"])
    for (*parents, old), (new, values) in RENAMED.items():
        for section in _sections(raw, parents):
            if old in section:
                if new in section:
                    raise ValueError(f"{'.'.join(parents)}: {old!r} is the old name of {new!r}: give {new!r} alone")
                value = section.pop(old)
                section[new] = values.get(value, value) if isinstance(value, str) else value
    return raw


def unflatten(flat: dict[str, Any]) -> dict[str, Any]:
    """Dotted keys to nested dicts: {'a.b': 1} -> {'a': {'b': 1}}."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, last = key.split(".")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return nested


def _sections(raw: dict[str, Any], path: list[str]) -> list[dict[str, Any]]:
    found = [raw]
    for part in path:
        inner = [value for section in found for key, value in section.items() if part in ("*", key)]
        found = [value for value in inner if isinstance(value, dict)]
    return found
