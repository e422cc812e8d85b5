"""The sections of convolutional networks that are trained from scratch."""

from typing import Literal

from pydantic import Field, model_validator

from asdkit.config.any_encoder import SizedEncoder
from asdkit.utils.typed_yaml import Section


class ConvEncoder(SizedEncoder):
    """A convolutional network: there are no published weights for it, and nothing is put into it."""

    LINEARS = ()

    @model_validator(mode="after")
    def _from_scratch(self) -> "ConvEncoder":
        if self.checkpoint or self.layers is not None:
            raise ValueError(
                f"{self.name!r} starts from random weights and has no transformer blocks: it takes neither "
                "'checkpoint' nor 'layers'"
            )
        return self


class Cnn10Arch(Section):
    """Size of a CNN10."""

    channels: int = Field(64, ge=1, description="of the first of four blocks; each has twice those of the one before")
    dropout: float = Field(0.2, ge=0, lt=1, description="part of the values left out behind each block in training")


class Cnn10Encoder(ConvEncoder):
    """CNN10 (Kong et al., 'PANNs', 2020): four blocks of two convolutions on the log-mel spectrogram."""

    frontend = "logmel_panns"

    name: Literal["cnn10"] = Field("cnn10", description="cnn10")
    arch: Cnn10Arch | None = Field(None, description="size of the network (default: the published one)")


class MobileNetArch(Section):
    """Size of a MobileNetV2."""

    width: float = Field(0.5, gt=0, le=4, description="factor of all channels but the last layer's")


class MobileNetEncoder(ConvEncoder):
    """MobileNetV2 (Sandler et al., 2018) on the log-mel spectrogram, of the challenge's baselines."""

    frontend = "logmel_slaney"

    name: Literal["mobilenet"] = Field("mobilenet", description="mobilenet")
    arch: MobileNetArch | None = Field(None, description="size of the network (default: that of the baseline)")
