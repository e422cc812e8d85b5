"""The whole model: encoder, adapters, pooling, projection (paper Sec. III-A)."""

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
        """Features [B, F, M] -> embeddings [B, dim], float32."""
        return self.projection(self.pooling(self.encoder(feats))).float()

    def trainable(self) -> dict[str, nn.Parameter]:
        """Name -> parameter for what is optimised."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}
