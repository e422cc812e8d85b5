"""The whole model: encoder, adapters, pooling, projection (paper Sec. III-A)."""

import torch
from torch import Tensor, nn

from asdkit.adapt.group_adapter import add_group_adapter
from asdkit.adapt.lora import add_lora
from asdkit.config import Config, PoolingConfig
from asdkit.encoders import build_encoder
from asdkit.encoders.depth import freeze
from asdkit.layers.packed import packed
from asdkit.models.concatenated import Concatenated
from asdkit.models.pooling import build_pooling, heard
from asdkit.models.time_pooling import pool

TOGETHER = 1024  # tokens of clips of several lengths on a CPU: more only miss its caches
INPUT = [-1]  # in place of blocks: the features that the encoder hears


class Embedder(nn.Module):
    """Recordings or features to one embedding per clip.

    Encoder weights are frozen unless `encoder.train`; LoRA, group adapter, what joins all blocks (`encoder.layers:
    weighted` or `concatenated`), pooling and projection are trained always.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.encoder = build_encoder(config.encoder)
        layers, blocks = config.encoder.layers, len(self.encoder.blocks())
        every = layers in ("weighted", "concatenated")
        self.chosen = self._chosen(list(range(1, blocks + 1)) if every else layers, "encoder.layers")
        self.spectrogram = config.encoder.spectrogram
        self.arrays = self._arrays(config.embed.arrays)
        self.how = config.model.pooling
        self._check_specials(self.how, "model.pooling")
        self.encoder.requires_grad_(config.encoder.train)
        freeze(self.encoder, config.encoder.frozen_layers)
        if config.model.lora:
            add_lora(self.encoder, config.model.lora)
        if config.model.group_adapter:
            add_group_adapter(self.encoder, config.model.group_adapter)
        # What a softmax makes weights of: all the same before anything is trained.
        self.layer_weights = nn.Parameter(torch.zeros(blocks)) if layers == "weighted" else None
        width = self._width(self.chosen, "encoder.layers")
        self.concatenated = None
        if layers == "concatenated":
            self.concatenated = Concatenated(blocks, width, config.model.layers_dim)
        self.pooling = build_pooling(config.model, width, self.encoder.apart)
        self.dim = config.model.embedding_dim or self.pooling.dim
        self.projection = nn.Identity()
        if config.model.embedding_dim:
            # No bias: the objective's normalisation would cancel it.
            self.projection = nn.Linear(self.pooling.dim, self.dim, bias=False)

    def forward(self, feats: Tensor) -> Tensor:
        """Features [B, F, M] (or samples [B, T], as the encoder wants them) -> embeddings [B, dim], float32."""
        return self._embedding(self.tokens(feats))

    def tokens(self, feats: Tensor) -> Tensor:
        """Features -> tokens [B, specials + N, D] of the network, or what `encoder.layers` makes of blocks."""
        if self.chosen is None:
            return self.encoder(feats)
        outputs = self.encoder.layers(feats)
        return self._joined([outputs[index] for index in self.chosen])

    def represent(self, feats: Tensor) -> dict[str, Tensor]:
        """Features -> the embedding [B, dim] and the arrays of `embed.arrays`, [B, D] or [B, bands, D], in one pass.

        For inference.
        """
        return self._pooled(feats, *self._traced(feats)) if self.arrays else {"embedding": self(feats)}

    def represent_each(self, feats: list[Tensor]) -> list[dict[str, Tensor]]:
        """`represent` of clips [F, M] of several lengths, some of which go through the blocks together.

        For inference, of encoders that pack.
        """
        tokens, groups = [self.encoder.tokens(len(one)) for one in feats], [[]]
        for number, count in enumerate(tokens):
            if groups[-1] and not feats[0].is_cuda and sum(tokens[i] for i in groups[-1]) + count > TOGETHER:
                groups.append([])
            groups[-1].append(number)
        found = []
        for group in groups:
            lengths = [tokens[i] for i in group]
            with packed(lengths):
                last, outputs = self._traced([feats[i] for i in group])
            parts = [
                {index: part for index, part in zip(outputs, one, strict=True)}
                for one in zip(*(output.split(lengths, 1) for output in outputs.values()), strict=True)
            ] or [{}] * len(group)
            found += [
                self._pooled(feats[i][None], *own) for i, *own in zip(group, last.split(lengths, 1), parts, strict=True)
            ]
        return found

    def _traced(self, feats: Tensor | list[Tensor]) -> tuple[Tensor, dict[int, Tensor]]:
        """Features -> tokens of the network and of all blocks that anything is made of."""
        wanted = [self.chosen, *(layers for _, layers in self.arrays.values())]
        return self.encoder.traced(feats, sorted({index for own in wanted if own != INPUT for index in own or ()}))

    def _pooled(self, feats: Tensor, last: Tensor, outputs: dict[int, Tensor]) -> dict[str, Tensor]:
        """The embedding and all arrays of clips' features [B, F, M] and of what `_traced` found."""
        of_the_embedding = last if self.chosen is None else self._joined([outputs[index] for index in self.chosen])
        found = {"embedding": self._embedding(of_the_embedding)}
        for name, (how, layers) in self.arrays.items():
            if layers == INPUT:
                found[name] = pool(feats, 1, how)
                continue
            tokens = last if layers is None else torch.stack([outputs[index] for index in layers]).mean(0)
            found[name] = pool(heard(tokens, self.encoder.specials, how.pooling), self._bands(layers, how), how)
        return found

    def trainable(self) -> dict[str, nn.Parameter]:
        """Name -> parameter for what is optimised."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def _embedding(self, tokens: Tensor) -> Tensor:
        return self.projection(self.pooling(heard(tokens, self.encoder.specials, self.how))).float()

    def _joined(self, outputs: list[Tensor]) -> Tensor:
        """Blocks' tokens, each [B, specials + N, D] -> their mean, or what the trained part makes of them, as large."""
        if self.concatenated is not None:
            return self.concatenated(outputs)
        if self.layer_weights is None:
            return torch.stack(outputs).mean(0)
        return sum(weight * output for weight, output in zip(self.layer_weights.softmax(0), outputs, strict=True))

    def _arrays(self, arrays: dict[str, PoolingConfig]) -> dict[str, tuple[PoolingConfig, list[int] | None]]:
        """Each array's pooling, and the blocks that it pools; ValueError for bands or blocks that are not there."""
        found = {}
        for name, how in arrays.items():
            where = f"embed.arrays.{name}"
            if how.layers == 0:
                found[name] = (how, self._input(how, where))
                continue
            self._check_specials(how.pooling, f"{where}.pooling")
            layers = self._chosen(how.layers, f"{where}.layers")
            self._width(layers, f"{where}.layers")
            if how.bands and self._bands(layers, how) == 1:
                raise ValueError(f"{where}.bands: the tokens of this encoder have no frequency bands")
            found[name] = (how, layers)
        return found

    def _input(self, how: PoolingConfig, where: str) -> list[int]:
        """What stands for the encoder's features; ValueError where these are no frames, or have nothing to keep."""
        if not self.spectrogram:
            raise ValueError(f"{where}.layers 0: this encoder hears samples, it has no features to pool")
        if how.bands or how.pooling == "cls":
            wrong = "bands" if how.bands else "pooling cls"
            raise ValueError(f"{where}.{wrong}: with layers 0 a frame of features is one vector: take mean or another")
        return INPUT

    def _check_specials(self, pooling: str, where: str) -> None:
        if pooling == "cls" and not self.encoder.specials:
            raise ValueError(f"{where} cls: no token of this encoder stands for the whole clip; take mean or another")

    def _chosen(self, layers: int | list[int] | None, where: str) -> list[int] | None:
        """Indices from 0 of the blocks that the setting `where` names; ValueError for one that is not there."""
        if layers is None:
            return None
        blocks = len(self.encoder.blocks())
        if not blocks:
            raise ValueError(f"{where}: this encoder has no blocks: set it to null")
        wanted = [layers] if isinstance(layers, int) else layers
        if outside := [layer for layer in wanted if abs(layer) > blocks]:
            raise ValueError(f"{where}: there is no block {outside[0]}: the encoder has {blocks}, 1 to {blocks}")
        return [layer - 1 if layer > 0 else blocks + layer for layer in wanted]

    def _width(self, chosen: list[int] | None, where: str) -> int:
        """Size of a token of the chosen blocks, or of the network; ValueError where the blocks' differ."""
        if chosen is None:
            return self.encoder.dim
        blocks = self.encoder.blocks()
        widths = {index + 1: blocks[index].dim or self.encoder.dim for index in chosen}
        if len(set(widths.values())) > 1:
            told = ", ".join(f"{number}: {width}" for number, width in widths.items())
            raise ValueError(f"{where}: tokens of these blocks differ in size ({told}): name blocks of one size")
        return next(iter(widths.values()))

    def _bands(self, chosen: list[int] | None, how: PoolingConfig) -> int:
        """Tokens of a frame that the chosen blocks give, or the network; blocks of one width have as many.

        For `cls` the parts of the spectrum that have special tokens of their own.
        """
        if how.pooling == "cls":
            return self.encoder.apart
        return chosen and self.encoder.blocks()[chosen[0]].bands or self.encoder.bands
