"""The tokeniser of BEATs' first iteration: what a patch is called is decided by random numbers, nothing is trained."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asdkit.pretrain.config import TokenizerConfig


def cut_patches(feats: Tensor, size: int) -> Tensor:
    """Features [B, F, M] -> patches [B, (F // size) * (M // size), size * size], time-major, rows of a patch in turn.

    The order of tokens and values is that of a convolution with kernel and stride `size`.
    """
    times, bands = feats.shape[1] // size, feats.shape[2] // size
    x = feats[:, : times * size, : bands * size].unflatten(1, (times, size)).unflatten(3, (bands, size))
    return x.permute(0, 1, 3, 2, 4).flatten(3).flatten(1, 2)


class RandomTokenizer(nn.Module):
    """Normalised patches -> fixed random projection -> nearest vector of a fixed random codebook, by cosine.

    Every bin of a patch is shifted and scaled to mean 0 and variance 1 over the training sounds (`fit`), then the
    patch's own mean is multiplied by `level`: it holds 85 % of the variance, and left alone the codes would tell loud
    from quiet and little else (BEATs, Sec. 3.2.1; BEST-RQ, Chiu et al., ICML 2022, Sec. 3, for the normalisation).
    With `relative` each clip's mean level is taken out before all that, so that the encoder learns to hear past the
    gain of a recording. All numbers come from torch's global generator, at construction.
    """

    def __init__(self, config: TokenizerConfig, patch: int, mels: int) -> None:
        super().__init__()
        self.patch, self.bands = patch, mels // patch
        self.level, self.relative = config.level, config.relative
        area = patch * patch
        projection = torch.empty(config.codebooks, area, config.dim)
        for matrix in projection:
            nn.init.xavier_uniform_(matrix)
        codes = F.normalize(torch.randn(config.codebooks, config.codes, config.dim), dim=-1)
        self.register_buffer("projection", projection)
        self.register_buffer("codes", codes)
        self.register_buffer("mean", torch.zeros(self.bands, area))
        self.register_buffer("spread", torch.ones(self.bands, area))

    def normalised(self, feats: Tensor) -> Tensor:
        """Features [B, F, M] -> normalised patches [B, N, patch * patch]."""
        patches = ((self._patches(feats) - self.mean) / self.spread).flatten(1, 2)
        return patches - (1 - self.level) * patches.mean(-1, keepdim=True)

    def fit(self, feats: Tensor) -> None:
        """Set mean and spread of each band's bins from features [B, F, M]."""
        patches = self._patches(feats).flatten(0, 1)
        self.mean.copy_(patches.mean(0))
        self.spread.copy_(patches.std(0).clamp(min=1e-3))

    def _patches(self, feats: Tensor) -> Tensor:
        patches = cut_patches(feats, self.patch)
        if self.relative:
            patches = patches - patches.mean((1, 2), keepdim=True)
        return patches.unflatten(1, (-1, self.bands))  # [B, times, bands, area]

    @torch.no_grad()
    def forward(self, feats: Tensor) -> Tensor:
        """Features [B, F, M] -> number of the nearest code of each patch in each codebook, int64 [B, N, codebooks]."""
        with torch.autocast(feats.device.type, enabled=False):
            vectors = torch.einsum("bna,kad->bnkd", self.normalised(feats.float()), self.projection)
            # The length of a vector does not change which unit code has the largest cosine.
            return torch.einsum("bnkd,kcd->bnkc", vectors, self.codes).argmax(-1)


def perplexity(tokens: Tensor, codes: int) -> Tensor:
    """exp(entropy) of how often each code occurs, mean over codebooks: int64 [..., codebooks] -> scalar."""
    columns = tokens.flatten(0, -2).t()  # [codebooks, tokens]
    # not torch.bincount, which waits for a GPU to tell the largest code
    counts = torch.zeros(len(columns), codes, device=tokens.device)
    share = counts.scatter_add_(1, columns, torch.ones_like(columns, dtype=counts.dtype)) / columns.shape[1]
    return (-share * share.clamp(min=1e-12).log()).sum(1).exp().mean()
