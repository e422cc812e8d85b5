"""The whole experiment: one YAML file holds what differs from the defaults."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import model_validator

from asdkit.config.encoders import EncoderConfig
from asdkit.config.models import ModelConfig
from asdkit.config.scoring import EmbedConfig, ScoreConfig
from asdkit.config.training import DataConfig, LossConfig, TrainConfig, check_warmup
from asdkit.utils.done import flatten
from asdkit.utils.files import sha256_file
from asdkit.utils.typed_yaml import Section, load


class Config(Section):
    """An experiment."""

    encoder: EncoderConfig = EncoderConfig()
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
    embed: EmbedConfig = EmbedConfig()
    score: ScoreConfig = ScoreConfig()

    @model_validator(mode="after")
    def _agree(self) -> "Config":
        if self.encoder.name == "logmel" and (self.model.lora or self.model.group_adapter):
            raise ValueError(
                "the encoder 'logmel' has no transformer blocks: model.lora and model.group_adapter must be null"
            )
        late = [step for step in self.train.save_steps if not 0 < step <= self.train.steps]
        if late:
            raise ValueError(f"train.save_steps {late} lie outside 1..train.steps = {self.train.steps}")
        if self.embed.checkpoint != "final" and int(self.embed.checkpoint[4:]) not in self.train.save_steps:
            raise ValueError(
                f"embed.checkpoint {self.embed.checkpoint!r} is not in train.save_steps {self.train.save_steps}"
            )
        if self.loss.normalise and self.train.batch_size == 1:
            raise ValueError("loss.normalise needs a train.batch_size of 2 or more")
        if self.loss.dlcl and "attr" not in self.data.label:
            raise ValueError(f"loss.dlcl needs attributes in the labels: data.label is {self.data.label!r}")
        return self


def load_config(path: str | Path, settings: Sequence[str] = ()) -> Config:
    """Read a user's experiment; `settings` replace values, `section.key=value`.

    Errors as for `typed_yaml.load` and `check_new`.
    """
    config = load(Config, path, settings)
    check_new(config, path, settings)
    return config


def check_new(config: Config, path: str | Path, settings: Sequence[str] = ()) -> None:
    """Raise ValueError for what existing experiments may hold, but no new one; `path`, `settings`: its source."""
    check_warmup(config.train, path, settings)


def check_checkpoint(config: Config, where: str) -> None:
    """Raise ValueError when the file `encoder.checkpoint` is not there; `where`: the file or setting that names it."""
    path = config.encoder.checkpoint
    if path and not Path(path).is_file():
        raise ValueError(
            f"{where}: encoder.checkpoint: there is no file {Path(path).absolute()}. Put it there, or name another: "
            "--set encoder.checkpoint=FILE"
        )


TRAINING = {"encoder", "data", "model", "loss", "train"}


def training_settings(config: Config) -> dict[str, Any]:
    """What of an experiment its trained weights depend on, flat, with the hash of the file that they start from."""
    settings = flatten(config.model_dump(mode="json", include=TRAINING))
    path = config.encoder.checkpoint
    return settings | ({"encoder.checkpoint.sha256": sha256_file(path)} if path else {})
