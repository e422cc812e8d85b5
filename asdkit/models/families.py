"""Which family of networks an experiment is of."""

from collections.abc import Callable

from asdkit.config import Config
from asdkit.models.autoencoder import Autoencoder
from asdkit.models.classifier import Classifier
from asdkit.models.system import System

FAMILIES: dict[str, Callable[[Config, list[str]], System]] = {"classifier": Classifier, "autoencoder": Autoencoder}


def build_system(config: Config, classes: list[str]) -> System:
    """The system of a configuration with new weights. `classes`: names of the training classes."""
    return FAMILIES[config.encoder.family](config, classes)
