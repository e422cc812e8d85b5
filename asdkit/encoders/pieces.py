"""Vision transformers over spectrograms whose table of positions ends: longer clips go through them in pieces."""

from collections.abc import Iterable

import torch
from torch import Tensor

from asdkit.encoders.base import Encoder
from asdkit.layers.block import Block
from asdkit.layers.fbank import Fbank
from asdkit.layers.log_spectrum import LogSpectrum
from asdkit.layers.mel import MelSpectrogram
from asdkit.layers.spectrum import exporting
from asdkit.layers.vit import Patches, Trunk


class InPieces(Encoder):
    """Clips of more than `longest` frames are cut into pieces of `piece` frames every `step` frames.

    Each piece goes through by itself, with positions from the start, as does what is left at the end if it gives a
    token (`least` frames). The clip's tokens, also those that the blocks give, are those of all pieces one after the
    other; the special tokens are the mean over the pieces', each with the weight of its tokens. Parts of the spectrum
    that are heard `apart` go through the blocks as items of their own.
    """

    named: str  # in messages
    mels: int
    least: int
    longest: int
    piece: int
    step: int
    spectrogram: Fbank | MelSpectrogram | LogSpectrum
    patch_embed: Patches
    trunk: Trunk

    def network(self, feats: Tensor) -> Tensor:
        """Features [B, F, mels] of `least` to `longest` frames -> tokens [B, N, dim]."""
        raise NotImplementedError

    def together(self, x: Tensor) -> Tensor:
        """What a block gives for pieces, [B * apart, N, dim] -> their tokens, as `network` gives them."""
        return x

    def forward(self, feats: Tensor) -> Tensor:
        """Features [B, F, mels] -> tokens [B, N, dim]; raises ValueError for another width or below `least` frames."""
        parts = self.cut(feats)
        return self._joined([self.network(part.flatten(0, 1)) for part in parts], parts)

    def traced(self, feats: Tensor, wanted: Iterable[int]) -> tuple[Tensor, dict[int, Tensor]]:
        """Features -> tokens [B, N, dim], and the output of some blocks (counted from 0); ValueError as `forward`."""
        parts, numbers = self.cut(feats), list(wanted)
        traced = super().traced  # which calls `forward`, for each piece by itself
        found = [traced(part.flatten(0, 1), numbers) for part in parts]
        blocks = {
            number: self._joined([self.together(outputs[number]) for _, outputs in found], parts) for number in numbers
        }
        return self._joined([tokens for tokens, _ in found], parts), blocks

    def cut(self, feats: Tensor) -> list[Tensor]:
        """Features [B, F, mels] -> pieces of one length [B, S, piece, mels] and perhaps a shorter one [B, 1, F', mels].

        Raises ValueError for features of another width or of fewer than `least` frames.
        """
        if feats.ndim != 3 or feats.shape[2] != self.mels:
            raise ValueError(
                f"{self.named}: features of shape {tuple(feats.shape)}, expected [clips, frames, {self.mels}]"
            )
        frames = feats.shape[1]
        if exporting():
            return self._cut_any(feats)
        if frames < self.least:
            seconds = (self.window + (self.least - 1) * self.hop) / self.sample_rate
            raise ValueError(f"{self.named}: clip of {frames} frames, at least {self.least} ({seconds:g} s) are needed")
        if frames <= self.longest:
            return [feats.unsqueeze(1)]
        whole = feats.unfold(1, self.piece, self.step).transpose(2, 3)  # [B, S, piece, mels]
        rest = feats[:, whole.shape[1] * self.step :]
        return [whole, rest.unsqueeze(1)] if rest.shape[1] >= self.least else [whole]

    def _cut_any(self, feats: Tensor) -> list[Tensor]:
        """`cut` without a question: perhaps no pieces, of a clip that goes through whole, perhaps no frames left."""
        frames = feats.shape[1]
        longer = 1 // (1 + self.longest // frames)  # 1 above `longest`, else 0
        count = longer * ((frames - self.piece) // self.step + 1)
        starts = torch.arange(count, device=feats.device) * self.step
        whole = feats[:, starts[:, None] + torch.arange(self.piece, device=feats.device)]  # [B, S, piece, mels]
        return [whole, feats[:, count * self.step :].unsqueeze(1)]

    def memory(self, samples: int, clips: int, device: str, precision: str) -> int:
        """What the blocks hold of the pieces that go through together, and the front end."""
        frames = max(1 + (samples - self.window) // self.hop, 0)
        pieces = [(1, frames)]  # how many, of how many frames
        if frames > self.longest:
            count = 1 + (frames - self.piece) // self.step
            pieces = [(count, self.piece), (1, max(frames - count * self.step, 0))]
        specials, bands = self.specials // self.apart, self.bands // self.apart
        tokens = [(count * self.apart, specials + self.patch_embed.columns(own) * bands) for count, own in pieces]
        needs = [self.trunk.memory(own, count * clips, device, precision) for count, own in tokens]
        return max(needs) + self.spectrogram.memory(samples)

    def blocks(self) -> list[Block]:
        """The transformer blocks, first to last."""
        return [block.block() for block in self.trunk]

    def _joined(self, outputs: list[Tensor], parts: list[Tensor]) -> Tensor:
        """Tokens [B S, n, D] of each of `parts` [B, S, ...] -> tokens of the clips [B, N, D]."""
        if len(parts) == 1 and parts[0].shape[1] == 1:
            return outputs[0]
        own = [tokens.unflatten(0, part.shape[:2]) for tokens, part in zip(outputs, parts, strict=True)]
        body = torch.cat([tokens[:, :, self.specials :].flatten(1, 2) for tokens in own], 1)
        if not self.specials:
            return body
        sums = [tokens[:, :, : self.specials].sum(1) * (tokens.shape[2] - self.specials) for tokens in own]
        return torch.cat([sum(sums[1:], sums[0]) / body.shape[1], body], 1)
