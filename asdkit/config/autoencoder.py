"""The section of the challenge's autoencoder."""

from typing import Literal

from pydantic import Field, model_validator

from asdkit.config.any_encoder import AnyEncoder


class AutoencoderConfig(AnyEncoder):
    """The official baseline of DCASE Task 2: an autoencoder of its own for each machine.

    It takes the place of encoder, pooling and objective: an experiment with it has no sections `model` and `loss`.
    `train.batch_size` counts its vectors, of each machine.
    """

    LINEARS = ()
    frontend = "logmel_slaney"
    family = "autoencoder"

    name: Literal["autoencoder"] = Field("autoencoder", description="autoencoder")
    frames: int = Field(5, ge=1, description="frames in a row that make a vector")
    hidden: int = Field(128, ge=1, description="units of each of the eight hidden layers")
    bottleneck: int = Field(8, ge=1, description="units of the layer in the middle")

    @model_validator(mode="after")
    def _trained_from_scratch(self) -> "AutoencoderConfig":
        if self.checkpoint or self.train or self.layers is not None:
            raise ValueError(
                "'autoencoder' is trained from random weights always: it takes neither 'checkpoint' nor 'train' nor "
                "'layers'"
            )
        return self
