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
