"""CED (Dinkel et al., 'CED: Consistent Ensemble Distillation for Audio Tagging', ICASSP 2024)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asdkit.config import CedEncoder, VitArch
from asdkit.encoders.checkpoints import (
    IN_FOLDER,
    check_weights,
    put_in,
    read_folder,
    read_weights,
    renamed,
    shapes_alone,
    side,
    vit_arch,
)
from asdkit.encoders.pieces import InPieces
from asdkit.layers.mel import MelSpectrogram, Standardise, htk_filters
from asdkit.layers.vit import EPS, STD, Patches, Trunk

MELS, FFT, PATCH = 64, 512, 16
FRAMES = 1012  # of a piece: as many as the table of positions holds
LEVEL, SPREAD = -15.0, 30.0  # dB, with random weights: the range of recordings, about -80 to 50, becomes -2 to 2

HOLDS = (
    "a CED file is a dict of tensors, or such a dict under 'model', or model.safetensors in a folder with config.json"
)
ORIGINAL = {
    r"front_end\.": None,  # the window and the filters, which are made anew
    r"init_bn\.1\.num_batches_tracked$": None,
    r"init_bn\.1\.": "standardise.",
    r"patch_embed\.proj\.": "patch_embed.",
    r"blocks\.": "trunk.",
    r"outputlayer\.": None,
}
HUGGING_FACE = {
    r"encoder\.init_bn\.num_batches_tracked$": None,
    r"encoder\.init_bn\.": "standardise.",
    r"encoder\.patch_embed\.proj\.": "patch_embed.",
    r"encoder\.blocks\.": "trunk.",
    r"encoder\.": "",
    r"outputlayer\.": None,
}
# Where config.json states them, it has to state these.
FIXED = {"patch_size": PATCH, "patch_stride": PATCH, "n_mels": MELS, "n_fft": FFT, "target_length": FRAMES}


class Ced(InPieces):
    """Patches of the mel spectrogram in dB through pre-norm blocks.

    A clip of 10 s gives 1001 frames and 62 x 4 tokens. Positions are a table over time plus one over frequency. As in
    the authors' code, clips of more than 1012 frames go through in pieces of 1012; what is left at the end is not
    padded, as it is there. The mel spectrogram has a floor 120 dB below the loudest value of its clip, where the
    authors' code takes that of the whole batch: a clip's tokens do not depend on the others. It is standardised by the
    statistics in the file, which training does not move.
    """

    sample_rate, window, hop = 16000, 0, 160
    named, mels, bands = "ced", MELS, MELS // PATCH
    least, longest, piece, step = PATCH, FRAMES, FRAMES, FRAMES
    patch = (PATCH, PATCH)  # frames, mel bands

    def __init__(self, arch: VitArch, hidden: int | None = None) -> None:
        super().__init__()
        self.dim = dim = arch.embed_dim
        self.spectrogram = MelSpectrogram(FFT, self.hop, htk_filters(FFT, self.sample_rate, MELS, 0, 8000), top_db=120)
        self.standardise = Standardise(MELS, LEVEL, SPREAD)
        self.patch_embed = Patches(MELS, dim, self.patch)
        columns = self.patch_embed.columns(self.longest)
        self.time_pos_embed = nn.Parameter(STD * torch.randn(1, dim, 1, columns))
        self.freq_pos_embed = nn.Parameter(STD * torch.randn(1, dim, self.bands, 1))
        self.trunk = Trunk(arch.depth, dim, arch.num_heads, hidden or 4 * dim)
        self.norm = nn.LayerNorm(dim, EPS)

    def frontend(self, wav: Tensor) -> Tensor:
        """wav [B, T], floats in [-1, 1] -> mel spectrogram in dB [B, 1 + T // 160, 64].

        Raises ValueError for clips of 256 samples (16 ms) or fewer.
        """
        return self.spectrogram(wav)

    def network(self, feats: Tensor) -> Tensor:
        """Features [B, F, 64] of `least` to `longest` frames -> tokens [B, columns * bands, dim]."""
        return self.norm(self.trunk(self.prepare(self.patch_embed(self.standardise(feats)))))

    def prepare(self, x: Tensor) -> Tensor:
        """Patch embeddings [B, N, dim] -> input of the first block [B, N, dim]."""
        time = self.time_pos_embed[..., : x.shape[1] // self.bands].permute(0, 3, 2, 1)  # [1, columns, 1, dim]
        return x + (time + self.freq_pos_embed.permute(0, 3, 2, 1)).flatten(1, 2)


def build_ced(config: CedEncoder) -> Ced:
    """The network of a configuration: a published file's, or one with random weights; ValueError as `load_ced`."""
    return load_ced(config.checkpoint) if config.checkpoint else Ced(config.size())


def load_ced(path: str | Path, heads: int | None = None) -> Ced:
    """Read a published file of any size (tiny, mini, small, base), or a folder of the hub (or its file), strictly.

    heads: of a block, if neither a folder tells them nor they are the published `dim / 64`. The classifier and the
    stored front end are left out. Raises ValueError naming the file and what is wrong: unreadable or damaged, code in
    it, another network, missing, unknown or wrongly shaped weights.
    """
    if Path(path).is_dir() or Path(path).name in IN_FOLDER:
        config, path = read_folder(path, "ced")
        heads = _checked(path.parent / "config.json", config) or heads
        weights = renamed(read_weights(path, HOLDS), HUGGING_FACE)
    else:
        contents: Mapping[str, Any] = read_weights(path, HOLDS)
        weights = renamed(contents["model"] if isinstance(contents.get("model"), dict) else contents, ORIGINAL)
    dim = side(path, weights, "time_pos_embed", 1, HOLDS)
    hidden = side(path, weights, "trunk.0.mlp.fc1.weight", 0, HOLDS)
    arch = vit_arch(path, weights, dim, heads, "no published CED")
    with shapes_alone():
        encoder = Ced(arch, hidden)
    check_weights(path, encoder.state_dict(), weights, f"a CED of {dim} numbers a token")
    # published patches have frequency first
    put_in(encoder, {**weights, "patch_embed.weight": weights["patch_embed.weight"].transpose(2, 3)})
    return encoder


def _checked(path: Path, config: Mapping[str, Any]) -> int | None:
    """The heads that config.json tells, if it does; ValueError where it tells of another network."""
    wrong = [f"{name} is {config[name]!r}, expected {value!r}" for name, value in FIXED.items()
             if config.get(name, value) != value]  # fmt: skip
    heads = config.get("num_heads")
    if not isinstance(heads, int | None) or heads == 0:
        wrong.append(f"num_heads is {heads!r}, expected a whole number")
    if wrong:
        raise ValueError(f"{path}: {'; '.join(wrong)}")
    return heads
