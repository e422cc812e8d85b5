"""SpecAugment on batches of features (Park et al., 2019; paper Sec. IV-D)."""

import torch
from torch import Tensor

from asdkit.config import SpecAugmentConfig
from asdkit.utils.device import to_device


def spec_augment(feats: Tensor, config: SpecAugmentConfig, generator: torch.Generator) -> Tensor:
    """Warp time, then set bands of time and frequency to each clip's mean: [B, F, M] -> [B, F, M].

    `generator` (CPU) draws everything, so that the same state gives the same masks on every device.
    """
    batch, frames, bands = feats.shape
    if config.warp:
        feats = time_warp(feats, min(config.warp, (frames - 1) // 2), generator)
    masked = _masks(batch, frames, config.time_masks, config.time_width, generator)[:, :, None]  # [B, F, 1]
    masked = masked | _masks(batch, bands, config.freq_masks, config.freq_width, generator)[:, None, :]
    return torch.where(to_device(masked, feats.device), feats.mean((1, 2), keepdim=True), feats)


def time_warp(feats: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """Move one random frame of each clip by up to `width` frames, stretching what lies on either side linearly."""
    batch, frames, _ = feats.shape
    if width < 1 or frames < 2 * width + 2:
        return feats
    last = frames - 1
    centre = width + torch.rand(batch, 1, generator=generator) * (last - 2 * width)
    moved = centre + (2 * torch.rand(batch, 1, generator=generator) - 1) * width * 0.999
    time = torch.arange(frames, dtype=torch.float32).expand(batch, -1)
    before = time * centre / moved
    after = centre + (time - moved) * (last - centre) / (last - moved)
    source = torch.where(time < moved, before, after).clamp(0, last)  # [B, F] where each new frame comes from
    low = source.floor().long().clamp(max=last - 1)
    part = to_device(source - low, feats.device).to(feats.dtype)[:, :, None]
    rows = torch.arange(batch, device=feats.device)[:, None]
    low = to_device(low, feats.device)
    return feats[rows, low] * (1 - part) + feats[rows, low + 1] * part


def _masks(batch: int, size: int, count: int, width: int, generator: torch.Generator) -> Tensor:
    """`count` bands per clip, each 0..width wide, as a boolean [B, size]."""
    widths = torch.rand(batch, count, 1, generator=generator) * (min(width, size) + 1)
    widths = widths.floor()
    starts = (torch.rand(batch, count, 1, generator=generator) * (size - widths + 1)).floor()
    positions = torch.arange(size)
    return ((positions >= starts) & (positions < starts + widths)).any(1)
