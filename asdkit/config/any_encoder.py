"""What the sections of all encoders have in common."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from asdkit.utils.typed_yaml import Section


def _counted(layers: int | list[int] | str) -> int | list[int] | str:
    if layers in (0, []) or (isinstance(layers, list) and 0 in layers):
        raise ValueError(f"got {layers!r}; blocks are counted from 1, or from the end with -1, -2, ...")
    return layers


Layers = Annotated[int | list[int], AfterValidator(_counted)] | None
LayersOrSum = Annotated[int | list[int] | Literal["weighted"], AfterValidator(_counted)] | None


class AnyEncoder(Section):
    """What the sections of all encoders have in common, and what can be known of an encoder without building it."""

    LINEARS: ClassVar[tuple[str, ...] | None] = None  # linear layers of a block; None: known once it is built
    spectrogram: ClassVar[bool] = True  # features are [clips, frames, bands]; False: samples, [clips, samples]
    frontend: ClassVar[str]  # folder of dumped features; encoders whose features have the same values share one

    name: str
    checkpoint: str | None = Field(None, description="file or folder of weights; null: random weights (Table III)")
    train: bool = Field(False, description="fine-tune the encoder's own weights as well")
    layers: LayersOrSum = Field(
        None,
        description="output of block N (1: the first, -1: the last) instead of the network's; several: their mean; "
        "weighted: the sum over all blocks, with weights (a softmax) that are trained; mean where nothing is",
    )

    def resolved(self) -> "AnyEncoder":
        """The same with what null stands for, where the weights are random: for done markers."""
        return self
