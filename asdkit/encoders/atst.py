"""ATST-Clip and ATST-Frame (Li et al., IEEE/ACM TASLP 2024, 'Self-supervised Audio Teacher-Student Transformer')."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asdkit.config import AtstClipEncoder, AtstFrameEncoder, VitArch
from asdkit.encoders.checkpoints import check_weights, put_in, read_torch, renamed, shapes_alone, side, vit_arch
from asdkit.encoders.pieces import InPieces
from asdkit.layers.mel import MelSpectrogram, htk_filters
from asdkit.layers.vit import EPS, STD, Patches, Trunk

MELS, FRAMES = 64, 4  # of a patch
LOWEST, HIGHEST = -79.6482, 50.6842  # dB that become -1 and 1
TOKENS = 250  # that positions were learnt for: 10 s


class Atst(InPieces):
    """One token every 40 ms: patches of four frames, as high as the whole mel spectrogram, through pre-norm blocks.

    clip: ATST-Clip, with a token in front that stands for the whole clip (`specials`), else ATST-Frame. Clips of up to
    10 s go through as they are. Longer ones go through in pieces, as in the authors' own evaluations: 601 frames (6 s)
    each for ATST-Clip, 1001 (10 s) for ATST-Frame. Frames that fill no patch at the end of a piece give no token.
    """

    sample_rate, window, hop = 16000, 0, 160
    mels, least, longest = MELS, FRAMES, FRAMES * TOKENS + FRAMES - 1

    def __init__(self, arch: VitArch, clip: bool) -> None:
        super().__init__()
        self.dim, self.specials = arch.embed_dim, int(clip)
        self.named = "atst_clip" if clip else "atst_frame"
        self.piece = self.step = 601 if clip else 1001
        self.spectrogram = MelSpectrogram(
            1024, self.hop, htk_filters(1024, self.sample_rate, MELS, 60, 7800), top_db=80
        )
        self.patch_embed = Patches(MELS, self.dim, (FRAMES, MELS))
        if clip:
            self.cls_token = nn.Parameter(STD * torch.randn(1, 1, self.dim))
        self.pos_embed = nn.Parameter(STD * torch.randn(1, self.specials + TOKENS, self.dim))
        self.trunk = Trunk(arch.depth, self.dim, arch.num_heads, 4 * self.dim, qkv_bias=False)
        self.norm = nn.LayerNorm(self.dim, EPS)

    def frontend(self, wav: Tensor) -> Tensor:
        """wav [B, T], floats in [-1, 1] -> mel spectrogram in dB, scaled to about [-1, 1]: [B, 1 + T // 160, 64].

        No value lies more than 80 dB below the loudest of its clip. Raises ValueError for clips of 512 samples (32 ms)
        or fewer.
        """
        return (self.spectrogram(wav) - LOWEST) * (2 / (HIGHEST - LOWEST)) - 1

    def network(self, feats: Tensor) -> Tensor:
        """Features [B, F, 64] of 4 to 1003 frames -> tokens [B, specials + F // 4, dim]."""
        return self.norm(self.trunk(self.prepare(self.patch_embed(feats))))

    def prepare(self, x: Tensor) -> Tensor:
        """Patch embeddings [B, N, dim] -> input of the first block [B, specials + N, dim]."""
        if self.specials:
            x = torch.cat([self.cls_token.to(x.dtype).expand(x.shape[0], -1, -1), x], 1)
        return x + self.pos_embed[:, : x.shape[1]]


def build_atst_clip(config: AtstClipEncoder) -> Atst:
    """ATST-Clip of a configuration: a published file's, or one with random weights; ValueError as `load_atst`."""
    return load_atst(config.checkpoint, True) if config.checkpoint else Atst(config.size(), True)


def build_atst_frame(config: AtstFrameEncoder) -> Atst:
    """ATST-Frame of a configuration: a published file's, or one with random weights; ValueError as `load_atst`."""
    return load_atst(config.checkpoint, False) if config.checkpoint else Atst(config.size(), False)


def load_atst(path: str | Path, clip: bool, heads: int | None = None) -> Atst:
    """Read a published file of ATST-Clip or ATST-Frame, strictly: the teacher of a Lightning checkpoint or of the older
    layout, a dict of 'args' and 'teacher'.

    heads: of a block, if not the published `dim / 64`. Raises ValueError naming the file and what is wrong: unreadable
    or damaged, code in the file, missing, unknown or wrongly shaped weights, the other of the two networks.
    """
    holds = "an ATST file is a torch file of 'state_dict', or of 'args' and 'teacher'"
    contents = read_torch(path, holds, settings=True)
    weights = teacher(path, contents, clip, holds)
    width = side(path, weights, "norm.weight", 0, holds)
    arch = vit_arch(path, weights, width, heads, "no published ATST")
    with shapes_alone():
        encoder = Atst(arch, clip)
    check_weights(path, encoder.state_dict(), weights, f"an {encoder.named} of {arch.embed_dim} numbers a token")
    put_in(encoder, weights)
    return encoder


def teacher(path: str | Path, contents: Any, clip: bool, holds: str) -> dict[str, Any]:
    """The teacher's weights out of what a file holds, under the names of `Atst`.

    Left alone: the student, what turns tokens into the targets of pre-training, and `mask_embed`.
    """
    if isinstance(contents, dict) and isinstance(contents.get("state_dict"), Mapping):
        prefix, stored = r"model\.teacher\.encoder\.", contents["state_dict"]
        foreign = {r"model\.student\.": None, r"model\.teacher\.(projector|predictor)\.": None}
    elif isinstance(contents, dict) and isinstance(contents.get("teacher"), Mapping):
        prefix, stored = r"(module\.)?(backbone\.)?", contents["teacher"]
        foreign = {r"(module\.)?(head|projector|predictor)\.": None}
    else:
        got = ", ".join(map(str, contents)) if isinstance(contents, dict) else type(contents).__name__
        raise ValueError(f"{path}: holds {got[:200]}; {holds}")
    own = renamed(stored, {**foreign, prefix: ""})
    if ("norm_frame.weight" in own) is clip:
        raise ValueError(f"{path}: this is an ATST-{'Frame' if clip else 'Clip'}: set encoder.name to it")
    table = {"mask_embed$": None, r"patch_embed\.patch_embed\.": "patch_embed.", r"blocks\.": "trunk."}
    return _ours(renamed(own, {**table, r"norm_frame\.": "norm."}), clip)


def _ours(weights: dict[str, Any], clip: bool) -> dict[str, Any]:
    """The same as the network holds it: patches as an image, and no position of a class token that is not there."""
    patches, positions = weights.get("patch_embed.weight"), weights.get("pos_embed")
    if isinstance(patches, Tensor) and patches.ndim == 2 and patches.shape[1] == MELS * FRAMES:
        # [dim, 256], mel band by mel band -> [dim, 1, frames, mels]
        weights["patch_embed.weight"] = patches.unflatten(1, (1, MELS, FRAMES)).transpose(2, 3)
    if isinstance(positions, Tensor) and positions.ndim == 3 and not clip:
        weights["pos_embed"] = positions[:, 1:]
    return weights
