"""BEATs (Chen et al., 'BEATs: Audio Pre-Training with Acoustic Tokenizers', ICML 2023)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asdkit.config import BeatsArch
from asdkit.encoders.base import Encoder
from asdkit.layers.beats_layers import BeatsConfig, Transformer
from asdkit.layers.block import Block
from asdkit.layers.fbank import Fbank

MELS = 128
# Mean and twice the standard deviation of the log-mel values that the published weights were trained on.
FBANK_MEAN, FBANK_SCALE = 15.41663, 2 * 6.55582

# What `cfg` holds in the published pre-trained files beside the fields of BeatsArch.
PUBLISHED = {
    "activation_fn": "gelu",
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "dropout_input": 0.0,
    "layer_norm_first": False,
    "conv_bias": False,
    "relative_position_embedding": True,
    "num_buckets": 320,
    "max_distance": 800,
    "gru_rel_pos": True,
    "deep_norm": True,
    "finetuned_model": False,
}


class Beats(Encoder):
    """Patches of the log-mel spectrogram through a transformer; tokens are time-major (index t * 8 + f).

    A clip of 10 s gives 998 frames and 62 x 8 = 496 tokens. Parameters are named as in the published files.
    `predictor` and `label_dict` (class number -> name) are there in fine-tuned networks only, otherwise None.
    """

    sample_rate, window, hop = Fbank.sample_rate, Fbank.window, Fbank.hop

    def __init__(self, cfg: BeatsConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.dim, self.layer_drop = cfg.encoder_embed_dim, cfg.encoder_layerdrop
        patch, width = cfg.input_patch_size, cfg.embed_dim
        self.bands = MELS // patch
        self.fbank = Fbank(MELS)
        self.post_extract_proj = nn.Linear(width, self.dim) if width != self.dim else None
        self.patch_embedding = nn.Conv2d(1, width, patch, stride=patch, bias=cfg.conv_bias)
        self.encoder = Transformer(cfg)
        self.layer_norm = nn.LayerNorm(width)
        self.predictor = nn.Linear(self.dim, cfg.predictor_class) if cfg.finetuned_model else None
        self.label_dict: dict[int, str] | None = None
        self._initialise()

    def frontend(self, wav: Tensor) -> Tensor:
        """wav [B, T], floats in [-1, 1] -> normalised log-mel [B, 1 + (T - 400) // 160, 128].

        Raises ValueError for clips shorter than one frame (25 ms).
        """
        return (self.fbank(wav.float() * 2**15) - FBANK_MEAN) / FBANK_SCALE

    packs = True

    def forward(self, feats: Tensor | list[Tensor]) -> Tensor:
        """feats [B, F, 128] -> tokens [B, (F // 16) * 8, dim]; of a list of [F, 128] one behind the other.

        Raises ValueError for features of another width or of fewer frames than a patch.
        """
        x = self.encoder(self._begun(feats))[-1]
        return self.encoder.layer_norm(x) if self.cfg.layer_norm_first else x

    def tokens(self, frames: int) -> int:
        """Tokens of a clip of so many frames."""
        return frames // self.cfg.input_patch_size * self.bands

    def layers(self, feats: Tensor) -> list[Tensor]:
        """feats [B, F, 128] -> the output of every layer; of one that is left out in training, that of the one before.

        Each is [B, (F // 16) * 8, dim]. Raises ValueError as `forward`.
        """
        return self.encoder(self._begun(feats), all_layers=True)

    def memory(self, samples: int, clips: int, device: str, precision: str) -> int:
        """What attention holds for each pair of tokens and each head, and the filterbank.

        On CPUs that is the position bias, and the bias times its gate: 8 bytes, with bfloat16 12 (measured); so long
        clips go through one by one. On GPUs the first once, the second for each clip.
        """
        size, heads = self.cfg.input_patch_size, self.cfg.encoder_attention_heads
        tokens = max(1 + (samples - self.window) // self.hop, 0) // size * (MELS // size)
        if device == "cpu":
            pairs = 12 if precision == "bfloat16" else 8
        else:
            pairs = (1 + clips) * (2 if precision == "bfloat16" else 4)
        return heads * tokens**2 * pairs + Fbank.memory(samples)

    def blocks(self) -> list[Block]:
        """The transformer layers, first to last."""
        return [layer.block() for layer in self.encoder.layers]

    def _begun(self, feats: Tensor | list[Tensor]) -> Tensor:
        """Features -> input of the first layer [B, N, dim]."""
        parts = [one[None] for one in feats] if isinstance(feats, list) else [feats]
        begun = [self.encoder.prepare(self.project(self.patches(part))) for part in parts]
        return begun[0] if len(begun) == 1 else torch.cat(begun, dim=1)

    def patches(self, feats: Tensor) -> Tensor:
        """Features [B, F, 128] -> normalised patch embeddings [B, N, embed_dim]."""
        size = self.cfg.input_patch_size
        if feats.ndim != 3 or feats.shape[2] != MELS:
            raise ValueError(f"beats: features of shape {tuple(feats.shape)}, expected [clips, frames, {MELS}]")
        if feats.shape[1] < size:
            raise ValueError(
                f"beats: clip of {feats.shape[1]} frames, at least {size} "
                f"({(self.window + (size - 1) * self.hop) / self.sample_rate:g} s) are needed"
            )
        return self.layer_norm(self.patch_embedding(feats.unsqueeze(1)).flatten(2).transpose(1, 2))

    def project(self, x: Tensor) -> Tensor:
        """Patch embeddings [B, N, embed_dim] -> [B, N, dim]."""
        x = x if self.post_extract_proj is None else self.post_extract_proj(x)
        return F.dropout(x, self.cfg.dropout_input, self.training)

    def _initialise(self) -> None:
        # DeepNet (Wang et al., 2022, Sec. 3): what feeds the residual sums starts smaller, the deeper the network.
        gain = (8 * self.cfg.encoder_layers) ** -0.25 if self.cfg.deep_norm else 1.0
        for block in self.blocks():
            for name, (parent, attribute) in block.linears.items():
                linear = getattr(parent, attribute)
                nn.init.xavier_normal_(linear.weight, gain=1.0 if name in ("q_proj", "k_proj") else gain)
                nn.init.zeros_(linear.bias)
        if self.cfg.relative_position_embedding:
            nn.init.xavier_normal_(self.encoder.layers[0].self_attn.relative_attention_bias.weight)


def random_beats(arch: BeatsArch) -> Beats:
    """A BEATs of the given size with random weights under torch's generator, otherwise set up as the published ones."""
    return Beats(BeatsConfig(**PUBLISHED, **arch.model_dump()))
