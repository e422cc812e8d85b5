"""Data, objective and optimisation of a training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from asdkit.config.augmentation import (
    ExchangeConfig,
    GainConfig,
    MixupConfig,
    NoiseConfig,
    SpecAugmentConfig,
    SpeedConfig,
)
from asdkit.utils.typed_yaml import NO_RESULT, Section, given

CLASS_COLUMNS = ("year", "machine", "section", "domain", "attr", "folder")  # what data.label joins


class HeldOutConfig(Section):
    """Normal training clips that no batch gets, for an estimate of how well anomalies would be told from normal sound.

    After each step of train.save_steps and the last one, nearest neighbours tell pseudo-anomalies from them (Pseudo
    AUC); embed.checkpoint: best takes the step at which that is best. Detectors use all training clips.
    """

    fraction: float = Field(
        0.1, gt=0, lt=1, description="of the clips of each machine, section and domain; copies stay together"
    )
    by: Literal["clip", "folder"] = Field(
        "clip", description="folder: recordings that lie in one folder stay together, as those of one session may"
    )


class PseudoLabelsConfig(Section):
    """Static pseudo-labels (paper Sec. V, Table XI): unattributed clips get classes that clusters of embeddings make.

    In rounds: the network so far embeds them, those of each machine and section are clustered, and training goes on
    with their clusters as classes.
    """

    steps: list[int] = Field([0], min_length=1, description="a round after each of these steps; 0: before the first")
    method: Literal["kmeans", "agglomerative"] = Field("kmeans", description="agglomerative: by Ward's criterion")
    fewest: int = Field(2, ge=2, description="clusters of a machine and section; up to `most`, as the silhouette says")
    most: int = Field(16, ge=2, description="clusters of a machine and section; equal to `fewest`: no choice")

    @model_validator(mode="after")
    def _in_order(self) -> "PseudoLabelsConfig":
        if self.fewest > self.most:
            raise ValueError(f"fewest {self.fewest} lies above most {self.most}")
        if min(self.steps) < 0 or self.steps != sorted(set(self.steps)):
            raise ValueError(f"steps {self.steps}: ascending numbers from 0, each once")
        return self


class DataConfig(Section):
    """What the encoder is trained on."""

    sets: list[Literal["dev_train", "eval_train"]] = Field(
        ["dev_train", "eval_train"], description="training sets; those that the corpus lacks are named in the log"
    )
    label: str = Field(
        "machine+section+attr",
        description="what makes a training class, joined by +: any of the manifest's columns machine, section, domain, "
        "attr; year: of several corpora as one; folder: in which a recording lies, as those of one session may",
    )
    hide_attributes: list[str] = Field(
        [],
        description="machines whose attributes the training does not get, as if the corpus hid them (paper Fig. 7c, d)",
    )
    chunk_seconds: float = Field(2.0, gt=0, description="length of a training chunk, seconds (paper: 2)")
    feats_type: Literal["raw", "fbank"] = Field("raw", description="read recordings, or features dumped in stage 2")
    level: Literal["keep", "clip_rms", "machine_rms"] = Field(
        "keep",
        description="keep: as recorded; clip_rms: every clip scaled to one RMS, -26 dB re full scale; machine_rms: one "
        "factor for each machine, which brings its training clips there on average",
    )
    reference: Literal["none", "complex", "magnitude"] = Field(
        "none",
        description="take out what a second microphone (reference_channel in the dataset description) hears: complex: "
        "by least squares, one transfer function for each recording; magnitude: by subtracting magnitudes",
    )
    balance: Literal["none", "machine", "class"] = Field(
        "none", description="none: every clip once per epoch; otherwise machines or classes are drawn uniformly"
    )
    balance_temperature: float | None = Field(
        None,
        ge=1,
        description="T: machines or classes of n clips are drawn in proportion to n^(1/T), 1: as often as they are, "
        "5 by Arivazhagan et al., 2019; null: uniformly",
    )

    @model_validator(mode="after")
    def _label_of_columns(self) -> "DataConfig":
        columns = self.label.split("+")
        if len(set(columns)) < len(columns) or not set(columns) <= set(CLASS_COLUMNS):
            raise ValueError(
                f"data.label {self.label!r}: must be one or more of {', '.join(CLASS_COLUMNS)}, each once, "
                "joined by +, as machine+section"
            )
        return self

    @model_validator(mode="after")
    def _temperature_of_groups(self) -> "DataConfig":
        if self.balance == "none" and self.balance_temperature is not None:
            raise ValueError(
                f"data.balance_temperature {self.balance_temperature:g}: with data.balance none every clip is drawn "
                "once: set data.balance to machine or class, or leave the temperature out"
            )
        return self

    held_out: HeldOutConfig | None = Field(None, description="null: none, every training clip is trained on")
    workers: int = Field(
        0, ge=0, json_schema_extra=NO_RESULT, description="reader processes; 0 reads in the training process"
    )


class AamConfig(Section):
    """AAM-softmax (paper Eq. 7)."""

    scale: float = Field(30.0, gt=0, description="s")
    margin: float = Field(0.2, ge=0, lt=1.5707963, description="m, radians")
    centres: int = Field(
        1, ge=1, description="of each class, of which the nearest counts: sub-centre ArcFace (Zheng et al., 2025: 16)"
    )


class AdaCosConfig(Section):
    """AdaCos (Zhang et al., 2019)."""

    centres: int = Field(
        16, ge=1, description="of each class: sub-cluster AdaCos (Wilkinghoff, 2021: 16); 1: AdaCos itself"
    )


class CentreConfig(Section):
    """Centre loss (Wen et al., 2016), beside the loss of classes."""

    weight: float = Field(0.003, gt=0, description="lambda (Wen et al.: 0.003)")
    rate: float = Field(0.5, gt=0, le=1, description="alpha, how far a batch moves the centres of its classes")


class DlclConfig(Section):
    """Dual-level contrastive loss for clips without attributes (paper Sec. III-D)."""

    weight: float = Field(1.0, ge=0, description="lambda (Eq. 10)")
    temperature: float = Field(0.1, gt=0, description="tau_2")
    codes: int = Field(64, ge=1, description="n_q, vectors of the quantiser")
    memory: int = Field(1024, ge=1, description="embeddings of attributed clips kept as negatives, n_b")


class LossConfig(Section):
    """Training objective."""

    normalise: bool = Field(True, description="batch normalisation between the embedding and the losses")
    aam: AamConfig | None = Field(AamConfig(), description="loss of classes, unless another one is named")
    adacos: AdaCosConfig | None = Field(None, description="loss of classes instead of AAM")
    cross_entropy: bool = Field(False, description="true: loss of classes instead of AAM")
    centre: CentreConfig | None = Field(None, description="added to the loss of classes; null: not")
    exchange: ExchangeConfig | None = Field(None, description="added to the loss of classes; null: not")
    dlcl: DlclConfig | None = Field(None, description="loss of unattributed clips; null: they are classes too")

    @model_validator(mode="before")
    @classmethod
    def _instead_of_aam(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and (raw.get("adacos") is not None or raw.get("cross_entropy")):
            return {"aam": None, **raw}
        return raw

    @model_validator(mode="after")
    def _one_of_classes(self) -> "LossConfig":
        named = [name for name in ("aam", "adacos", "cross_entropy") if getattr(self, name)]
        if len(named) != 1:
            raise ValueError(f"one loss of classes is needed, got {' and '.join(named) or 'none'}")
        return self


class OptimizeConfig(Section):
    """Optimisation, of a fine-tuning as of a pre-training."""

    steps: int = Field(60000, ge=0, description="0: nothing is trained")
    batch_size: int = Field(32, ge=1, description="clips of a step, all processes together")
    lr: float = Field(1e-4, gt=0, description="learning rate after the warm-up")
    warmup_steps: int = Field(960, ge=0, description="steps over which the learning rate rises from 0")
    schedule: Literal["constant", "linear", "cosine"] = Field("constant", description="after the warm-up")
    weight_decay: float = Field(0.01, ge=0, description="of AdamW")
    grad_clip: float | None = Field(None, gt=0, description="largest norm of the gradient; null: no clipping")
    precision: Literal["float32", "tf32", "bfloat16"] = Field(
        "float32", description="bfloat16: autocast; tf32: float32 whose products GPUs make in TF32"
    )
    log_every: int = Field(50, ge=1, json_schema_extra=NO_RESULT, description="steps between rows of train.tsv")
    checkpoint_every: int = Field(
        500,
        ge=1,
        json_schema_extra=NO_RESULT,
        description="steps between writes of last.pt, from which training resumes",
    )


class RatesConfig(Section):
    """Factors of train.lr for parts of the model; where several hold for a weight, they multiply."""

    encoder: float = Field(1.0, gt=0, description="the encoder's own weights, where encoder.train is set")
    lora: float = Field(1.0, gt=0, description="LoRA")
    group_adapter: float = Field(1.0, gt=0, description="group adapters")
    head: float = Field(1.0, gt=0, description="what follows the encoder, and what the losses learn")
    decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="of what lies in the encoder's last block, LoRA and adapters too; its square in the block before, "
        "and so on down to what lies below the first (Bao et al., 2022)",
    )


class TrainConfig(OptimizeConfig):
    """Optimisation of a fine-tuning (paper Sec. IV-F)."""

    specaugment: SpecAugmentConfig | None = Field(SpecAugmentConfig(), description="null: none")
    speed: SpeedConfig | None = Field(None, description="null: none")
    mixup: MixupConfig | None = Field(None, description="null: none")
    noise: NoiseConfig | None = Field(None, description="null: none")
    gain: GainConfig | None = Field(None, description="null: none")
    pseudo_labels: PseudoLabelsConfig | None = Field(
        None, description="null: unattributed clips of a machine: one class"
    )
    save_steps: list[int] = Field([], description="steps whose weights are kept as step<N>.pt")
    rates: RatesConfig = RatesConfig()
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="decay of the moving average of the weights after each step, which is what is kept and embeds; "
        "null: the weights of the step itself",
    )
    accumulate: int = Field(
        1,
        ge=1,
        json_schema_extra=NO_RESULT,
        description="parts in which a batch goes through the network, one after the other, where memory does not hold "
        "it at once; the losses are those of the whole batch. Takes up to half as long again",
    )
    graphs: bool = Field(
        False, json_schema_extra=NO_RESULT, description="on one GPU: replay the encoder's blocks as CUDA graphs"
    )

    @model_validator(mode="after")
    def _parts(self) -> "TrainConfig":
        if self.accumulate > self.batch_size:
            raise ValueError(
                f"train.accumulate {self.accumulate}: a batch of train.batch_size {self.batch_size} clips has no so "
                f"many parts: set it to {self.batch_size} at most"
            )
        if self.graphs and self.batch_size % self.accumulate:
            raise ValueError(
                f"train.graphs needs parts of one size: train.batch_size {self.batch_size} is no multiple of "
                f"train.accumulate {self.accumulate}"
            )
        return self


def check_warmup(train: OptimizeConfig, path: str | Path, settings: Sequence[str] = ()) -> None:
    """Raise ValueError when the warm-up is longer than the training; `path`, `settings`: where they were read."""
    if 0 < train.steps < train.warmup_steps:
        said = [given(settings, f"train.{key}") for key in ("steps", "warmup_steps")]
        raise ValueError(
            f"{' '.join(filter(None, said)) or path}: train.warmup_steps {train.warmup_steps} is longer than "
            f"train.steps {train.steps}: the learning rate would never reach train.lr. Set train.warmup_steps to "
            f"{train.steps} at most, for example --set train.warmup_steps={train.steps // 10}"
        )
