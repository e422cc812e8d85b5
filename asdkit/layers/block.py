"""Where a transformer block can be changed from outside."""

from dataclasses import dataclass

from torch import nn

Place = tuple[nn.Module, str]  # what holds a module, and the attribute's name there


@dataclass(frozen=True)
class Block:
    """Where a transformer block can be changed from outside; nothing in the network itself has to know of it.

    module: the block itself; its output, or the first of several, is [B, N, dim]. What is put into the block is named
    after it in checkpoints. linears: short name -> place of each linear layer. points: "mha" and "ffn" -> place of the
    module whose output the block adds to its residual stream, [B, N, dim] as well. dim, bands: of the
    block's tokens; None: the encoder's.
    """

    module: nn.Module
    linears: dict[str, Place]
    points: dict[str, Place]
    dim: int | None = None
    bands: int | None = None

    def point(self, position: str) -> nn.Module:
        """The module whose output is adapted at "mha", "ffn" or "transformer", which is the block's own (Sec. III-C).

        Raises ValueError for a position that the block does not have.
        """
        if position == "transformer":
            return self.module
        if position not in self.points:
            raise ValueError(
                f"the encoder's blocks have no {position!r}; they have {', '.join(self.points)}, transformer"
            )
        parent, attribute = self.points[position]
        return getattr(parent, attribute)
