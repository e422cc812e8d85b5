"""A pre-training, typed: one YAML file holds what differs from the defaults below."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from asdkit.config import BeatsArch, OptimizeConfig, check_warmup
from asdkit.config.upgrade import unflatten
from asdkit.utils.files import sha256_file
from asdkit.utils.typed_yaml import NO_RESULT, Section, load, settings_of, validate


class NoiseConfig(Section):
    """What the encoder hears over the clip whose patches it has to predict, clean."""

    probability: float = Field(0.9, ge=0, le=1, description="part of the clips that get noise")
    snr_db: list[float] = Field(
        [-20.0, 20.0], min_length=2, max_length=2, description="lowest and highest ratio of clip to noise"
    )
    kinds: list[Literal["coloured", "hum", "babble", "strikes"]] = Field(
        ["coloured", "hum", "babble", "strikes"],
        min_length=1,
        description="noise from white to brown, of the mains, of other clips, of strikes that ring; two in a clip",
    )
    room: float = Field(0.3, ge=0, le=1, description="part of the clips that are heard through a room")

    @model_validator(mode="after")
    def _agree(self) -> "NoiseConfig":
        if self.snr_db[0] > self.snr_db[1]:
            raise ValueError(f"snr_db {list(self.snr_db)}: the lower ratio comes first")
        return self


class SoundConfig(Section):
    """What the encoder hears."""

    crop_seconds: float = Field(2.0, ge=0.2, description="length of a training clip, seconds")
    generated: float = Field(0.5, ge=0, le=1, description="part of the clips that the generator makes")
    machines: float = Field(0.0, ge=0, le=1, description="part of the generated clips that are machines'")
    longest_seconds: float | None = Field(
        None,
        description="each step's clips have one length, drawn from crop_seconds to this (evenly in its logarithm), and "
        "are as many fewer as they are longer; null: all have crop_seconds",
    )
    noise: NoiseConfig | None = Field(
        None, description="the encoder hears clips in noise and predicts the clean ones; null: it hears them clean"
    )
    mixed: float = Field(0.3, ge=0, le=1, description="part of the recorded clips that are mixed with another clip")
    speed: float = Field(0.25, ge=0, lt=1, description="recordings play up to so much slower or faster")
    level_db: list[float] = Field(
        [-45.0, -12.0], min_length=2, max_length=2, description="lowest and highest root mean square, re full scale"
    )
    channel: int | None = Field(None, ge=0, description="this channel of recordings that have several")
    resample: bool = Field(True, description="convert recordings of other sample rates instead of refusing them")
    cache_hours: float = Field(
        2.0, ge=0, json_schema_extra=NO_RESULT, description="recordings kept in memory, 0.23 GB an hour"
    )


class TokenizerConfig(Section):
    """What the patches are called: by random projection (BEATs, Sec. 3.2.1), or by a trained encoder."""

    teacher: str | None = Field(
        None, description="second iteration: BEATs file whose tokens are quantised; dim, level, relative are not used"
    )
    codes: int = Field(256, ge=2, description="size of a codebook")
    dim: int = Field(16, ge=1, description="size of a code")
    level: float = Field(0.25, ge=0, le=1, description="weight of a patch's mean, which else drowns its pattern")
    relative: bool = Field(True, description="take each clip's mean level out first: tokens do not depend on the gain")
    codebooks: int = Field(4, ge=1, description="independent projections, each with its codebook")
    weight: float = Field(1.0, ge=0, description="of the codes in the loss; 0: they are not predicted, see `latent`")
    statistics_clips: int = Field(512, ge=2, description="clips that mean and spread of the patches are taken from")


class LatentConfig(Section):
    """What a moving average of the encoder makes of the whole clean clip, predicted from what is seen of it.

    As in data2vec (Baevski et al., 2022); the clip's mean as in EAT (Chen et al., 2024).
    """

    decay: float = Field(0.999, ge=0, lt=1, description="of the average: it moves by 1 - decay a step; faster at first")
    layers: int = Field(3, ge=1, description="top layers of the average whose mean is predicted")
    weight: float = Field(1.0, ge=0, description="of the hidden patches' error")
    clip: float = Field(1.0, ge=0, description="of the error of the clip's mean over its patches")


class PredictorConfig(Section):
    """The transformer that names the masked patches; thrown away after training."""

    layers: int = Field(1, ge=1, description="transformer layers")
    dim: int = Field(128, ge=8, description="size of its tokens")
    heads: int = Field(4, ge=1, description="attention heads of a layer; divides dim")
    conv_pos: int = Field(32, ge=1, description="width of its position convolution, tokens")


class PretrainOptimizeConfig(OptimizeConfig):
    """Optimisation."""

    steps: int = Field(4000, ge=1, description="steps of the whole training")
    batch_size: int = Field(64, ge=1, description="clips of a step, all processes together")
    lr: float = Field(1e-3, gt=0, description="learning rate after the warm-up")
    warmup_steps: int = Field(200, ge=0, description="steps over which the learning rate rises from 0")
    schedule: Literal["constant", "linear", "cosine"] = Field("cosine", description="after the warm-up")
    grad_clip: float | None = Field(1.0, gt=0, description="largest norm of the gradient; null: no clipping")
    checkpoint_every: int = Field(
        200,
        ge=1,
        json_schema_extra=NO_RESULT,
        description="steps between writes of last.pt, from which training resumes",
    )


class PretrainConfig(Section):
    """A pre-training run."""

    init: str | None = Field(None, description="BEATs file to start from; null: random weights of size `arch`")
    arch: BeatsArch | None = Field(None, description="size of the network (default: BEATs base)")
    mask: float = Field(0.75, gt=0, lt=1, description="part of the patches that the encoder does not see")
    sound: SoundConfig = SoundConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    latent: LatentConfig | None = Field(
        None, description="also predict what a moving average of the encoder makes of the clip; null: codes alone"
    )
    predictor: PredictorConfig = PredictorConfig()
    train: PretrainOptimizeConfig = PretrainOptimizeConfig()

    @model_validator(mode="after")
    def _agree(self) -> "PretrainConfig":
        if self.init and self.arch:
            raise ValueError("'arch' is read from the file: give one of 'init' and 'arch'")
        if self.sound.level_db[0] > self.sound.level_db[1]:
            raise ValueError(f"sound.level_db {list(self.sound.level_db)}: the lower level comes first")
        if self.sound.longest_seconds is not None and self.sound.longest_seconds < self.sound.crop_seconds:
            raise ValueError(
                f"sound.longest_seconds {self.sound.longest_seconds:g} is less than crop_seconds "
                f"{self.sound.crop_seconds:g}"
            )
        if not self.tokenizer.weight and not (self.latent and self.latent.weight + self.latent.clip):
            raise ValueError("nothing to predict: tokenizer.weight is 0, and `latent` is not given or weighs nothing")
        if self.predictor.dim % self.predictor.heads:
            raise ValueError(f"predictor.dim {self.predictor.dim} is no multiple of heads {self.predictor.heads}")
        return self


WEIGHTS = ("init", "tokenizer.teacher")  # files that count by their SHA-256, not by their place


def pretrain_identity(config: PretrainConfig, digests: dict[str, Any] | None = None) -> dict[str, Any]:
    """The settings that a pre-training depends on, flat. `digests`: SHA-256 of files, taken from them by default."""
    flat = settings_of(config)
    for key in WEIGHTS:
        if path := flat.pop(key):
            flat[f"{key}.sha256"] = digests[f"{key}.sha256"] if digests else sha256_file(path)
    return flat


def reread_pretrain(marker: dict[str, Any]) -> dict[str, Any]:
    """A marker of a pre-training, of this version or an older one, in today's terms."""
    own = {key: value for key, value in marker.items() if key.partition(".")[0] in PretrainConfig.model_fields}
    if not own:
        return marker
    plain = {key: value for key, value in own.items() if not key.endswith(".sha256")}
    digests = {key: value for key, value in own.items() if key.endswith(".sha256")}
    plain |= {key.removesuffix(".sha256"): "-" for key in digests}  # its path does not count
    try:
        config = validate(PretrainConfig, unflatten(plain), "marker", older=True)
    except ValueError:  # of a later version: compared as it stands
        return marker
    return pretrain_identity(config, digests) | {key: value for key, value in marker.items() if key not in own}


def load_pretrain_config(path: str | Path, settings: Sequence[str] = ()) -> PretrainConfig:
    """Read a pre-training; `settings` replace values, `section.key=value`.

    Errors as for `typed_yaml.load`; a warm-up longer than the training is one too.
    """
    config = load(PretrainConfig, path, settings)
    check_warmup(config.train, path, settings)
    return config
