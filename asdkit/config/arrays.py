"""Arrays of stage 4 that are pooled from the encoder's tokens: a section for each pooling over time."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from asdkit.config.any_encoder import LayersOrInput
from asdkit.utils.typed_yaml import Section, one_of


class AnyPooling(Section):
    """What all poolings are told. Tokens are frames over time, each with the encoder's frequency bands."""

    bands: bool = Field(
        False,
        description="keep the frequency bands, a matrix [bands, dimensions] for each clip; false: the mean over them",
    )
    layers: LayersOrInput = Field(
        None,
        description="output of block N (1: the first, -1: the last) instead of the network's; several: their mean; 0: "
        "the features that the encoder hears (log-mel energies)",
    )


class PoolMean(AnyPooling):
    """Mean over time."""

    pooling: Literal["mean"] = Field("mean", description="mean: over time")


class PoolStd(AnyPooling):
    """Standard deviation over time."""

    pooling: Literal["std"] = Field("std", description="std: standard deviation over time")


class PoolMax(AnyPooling):
    """Largest value over time."""

    pooling: Literal["max"] = Field("max", description="max: the largest value of each dimension over time")


class PoolGem(AnyPooling):
    """Generalised mean of positive values."""

    pooling: Literal["gem"] = Field("gem", description="gem: generalised mean")
    p: float = Field(10.0, ge=1, le=100, description="(mean of max(x, 0)^p)^(1/p)")


class PoolGwrp(AnyPooling):
    """Global weighted rank pooling."""

    pooling: Literal["gwrp"] = Field("gwrp", description="gwrp: each dimension's values by rank, the largest first")
    r: float = Field(0.4, ge=0, le=1, description="weights r^0, r^1, ...; 1: the mean, 0: the maximum")


class PoolRdp(AnyPooling):
    """Relative deviation pooling."""

    pooling: Literal["rdp"] = Field("rdp", description="rdp: frames weigh the more, the further from the mean frame")
    gamma: float = Field(4.0, ge=0, le=100, description="weights (1 + d / max d)^gamma; 0: the mean")
    weights: Literal["band", "frame"] = Field(
        "band", description="d of each frequency band by itself, or one for the bands of a frame together"
    )


class PoolHybrid(AnyPooling):
    """The generalised mean with the weights of relative deviation pooling."""

    pooling: Literal["hybrid"] = Field("hybrid", description="hybrid: gem with the weights of rdp")
    gamma: float = Field(16.0, ge=0, le=100, description="of rdp's weights")
    p: float = Field(3.0, ge=1, le=100, description="of gem's mean")
    weights: Literal["band", "frame"] = Field("band", description="as for rdp")


class PoolCls(AnyPooling):
    """The tokens that stand for the whole clip."""

    pooling: Literal["cls"] = Field("cls", description="cls: the mean of the tokens that stand for the whole clip")
    bands: bool = Field(
        False,
        description="keep apart what the encoder hears apart (fisher: 4 kHz each), a matrix for each clip; false: side "
        "by side",
    )


PoolingConfig = one_of("pooling", PoolMean, PoolStd, PoolMax, PoolGem, PoolGwrp, PoolRdp, PoolHybrid, PoolCls)


def _free(name: str) -> str:
    if name == "embedding":
        raise ValueError("'embedding' is the network's own array: take another name")
    return name


Arrays = dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_+-]{0,99}$"), AfterValidator(_free)], PoolingConfig]
