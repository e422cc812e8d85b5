"""The dataset description: what a recipe's conf/dataset.yaml says about a corpus."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from asdkit.corpus.channels import Channel, choose_channel
from asdkit.corpus.names import SETS, STYLES
from asdkit.signals.audio import RATE, SUFFIXES, AudioReader
from asdkit.signals.recording import Signal
from asdkit.signals.reference import TreatedReader
from asdkit.utils.typed_yaml import Section, dump_yaml, read_yaml, validate


class PartDescription(Section):
    """One folder of machines."""

    path: str = Field(description="folder relative to the corpus that holds <machine>/ or raw/<machine>/")
    machines: list[str] | None = Field(None, min_length=1, description="none: every folder found")


class PartsDescription(Section):
    """Development and evaluation part; at least one of them."""

    dev: PartDescription | None = None
    eval: PartDescription | None = None

    @model_validator(mode="after")
    def _any(self) -> "PartsDescription":
        if not self.dev and not self.eval:
            raise ValueError("neither 'dev' nor 'eval' is given")
        return self


class TrainCounts(Section):
    """Training clips of one section of one machine."""

    source: int = Field(ge=0)
    target: int = Field(ge=0)


class Counts(Section):
    """What a whole corpus holds; what is not certain, or not the same everywhere, is not given."""

    sections: int | None = Field(None, ge=1, description="of each machine of a part")
    train: TrainCounts | None = Field(None, description="of each section of each machine")
    test: int | None = Field(None, ge=0, description="of each section of each machine, both domains")


_LATER = ("reference_channel", "channels", "years")  # fields that are written where they are given


class Description(Section):
    """A corpus: where its machines lie, how file names are read, how it is scored."""

    name: str = Field(min_length=1)
    name_style: Literal[tuple(STYLES)] = Field(
        description="how file names are read; dcase2022 serves all later years too"
    )
    protocol: Literal["dcase2020", "dcase2021", "dcase2022"] = Field(description="official score")
    sets: PartsDescription
    ground_truth: str | None = Field(
        None, description="truth of test clips whose names tell none: evaluator's folder, or list of names (.csv)"
    )
    counts: Counts | None = Field(None, description="clips there must be; none: not checked")
    sample_rate: int = Field(RATE, gt=0, description="Hz")
    channel: int | None = Field(None, ge=0, description="channel of recordings with several; none: mono only")
    reference_channel: int | None = Field(
        None, ge=0, description="channel of a second microphone, far from the machine; none: no such"
    )
    resample: bool = Field(False, description="resample recordings of another rate instead of refusing them")
    channels: dict[str, Channel] | None = Field(
        None, max_length=1, description="sensors of a machine by name, of which --channel chose one; none: sound"
    )

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without a second microphone and channels as older versions wrote it, so that stage 1 finds its own files."""
        found = dump(self)
        return {key: found[key] for key in found if key not in _LATER or found[key] is not None}

    @property
    def sensor(self) -> Channel | None:
        """The channel that is prepared; None: sound of full scale 1, as corpora without `channels` have it."""
        return next(iter(self.channels.values())) if self.channels else None

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the recordings' names."""
        return (self.sensor.files,) if self.sensor and self.sensor.files else SUFFIXES

    @property
    def signal(self) -> Signal | None:
        """What of a file is the recording, where that was declared."""
        return self.sensor.signal() if self.sensor else None

    def reader(self, reference: str = "none") -> AudioReader:
        """What reads this corpus's recordings, the second microphone taken out as `data.reference` says.

        Raises ValueError where the description names no second microphone.
        """
        if reference == "none":
            return AudioReader(self.sample_rate, self.channel, self.resample, signal=self.signal)
        if self.channel is None or self.reference_channel is None:
            raise ValueError(
                f"data.reference {reference}: the dataset description says channel: {_null(self.channel)} and "
                f"reference_channel: {_null(self.reference_channel)}. Name both (0 is first) and run stage 1 again, or "
                "set data.reference=none"
            )
        if self.channel == self.reference_channel:
            raise ValueError(
                f"data.reference {reference}: channel and reference_channel of the dataset description are both "
                f"{self.channel}: take another channel, or set data.reference=none"
            )
        near = self.sample_rate, self.channel, self.resample
        return TreatedReader(*near, self.reference_channel, reference, signal=self.signal)


class Dataset(Description):
    """The resolved description that stage 1 writes to data/dataset.yaml: machines filled in, corpus root known."""

    root: str = Field(description="folder that relative paths of the manifests start from")
    revealed_attributes: str | None = Field(
        None, description="folder of hidden attributes that the organisers told after the challenge; none: not used"
    )
    years: list[str] | None = Field(None, description="corpora that are trained on as one; none: it is one corpus")


def load_description(path: str | Path, **overrides: object) -> Description:
    """Read conf/dataset.yaml; `overrides` (channel, resample) that are not None replace its values.

    channel: a number, or the name of one of `channels`, of which that alone is kept. Raises ValueError naming file,
    key, what was got and what is allowed.
    """
    raw = read_yaml(path)
    raw.update({key: value for key, value in overrides.items() if value is not None})
    return validate(Description, choose_channel(raw, str(path)), str(path))


def load_dataset(data_dir: str | Path) -> Dataset:
    """Read what stage 1 wrote to data/dataset.yaml; raises ValueError when stage 1 has not been run."""
    path = Path(data_dir) / "dataset.yaml"
    if not path.exists():
        raise ValueError(f"{path} does not exist: run stage 1 (prepare_data) first")
    return validate(Dataset, read_yaml(path), str(path))


def dump_dataset(dataset: Dataset) -> str:
    """The resolved description as YAML text."""
    return "# written by stage 1 (prepare_data)\n" + dump_yaml(dataset)


def present_sets(data_dir: str | Path) -> list[str]:
    """Names of the sets that stage 1 wrote, in the order of SETS; raises ValueError when there is none."""
    present = [name for name in SETS if (Path(data_dir) / name / "manifest.tsv").exists()]
    if not present:
        raise ValueError(f"{data_dir} holds no <set>/manifest.tsv: run stage 1 (prepare_data) first")
    return present


def _null(value: int | None) -> str:
    return "null" if value is None else str(value)
