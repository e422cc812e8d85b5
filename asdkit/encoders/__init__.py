"""Encoders: recordings to tokens."""

from collections.abc import Callable
from typing import Any

from asdkit.config import EncoderConfig
from asdkit.encoders.ast import build_ast
from asdkit.encoders.atst import build_atst_clip, build_atst_frame
from asdkit.encoders.autoencoder import build_autoencoder
from asdkit.encoders.base import Encoder
from asdkit.encoders.beats_checkpoint import build_beats
from asdkit.encoders.ced import build_ced
from asdkit.encoders.clap_checkpoint import build_clap
from asdkit.encoders.cnn import build_cnn10
from asdkit.encoders.dasheng import build_dasheng
from asdkit.encoders.eat import build_eat
from asdkit.encoders.envelope import build_envelope
from asdkit.encoders.fisher import build_fisher
from asdkit.encoders.imagebind import build_imagebind
from asdkit.encoders.logmel import build_logmel
from asdkit.encoders.mobilenet import build_mobilenet
from asdkit.encoders.speech import build_speech

ENCODERS: dict[str, Callable[[Any], Encoder]] = {  # `encoder.name` -> what makes one of its section
    "atst_clip": build_atst_clip,
    "atst_frame": build_atst_frame,
    "ast": build_ast,
    "autoencoder": build_autoencoder,
    "beats": build_beats,
    "ced": build_ced,
    "cnn10": build_cnn10,
    "imagebind": build_imagebind,
    "clap": build_clap,
    "dasheng": build_dasheng,
    "eat": build_eat,
    "envelope": build_envelope,
    "fisher": build_fisher,
    "logmel": build_logmel,
    "wav2vec2": build_speech,
    "unispeech": build_speech,
    "hubert": build_speech,
    "wavlm": build_speech,
    "mobilenet": build_mobilenet,
}


def build_encoder(config: EncoderConfig) -> Encoder:
    """The encoder of a configuration: weights from its checkpoint, or random ones under torch's generator.

    Raises ValueError for a checkpoint that is missing, damaged or not what the encoder needs.
    """
    return ENCODERS[config.name](config)
