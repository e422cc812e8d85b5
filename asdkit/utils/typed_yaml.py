"""YAML files checked against typed models: unknown keys and wrong types are errors that say what is allowed."""

import difflib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Tag, ValidationError, ValidationInfo, model_validator

# Marks a field that changes no result: it may differ between runs of one experiment.
NO_RESULT = {"changes_result": False}
SHOWN = 200  # characters of a wrong value in a message
CHOICE = "choice"  # pydantic's name of the error that a section's kind is unknown


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


def one_of(key: str, *sections: type[Section]) -> Any:
    """The type of what is one of two or more `sections`, told apart by the text in their field `key`.

    Each section declares `key: Literal[X] = X`. Where the key is not given, the first section is meant.
    """
    names = [section.model_fields[key].default for section in sections]

    def tag(raw: Any) -> str | None:
        return str(raw.get(key, names[0])) if isinstance(raw, dict) else getattr(raw, key, None)

    context = {"key": key, "allowed": ", ".join(names)}
    choose = Discriminator(tag, custom_error_type=CHOICE, custom_error_message=CHOICE, custom_error_context=context)
    members = tuple(Annotated[section, Tag(name)] for section, name in zip(sections, names, strict=True))
    return Annotated[Union[members], choose]  # noqa: UP007 - of a tuple


class Loader(yaml.SafeLoader):
    """YAML 1.1 without its traps: `1e-4` is a number, `00` and `no` stay text, repeated keys and aliases are errors."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):  # some lines of them stand for gigabytes
            event = self.peek_event()
            problem = f"alias *{event.anchor}: aliases are not allowed; write the value out"
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        return super().compose_node(parent, index)

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
            keys, _ = _walk(model, fault["loc"])
            place = [*keys, fault["ctx"]["key"]] if fault["type"] == CHOICE else keys
            file = where if isinstance(where, str) else where(".".join(map(str, place)))
            lines.append(f"{file}: {_explain(model, fault, keys)}")
        raise ValueError("\n".join(lines)) from None


def settings_of(section: Section, prefix: str = "") -> dict[str, Any]:
    """A section's fields that can change a result (not NO_RESULT), flat: {"<prefix>.a.b": value}."""
    flat: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        value, key = getattr(section, name), f"{prefix}.{name}" if prefix else name
        if isinstance(value, Section):
            flat |= settings_of(value, key)
        elif isinstance(value, dict) and all(isinstance(inner, Section) for inner in value.values()):
            flat |= {k: v for inner, own in value.items() for k, v in settings_of(own, f"{key}.{inner}").items()}
        elif extra.get("changes_result", True):
            flat[key] = value
    return flat


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


def _explain(model: type[Section], fault: Any, keys: list[Any]) -> str:
    key, message, got = ".".join(map(str, keys)), fault["msg"].removeprefix("Value error, "), fault["input"]
    if fault["type"] == "extra_forbidden":
        allowed = list(_walk(model, fault["loc"][:-1])[1].model_fields)
        near = difflib.get_close_matches(str(keys[-1]), allowed, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Allowed: {', '.join(allowed)}"
        return f"unknown key {key!r}. {hint}"
    if fault["type"] == CHOICE:
        if not isinstance(got, dict):
            return f"{key}: expected 'key: value' lines, got {_short(got)}"
        name = fault["ctx"]["key"]
        return f"{key}.{name}: there is no {_short(got[name])}. Allowed: {fault['ctx']['allowed']}"
    return (
        f"{key}: {message}, got {_short(got)}"
        if key and fault["type"] != "value_error"
        else f"{key}: {message}".lstrip(": ")
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ... ({len(text)} characters)"


def _walk(model: type[Section], location: Sequence[Any]) -> tuple[list[Any], Any]:
    """The keys on the way to a fault, and the type of what stands there (None: unknown).

    pydantic's location also holds which member of a union was tried: that is no key of the user's.
    """
    keys: list[Any] = []
    place: Any = model
    for part in location:
        members = members_of(place)
        if len(members) > 1:
            place = next((m for m, names in members if part in names), None)
            continue
        keys.append(part)
        place = members[0][0] if members else None
        # On Python 3.10 list[int] is a type, too.
        if isinstance(place, type) and get_origin(place) is None and issubclass(place, BaseModel):
            field = place.model_fields.get(part)
            place = field and field.annotation
        else:
            place = (get_args(place) or (None,))[-1]  # an item of a list or dict
    return keys, next((member for member, _ in members_of(place)), None)


def members_of(place: Any) -> list[tuple[Any, set[str]]]:
    """The types that may stand at a place, other than None, each with the names that pydantic gives it."""
    if get_origin(place) is Annotated:
        inner, *notes = get_args(place)
        tags = {note.tag for note in notes if isinstance(note, Tag)}
        return [(member, names | tags) for member, names in members_of(inner)]
    if get_origin(place) in (Union, UnionType):
        return [member for argument in get_args(place) for member in members_of(argument)]
    return [] if place in (None, NoneType) else [(place, {str(place), getattr(place, "__name__", "")})]
