"""The whole model: encoder, adapters, pooling, projection (paper Sec. III-A)."""

import torch
from torch import Tensor, nn

from asdkit.adapt.group_adapter import add_group_adapter
from asdkit.adapt.lora import add_lora
from asdkit.config import Config
from asdkit.encoders import build_encoder
from asdkit.models.pooling import build_pooling


class Embedder(nn.Module):
    """Recordings or features to one embedding per clip.

    Encoder weights are frozen unless `encoder.train`; LoRA, group adapter, pooling and projection are trained always.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.encoder = build_encoder(config.encoder)
        self.chosen = _chosen(config.encoder.layers, len(self.encoder.blocks()))
        self.encoder.requires_grad_(config.encoder.train)
        if config.model.lora:
            add_lora(self.encoder, config.model.lora)
        if config.model.group_adapter:
            add_group_adapter(self.encoder, config.model.group_adapter)
        self.pooling = build_pooling(config.model, self.encoder.dim)
        self.dim = config.model.embedding_dim or self.pooling.dim
        self.projection = nn.Identity()
        if config.model.embedding_dim:
            # No bias: the objective's normalisation would cancel it.
            self.projection = nn.Linear(self.pooling.dim, self.dim, bias=False)

    def forward(self, feats: Tensor) -> Tensor:
        """Features [B, F, M] (or samples [B, T], as the encoder wants them) -> embeddings [B, dim], float32."""
        return self.projection(self.pooling(self.tokens(feats))).float()

    def tokens(self, feats: Tensor) -> Tensor:
        """Features -> tokens [B, N, D] of the network, or the mean over those of the blocks in `encoder.layers`."""
        if self.chosen is None:
            return self.encoder(feats)
        outputs = self.encoder.layers(feats)
        return torch.stack([outputs[index] for index in self.chosen]).mean(0)

    def trainable(self) -> dict[str, nn.Parameter]:
        """Name -> parameter for what is optimised."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}


def _chosen(layers: int | list[int] | None, blocks: int) -> list[int] | None:
    """Indices from 0 of the blocks that `encoder.layers` names; ValueError for one that is not there."""
    if layers is None:
        return None
    wanted = [layers] if isinstance(layers, int) else layers
    if outside := [layer for layer in wanted if abs(layer) > blocks]:
        raise ValueError(f"encoder.layers: there is no block {outside[0]}: the encoder has {blocks}, 1 to {blocks}")
    return [layer - 1 if layer > 0 else layer for layer in wanted]
