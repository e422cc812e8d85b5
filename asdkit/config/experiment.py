"""The whole experiment: one YAML file holds what differs from the defaults."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import model_validator

from asdkit.config.augmentation import RECORDINGS
from asdkit.config.beats import BeatsEncoder
from asdkit.config.encoders import EncoderConfig
from asdkit.config.models import ModelConfig
from asdkit.config.scoring import EmbedConfig, KnnConfig, Scores
from asdkit.config.training import DataConfig, LossConfig, RatesConfig, TrainConfig, check_warmup
from asdkit.config.upgrade import today
from asdkit.utils.hub import weights_path
from asdkit.utils.kinds import strays
from asdkit.utils.typed_yaml import Section, load, read_yaml, validate


class Config(Section):
    """An experiment."""

    encoder: EncoderConfig = BeatsEncoder()
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
    embed: EmbedConfig = EmbedConfig()
    score: Scores = {"knn": KnnConfig()}

    @model_validator(mode="before")
    @classmethod
    def _today(cls, raw: Any) -> Any:
        return today(raw)

    @model_validator(mode="after")
    def _agree(self) -> "Config":
        self._suits_the_encoder()
        late = [step for step in self.train.save_steps if not 0 < step <= self.train.steps]
        if late:
            raise ValueError(f"train.save_steps {late} lie outside 1..train.steps = {self.train.steps}")
        self._has_the_checkpoint()
        if self.encoder.family == "autoencoder":
            self._of_an_autoencoder()
        if self.loss.normalise and self.train.batch_size == 1:
            raise ValueError("loss.normalise needs a train.batch_size of 2 or more")
        self._of_recordings()
        if self.loss.dlcl and "attr" not in self.data.label:
            raise ValueError(f"loss.dlcl needs attributes in the labels: data.label is {self.data.label!r}")
        if self.train.pseudo_labels:
            self._of_pseudo_labels(self.train.pseudo_labels.steps)
        return self

    def _of_pseudo_labels(self, steps: list[int]) -> None:
        if self.loss.dlcl:
            raise ValueError(
                "train.pseudo_labels: loss.dlcl has a loss of its own for unattributed clips: leave one out"
            )
        if "attr" not in self.data.label:
            raise ValueError(f"train.pseudo_labels needs attributes in the labels: data.label is {self.data.label!r}")
        if steps[-1] >= self.train.steps:
            raise ValueError(
                f"train.pseudo_labels.steps {steps} lie outside 0..{self.train.steps - 1} (train.steps - 1)"
            )

    def _changed(self) -> list[str]:
        return [name for name in RECORDINGS if getattr(self.train, name)]

    def _of_recordings(self) -> None:
        changed = self._changed()
        if changed and self.data.feats_type == "fbank":
            raise ValueError(
                f"train.{changed[0]} changes recordings: data.feats_type has to be raw, or train.{changed[0]} null"
            )
        if self.train.mixup and self.train.batch_size == 1:
            raise ValueError("train.mixup mixes the clips of a batch: it needs a train.batch_size of 2 or more")

    def _has_the_checkpoint(self) -> None:
        chosen, kept = self.embed.checkpoint, self.train.save_steps
        if chosen == "best" and (self.data.held_out is None or not kept):
            lacks = "train.save_steps is empty" if self.data.held_out else "data.held_out is null"
            raise ValueError(
                f"embed.checkpoint best: {lacks}: it takes steps to choose from (train.save_steps) and training clips "
                "that are held out to choose by, such as data.held_out={}"
            )
        if chosen == "average" and not kept:
            raise ValueError(
                "embed.checkpoint average: train.save_steps is empty: name steps to average with the last one"
            )
        if chosen.startswith("step") and int(chosen[4:]) not in kept:
            raise ValueError(f"embed.checkpoint {chosen!r} is not in train.save_steps {kept}")

    def _of_an_autoencoder(self) -> None:
        if extra := [key for key in ("model", "loss") if getattr(self, key) != type(getattr(self, key))()]:
            raise ValueError(f"{extra[0]}: the autoencoder has no such part: leave the section out")
        if changed := self._changed():
            raise ValueError(f"train.{changed[0]}: the autoencoder draws frames, not chunks: leave it out")
        if self.train.pseudo_labels:
            raise ValueError("train.pseudo_labels: the autoencoder knows no classes: leave it out")
        if self.data.held_out:
            raise ValueError("data.held_out: the autoencoder keeps no steps to choose from: leave it out")
        if self.train.rates != RatesConfig() or self.train.ema is not None or self.train.accumulate > 1:
            raise ValueError("train.rates, train.ema, train.accumulate: the autoencoder is trained without them")
        if self.embed.arrays:
            raise ValueError(
                "embed.arrays: the autoencoder makes embedding, score.mse and score.mahalanobis, no others"
            )
        if not self.train.steps or self.train.save_steps:
            raise ValueError(
                "the autoencoder's covariances are estimated after the last step: train.steps has to be 1 or more, "
                "train.save_steps empty"
            )

    def _suits_the_encoder(self) -> None:
        name, linears, lora = self.encoder.name, self.encoder.LINEARS, self.model.lora
        if linears == () and (lora or self.model.group_adapter):
            raise ValueError(
                f"the encoder {name!r} has no transformer blocks: model.lora and model.group_adapter must be null"
            )
        if linears == () and (self.encoder.frozen_layers or self.train.rates.decay != 1):
            raise ValueError(
                f"the encoder {name!r} has no transformer blocks: encoder.frozen_layers must be 0, train.rates.decay 1"
            )
        if self.encoder.layers == "concatenated" and not self.train.steps:
            raise ValueError(
                "encoder.layers concatenated: its network is made by training, and train.steps is 0: take weighted, "
                "which is then the mean, or name blocks"
            )
        targets = (lora and lora.targets) or []
        if twice := [target for target in targets if targets.count(target) > 1]:
            raise ValueError(f"model.lora.targets: {twice[0]!r} is named twice")
        unknown = [target for target in targets if linears and target not in linears]
        if unknown:
            raise ValueError(f"model.lora.targets: {name!r} has no {unknown[0]!r}. Allowed: {', '.join(linears)}")
        if self.loss.exchange and self.loss.exchange.kind == "statex" and not self.encoder.spectrogram:
            raise ValueError(f"loss.exchange.kind statex: {name!r} hears samples, not bands: take featex")
        if self.data.feats_type == "fbank" and not self.encoder.spectrogram:
            raise ValueError(f"data.feats_type fbank: {name!r} makes no features of recordings, use raw")


def load_config(path: str | Path, settings: Sequence[str] = (), new: bool = True) -> Config:
    """Read a user's experiment; `settings` replace values, `section.key=value`. new: none that is there already.

    Errors as for `typed_yaml.load` and `check_new`.
    """
    config = load(Config, path, settings)
    if new:
        check_new(config, path, settings)
    return config


def check_new(config: Config, path: str | Path, settings: Sequence[str] = ()) -> None:
    """Raise ValueError for what existing experiments may hold, but no new one; `path`, `settings`: its source."""
    check_warmup(config.train, path, settings)
    if config.encoder.family == "autoencoder":
        _check_used_by_an_autoencoder(config, path)


def _check_used_by_an_autoencoder(config: Config, path: str | Path) -> None:
    """Raise ValueError for settings that would change nothing: it learns frames, knows no classes and no masks."""
    plain = Config()
    for part, key in (("data", "label"), ("data", "hide_attributes"), ("data", "balance"), ("train", "graphs")):
        if getattr(getattr(config, part), key) != getattr(getattr(plain, part), key):
            raise ValueError(f"{path}: {part}.{key}: changes nothing of an autoencoder for each machine: leave it out")
    if config.train.specaugment not in (None, plain.train.specaugment):
        raise ValueError(f"{path}: train.specaugment: the autoencoder's frames are not masked: leave it out")


def open_config(path: str | Path) -> Config:
    """Read exp/<tag>/config.yaml, as stage 2 of this version or an older one wrote it. Errors as for `load_config`."""
    return read_older(read_yaml(path), str(path))


def read_older(raw: dict[str, Any], where: str) -> Config:
    """The configuration that an older version wrote as plain values; `where` names them in errors."""
    return validate(Config, {**{name: {} for name in Config.model_fields}, **raw}, where, older=True)


def check_checkpoint(config: Config, where: str) -> None:
    """Raise ValueError when `encoder.checkpoint` is not there, or nothing that could hold weights; hub:ID is fetched.

    `where`: the file or setting that names it.
    """
    if not config.encoder.checkpoint:
        return
    try:
        path = weights_path(config.encoder.checkpoint)
    except ValueError as error:
        raise ValueError(f"{where}: encoder.checkpoint: {error}") from None
    if not path.exists():
        raise ValueError(
            f"{where}: encoder.checkpoint: there is no file {path.absolute()}. Put it there, or name another: "
            "--set encoder.checkpoint=FILE"
        )
    if stray := strays(path):
        raise ValueError(f"{where}: encoder.checkpoint: {path.absolute()}: {stray}")
