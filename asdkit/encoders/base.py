"""What every encoder offers, so that LoRA, the group adapter and the poolings go into any of them the same way."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from asdkit.layers.block import Block


class Encoder(nn.Module):
    """Recordings to tokens.

    Attributes: `sample_rate` in Hz, `window` and `hop` of one feature frame in samples (both 1 where features are
    samples; window 0: frames are centred, frame i lies around sample i * hop, the clip is reflected at its ends, and
    there are 1 + samples // hop of them), `dim` of a token, `layer_drop`: probability that training leaves a layer out.
    `bands`: tokens of a frame, one for each frequency band. `specials`: tokens in front that stand for the whole clip
    (class, distillation); the poolings leave them out, and `cls` takes nothing else. Tokens are time-major, those that
    the blocks give as well: N = specials + frames * bands, and band f of frame t is token specials + t * bands + f.
    `packs`: it takes a list of features [frames, bands] of several lengths, too, within `layers.packed.packed`; their
    tokens lie one behind the other, [1, N, dim], and `tokens` tells how many are whose.
    `apart`: parts of the spectrum that the network hears each by itself; specials are then each part's, one after the
    other, and `cls` puts the parts' side by side.
    """

    sample_rate: int
    window: int
    hop: int
    dim: int
    layer_drop: float = 0.0
    bands: int = 1
    specials: int = 0
    apart: int = 1
    packs: bool = False

    def frontend(self, wav: Tensor) -> Tensor:
        """wav [B, T], floats in [-1, 1] -> features [B, frames, bands] or samples [B, T], as the network wants them.

        Chunks of a recording are cut from its features: frame i depends on samples i * hop to i * hop + window alone,
        or, with window 0, on those around i * hop (at a cut these are the recording's own instead of reflected ones)
        and on a floor below the loudest of what the front end was given, or on its mean. A clip's features are those
        that it has alone. Raises ValueError for clips shorter than one window.
        """
        raise NotImplementedError

    def forward(self, feats: Tensor) -> Tensor:
        """Features of `frontend` -> tokens [B, N, dim]; raises ValueError for clips shorter than one token."""
        raise NotImplementedError

    def tokens(self, frames: int) -> int:
        """Tokens of a clip of so many frames, of encoders that pack."""
        raise NotImplementedError

    def memory(self, samples: int, clips: int, device: str, precision: str) -> int:
        """Bytes that embedding whole clips of so many samples, so many at once, needs at its peak, beside the weights.

        An estimate from below, for recordings that are too long to be refused before anything is trained: here of the
        samples alone; an encoder whose attention holds a value for each pair of tokens counts these. device: cpu or
        cuda; precision: float32 or bfloat16.
        """
        return 4 * clips * samples

    def blocks(self) -> list[Block]:
        """The transformer blocks, first to last."""
        raise NotImplementedError

    def layers(self, feats: Tensor) -> list[Tensor]:
        """Features of `frontend` -> the output of every block, first to last, each [B, N, dim].

        What a block gives is noted as it passes. An encoder that leaves out blocks in training writes this anew.
        """
        return list(self.traced(feats, range(len(self.blocks())))[1].values())

    def traced(self, feats: Tensor, wanted: Iterable[int]) -> tuple[Tensor, dict[int, Tensor]]:
        """Features -> tokens [B, N, dim], and the output of some blocks (counted from 0), in one pass.

        For inference: no block may be left out.
        """
        blocks = self.blocks()
        outputs: dict[int, list[Tensor]] = {number: [] for number in wanted}

        def note(kept: list[Tensor], module: nn.Module, inputs: Any, output: Any) -> None:
            kept.append(output[0] if isinstance(output, tuple) else output)

        hooks = [blocks[number].module.register_forward_hook(partial(note, kept)) for number, kept in outputs.items()]
        try:
            tokens = self(feats)
        finally:
            for hook in hooks:
                hook.remove()
        return tokens, {number: torch.cat(kept) for number, kept in outputs.items()}
