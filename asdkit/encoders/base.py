"""What every encoder offers, so that LoRA, the group adapter and the poolings go into any of them the same way."""

import torch.nn.functional as F
from torch import Tensor, nn

POSITIONS = ("mha", "ffn", "transformer")


class Block(nn.Module):
    """A transformer layer with places for adapters.

    `adapters[position]`, if present, is applied to the attention module's output ("mha") or the feed-forward module's
    output ("ffn") before its residual sum, or to the layer's output ("transformer") (paper Sec. III-C).
    """

    def __init__(self) -> None:
        super().__init__()
        self.adapters = nn.ModuleDict()

    def adapted(self, position: str, y: Tensor) -> Tensor:
        """Apply the adapter at `position`, if there is one: y [B, N, D] -> [B, N, D]."""
        assert position in POSITIONS, position
        return self.adapters[position](y) if position in self.adapters else y

    def linears(self) -> dict[str, tuple[nn.Module, str]]:
        """Short name of each linear layer -> (module that holds it, attribute name), to be replaced with setattr."""
        raise NotImplementedError


class Encoder(nn.Module):
    """Recordings to tokens.

    Attributes: `sample_rate` in Hz, `window` and `hop` of one feature frame in samples, `dim` of a token, `layer_drop`:
    probability that training leaves a layer out.
    """

    sample_rate: int
    window: int
    hop: int
    dim: int
    layer_drop: float = 0.0

    def frontend(self, wav: Tensor) -> Tensor:
        """wav [B, T], floats in [-1, 1] -> features [B, frames, mels], scaled as the network wants them.

        Raises ValueError for clips shorter than one window.
        """
        raise NotImplementedError

    def forward(
        self, feats: Tensor, padding_mask: Tensor | None = None, all_layers: bool = False
    ) -> Tensor | list[Tensor]:
        """feats [B, F, M], padding_mask [B, F] (True: padding) -> tokens [B, N, dim].

        With `all_layers`: the list of every block's output instead. Raises ValueError for clips shorter than one token.
        """
        raise NotImplementedError

    def blocks(self) -> list[Block]:
        """The transformer blocks, first to last."""
        raise NotImplementedError


def shrink_mask(mask: Tensor, length: int) -> Tensor:
    """Padding mask over finer steps [B, T] -> over `length` coarser ones [B, length].

    The last T mod `length` steps are ignored; a coarse step is padding when all of its T // `length` fine steps are.
    The same rule takes samples to frames and frames to tokens, as the published BEATs does.
    """
    return F.pad(mask, (0, -(mask.shape[1] % length))).unflatten(1, (length, -1)).all(-1)
