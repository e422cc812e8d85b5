"""YAML files checked against typed models: unknown keys and wrong types are errors that say what is allowed."""

import difflib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Union

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Tag, ValidationError, ValidationInfo, model_validator

# Marks a field that changes no result: it may differ between runs of one experiment.
NO_RESULT = {"changes_result": False}


class Section(BaseModel):
    """A part of the experiment: unknown keys are errors, numbers are not made from text.

    A field that is added later, with a default that is not what the code did before, declares that in
    `json_schema_extra={"absent": VALUE}`: what an older version wrote is read with it (`validate(..., older=True)`).
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _fill_absent(cls, raw: Any, info: ValidationInfo) -> Any:
        if not (isinstance(raw, dict) and info.context and info.context.get("older")):
            return raw
        extras = {name: field.json_schema_extra or {} for name, field in cls.model_fields.items()}
        return {**{name: extra["absent"] for name, extra in extras.items() if "absent" in extra}, **raw}


def one_of(sections: Sequence[type[Section]], key: str, default: str) -> Any:
    """The type of a section that is one of several, told apart by their field `key`, a Literal; absent: `default`."""
    names = {section.model_fields[key].default: section.__name__ for section in sections}

    def tag(value: Any) -> str | None:
        name = value.get(key, default) if isinstance(value, dict) else getattr(value, key, None)
        return names.get(name) if isinstance(name, str) else None

    tagged = tuple(Annotated[section, Tag(section.__name__)] for section in sections)
    message = f"a section whose {key!r} is none of {', '.join(names)}"
    union = Union[tagged] if len(tagged) > 1 else tagged[0]  # noqa: UP007 - made from a tuple
    return Annotated[union, Discriminator(tag, custom_error_type="one_of", custom_error_message=message)]


class Loader(yaml.SafeLoader):
    """YAML 1.1 without its traps: `1e-4` is a number, `00` and `no` stay text, a repeated key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = sorted({str(key) for key in keys if keys.count(key) > 1})
        if repeated:
            raise yaml.constructor.ConstructorError(None, None, f"key {repeated[0]!r} occurs twice", node.start_mark)
        return super().construct_mapping(node, deep)


class Dumper(yaml.SafeDumper):
    """Quotes text that Loader would take for something else, such as the name 1e5."""


Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("null", r"null|~|", "n~"),
    ("int", r"0|[-+]?[1-9][0-9_]*", "-+0123456789"),
    ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", "-+.0123456789"),
):
    for _class in (Loader, Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), [*_first, ""])


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML text; raises ValueError with `where` and the position of a fault."""
    try:
        return yaml.load(text, Loader)  # noqa: S506 - Loader is a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: {' '.join(str(error).split())}") from None


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; raises ValueError naming the file."""
    try:
        value = parse_yaml(Path(path).read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {getattr(error, 'strerror', error)}") from None
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{path}: expected 'key: value' lines, got a {type(value).__name__}")
    return value or {}


def load(model: type[Section], path: str | Path, settings: Sequence[str] = ()) -> Any:
    """Read a YAML file as `model` and put in `settings`, each `section.key=value`, whose values are read as YAML.

    The file is checked by itself first, so that each mistake is put down to where it stands. Raises ValueError naming
    the file or the setting, the key, what was got and what is allowed.
    """
    raw = read_yaml(path)
    config = validate(model, raw, str(path))
    for setting in settings:
        _override(raw, setting)
    return validate(model, raw, lambda key: given(settings, key) or _nearest(settings, key)) if settings else config


def given(settings: Sequence[str], key: str) -> str:
    """The settings of `key`, of what holds it or of what it holds, as words of a command; empty when there are none."""
    names = [f"{setting.partition('=')[0]}." for setting in settings]
    return _words(
        [s for s, name in zip(settings, names, strict=True) if name.startswith(f"{key}.") or f"{key}.".startswith(name)]
    )


def validate(model: type[Section], raw: dict[str, Any], where: str | Callable[[str], str], older: bool = False) -> Any:
    """Build `model` from plain values; `where`: the file, or what names the place of a key.

    older: an older version wrote them, so that a key that is not there means what the code did before it existed.
    Raises ValueError with place, key, what was got and what is allowed.
    """
    try:
        return model.model_validate(raw, context={"older": older})
    except ValidationError as error:
        lines = []
        for fault in error.errors():
            key = ".".join(map(str, _path(fault)))
            lines.append(f"{where if isinstance(where, str) else where(key)}: {_explain(model, fault, key)}")
        raise ValueError("\n".join(lines)) from None


def dump_yaml(config: Section) -> str:
    """The complete configuration as YAML."""
    return yaml.dump(config.model_dump(mode="json"), Dumper=Dumper, sort_keys=False, allow_unicode=True)


def _override(raw: dict[str, Any], setting: str) -> None:
    key, separator, text = setting.partition("=")
    if not separator or not key:
        raise ValueError(f"--set {setting!r}: expected section.key=value")
    *parents, last = key.split(".")
    node = raw
    for parent in parents:
        child = node.get(parent)
        node[parent] = child if isinstance(child, dict) else {}
        node = node[parent]
    node[last] = parse_yaml(text, f"--set {setting}")


def _nearest(settings: Sequence[str], key: str) -> str:
    """Settings that the shorter way of writing `key` names (score.k for score.knn.k), or all of them."""
    parts = key.split(".")
    short = [s for s in settings if all(part in parts for part in s.partition("=")[0].split("."))]
    return _words(short or settings)


def _words(settings: Sequence[str]) -> str:
    return " ".join(f"--set {setting}" for setting in settings)


def _path(fault: Any) -> list[Any]:
    """Where a fault lies, without the names of the sections that pydantic tried."""
    return [part for part in fault["loc"] if not (isinstance(part, str) and part.endswith("Config"))]


def _explain(model: type[Section], fault: Any, key: str) -> str:
    if fault["type"] == "extra_forbidden":
        *parents, last = _path(fault)
        allowed = _fields(model, fault["loc"][:-1])
        near = difflib.get_close_matches(str(last), allowed, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Allowed: {', '.join(allowed)}"
        return f"unknown key {key!r}. {hint}"
    message = fault["msg"].removeprefix("Value error, ")
    return (
        f"{key}: {message}, got {fault['input']!r}"
        if key and fault["type"] != "value_error"
        else f"{key}: {message}".lstrip(": ")
    )


def _fields(model: Any, path: Sequence[Any]) -> list[str]:
    """The fields of the section at `path`; where that is one of several, `path` names it."""
    models = [model]
    for part in path:
        if named := [found for found in models if found.__name__ == part]:
            models = named
        elif owner := next((found for found in models if part in found.model_fields), None):
            nested = (kind for kind in _types(owner.model_fields[part].annotation) if isinstance(kind, type))
            models = [kind for kind in nested if issubclass(kind, BaseModel)] or [owner]
    return list(models[0].model_fields)


def _types(annotation: Any) -> list[Any]:
    parts = getattr(annotation, "__args__", ())
    return [annotation, *(inner for part in parts for inner in _types(part))]
