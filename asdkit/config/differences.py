"""Where the configurations of experiments differ: by parsed values, not by the text of files."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from asdkit.config.experiment import Config
from asdkit.config.scoring import KnnConfig
from asdkit.utils.typed_yaml import Section

USED = "used"  # stands for a section that may also be null


class Setting(NamedTuple):
    """A value as text, and whether it is what an experiment gets that does not name the key."""

    text: str
    default: bool


class Difference(NamedTuple):
    """A key and what each experiment has there; None: its configuration has no such key."""

    key: str
    settings: list[Setting | None]


def differences(configs: Sequence[Config | None], scores: Sequence[str]) -> list[Difference]:
    """The keys at which two or more of the configurations differ, in their order there.

    scores: for each configuration the score that counts; its settings appear as `score.KEY`, whatever its name.
    A configuration that is None, that of fused scores, has no keys. A key that one kind of encoder or detector has
    alone is left out where it is at its default: the kind's name tells it. Fields that change no result do not count.
    """
    known = [config for config in configs if config is not None]
    usual = _flat(Config(), KnnConfig())
    flats = [
        None if config is None else _flat(config, config.score.get(name))
        for config, name in zip(configs, scores, strict=True)
    ]
    found = []
    for key in dict.fromkeys(key for flat in flats if flat is not None for key in flat):
        own = [flat.get(key) if flat is not None else None for flat in flats]
        there = [value for value in own if value is not None]
        if len({_text(value) for value, _ in there}) < 2 and len(there) == len(known):
            continue
        settings = [
            None if value is None else Setting(_text(value[0]), value[0] == usual.get(key, (value[1],))[0])
            for value in own
        ]
        if len(there) == len(known) or not all(one.default for one in settings if one):
            found.append(Difference(key, settings))
    return found


def _flat(config: Config, score: Section | None) -> dict[str, tuple[Any, Any]]:
    """key -> its value and the default of its field."""
    flat = {}
    for name in type(config).model_fields:
        if name != "score":
            section = getattr(config, name)
            flat |= _fields(section.resolved() if name == "encoder" else section, name)
    return flat | (_fields(score, "score") if score is not None else {})


def _fields(section: Section, prefix: str) -> dict[str, tuple[Any, Any]]:
    flat: dict[str, tuple[Any, Any]] = {}
    for name, field in type(section).model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        if not extra.get("changes_result", True):
            continue
        value, key = getattr(section, name), f"{prefix}.{name}"
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        inner = value if isinstance(value, dict) else {}
        if isinstance(value, Section):
            flat |= {key: (USED, USED if isinstance(default, Section) else default), **_fields(value, key)}
        elif inner and all(isinstance(one, Section) for one in inner.values()):
            for part, one in inner.items():
                flat |= {f"{key}.{part}": (USED, None), **_fields(one, f"{key}.{part}")}
        else:
            flat[key] = (value, default)
    return flat


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, default=str)
