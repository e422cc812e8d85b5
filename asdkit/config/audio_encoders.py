"""The sections of encoders that were pre-trained on sounds of all kinds."""

from typing import Literal

from pydantic import Field, model_validator

from asdkit.config.any_encoder import SizedEncoder
from asdkit.utils.typed_yaml import Section

VIT_LINEARS = ("qkv", "proj", "fc1", "fc2")


class VitArch(Section):
    """Size of a vision transformer with random weights."""

    embed_dim: int = Field(768, ge=2, description="size of a token; num_heads divides it")
    depth: int = Field(12, ge=1, description="transformer blocks")
    num_heads: int = Field(12, ge=1, description="attention heads of a block")

    @model_validator(mode="after")
    def _fits(self) -> "VitArch":
        if self.embed_dim % self.num_heads:
            raise ValueError(f"embed_dim {self.embed_dim} is no multiple of num_heads {self.num_heads}")
        return self


class AstEncoder(SizedEncoder):
    """AST (Gong et al., 2021): overlapping patches of the log-mel spectrogram through a vision transformer."""

    LINEARS = VIT_LINEARS
    frontend = "fbank_ast"

    name: Literal["ast"] = Field("ast", description="ast")
    arch: VitArch | None = Field(None, description="size of the network with random weights (default: AST base)")


class AtstClipEncoder(SizedEncoder):
    """ATST-Clip (Li et al., 2024): 40-ms slices of the mel spectrogram, and a token for the whole clip."""

    LINEARS = VIT_LINEARS
    frontend = "mel_atst"

    name: Literal["atst_clip"] = Field("atst_clip", description="atst_clip")
    arch: VitArch | None = Field(None, description="size of the network with random weights (default: ATST base)")


class AtstFrameEncoder(SizedEncoder):
    """ATST-Frame (Li et al., 2024): 40-ms slices of the mel spectrogram."""

    LINEARS = VIT_LINEARS
    frontend = "mel_atst"

    name: Literal["atst_frame"] = Field("atst_frame", description="atst_frame")
    arch: VitArch | None = Field(None, description="size of the network with random weights (default: ATST base)")


class ImageBindEncoder(SizedEncoder):
    """The audio part of ImageBind (Girdhar et al., 2023): patches of the log-mel spectrogram, 2 s at a time."""

    LINEARS = VIT_LINEARS
    frontend = "fbank_imagebind"

    name: Literal["imagebind"] = Field("imagebind", description="imagebind")
    arch: VitArch | None = Field(None, description="size of the network with random weights (default: as published)")


class CedEncoder(SizedEncoder):
    """CED (Dinkel et al., 2024): patches of the mel spectrogram through a vision transformer."""

    LINEARS = VIT_LINEARS
    frontend = "mel_ced"

    name: Literal["ced"] = Field("ced", description="ced")
    arch: VitArch | None = Field(None, description="size of the network with random weights (default: CED base)")
