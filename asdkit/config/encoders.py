"""A section for each encoder; `encoder.name` tells which."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from asdkit.utils.typed_yaml import Section, one_of


def _counted(layers: int | list[int]) -> int | list[int]:
    if layers in (0, []) or (isinstance(layers, list) and 0 in layers):
        raise ValueError(f"got {layers!r}; blocks are counted from 1, or from the end with -1, -2, ...")
    return layers


Layers = Annotated[int | list[int], AfterValidator(_counted)] | None


class AnyEncoder(Section):
    """What the sections of all encoders have in common, and what can be known of an encoder without building it."""

    LINEARS: ClassVar[tuple[str, ...] | None] = None  # linear layers of a block; None: known once it is built
    spectrogram: ClassVar[bool] = True  # features are [clips, frames, bands]; False: samples, [clips, samples]
    frontend: ClassVar[str]  # folder of dumped features; encoders whose features have the same values share one

    name: str
    checkpoint: str | None = Field(None, description="file or folder of weights; null: random weights (Table III)")
    train: bool = Field(False, description="fine-tune the encoder's own weights as well")
    layers: Layers = Field(
        None,
        description="output of block N (1: the first, -1: the last) instead of the network's; several: their mean",
    )

    def resolved(self) -> "AnyEncoder":
        """The same with what null stands for, where the weights are random: for done markers."""
        return self


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


class BeatsEncoder(AnyEncoder):
    """BEATs (paper Sec. III-A): patches of the log-mel spectrogram through a transformer."""

    LINEARS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
    frontend = "fbank_beats"

    name: Literal["beats"] = Field("beats", description="beats")
    arch: BeatsArch | None = Field(None, description="size of the network with random weights (default: BEATs base)")

    @model_validator(mode="after")
    def _one_source(self) -> "BeatsEncoder":
        if self.checkpoint and self.arch:
            raise ValueError("'arch' is read from the checkpoint: give one of 'checkpoint' and 'arch'")
        return self

    def resolved(self) -> "BeatsEncoder":
        """BEATs base where neither a checkpoint nor a size is given."""
        return self if self.checkpoint or self.arch else self.model_copy(update={"arch": BeatsArch()})


class LogmelEncoder(AnyEncoder):
    """The log-mel spectrogram itself: the baseline without a network."""

    LINEARS = ()
    frontend = "logmel"

    name: Literal["logmel"] = Field("logmel", description="logmel")

    @model_validator(mode="before")
    @classmethod
    def _of_older_versions(cls, raw: object) -> object:
        # They wrote `arch: null` for every encoder.
        return {k: v for k, v in raw.items() if (k, v) != ("arch", None)} if isinstance(raw, dict) else raw

    @model_validator(mode="after")
    def _nothing_to_load(self) -> "LogmelEncoder":
        if self.checkpoint or self.train or self.layers is not None:
            raise ValueError("'logmel' has no weights: it takes neither 'checkpoint' nor 'train' nor 'layers'")
        return self


EncoderConfig = one_of("name", BeatsEncoder, LogmelEncoder)
