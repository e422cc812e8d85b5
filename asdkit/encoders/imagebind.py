"""The audio part of ImageBind (Girdhar et al., 'ImageBind: One Embedding Space To Bind Them All', CVPR 2023)."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asdkit.config import ImageBindEncoder, VitArch
from asdkit.encoders.checkpoints import check_weights, put_in, read_weights, renamed, shapes_alone, side, vit_arch
from asdkit.encoders.pieces import InPieces
from asdkit.layers.fbank import Fbank
from asdkit.layers.vit import EPS, STD, Patches, Trunk

MELS, SIDE, STRIDE = 128, 16, 10  # of patches, in frames as in mel bands
COLUMNS = 19  # of patches in 2 s, for which positions were learnt
MEAN, SCALE = -4.268, 9.138
HOLDS = "an ImageBind file is a torch file of the whole network's weights, modality_preprocessors.audio.* among them"

# The audio part of a whole file under the names of `ImageBind`. Left alone: the other modalities, and what brings the
# clip's token into the space that they share.
AUDIO = {
    r"modality_preprocessors\.audio\.rgbt_stem\.proj\.": "patch_embed.",
    r"modality_preprocessors\.audio\.rgbt_stem\.norm_layer\.": "patch_norm.",
    r"modality_preprocessors\.audio\.pos_embedding_helper\.": "",
    r"modality_preprocessors\.audio\.(?=cls_token$)": "",
    r"modality_trunks\.audio\.blocks\.(\d+)\.attn\.in_proj_": r"trunk.\1.attn.qkv.",
    r"modality_trunks\.audio\.blocks\.(\d+)\.attn\.out_proj\.": r"trunk.\1.attn.proj.",
    r"modality_trunks\.audio\.blocks\.(\d+)\.norm_": r"trunk.\1.norm",
    r"modality_trunks\.audio\.blocks\.": "trunk.",
    r"modality_heads\.audio\.0\.": "norm.",
    r"modality_heads\.audio\.2\.": None,
    r"modality_postprocessors\.audio\.": None,
    r"modality_[a-z]+\.(?!audio\.)[a-z]+\.": None,
}


class ImageBind(InPieces):
    """Overlapping patches of the log-mel spectrogram, 2 s at a time, through pre-norm blocks; token 0 is the clip's.

    A clip of 2 s gives 198 frames and 1 + 19 x 12 tokens, time-major; longer ones go through in pieces of 2 s, one
    after the other, where the authors take three pieces: 10 s give 1 + 95 x 12 tokens. Shorter ones, and what is left
    at the end, go in as they are, with the first of the positions; the authors fill up with zeros, which are louder
    than silence. (In 2 s no patch reaches the frames that they add.) The last norm is that of the authors' head.
    Attention has one more key and value, learnt, that are the same for all clips. No blocks are left out in training.
    """

    sample_rate, window, hop = Fbank.sample_rate, Fbank.window, Fbank.hop
    named = "imagebind"
    mels, least, longest, piece, step = MELS, SIDE, SIDE + COLUMNS * STRIDE - 1, 198, 200
    specials = 1

    def __init__(self, arch: VitArch) -> None:
        super().__init__()
        self.dim = arch.embed_dim
        self.spectrogram = Fbank(MELS, "hann")
        self.patch_embed = Patches(MELS, self.dim, (SIDE, SIDE), (STRIDE, STRIDE), bias=False)
        self.bands = self.patch_embed.bands
        self.patch_norm = nn.LayerNorm(self.dim)
        self.cls_token = nn.Parameter(STD * torch.randn(1, 1, self.dim))
        self.pos_embed = nn.Parameter(STD * torch.randn(1, 1 + COLUMNS * self.bands, self.dim))
        self.trunk = Trunk(arch.depth, self.dim, arch.num_heads, 4 * self.dim, extra=True)
        self.norm = nn.LayerNorm(self.dim, EPS)

    def frontend(self, wav: Tensor) -> Tensor:
        """wav [B, T], floats in [-1, 1] -> normalised log-mel [B, 1 + (T - 400) // 160, 128].

        Raises ValueError for clips shorter than one frame (25 ms).
        """
        return (self.spectrogram(wav) - MEAN) / SCALE

    def network(self, feats: Tensor) -> Tensor:
        """Features [B, F, 128] of 16 to 205 frames -> tokens [B, 1 + columns * 12, dim]."""
        return self.norm(self.trunk(self.prepare(self.patches(feats))))

    def patches(self, feats: Tensor) -> Tensor:
        """Features [B, F, 128] -> normalised patch embeddings [B, N, dim]."""
        return self.patch_norm(self.patch_embed(feats))

    def prepare(self, x: Tensor) -> Tensor:
        """Patch embeddings [B, N, dim] -> input of the first block [B, 1 + N, dim]."""
        return (
            torch.cat([self.cls_token.to(x.dtype).expand(x.shape[0], -1, -1), x], 1)
            + self.pos_embed[:, : 1 + x.shape[1]]
        )


def build_imagebind(config: ImageBindEncoder) -> ImageBind:
    """The network of a configuration: of a published file, or with random weights; ValueError as `load_imagebind`."""
    return load_imagebind(config.checkpoint) if config.checkpoint else ImageBind(config.size())


def load_imagebind(path: str | Path, heads: int | None = None) -> ImageBind:
    """The audio part of a published file of the whole ImageBind, strictly.

    heads: of a block, if not the published `dim / 64`. Raises ValueError naming the file and what is wrong: unreadable
    or damaged, code in the file, missing, unknown or wrongly shaped weights.
    """
    weights = audio_part(read_weights(path, HOLDS))
    width = side(path, weights, "norm.weight", 0, HOLDS)
    arch = vit_arch(path, weights, width, heads, "not the published network")
    with shapes_alone():
        encoder = ImageBind(arch)
    check_weights(path, encoder.state_dict(), weights, "ImageBind's audio part")
    put_in(encoder, weights)
    return encoder


def audio_part(stored: dict[str, Any]) -> dict[str, Any]:
    """A whole file's weights -> the audio part's, named and laid out as in `ImageBind`: frames before mel bands."""
    weights = renamed(stored, AUDIO)
    patches, positions = weights.get("patch_embed.weight"), weights.get("pos_embed")
    if isinstance(patches, Tensor) and patches.ndim == 4:
        weights["patch_embed.weight"] = patches.transpose(2, 3)  # [dim, 1, mels, frames] before
    if isinstance(positions, Tensor) and positions.ndim == 3 and positions.shape[1] % COLUMNS == 1:
        rows = positions[:, 1:].unflatten(1, (-1, COLUMNS)).transpose(1, 2)  # [1, columns, bands, dim]
        weights["pos_embed"] = torch.cat([positions[:, :1], rows.flatten(1, 2)], 1)
    return weights
