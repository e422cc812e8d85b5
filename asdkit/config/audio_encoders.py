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


class DashengEncoder(SizedEncoder):
    """Dasheng (Dinkel et al., 2024): 40-ms slices of the mel spectrogram through a vision transformer."""

    LINEARS = VIT_LINEARS
    frontend = "mel_ced"

    name: Literal["dasheng"] = Field("dasheng", description="dasheng")
    arch: VitArch | None = Field(None, description="size of the network with random weights (default: Dasheng base)")


class SineArch(VitArch):
    """Size of a vision transformer with random weights and fixed positions."""

    embed_dim: int = Field(768, ge=4, multiple_of=4, description="size of a token; 4 and num_heads divide it")


class EatEncoder(SizedEncoder):
    """EAT (Chen et al., 2024): patches of the log-mel spectrogram, and a token for the whole clip."""

    LINEARS = VIT_LINEARS
    frontend = "fbank_eat"

    name: Literal["eat"] = Field("eat", description="eat")
    arch: SineArch | None = Field(None, description="size of the network with random weights (default: EAT base)")
    clean_up: bool = Field(
        False, description="of what the blocks give, values under 0.1 become 0, those over 0.5 their tanh"
    )


class FisherArch(SineArch):
    """Size of a FISHER with random weights."""

    embed_dim: int = Field(384, ge=4, multiple_of=4, description="size of a token; 4 and num_heads divide it")
    num_heads: int = Field(6, ge=1, description="attention heads of a block")


class FisherEncoder(SizedEncoder):
    """FISHER (Fan et al., 2025): the spectrum at any rate, of any sensor, in bands of 4 kHz."""

    LINEARS = VIT_LINEARS
    frontend = "log_spectrum"

    name: Literal["fisher"] = Field("fisher", description="fisher")
    arch: FisherArch | None = Field(None, description="size of the network with random weights (default: small)")
    sample_rate: int = Field(
        16000, ge=1000, description="rate of the recordings, Hz, as dataset.yaml has it; nothing is resampled"
    )


class ClapArch(Section):
    """Size of an HTSAT with random weights: four stages, each of half the resolution and twice the width before."""

    embed_dim: int = Field(96, ge=1, description="size of a token of the first stage; the last stage's is 8 times that")
    depths: list[int] = Field([2, 2, 6, 2], description="blocks of each of the four stages")
    num_heads: list[int] = Field([4, 8, 16, 32], description="attention heads in each of the four stages")

    @model_validator(mode="after")
    def _fits(self) -> "ClapArch":
        for name in ("depths", "num_heads"):
            value = getattr(self, name)
            if len(value) != 4 or min(value) < 1:
                raise ValueError(f"{name}: got {value}; four numbers of at least 1, one for each stage, are needed")
        for stage, heads in enumerate(self.num_heads):
            if (width := self.embed_dim << stage) % heads:
                raise ValueError(f"num_heads {heads} does not divide the width of its stage, {width}")
        return self


class ClapEncoder(SizedEncoder):
    """The audio branch of CLAP (Wu et al., 2023), HTSAT: windowed attention over 10 s at 48 kHz."""

    LINEARS = VIT_LINEARS
    frontend = "mel_clap"

    name: Literal["clap"] = Field("clap", description="clap")
    arch: ClapArch | None = Field(None, description="size of the network with random weights (default: HTSAT-tiny)")
    sample_rate: int = Field(
        16000, ge=8000, multiple_of=100, description="rate of the recordings, Hz; the front end brings them to 48 kHz"
    )
