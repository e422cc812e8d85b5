"""The experiment, typed: one YAML file holds what differs from the defaults of these sections."""

from asdkit.config.any_encoder import AnyEncoder
from asdkit.config.arrays import PoolingConfig
from asdkit.config.audio_encoders import (
    AstEncoder,
    AtstClipEncoder,
    AtstFrameEncoder,
    CedEncoder,
    ClapArch,
    ClapEncoder,
    DashengEncoder,
    EatEncoder,
    FisherEncoder,
    ImageBindEncoder,
    VitArch,
)
from asdkit.config.augmentation import (
    ExchangeConfig,
    GainConfig,
    MixupConfig,
    NoiseConfig,
    SpecAugmentConfig,
    SpeedConfig,
)
from asdkit.config.autoencoder import AutoencoderConfig
from asdkit.config.beats import BeatsArch, BeatsEncoder, check_sizes
from asdkit.config.cnn_encoders import Cnn10Arch, Cnn10Encoder, MobileNetArch, MobileNetEncoder
from asdkit.config.encoders import EncoderConfig
from asdkit.config.experiment import Config, check_checkpoint, check_new, load_config, open_config
from asdkit.config.models import GroupAdapterConfig, LoraConfig, ModelConfig
from asdkit.config.scoring import (
    DetectorConfig,
    EmbedConfig,
    GivenConfig,
    GmmConfig,
    IforestConfig,
    KmeansConfig,
    KnnConfig,
    LofConfig,
    MahalanobisConfig,
    ScoreConfig,
)
from asdkit.config.spectrum_encoders import EnvelopeEncoder, LogmelEncoder
from asdkit.config.speech_encoders import SpeechArch, SpeechEncoder, Wav2Vec2Encoder
from asdkit.config.training import (
    AamConfig,
    AdaCosConfig,
    CentreConfig,
    DataConfig,
    DlclConfig,
    LossConfig,
    OptimizeConfig,
    TrainConfig,
    check_warmup,
)

__all__ = [
    "CedEncoder",
    "AamConfig",
    "AdaCosConfig",
    "CentreConfig",
    "AnyEncoder",
    "AstEncoder",
    "AtstClipEncoder",
    "AtstFrameEncoder",
    "AutoencoderConfig",
    "BeatsArch",
    "BeatsEncoder",
    "ClapArch",
    "ClapEncoder",
    "Cnn10Arch",
    "Cnn10Encoder",
    "Config",
    "DashengEncoder",
    "DataConfig",
    "DetectorConfig",
    "DlclConfig",
    "EatEncoder",
    "EmbedConfig",
    "EncoderConfig",
    "EnvelopeEncoder",
    "ExchangeConfig",
    "FisherEncoder",
    "GainConfig",
    "GivenConfig",
    "GmmConfig",
    "GroupAdapterConfig",
    "IforestConfig",
    "ImageBindEncoder",
    "KmeansConfig",
    "KnnConfig",
    "LofConfig",
    "LogmelEncoder",
    "LoraConfig",
    "LossConfig",
    "MahalanobisConfig",
    "MixupConfig",
    "MobileNetArch",
    "MobileNetEncoder",
    "ModelConfig",
    "NoiseConfig",
    "OptimizeConfig",
    "PoolingConfig",
    "ScoreConfig",
    "SpecAugmentConfig",
    "SpeechArch",
    "SpeechEncoder",
    "SpeedConfig",
    "TrainConfig",
    "VitArch",
    "Wav2Vec2Encoder",
    "check_checkpoint",
    "check_new",
    "check_sizes",
    "check_warmup",
    "load_config",
    "open_config",
]
