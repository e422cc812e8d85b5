"""EAT (Chen et al., 'EAT: Self-Supervised Pre-Training with Efficient Audio Transformer', IJCAI 2024)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asdkit.config import EatEncoder, VitArch
from asdkit.encoders.checkpoints import (
    IN_FOLDER,
    check_weights,
    put_in,
    read_folder,
    read_torch,
    read_weights,
    renamed,
    shapes_alone,
    side,
    vit_arch,
)
from asdkit.encoders.pieces import InPieces
from asdkit.layers.fbank import Fbank
from asdkit.layers.vit import EPS, STD, Patches, Trunk, sine_table

MELS, PATCH = 128, 16
COLUMNS = 768  # of patches in time that there are positions for: 122 s
MEAN, SCALE = -4.268, 9.138  # of the log-mel values: mean, twice the deviation
SILENT, LOUD = 0.1, 0.5  # where `clean_up` begins

HOLDS = "an EAT file is a torch file with the weights under 'model', or model.safetensors in a folder with config.json"
IMAGE = {
    r"modality_encoders\.IMAGE\.extra_tokens$": "cls_token",
    r"modality_encoders\.IMAGE\.local_encoder\.proj\.": "patch_embed.",
    r"modality_encoders\.IMAGE\.fixed_positional_encoder\.positions$": "positions",
    r"modality_encoders\.IMAGE\.context_encoder\.norm\.": "pre_norm.",
    r"blocks\.": "trunk.",
}
PRETRAINED = IMAGE | {r"modality_encoders\.IMAGE\.decoder\.": None, r"_ema$": None}  # the latter is the teacher's copy
FINE_TUNED = {rf"model\.{pattern}": name for pattern, name in IMAGE.items()} | {r"(fc_norm|head)\.": None}
HUGGING_FACE = {
    r"model\.extra_tokens$": "cls_token",
    r"model\.local_encoder\.proj\.": "patch_embed.",
    r"model\.fixed_positional_encoder\.positions$": "positions",
    r"model\.pre_norm\.": "pre_norm.",
    r"model\.blocks\.": "trunk.",
    r"model\.(fc_norm|head)\.": None,
}
# What config.json has to say; all published ones do.
FIXED = {"patch_size": PATCH, "stride": PATCH, "in_chans": 1, "mel_bins": MELS, "layer_norm_first": False,
         "norm_eps": EPS, "qkv_bias": True}  # fmt: skip


class PatchesAndClip(InPieces):
    """What EAT and FISHER are: patches with fixed positions and the clip's token through post-norm blocks.

    The token has no position. A norm stands before the blocks and none after them. positions: rows of their table,
    of which a clip takes the first ones.
    """

    def __init__(self, arch: VitArch, height: int, positions: Tensor, hidden: int | None = None) -> None:
        super().__init__()
        self.dim = arch.embed_dim
        self.patch_embed = Patches(height, self.dim, (PATCH, PATCH))
        self.register_buffer("positions", positions)
        self.cls_token = nn.Parameter(STD * torch.randn(1, 1, self.dim))
        self.pre_norm = nn.LayerNorm(self.dim, EPS)
        self.trunk = Trunk(arch.depth, self.dim, arch.num_heads, hidden or 4 * self.dim, post=True)

    def prepare(self, x: Tensor) -> Tensor:
        """Patch embeddings [B, N, dim] -> input of the first block [B, 1 + N, dim]."""
        x = x + self.positions[:, : x.shape[1]]
        return self.pre_norm(torch.cat([self.cls_token.to(x.dtype).expand(x.shape[0], -1, -1), x], 1))


class Eat(PatchesAndClip):
    """Patches of the log-mel spectrogram after a class token, which is the authors' clip embedding.

    A clip of 10 s gives 998 frames and 1 + 62 x 8 tokens. It goes in as it is, where the authors fill every clip with
    silence up to 1024 frames, which their patches hear, or cut it; what is longer than the table of positions, 122 s,
    goes through in pieces of that length. clean_up: of all that the blocks give, values under 0.1 become 0 and those
    over 0.5 their hyperbolic tangent, before anything is pooled (Wilkinghoff et al., arXiv 2603.04605).
    """

    sample_rate, window, hop = Fbank.sample_rate, Fbank.window, Fbank.hop
    named, mels, bands, specials, least = "eat", MELS, MELS // PATCH, 1, PATCH

    def __init__(
        self, arch: VitArch, clean_up: bool = False, hidden: int | None = None, columns: int = COLUMNS
    ) -> None:
        super().__init__(arch, MELS, sine_table(columns, MELS // PATCH, arch.embed_dim), hidden)
        self.spectrogram = Fbank(MELS, taper="hann")
        self.clean_up = clean_up
        self.longest = self.piece = self.step = columns * PATCH

    def frontend(self, wav: Tensor) -> Tensor:
        """wav [B, T], floats in [-1, 1] -> normalised log-mel [B, 1 + (T - 400) // 160, 128].

        Raises ValueError for clips shorter than one frame (25 ms).
        """
        return (self.spectrogram(wav.float()) - MEAN) / SCALE

    def network(self, feats: Tensor) -> Tensor:
        """Features [B, F, 128] -> tokens [B, 1 + F // 16 * 8, dim]."""
        return self.together(self.trunk(self.prepare(self.patch_embed(feats))))

    def together(self, x: Tensor) -> Tensor:
        """What a block gives [B, N, dim] -> the same, cleaned up where that is asked for."""
        if not self.clean_up:
            return x
        return torch.where(x < SILENT, 0, torch.where(x > LOUD, x.tanh(), x))


def build_eat(config: EatEncoder) -> Eat:
    """The network of a configuration: a published one, or one with random weights; ValueError as `load_eat`."""
    if config.checkpoint:
        return load_eat(config.checkpoint, clean_up=config.clean_up)
    return Eat(config.size(), config.clean_up)


def load_eat(path: str | Path, heads: int | None = None, clean_up: bool = False) -> Eat:
    """Read the authors' file, pre-trained or fine-tuned, or a folder of the hub (or its file of weights), strictly.

    heads: of a block in the authors' layout, if not the published `dim / 64`; a folder tells them. Of a pre-trained
    file the student is taken, as the authors do; the teacher, the decoder and the classifiers are left out. Raises
    ValueError naming the file and what is wrong: unreadable or damaged, code in it, another network, missing, unknown
    or wrongly shaped weights.
    """
    if Path(path).is_dir() or Path(path).name in IN_FOLDER:
        config, file = read_folder(path, "eat")
        heads = _checked(file.parent / "config.json", config)
        weights = renamed(read_weights(file, HOLDS), HUGGING_FACE)
    else:
        file, weights = path, of_authors(path, read_torch(path, HOLDS, settings=True))
    dim = side(file, weights, "cls_token", 2, HOLDS)
    rows = side(file, weights, "positions", 1, HOLDS)
    hidden = side(file, weights, "trunk.0.mlp.fc1.weight", 0, HOLDS)
    arch = vit_arch(file, weights, dim, heads, "no published EAT")
    with shapes_alone():
        encoder = Eat(arch, clean_up, hidden, rows // Eat.bands)
    check_weights(file, encoder.state_dict(), weights, f"an EAT of {dim} numbers a token")
    put_in(encoder, weights)
    return encoder


def of_authors(path: str | Path, contents: Any) -> dict[str, Any]:
    """What a file of the authors holds -> weights under this package's names; ValueError for something else."""
    stored = contents.get("model") if isinstance(contents, dict) else None
    if not isinstance(stored, dict):
        raise ValueError(f"{path}: no dict under 'model' in it; {HOLDS}")
    cfg = contents["cfg"].get("model") if isinstance(contents.get("cfg"), dict) else None
    if isinstance(cfg, dict) and "band_width" in cfg:  # of EAT's names and shapes
        raise ValueError(f"{path}: this is a FISHER: set encoder.name to fisher")
    fine_tuned = any(str(name).startswith("model.") for name in stored)
    return renamed(stored, FINE_TUNED if fine_tuned else PRETRAINED)


def _checked(path: Path, config: Mapping[str, Any]) -> int:
    """The heads that config.json tells; ValueError where it tells of another network."""
    wrong = [f"{name} is {config.get(name)!r}, expected {value!r}" for name, value in FIXED.items()
             if config.get(name, value) != value]  # fmt: skip
    heads = config.get("num_heads")
    if not isinstance(heads, int) or heads < 1:
        wrong.append(f"num_heads is {heads!r}, expected a whole number")
    if wrong:
        raise ValueError(f"{path}: {'; '.join(wrong)}")
    return heads
