"""The experiment, typed: one YAML file holds what differs from the defaults below."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from asdkit.utils.done import flatten
from asdkit.utils.files import sha256_file
from asdkit.utils.typed_yaml import Section, load


class DataConfig(Section):
    """What the encoder is trained on."""

    sets: list[Literal["dev_train", "eval_train"]] = Field(
        ["dev_train", "eval_train"], description="training sets; those that the corpus lacks are named in the log"
    )
    label: Literal["machine", "machine+section", "machine+section+attr", "machine+section+domain+attr"] = Field(
        "machine+section+attr", description="manifest columns whose values together make a training class"
    )
    chunk_seconds: float = Field(2.0, gt=0, description="length of a training chunk, seconds (paper: 2)")
    feats_type: Literal["raw", "fbank"] = Field("raw", description="read recordings, or features dumped in stage 2")
    balance: Literal["none", "machine", "class"] = Field(
        "none", description="none: every clip once per epoch; otherwise machines or classes are drawn uniformly"
    )
    workers: int = Field(0, ge=0, description="reader processes; 0 reads in the training process")


class BeatsArch(Section):
    """Size of a BEATs network with random weights; the fields of a published file's `cfg`."""

    encoder_layers: int = Field(12, ge=1, description="transformer layers")
    encoder_embed_dim: int = Field(768, ge=8, description="size of a token; heads and conv_pos_groups divide it")
    encoder_ffn_embed_dim: int = Field(3072, ge=8, description="hidden units of a layer's feed-forward part")
    encoder_attention_heads: int = Field(12, ge=1, description="attention heads of a layer")
    embed_dim: int = Field(512, ge=1, description="size of a patch before it is projected to a token")
    input_patch_size: int = Field(16, ge=1, le=128, description="side of a patch, frames and mel bands")
    conv_pos: int = Field(128, ge=1, description="width of the position convolution, tokens")
    conv_pos_groups: int = Field(16, ge=1, description="groups of the position convolution")
    encoder_layerdrop: float = Field(0.05, ge=0, lt=1, description="probability of leaving out a layer in training")
    layer_wise_gradient_decay_ratio: float = Field(
        1.0, gt=0, le=1, description="factor of the gradient at every layer, from the last to the first"
    )

    @model_validator(mode="after")
    def _fits(self) -> "BeatsArch":
        check_sizes(self)
        return self


def check_sizes(sizes: Section) -> None:
    """Raise ValueError unless heads and groups divide encoder_embed_dim, in a BeatsArch or a file's `cfg`."""
    for name in ("encoder_attention_heads", "conv_pos_groups"):
        if sizes.encoder_embed_dim % getattr(sizes, name):
            raise ValueError(f"encoder_embed_dim {sizes.encoder_embed_dim} is no multiple of {name}")


class EncoderConfig(Section):
    """The encoder (paper Sec. III-A)."""

    name: Literal["beats", "logmel"] = Field("beats", description="beats, or logmel: the log-mel spectrogram itself")
    checkpoint: str | None = Field(None, description="published weights; null: random weights (paper Table III)")
    arch: BeatsArch | None = Field(None, description="size of the network with random weights (default: BEATs base)")
    train: bool = Field(False, description="fine-tune the encoder's own weights as well")

    @model_validator(mode="after")
    def _one_source(self) -> "EncoderConfig":
        if self.checkpoint and self.arch:
            raise ValueError("'arch' is read from the checkpoint: give one of 'checkpoint' and 'arch'")
        if self.name == "logmel" and (self.checkpoint or self.arch or self.train):
            raise ValueError("'logmel' has no weights: it takes neither 'checkpoint' nor 'arch' nor 'train'")
        return self


class LoraConfig(Section):
    """Fully-connected multi-branch LoRA (paper Sec. III-B, Eq. 3)."""

    branches: int = Field(8, ge=1, description="n_l")
    rank: int = Field(32, ge=1, description="r")
    fully_connected: bool = Field(True, description="connect every A_j to every B_i")
    targets: list[str] = Field(
        ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"], description="linear layers of each transformer block"
    )


class GroupAdapterConfig(Section):
    """Machine-aware group adapter (paper Sec. III-C)."""

    groups: int = Field(32, ge=1, description="n_g")
    position: Literal["mha", "ffn", "transformer"] = Field("mha", description="module whose output it is added to")
    hidden: int = Field(128, ge=1, description="hidden units of the group decision MLP")
    temperature: float = Field(0.1, gt=0, description="tau_1")


class ModelConfig(Section):
    """From tokens to one embedding per clip."""

    lora: LoraConfig | None = Field(None, description="low-rank adaptation; null: off")
    group_adapter: GroupAdapterConfig | None = Field(None, description="group adapter; null: off")
    pooling: Literal["attentive", "mean", "mean_std"] = Field("attentive", description="tokens to one vector")
    attention_dim: int = Field(128, ge=1, description="hidden units of the attentive pooling")
    embedding_dim: int | None = Field(256, ge=1, description="size of the projection; null: the pooled vector itself")


class AamConfig(Section):
    """AAM-softmax (paper Eq. 7)."""

    scale: float = Field(30.0, gt=0, description="s")
    margin: float = Field(0.2, ge=0, lt=1.5707963, description="m, radians")


class DlclConfig(Section):
    """Dual-level contrastive loss for clips without attributes (paper Sec. III-D)."""

    weight: float = Field(1.0, ge=0, description="lambda (Eq. 10)")
    temperature: float = Field(0.1, gt=0, description="tau_2")
    codes: int = Field(64, ge=1, description="n_q, vectors of the quantiser")
    memory: int = Field(1024, ge=1, description="embeddings of attributed clips kept as negatives, n_b")


class LossConfig(Section):
    """Training objective."""

    normalise: bool = Field(True, description="batch normalisation between the embedding and the losses")
    aam: AamConfig = AamConfig()
    dlcl: DlclConfig | None = Field(None, description="loss of unattributed clips; null: they are classes of AAM too")


class SpecAugmentConfig(Section):
    """SpecAugment (paper Sec. IV-D) on the features of each chunk."""

    time_masks: int = Field(2, ge=0, description="masks over frames")
    time_width: int = Field(20, ge=0, description="largest width of a time mask, frames")
    freq_masks: int = Field(2, ge=0, description="masks over mel bands")
    freq_width: int = Field(16, ge=0, description="largest width of a frequency mask, mel bands")
    warp: int = Field(5, ge=0, description="largest shift of the time warp's centre, frames; 0: no warp")


class TrainConfig(Section):
    """Optimisation (paper Sec. IV-F)."""

    steps: int = Field(60000, ge=0, description="0: nothing is trained")
    batch_size: int = Field(32, ge=1, description="chunks of a step, all processes together")
    lr: float = Field(1e-4, gt=0, description="learning rate after the warm-up")
    warmup_steps: int = Field(960, ge=0, description="steps over which the learning rate rises from 0")
    schedule: Literal["constant", "linear", "cosine"] = Field("constant", description="after the warm-up")
    weight_decay: float = Field(0.01, ge=0, description="of AdamW")
    grad_clip: float | None = Field(None, gt=0, description="largest norm of the gradient; null: no clipping")
    amp: Literal["none", "bfloat16"] = Field("none", description="autocast")
    specaugment: SpecAugmentConfig | None = Field(SpecAugmentConfig(), description="null: none")
    log_every: int = Field(50, ge=1, description="steps between rows of train.tsv")
    checkpoint_every: int = Field(500, ge=1, description="steps between writes of last.pt, from which training resumes")
    save_steps: list[int] = Field([], description="steps whose weights are kept as step<N>.pt")


class EmbedConfig(Section):
    """One embedding per clip (stage 4)."""

    checkpoint: str = Field("final", pattern=r"^(final|step\d+)$", description="final, or step<N> of train.save_steps")
    segment: Literal["clip", "chunk"] = Field("clip", description="whole clips, or the mean over chunks of one")
    hop_seconds: float = Field(1.0, ge=0.01, description="distance of the chunks, seconds")
    batch_size: int = Field(8, ge=1, description="clips of equal length that go through the encoder together")
    amp: Literal["none", "bfloat16"] = Field("none", description="autocast")


class ScoreConfig(Section):
    """Anomaly detector (paper Sec. IV-E)."""

    backend: Literal["knn"] = Field("knn", description="knn: cosine distance to the nearest training embeddings")
    k: int = Field(1, ge=1, description="neighbours; the score is their mean cosine distance")
    per_section: bool = Field(False, description="one detector per section (machine id) instead of per machine")
    per_domain: bool = Field(True, description="one detector per domain and the smaller score (Eq. 13)")
    normalise: Literal["none", "test_zscore"] = Field(
        "none",
        description="test_zscore: each detector's scores at mean 0, deviation 1 before the smaller is taken; "
        "transductive: uses the statistics of all test clips of the machine; not for official results",
    )
    threshold_percentile: float = Field(
        90.0,
        gt=0,
        lt=100,
        description="decision threshold: percentile of a gamma distribution fitted to scores of training clips",
    )


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
    """Read an experiment; `settings` replace values, `section.key=value`. Errors as for `typed_yaml.load`."""
    return load(Config, path, settings)


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
