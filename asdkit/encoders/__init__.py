"""Encoders: recordings to tokens."""

from collections.abc import Callable

from asdkit.config import BeatsArch, EncoderConfig
from asdkit.encoders.base import Encoder
from asdkit.encoders.beats import random_beats
from asdkit.encoders.beats_checkpoint import load_beats
from asdkit.encoders.logmel import Logmel


def _beats(config: EncoderConfig) -> Encoder:
    return load_beats(config.checkpoint) if config.checkpoint else random_beats(config.arch or BeatsArch())


def _logmel(config: EncoderConfig) -> Encoder:
    return Logmel()


ENCODERS: dict[str, Callable[[EncoderConfig], Encoder]] = {"beats": _beats, "logmel": _logmel}


def build_encoder(config: EncoderConfig) -> Encoder:
    """The encoder of a configuration: weights from its checkpoint, or random ones under torch's generator.

    Raises ValueError for a checkpoint that is missing, damaged or not what the encoder needs.
    """
    return ENCODERS[config.name](config)
