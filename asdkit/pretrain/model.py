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
from asdkit.pretrain.latent import Latent
from asdkit.pretrain.masking import take
from asdkit.pretrain.teacher import TeacherTokenizer
from asdkit.pretrain.tokenizer import RandomTokenizer, perplexity
from asdkit.pretrain.visible import encode_visible
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
        self.latent = Latent(encoder, config.latent, config.predictor.dim) if config.latent else None

    @property
    def encoder(self) -> Beats:
        """The network that is pre-trained."""
        return self.network.encoder

    def frontend(self, wav: Tensor) -> Tensor:
        """wav [B, T] -> the encoder's features [B, F, M]."""
        return self.encoder.frontend(wav)

    def losses(self, feats: Tensor, batch: Any) -> dict[str, Tensor]:
        """Features [B, F, M], batch.visible [B, V], batch.masked [B, N - V] -> loss, accuracy, perplexity of the codes.

        batch.clean [B, T]: the clips whose codes are predicted, None: those of `feats`. With `latent` its two errors
        too. Every clip has as many masked patches, so that a share counts by its clips.
        """
        visible, masked = (to_device(x, feats.device) for x in (batch.visible, batch.masked))
        clean = feats if batch.clean is None else self.frontend(to_device(batch.clean, feats.device))
        tokens = self.tokenizer(clean)  # [B, N, codebooks]
        seen, named = self.network.tokens(feats, visible, masked)
        found = self.network.codes(named, take(tokens, masked))
        if self.latent:
            errors = self.latent(self.encoder, clean, seen, named, masked)
            found = errors | found | {"loss": self.config.tokenizer.weight * found["loss"] + self.latent.weigh(errors)}
        means = {name: whole_mean(value, len(feats)) for name, value in found.items()}
        return means | {"perplexity": perplexity(gather(tokens)[0], self.config.tokenizer.codes)}

    def state(self) -> dict[str, Any]:
        """Networks, tokeniser, the encoder's `cfg`, configuration."""
        return {
            "module": model_state(self.network, None),
            "tokenizer": model_state(self.tokenizer, None),
            "cfg": self.encoder.cfg.model_dump(),
            "config": self.config.model_dump(mode="json"),
        } | ({"latent": model_state(self.latent, None)} if self.latent else {})

    def load_state(self, content: dict[str, Any], path: str | Path) -> None:
        """Take up networks and tokeniser; raises ValueError when names or shapes differ."""
        load_tensors(self.network, content["module"], path)
        load_tensors(self.tokenizer, content["tokenizer"], f"{path}: tokenizer")
        if self.latent:
            load_tensors(self.latent, content.get("latent", {}), f"{path}: latent")


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

    def tokens(self, feats: Tensor, visible: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, F, M] -> the encoder's tokens of what is seen [B, V, dim], the predictor's of the rest."""
        seen = encode_visible(self.encoder, feats, visible)[-1]
        narrow = self.narrow(seen)  # [B, V, P]
        clips, count = len(visible), visible.shape[1] + masked.shape[1]
        grid = self.mask_tokens.repeat(count // self.bands, 1).expand(clips, -1, -1).to(narrow.dtype)  # [B, N, P]
        grid = grid.scatter(1, visible.unsqueeze(-1).expand_as(narrow), narrow)
        return seen, take(self.predictor(self.predictor.prepare(grid))[-1], masked)

    def codes(self, named: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Predictor's tokens [B, N - V, P], codes int64 [B, N - V, codebooks] -> loss and accuracy."""
        logits = self.logits(named).flatten(0, 2).float()
        accuracy = (logits.detach().argmax(-1) == targets.flatten()).float().mean()
        return {"loss": F.cross_entropy(logits, targets.flatten()), "accuracy": accuracy}

    def logits(self, named: Tensor) -> Tensor:
        """Scores of every code for the hidden patches: [B, N - V, codebooks, codes]."""
        return self.head(named).unflatten(-1, (self.codebooks, -1))
