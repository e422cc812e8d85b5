"""The experiment, typed: one YAML file holds what differs from the defaults of these sections."""

from asdkit.config.encoders import AnyEncoder, BeatsArch, BeatsEncoder, EncoderConfig, LogmelEncoder, check_sizes
from asdkit.config.experiment import TRAINING, Config, check_checkpoint, load_config, training_settings
from asdkit.config.models import GroupAdapterConfig, LoraConfig, ModelConfig
from asdkit.config.scoring import EmbedConfig, ScoreConfig
from asdkit.config.training import AamConfig, DataConfig, DlclConfig, LossConfig, SpecAugmentConfig, TrainConfig

__all__ = [
    "TRAINING",
    "AamConfig",
    "AnyEncoder",
    "BeatsArch",
    "BeatsEncoder",
    "Config",
    "DataConfig",
    "DlclConfig",
    "EmbedConfig",
    "EncoderConfig",
    "GroupAdapterConfig",
    "LogmelEncoder",
    "LoraConfig",
    "LossConfig",
    "ModelConfig",
    "ScoreConfig",
    "SpecAugmentConfig",
    "TrainConfig",
    "check_checkpoint",
    "check_sizes",
    "load_config",
    "training_settings",
]
