"""What results.json holds, so that a broken or foreign file is named instead of being read."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, field_validator

from asdkit.protocols import PROTOCOLS
from asdkit.utils.files import read_json
from asdkit.utils.typed_yaml import Section, validate

Finite = Annotated[float, Field(allow_inf_nan=False)]
Values = dict[str, Finite | None]


class _Part(Section):
    model_config = ConfigDict(extra="ignore")


class MachineRow(_Part):
    """One machine of a set."""

    machine: str
    score: Finite | None
    values: Values
    extras: Values


class SectionRow(_Part):
    """One section of a machine."""

    machine: str
    section: str
    normal: int
    anomaly: int
    values: Values
    extras: Values


class SetResult(_Part):
    """One test set of one seed, as `protocols.evaluate` returns it."""

    official: Finite | None
    half_width95: Finite | None
    clips: int
    values: Values
    extras: Values
    machines: list[MachineRow]
    sections: list[SectionRow]
    notes: list[str]


class Size(_Part):
    """What a network has and what 10 s of sound cost, as stage 3 notes it."""

    parameters: int
    trained: int
    macs: int


class _Head(_Part):
    tag: str
    protocol: str
    transductive: bool
    revealed_attributes: str | None = None
    clips_sha256: str | None = None
    trained_sha256: str | None = None
    unheard: list[str] | None = []
    size: Size | None = None

    @field_validator("protocol")
    @classmethod
    def _known(cls, protocol: str) -> str:
        if protocol not in PROTOCOLS:
            raise ValueError(f"{protocol!r}, allowed: {', '.join(PROTOCOLS)}")
        return protocol


class SeedResult(_Head):
    """exp/<tag>/seed<K>/score/<name>/results.json."""

    detector: str
    config: str
    config_sha256: str
    data_sha256: str
    git: str
    warnings: list[str] = []
    sets: dict[str, SetResult]
    all: Finite | None


class Spread(_Part):
    """A number over seeds; std: none for one seed."""

    mean: Finite
    std: Finite | None


class Official(_Part):
    """A test set's official score over seeds."""

    official: Spread | None


class ScoreResult(_Head):
    """One score of a tag, as far as a comparison of tags reads it."""

    score: str
    seeds: list[int]
    sets: dict[str, Official]
    all: Spread | None
    data_sha256: str


class TagResult(_Part):
    """exp/<tag>/results.json, as far as a comparison of tags reads it."""

    tag: str
    scores: dict[str, ScoreResult]


def read_results(path: str | Path, model: type[Section]) -> dict[str, Any]:
    """Read a results.json that `model` describes; raises ValueError, one line naming file and fault, for any other."""
    raw = read_json(path)
    try:
        validate(model, raw, str(path))
    except ValueError as error:
        fault = str(error).splitlines()[0]
        raise ValueError(f"{fault[:300]} (not a result of this version; run stage 6 with --force true)") from None
    return raw
