"""One embedding per clip (stage 4)."""

import torch
from torch import Tensor

from asdkit.config import EmbedConfig
from asdkit.models.embedder import Embedder


def segments(feats: Tensor, chunk: int, hop: int) -> Tensor:
    """Cut features [B, F, M] into windows of `chunk` frames every `hop` frames: [B, S, chunk, M].

    The last window ends where the clip ends, so that every frame is used.
    """
    frames = feats.shape[1]
    starts = list(range(0, frames - chunk, hop)) + [frames - chunk]
    return torch.stack([feats[:, start : start + chunk] for start in starts], dim=1)


@torch.inference_mode()
def embed(model: Embedder, feats: Tensor, config: EmbedConfig, chunk: int, hop: int) -> Tensor:
    """Embeddings [B, dim] of clips of one length from their features [B, F, M].

    `config.segment` 'clip': the whole clip goes through the encoder; 'chunk': the mean over windows of `chunk` frames.
    """
    with torch.autocast(feats.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
        if config.segment == "clip":
            return model(feats)
        pieces = segments(feats, chunk, hop)  # [B, S, chunk, M]
        embedded = model(pieces.flatten(0, 1))
    return embedded.unflatten(0, pieces.shape[:2]).mean(1)
