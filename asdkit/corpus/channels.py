"""The channels of a machine: what each measures, at which rate, in which unit, and where in the files it is."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from asdkit.signals.formats import SUFFIXES
from asdkit.signals.recording import Signal
from asdkit.utils.typed_yaml import Section, validate


class Channel(Section):
    """One sensor of a machine."""

    kind: Literal["sound", "vibration", "current", "voltage", "other"] = Field(
        description="what it measures; all but sound need a unit"
    )
    rate: int = Field(gt=0, description="sample rate it was recorded at, Hz; files that tell another are refused")
    unit: str | None = Field(None, min_length=1, description="what samples are in, as m/s^2; none: full scale is 1")
    scale: float | None = Field(
        None,
        gt=0,
        description="what 1 in the files (full scale of wav, flac) is in that unit; none: the files tell",
    )
    full_scale: float | None = Field(None, gt=0, description="what in that unit the network hears as 1; none: 1")
    variable: str | None = Field(
        None, min_length=1, description="array, column or channel of files that hold several; * stands for any letters"
    )
    column: int | None = Field(None, ge=0, description="of a recording with several, from 0, as `channel` was before")
    files: str | None = Field(None, description="ending of its files, such as .npy; none: .wav and .flac")
    folder: str | None = Field(None, min_length=1, description="folder of the corpus that its machines lie in")

    @field_validator("files")
    @classmethod
    def _known(cls, files: str | None) -> str | None:
        if files is not None and files not in SUFFIXES:
            raise ValueError(f"{files!r} is none of {', '.join(SUFFIXES)}")
        return files

    @model_validator(mode="after")
    def _whole(self) -> "Channel":
        if self.unit is None and self.kind != "sound":
            raise ValueError(f"a channel of kind {self.kind} needs 'unit', what its samples are in")
        if self.unit is None and (self.scale or self.full_scale):
            raise ValueError("'scale' and 'full_scale' are in a unit: give 'unit' too")
        return self

    def signal(self) -> Signal:
        """What of a file is the recording."""
        return Signal(self.variable, self.rate, self.unit, self.scale, self.full_scale)


def choose_channel(raw: dict[str, Any], where: str) -> dict[str, Any]:
    """A description with several `channels` as that of the one that `channel` names, or of the only one.

    The rate is then the channel's, unless sample_rate says what it is to be resampled to. Raises ValueError naming the
    channels.
    """
    channels = raw.get("channels")
    if not isinstance(channels, dict) or not channels:
        return raw
    known = {str(name): validate(Channel, one, f"{where}: channels.{name}") for name, one in channels.items()}
    name = raw.get("channel")
    if name is None and len(known) == 1:
        name = next(iter(known))
    if str(name) not in known:
        asked = f"there is no channel {name!r}" if name is not None else "several channels"
        raise ValueError(f"{where}: {asked}: choose one with --channel: {', '.join(known)}")
    chosen = known[str(name)]
    made = {**raw, "channels": {str(name): channels[name]}, "channel": chosen.column}
    if raw.get("sample_rate") is None:
        made["sample_rate"] = chosen.rate
    if chosen.folder and isinstance(raw.get("sets"), dict):
        made["sets"] = {part: _below(chosen.folder, told) for part, told in raw["sets"].items()}
    return made


def _below(folder: str, told: Any) -> Any:
    if not isinstance(told, dict) or not isinstance(told.get("path"), str):
        return told
    return told | {"path": str(Path(folder, told["path"]))}
