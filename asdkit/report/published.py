"""Figures that others published for a challenge year: a recipe's conf/published.yaml."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from asdkit.utils.typed_yaml import Section, read_yaml, validate

Percent = Annotated[float, Field(ge=0, le=100)] | None


class Figures(Section):
    """One machine, percent. AUCs per domain follow the official rule of the year."""

    auc: Percent = None
    auc_source: Percent = None
    auc_target: Percent = None
    pauc: Percent = None
    mean: Percent = Field(None, description="arithmetic mean of the machine's AUCs and pAUCs")
    hmean: Percent = Field(None, description="harmonic mean of the machine's AUCs and pAUCs")


class System(Section):
    """One system on one set, percent."""

    name: str = Field(min_length=1)
    source: str = Field(min_length=1, description="where the figures stand")
    set: Literal["dev", "eval", "all"] = Field(description="all: the mean of dev and eval that the source prints")
    official: Percent = Field(None, description="official score as printed; none: not printed")
    recomputed: Percent = Field(None, description="what its parts give, where that is not what is printed")
    auc_source: Percent = Field(None, description="harmonic mean over machines, as printed")
    auc_target: Percent = None
    machines: dict[str, Figures] = {}


def load_published(path: str | Path) -> list[System]:
    """Read a recipe's conf/published.yaml: `systems:`, a list of what System describes.

    Raises ValueError naming file, system, key, what was got and what is allowed.
    """
    raw = read_yaml(path)
    if set(raw) != {"systems"} or not isinstance(raw["systems"], list):
        raise ValueError(f"{path}: expected one key 'systems' with a list, got {', '.join(map(str, raw)) or 'nothing'}")
    return [_system(item, f"{path}: systems[{number}]") for number, item in enumerate(raw["systems"])]


def _system(raw: Any, where: str) -> System:
    if not isinstance(raw, dict) or not isinstance(raw.get("machines", {}), dict):
        raise ValueError(f"{where}: expected 'key: value' lines, and so below 'machines'")
    where = f"{where} ({raw.get('name', 'no name')})"
    machines = {
        machine: _figures(figures, f"{where}: machines.{machine}")
        for machine, figures in raw.get("machines", {}).items()
    }
    system = validate(System, {**raw, "machines": machines}, where)
    if system.official is None and not machines:
        raise ValueError(f"{where}: neither 'official' nor 'machines' is given")
    return system


def _figures(raw: Any, where: str) -> Figures:
    if not isinstance(raw, dict) or not raw:
        raise ValueError(f"{where}: expected one figure at least, such as hmean: 61.20, got {raw!r}")
    return validate(Figures, raw, where)
