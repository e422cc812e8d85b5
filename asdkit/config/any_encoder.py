"""What the sections of all encoders have in common."""

from types import NoneType
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from asdkit.utils.hub import PREFIX
from asdkit.utils.typed_yaml import Section


def _counted(layers: int | list[int] | str) -> int | list[int] | str:
    if layers in (0, []) or (isinstance(layers, list) and 0 in layers):
        raise ValueError(f"got {layers!r}; blocks are counted from 1, or from the end with -1, -2, ...")
    return layers


Layers = Annotated[int | list[int], AfterValidator(_counted)] | None
LayersOrInput = (
    Annotated[int | list[int], AfterValidator(lambda layers: layers if layers == 0 else _counted(layers))] | None
)
LayersOrAll = Annotated[int | list[int] | Literal["weighted", "concatenated"], AfterValidator(_counted)] | None


class AnyEncoder(Section):
    """What the sections of all encoders have in common, and what can be known of an encoder without building it."""

    LINEARS: ClassVar[tuple[str, ...] | None] = None  # linear layers of a block; None: known once it is built
    spectrogram: ClassVar[bool] = True  # features are [clips, frames, bands]; False: samples, [clips, samples]
    on_hub: ClassVar[bool] = False  # whether `checkpoint` may be hub:ID, a model on the Hugging Face hub
    frontend: ClassVar[str]  # folder of dumped features; encoders whose features have the same values share one
    family: ClassVar[str] = "classifier"  # of networks: FAMILIES in asdkit/models/families.py

    name: str
    checkpoint: str | None = Field(None, description="file or folder of weights; null: random weights (Table III)")
    train: bool = Field(False, description="fine-tune the encoder's own weights as well")
    layers: LayersOrAll = Field(
        None,
        description="output of block N (1: the first, -1: the last) instead of the network's; several: their mean; "
        "weighted: the sum over all blocks, with weights (a softmax) that are trained; mean where nothing is; "
        "concatenated: all blocks side by side, through a small network that is trained (Kim et al., 2025)",
    )

    frozen_layers: int = Field(
        0,
        ge=0,
        description="of an encoder that is trained: so many first blocks, and what lies below them, stay frozen",
    )

    @model_validator(mode="after")
    def _frozen_of_trained(self) -> "AnyEncoder":
        if self.frozen_layers and not self.train:
            raise ValueError(
                f"'frozen_layers' {self.frozen_layers}: without 'train' all of {self.name!r} is frozen: set 'train' to "
                "true, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _fetched_where_it_can_be(self) -> "AnyEncoder":
        if (self.checkpoint or "").startswith(PREFIX) and not self.on_hub:
            raise ValueError(f"'checkpoint' of {self.name!r} is a file or folder, got {self.checkpoint!r}")
        return self

    def resolved(self) -> "AnyEncoder":
        """The same with what null stands for, where the weights are random: for done markers."""
        return self


class SizedEncoder(AnyEncoder):
    """An encoder with the weights of `checkpoint`, or with random ones in the size `arch`, a section of its own."""

    arch: Any

    @model_validator(mode="after")
    def _one_source(self) -> "SizedEncoder":
        if self.checkpoint and self.arch:
            raise ValueError("'arch' is read from the checkpoint: give one of 'checkpoint' and 'arch'")
        return self

    def resolved(self) -> "SizedEncoder":
        """The published base size where neither a checkpoint nor a size is given."""
        return self if self.checkpoint or self.arch else self.model_copy(update={"arch": self.size()})

    def size(self) -> Any:
        """The size of a network with random weights."""
        (section,) = (kind for kind in get_args(type(self).model_fields["arch"].annotation) if kind is not NoneType)
        return self.arch or section()
