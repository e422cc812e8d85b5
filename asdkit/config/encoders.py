"""A section for each encoder; `encoder.name` tells which."""

from typing import Literal

from pydantic import Field, model_validator

from asdkit.config.any_encoder import AnyEncoder
from asdkit.config.audio_encoders import (
    AstEncoder,
    AtstClipEncoder,
    AtstFrameEncoder,
    CedEncoder,
    ClapEncoder,
    DashengEncoder,
    EatEncoder,
    FisherEncoder,
    ImageBindEncoder,
)
from asdkit.config.autoencoder import AutoencoderConfig
from asdkit.config.beats import BeatsEncoder
from asdkit.config.cnn_encoders import Cnn10Encoder, MobileNetEncoder
from asdkit.config.speech_encoders import HubertEncoder, UniSpeechEncoder, Wav2Vec2Encoder, WavlmEncoder
from asdkit.utils.typed_yaml import one_of


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


EncoderConfig = one_of(
    "name",
    BeatsEncoder,
    LogmelEncoder,
    AtstClipEncoder,
    AtstFrameEncoder,
    ImageBindEncoder,
    AstEncoder,
    CedEncoder,
    ClapEncoder,
    EatEncoder,
    DashengEncoder,
    FisherEncoder,
    AutoencoderConfig,
    Wav2Vec2Encoder,
    UniSpeechEncoder,
    HubertEncoder,
    WavlmEncoder,
    Cnn10Encoder,
    MobileNetEncoder,
)
