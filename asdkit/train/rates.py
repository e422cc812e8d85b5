"""Learning rates of parts of a model, as factors of the training's own (`train.rates`)."""

import logging

from asdkit.config import RatesConfig
from asdkit.encoders.depth import depths
from asdkit.models.system import System

ENCODER = "model.encoder."


def part_of(name: str) -> str:
    """Which part of a model a parameter belongs to: `encoder`, `lora`, `group_adapter` or `head`."""
    if ".lora_" in name:
        return "lora"
    if ".adapters." in name:
        return "group_adapter"
    return "encoder" if name.startswith(ENCODER) else "head"


def rate_factors(system: System, rates: RatesConfig) -> list[float]:
    """The factor of each trained parameter of a system, in the order of `System.trainable`.

    What lies in block N of L has also the factor `decay` to the power of L + 1 - N, what lies below the blocks L + 1,
    what lies above them 0 (Bao et al., 2022). Raises ValueError for a decay of an encoder without blocks.
    """
    decays: dict[str, float] = {}
    if rates.decay != 1:
        encoder = system.get_submodule(ENCODER.removesuffix("."))
        try:
            found = depths(encoder)
        except ValueError as error:
            raise ValueError(f"train.rates.decay: {error}: set it to 1") from None
        top = len(encoder.blocks()) + 1
        decays = {ENCODER + name: rates.decay ** (top - depth) for name, depth in found.items()}
    names = list(system.trainable())
    factors = [getattr(rates, part_of(name)) * decays.get(name, 1.0) for name in names]
    for part in dict.fromkeys(map(part_of, names)):
        own = sorted({factor for name, factor in zip(names, factors, strict=True) if part_of(name) == part})
        if own != [1.0]:
            logging.info(
                "learning rate of %s: %s times train.lr", part, " to ".join(f"{x:.3g}" for x in {own[0], own[-1]})
            )
    return factors
