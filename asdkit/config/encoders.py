"""A section for each encoder; `encoder.name` tells which."""

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
from asdkit.config.spectrum_encoders import EnvelopeEncoder, LogmelEncoder
from asdkit.config.speech_encoders import HubertEncoder, UniSpeechEncoder, Wav2Vec2Encoder, WavlmEncoder
from asdkit.utils.typed_yaml import one_of

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
    EnvelopeEncoder,
)
