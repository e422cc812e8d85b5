"""The paper's system: an encoder that learns to tell machines and their attributes apart."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asdkit.config import Config
from asdkit.data.batches import Mixed
from asdkit.layers.batch_norm import BatchNorm
from asdkit.losses.exchange import exchange_statistics
from asdkit.losses.gather import gather
from asdkit.losses.objective import Objective
from asdkit.models.checkpoint import backbone_record, load_model, load_tensors, model_state
from asdkit.models.embedder import Embedder
from asdkit.models.graphs import graph_blocks
from asdkit.models.system import System
from asdkit.utils.device import to_device


class Classifier(System):
    """Embeddings, and the objective over classes that trains them. `classes`: their names."""

    def __init__(self, config: Config, classes: list[str]) -> None:
        super().__init__()
        self.config, self.classes = config, classes
        self.model = Embedder(config)
        self.objective = Objective(config.loss, self.model.dim, len(classes))
        self.backbone = backbone_record(config.encoder.checkpoint)
        encoder = self.model.encoder
        self.sample_rate, self.window, self.hop = encoder.sample_rate, encoder.window, encoder.hop
        self.skips_layers, self.packs = encoder.layer_drop > 0, encoder.packs
        norms = [module for module in self.model.modules() if isinstance(module, BatchNorm)]
        self.separable = not any(norm.weight.requires_grad for norm in norms)

    def frontend(self, wav: Tensor) -> Tensor:
        """wav [B, T] -> the encoder's features [B, F, M]."""
        return self.model.encoder.frontend(wav)

    def losses(self, feats: Tensor, batch: Any) -> dict[str, Tensor]:
        """Features [B, F, M] and their batch -> losses of `Objective` over the whole batch."""
        return self.judge(self.embed(feats), batch)

    def embed(self, feats: Tensor) -> Tensor:
        """Features [B, F, M] -> embeddings [B, dim]."""
        return self.model(feats)

    def exchange(self, feats: Tensor, batch: Any) -> Tensor:
        """Features [B, F, M], with those statistics of others that `loss.exchange` asks for (kind statex)."""
        exchange = self.config.loss.exchange
        if exchange is None or exchange.kind != "statex":
            return feats
        return exchange_statistics(feats, to_device(batch.exchanged, feats.device))

    def judge(self, embeddings: Tensor, batch: Any) -> dict[str, Tensor]:
        """Embeddings [B, dim] and what batch tells of their classes -> losses of `Objective` over the whole batch.

        That is labels [B], attributed [B] and, where there are any, mixed and exchanged [B]. Every process gathers all
        embeddings and computes the objective of the whole batch, so that its means, its batch normalisation and its
        memory bank are those of one process.
        """
        mixed, exchanged = (getattr(batch, name, None) for name in ("mixed", "exchanged"))
        columns = [batch.labels, batch.attributed]
        columns += [mixed.labels, mixed.attributed] if mixed else []
        columns += [exchanged] if exchanged is not None else []
        shares = [mixed.share] if mixed else []
        known = torch.stack([column.long() for column in columns], dim=1)
        embeddings, known, *shares = gather(embeddings, known, *shares)
        labels, attributed, *others = known.unbind(1)
        if mixed:
            mixed = Mixed(others[0], others[1].bool(), shares[0])
        if exchanged is not None:
            exchanged = others[-1].bool()
        return self.objective(embeddings, labels, attributed.bool(), mixed, exchanged)

    def prepare(self, feats: Tensor) -> None:
        """Record the encoder's blocks as CUDA graphs, where train.graphs asks for it."""
        if self.config.train.graphs:
            graph_blocks(self.model.encoder, feats)

    def represent(self, feats: Tensor, machines: Sequence[str] = ()) -> dict[str, Tensor]:
        """Features [B, F, M] -> {"embedding": [B, dim]} and the arrays of `embed.arrays`."""
        return self.model.represent(feats)

    def represent_each(self, feats: list[Tensor]) -> list[dict[str, Tensor]]:
        """`represent` of each of clips [F, M] of several lengths."""
        return self.model.represent_each(feats)

    def embedding_network(self) -> Embedder:
        """The embedder: the objective is needed to train alone."""
        return self.model

    def memory(self, samples: int, clips: int, device: str, precision: str) -> int:
        """What the encoder needs."""
        return self.model.encoder.memory(samples, clips, device, precision)

    def state(self) -> dict[str, Any]:
        """Weights of model and objective, the file that they start from, names of the classes, configuration."""
        return {
            "model": model_state(self.model, self.config.encoder.checkpoint),
            "objective": model_state(self.objective, None),
            "backbone": self.backbone,
            "classes": self.classes,
            "config": self.config.model_dump(mode="json"),
        }

    def load_state(self, content: dict[str, Any], path: str | Path) -> None:
        """Take up model and objective; raises ValueError when names, shapes or the backbone file differ."""
        load_model(self.model, content, path)
        if not self.config.train.steps:  # an objective that nothing was trained with may be another by now
            return
        load_tensors(self.objective, content["objective"], f"{path}: objective")
