"""The experiment, typed: one YAML file holds what differs from the defaults of these sections."""

from asdkit.config.encoders import BeatsArch, EncoderConfig, check_sizes
from asdkit.config.experiment import TRAINING, Config, check_checkpoint, check_new, load_config, training_settings
from asdkit.config.models import GroupAdapterConfig, LoraConfig, ModelConfig
from asdkit.config.scoring import EmbedConfig, ScoreConfig
from asdkit.config.training import (
    AamConfig,
    DataConfig,
    DlclConfig,
    LossConfig,
    OptimizeConfig,
    SpecAugmentConfig,
    TrainConfig,
    check_warmup,
)

__all__ = [
    "TRAINING",
    "AamConfig",
    "BeatsArch",
    "Config",
    "DataConfig",
    "DlclConfig",
    "EmbedConfig",
    "EncoderConfig",
    "GroupAdapterConfig",
    "LoraConfig",
    "LossConfig",
    "ModelConfig",
    "OptimizeConfig",
    "ScoreConfig",
    "SpecAugmentConfig",
    "TrainConfig",
    "check_checkpoint",
    "check_new",
    "check_sizes",
    "check_warmup",
    "load_config",
    "training_settings",
]
