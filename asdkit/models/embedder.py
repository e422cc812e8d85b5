"""The whole model: encoder, adapters, pooling, projection (paper Sec. III-A)."""

import torch
from torch import Tensor, nn

from asdkit.adapt.group_adapter import add_group_adapter
from asdkit.adapt.lora import add_lora
from asdkit.config import Config, PoolingConfig
from asdkit.encoders import build_encoder
from asdkit.models.pooling import build_pooling
from asdkit.models.time_pooling import pool


class Embedder(nn.Module):
    """Recordings or features to one embedding per clip.

    Encoder weights are frozen unless `encoder.train`; LoRA, group adapter, pooling and projection are trained always.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.encoder = build_encoder(config.encoder)
        self.chosen = _chosen(config.encoder.layers, len(self.encoder.blocks()), "encoder.layers")
        self.arrays = self._arrays(config.embed.arrays)
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

    def represent(self, feats: Tensor) -> dict[str, Tensor]:
        """Features -> the embedding [B, dim] and the arrays of `embed.arrays`, [B, D] or [B, bands, D], in one pass.

        For inference.
        """
        if not self.arrays:
            return {"embedding": self(feats)}
        layers = {"embedding": self.chosen, **{name: layers for name, (_, layers) in self.arrays.items()}}
        last, outputs = self.encoder.traced(feats, sorted({index for own in layers.values() for index in own or ()}))
        tokens = {
            name: last if own is None else torch.stack([outputs[index] for index in own]).mean(0)
            for name, own in layers.items()
        }
        found = {"embedding": self.projection(self.pooling(tokens["embedding"])).float()}
        return found | {name: pool(tokens[name], self.encoder.bands, how) for name, (how, _) in self.arrays.items()}

    def trainable(self) -> dict[str, nn.Parameter]:
        """Name -> parameter for what is optimised."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def _arrays(self, arrays: dict[str, PoolingConfig]) -> dict[str, tuple[PoolingConfig, list[int] | None]]:
        """Each array's pooling, and the blocks that it pools; ValueError for bands or blocks that are not there."""
        for name, how in arrays.items():
            if how.bands and self.encoder.bands == 1:
                raise ValueError(f"embed.arrays.{name}.bands: the tokens of this encoder have no frequency bands")
        blocks = len(self.encoder.blocks())
        return {name: (how, _chosen(how.layers, blocks, f"embed.arrays.{name}.layers")) for name, how in arrays.items()}


def _chosen(layers: int | list[int] | None, blocks: int, where: str) -> list[int] | None:
    """Indices from 0 of the blocks that the setting `where` names; ValueError for one that is not there."""
    if layers is None:
        return None
    wanted = [layers] if isinstance(layers, int) else layers
    if outside := [layer for layer in wanted if abs(layer) > blocks]:
        raise ValueError(f"{where}: there is no block {outside[0]}: the encoder has {blocks}, 1 to {blocks}")
    return [layer - 1 if layer > 0 else blocks + layer for layer in wanted]
