"""The section of BEATs."""

from typing import Literal

from pydantic import Field, model_validator

from asdkit.config.any_encoder import SizedEncoder
from asdkit.utils.typed_yaml import Section


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


class BeatsEncoder(SizedEncoder):
    """BEATs (paper Sec. III-A): patches of the log-mel spectrogram through a transformer."""

    LINEARS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
    frontend = "fbank_beats"

    name: Literal["beats"] = Field("beats", description="beats")
    arch: BeatsArch | None = Field(None, description="size of the network with random weights (default: BEATs base)")
