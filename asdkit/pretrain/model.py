"""Masked acoustic token prediction (BEATs, Sec. 3.1.2): the encoder sees a quarter, a predictor names the rest."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asdkit.config import BeatsArch
from asdkit.encoders.beats import MELS, Beats, random_beats
from asdkit.encoders.beats_checkpoint import load_beats
from asdkit.layers.beats_layers import Transformer
from asdkit.losses.gather import gather, whole_mean
from asdkit.models.checkpoint import load_tensors, model_state
from asdkit.models.system import System
from asdkit.pretrain.config import PredictorConfig, PretrainConfig, TokenizerConfig
from asdkit.pretrain.masking import take
from asdkit.pretrain.teacher import TeacherTokenizer
from asdkit.pretrain.tokenizer import RandomTokenizer, cut_patches, perplexity
from asdkit.train.seeding import seed_everything
from asdkit.utils.device import to_device


class Pretraining(System):
    """The networks that are trained and the tokeniser that says what they have to name.

    Checkpoints hold `module` (the networks), `tokenizer` and `cfg` (of the encoder), as those of older versions.
    """

    def __init__(self, config: PretrainConfig, seed: int) -> None:
        super().__init__()
        self.config = config
        seed_everything(seed)
        encoder = load_beats(config.init) if config.init else random_beats(config.arch or BeatsArch())
        self.sample_rate, self.window, self.hop = encoder.sample_rate, encoder.window, encoder.hop
        self.patch = encoder.cfg.input_patch_size
        if MELS % self.patch:
            raise ValueError(
                f"pre-training cuts {MELS} mel bands into patches of {self.patch}: choose a divisor of {MELS}"
            )
        if encoder.predictor is not None:  # a fine-tuned network's head, which takes no part
            encoder.predictor.requires_grad_(False)
        self.network = MaskedPrediction(encoder, config.predictor, config.tokenizer, MELS // self.patch)
        seed_everything(seed)  # so that networks of all sizes learn the same codes
        self.tokenizer = _tokenizer(config, self.patch)

    @property
    def encoder(self) -> Beats:
        """The network that is pre-trained."""
        return self.network.encoder

    def frontend(self, wav: Tensor) -> Tensor:
        """wav [B, T] -> the encoder's features [B, F, M]."""
        return self.encoder.frontend(wav)

    def losses(self, feats: Tensor, batch: Any) -> dict[str, Tensor]:
        """Features [B, F, M], batch.visible [B, V], batch.masked [B, N - V] -> loss, accuracy, perplexity of the codes.

        Every clip has as many masked patches, so that a share counts by its clips.
        """
        tokens = self.tokenizer(feats)  # [B, N, codebooks]
        found = self.network(feats, tokens, *(to_device(x, feats.device) for x in (batch.visible, batch.masked)))
        means = {name: whole_mean(value, len(feats)) for name, value in found.items()}
        return means | {"perplexity": perplexity(gather(tokens)[0], self.config.tokenizer.codes)}

    def state(self) -> dict[str, Any]:
        """Networks, tokeniser, the encoder's `cfg`, configuration."""
        return {
            "module": model_state(self.network, None),
            "tokenizer": model_state(self.tokenizer, None),
            "cfg": self.encoder.cfg.model_dump(),
            "config": self.config.model_dump(mode="json"),
        }

    def load_state(self, content: dict[str, Any], path: str | Path) -> None:
        """Take up networks and tokeniser; raises ValueError when names or shapes differ."""
        load_tensors(self.network, content["module"], path)
        load_tensors(self.tokenizer, content["tokenizer"], f"{path}: tokenizer")


def _tokenizer(config: PretrainConfig, patch: int) -> RandomTokenizer | TeacherTokenizer:
    if config.tokenizer.teacher is None:
        return RandomTokenizer(config.tokenizer, patch, MELS)
    tokenizer = TeacherTokenizer(config.tokenizer)
    if tokenizer.encoder.cfg.input_patch_size != patch:
        raise ValueError(
            f"tokenizer.teacher {config.tokenizer.teacher}: has patches of {tokenizer.encoder.cfg.input_patch_size}, "
            f"the network to train of {patch}; they have to agree"
        )
    return tokenizer


class MaskedPrediction(nn.Module):
    """The encoder and what is trained around it; `encoder` alone is what pre-training is for."""

    def __init__(self, encoder: Beats, predictor: PredictorConfig, tokenizer: TokenizerConfig, bands: int) -> None:
        super().__init__()
        self.encoder, self.bands, self.codebooks = encoder, bands, tokenizer.codebooks
        self.narrow = nn.Linear(encoder.dim, predictor.dim)
        # One per frequency band. Visible tokens get no such mark: the encoder has to tell where a token lies.
        self.mask_tokens = nn.Parameter(0.02 * torch.randn(bands, predictor.dim))
        sizes = {
            "encoder_layers": predictor.layers,
            "encoder_embed_dim": predictor.dim,
            "encoder_ffn_embed_dim": 4 * predictor.dim,
            "encoder_attention_heads": predictor.heads,
            "conv_pos": predictor.conv_pos,
            "conv_pos_groups": predictor.heads,
            "encoder_layerdrop": 0.0,
            "layer_wise_gradient_decay_ratio": 1.0,
        }
        self.predictor = Transformer(encoder.cfg.model_copy(update=sizes))
        self.head = nn.Linear(predictor.dim, tokenizer.codebooks * tokenizer.codes)

    def forward(self, feats: Tensor, tokens: Tensor, visible: Tensor, masked: Tensor) -> dict[str, Tensor]:
        """Features [B, F, M], tokens [B, N, codebooks], visible [B, V], masked [B, N - V] -> loss and accuracy."""
        logits = self.logits(feats, visible, masked).flatten(0, 2).float()
        targets = take(tokens, masked).flatten()
        accuracy = (logits.detach().argmax(-1) == targets).float().mean()
        return {"loss": F.cross_entropy(logits, targets), "accuracy": accuracy}

    def logits(self, feats: Tensor, visible: Tensor, masked: Tensor) -> Tensor:
        """Scores of every code for the masked patches: [B, N - V, codebooks, codes]."""
        seen = self.narrow(encode_visible(self.encoder, feats, visible))  # [B, V, P]
        clips, count = len(visible), visible.shape[1] + masked.shape[1]
        grid = self.mask_tokens.repeat(count // self.bands, 1).expand(clips, -1, -1).to(seen.dtype)  # [B, N, P]
        grid = grid.scatter(1, visible.unsqueeze(-1).expand_as(seen), seen)
        named = self.predictor(self.predictor.prepare(grid))[-1]
        return self.head(take(named, masked)).unflatten(-1, (self.codebooks, -1))


def encode_visible(encoder: Beats, feats: Tensor, visible: Tensor) -> Tensor:
    """Features [B, F, M] -> the encoder's output for the visible patches alone, at their own places: [B, V, dim].

    The layers see V tokens, whose relative position biases are those of the whole clip. The convolution that gives
    positions runs over the whole grid with nothing in the hidden places and the visible ones scaled by N / V, so that
    it gives the same on average as for a whole clip. With nothing hidden this is the encoder's own output. Layer drop
    and gradient decay belong to fine-tuning and are not used.
    """
    transformer, convolution = encoder.encoder, encoder.patch_embedding
    patches = cut_patches(feats, encoder.cfg.input_patch_size)
    count = patches.shape[1]
    x = F.linear(take(patches, visible), convolution.weight.flatten(1), convolution.bias)
    x = encoder.project(encoder.layer_norm(x))  # [B, V, D]
    place = visible.unsqueeze(-1).expand_as(x)
    grid = x.new_zeros(x.shape[0], count, x.shape[2]).scatter(1, place, x * (count / visible.shape[1]))
    x = x + take(F.gelu(transformer.pos_conv(grid)), visible)
    if not encoder.cfg.layer_norm_first:
        x = transformer.layer_norm(x)
    bias = None
    if encoder.cfg.relative_position_embedding:
        whole = transformer.position_bias(count)  # [heads, N, N]
        bias = whole[:, visible[:, :, None], visible[:, None, :]].transpose(0, 1)  # [B, heads, V, V]
    for layer in transformer.layers:
        x = layer(x, bias)
    return transformer.layer_norm(x) if encoder.cfg.layer_norm_first else x
