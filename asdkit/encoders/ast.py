"""AST (Gong et al., 'AST: Audio Spectrogram Transformer', Interspeech 2021)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asdkit.config import AstEncoder, VitArch
from asdkit.encoders.base import Encoder
from asdkit.encoders.checkpoints import (
    IN_FOLDER,
    check_weights,
    joined,
    put_in,
    read_folder,
    read_weights,
    renamed,
    shapes_alone,
    side,
    vit_arch,
)
from asdkit.layers.block import Block
from asdkit.layers.fbank import Fbank
from asdkit.layers.spectrum import exporting
from asdkit.layers.vit import EPS, STD, Patches, Trunk
from asdkit.utils.files import read_json

MELS, PATCH, FRAMES = 128, 16, 1024  # frames of the clips that the published weights were trained on
# Of the log-mel values that the published weights were trained on; features are divided by twice the deviation.
FBANK_MEAN, FBANK_STD = -4.2677393, 4.5689974

HOLDS = "an AST file is a dict of tensors 'module.v....', or model.safetensors in a folder with config.json"
ORIGINAL = {
    r"module\.v\.patch_embed\.proj\.": "patch_embed.",
    r"module\.v\.blocks\.": "trunk.",
    r"module\.v\.head(_dist)?\.": None,
    r"module\.mlp_head\.": None,
    r"module\.v\.": "",
}
_PREFIX = r"(audio_spectrogram_transformer\.)?"
HUGGING_FACE = {
    _PREFIX + r"embeddings\.cls_token$": "cls_token",
    _PREFIX + r"embeddings\.distillation_token$": "dist_token",
    _PREFIX + r"embeddings\.position_embeddings$": "pos_embed",
    _PREFIX + r"embeddings\.patch_embeddings\.projection\.": "patch_embed.",
    _PREFIX + r"encoder\.layer\.(\d+)\.layernorm_before\.": r"trunk.\2.norm1.",
    _PREFIX + r"encoder\.layer\.(\d+)\.layernorm_after\.": r"trunk.\2.norm2.",
    _PREFIX + r"encoder\.layer\.(\d+)\.attention\.attention\.": r"trunk.\2.attn.",
    _PREFIX + r"encoder\.layer\.(\d+)\.attention\.output\.dense\.": r"trunk.\2.attn.proj.",
    _PREFIX + r"encoder\.layer\.(\d+)\.intermediate\.dense\.": r"trunk.\2.mlp.fc1.",
    _PREFIX + r"encoder\.layer\.(\d+)\.output\.dense\.": r"trunk.\2.mlp.fc2.",
    _PREFIX + r"layernorm\.": "norm.",
    r"classifier\.": None,
}
# What config.json has to say; all published ones do.
FIXED = {"patch_size": PATCH, "num_mel_bins": MELS, "hidden_act": "gelu", "qkv_bias": True}


class Ast(Encoder):
    """Overlapping patches of the log-mel spectrogram through pre-norm blocks, after a class and a distillation token.

    A clip of 10 s gives 998 frames and 2 + 99 x 12 tokens. stride: of the patches, (frames, mel bands); columns: of the
    table of positions. Shorter clips take the middle of the table, longer ones the table stretched linearly in time, as
    the authors' code does for networks of another length; nothing is padded. The authors' clip embedding is the mean of
    the two special tokens.
    """

    sample_rate, window, hop, specials = Fbank.sample_rate, Fbank.window, Fbank.hop, 2

    def __init__(
        self,
        arch: VitArch,
        hidden: int | None = None,
        stride: tuple[int, int] = (10, 10),
        columns: int | None = None,
        eps: float = EPS,
    ) -> None:
        super().__init__()
        self.dim = dim = arch.embed_dim
        self.fbank = Fbank(MELS, taper="hann")
        self.patch_embed = Patches(MELS, dim, (PATCH, PATCH), stride)
        self.bands = self.patch_embed.bands
        self.columns = columns or self.patch_embed.columns(FRAMES)
        self.cls_token, self.dist_token = (nn.Parameter(STD * torch.randn(1, 1, dim)) for _ in range(2))
        self.pos_embed = nn.Parameter(STD * torch.randn(1, self.specials + self.columns * self.bands, dim))
        self.trunk = Trunk(arch.depth, dim, arch.num_heads, hidden or 4 * dim, eps=eps)
        self.norm = nn.LayerNorm(dim, eps)

    def frontend(self, wav: Tensor) -> Tensor:
        """wav [B, T], floats in [-1, 1] -> normalised log-mel [B, 1 + (T - 400) // 160, 128].

        Raises ValueError for clips shorter than one frame (25 ms).
        """
        return (self.fbank(wav.float()) - FBANK_MEAN) / (2 * FBANK_STD)

    def forward(self, feats: Tensor) -> Tensor:
        """feats [B, F, 128] -> tokens [B, 2 + columns * bands, dim]: class, distillation, patches.

        Raises ValueError for features of another width or of fewer frames than a patch.
        """
        return self.norm(self.trunk(self.prepare(self.patches(feats))))

    def memory(self, samples: int, clips: int, device: str, precision: str) -> int:
        """What the blocks hold, and the filterbank."""
        columns = self.patch_embed.columns(max(1 + (samples - self.window) // self.hop, 0))
        tokens = self.specials + columns * self.bands
        return self.trunk.memory(tokens, clips, device, precision) + Fbank.memory(samples)

    def blocks(self) -> list[Block]:
        """The transformer blocks, first to last."""
        return [block.block() for block in self.trunk]

    def patches(self, feats: Tensor) -> Tensor:
        """Features [B, F, 128] -> patch embeddings [B, N, dim]; ValueError as `forward`."""
        if feats.ndim != 3 or feats.shape[2] != MELS:
            raise ValueError(f"ast: features of shape {tuple(feats.shape)}, expected [clips, frames, {MELS}]")
        if feats.shape[1] < PATCH:
            seconds = (self.window + (PATCH - 1) * self.hop) / self.sample_rate
            raise ValueError(f"ast: clip of {feats.shape[1]} frames, at least {PATCH} ({seconds:g} s) are needed")
        return self.patch_embed(feats)

    def prepare(self, x: Tensor) -> Tensor:
        """Patch embeddings [B, N, dim] -> input of the first block [B, 2 + N, dim]."""
        front = torch.cat([self.cls_token, self.dist_token], 1).to(x.dtype).expand(x.shape[0], -1, -1)
        return torch.cat([front, x], 1) + self.positions(x.shape[1] // self.bands)

    def positions(self, columns: int) -> Tensor:
        """Positions for so many patches in time: [1, 2 + columns * bands, dim]."""
        if exporting():
            return self._positions_of_any(columns)
        if columns == self.columns:
            return self.pos_embed
        front, table = self.pos_embed[:, : self.specials], self.pos_embed[0, self.specials :]
        if columns < self.columns:
            start = self.columns // 2 - columns // 2
            own = table[start * self.bands : (start + columns) * self.bands]
        else:
            rows = table.view(self.columns, -1).t().unsqueeze(0)  # [1, bands * dim, columns]
            own = F.interpolate(rows, size=columns, mode="linear")[0].t().reshape(-1, self.dim)
        return torch.cat([front, own.unsqueeze(0)], 1)

    def _positions_of_any(self, columns: int) -> Tensor:
        """`positions` without a question, between two rows of the table each, of which the first may be all."""
        number = torch.arange(columns, device=self.pos_embed.device)
        count, last = number[-1] + 1, self.columns - 1
        middle = (number + self.columns // 2 - count // 2).float()
        stretched = ((number + 0.5) * (self.columns / count) - 0.5).clamp(min=0)
        place = torch.where(count <= self.columns, middle, stretched)
        low = place.floor().long().clamp(0, last)
        part = (place - low)[:, None]
        rows = self.pos_embed[0, self.specials :].view(self.columns, -1)  # [columns, bands * dim]
        own = rows[low] * (1 - part) + rows[(low + 1).clamp(max=last)] * part
        return torch.cat([self.pos_embed[:, : self.specials], own.view(1, -1, self.dim)], 1)


def build_ast(config: AstEncoder) -> Ast:
    """The network of a configuration: a published one, or one with random weights; ValueError as `load_ast`."""
    return load_ast(config.checkpoint) if config.checkpoint else Ast(config.size())


def load_ast(path: str | Path, heads: int | None = None) -> Ast:
    """Read the authors' file, or a folder that transformers wrote (or its file of weights), strictly.

    Of a folder, sizes, strides and the epsilon of the norms are those of its config.json: transformers' own default is
    1e-12, where the authors have 1e-6. heads: of a block in the authors' layout, if not the published `dim / 64`. The
    classifiers are left out. Raises ValueError naming the file and what is wrong: unreadable or damaged, code in it,
    another network, missing, unknown or wrongly shaped weights.
    """
    if Path(path).is_dir() or Path(path).name in IN_FOLDER:
        config, file = read_folder(path, "audio-spectrogram-transformer")
        weights = joined(renamed(read_weights(file, HOLDS), HUGGING_FACE), ("query", "key", "value"))
        _check_config(file.parent / "config.json", config)
        heads, eps = config["num_attention_heads"], config["layer_norm_eps"]
        stride = (config["time_stride"], config["frequency_stride"])
    else:
        file, weights = path, renamed(read_weights(path, HOLDS), ORIGINAL)
        stride, eps = _stride(path, weights), EPS
    dim, table = (side(file, weights, "pos_embed", axis, HOLDS) for axis in (2, 1))
    hidden = side(file, weights, "trunk.0.mlp.fc1.weight", 0, HOLDS)
    arch = vit_arch(path, weights, dim, heads, "no published AST")
    bands = (MELS - PATCH) // stride[1] + 1
    with shapes_alone():
        encoder = Ast(arch, hidden, stride, (table - Ast.specials) // bands, eps)
    check_weights(file, encoder.state_dict(), weights, f"an AST of {dim} numbers a token")
    put_in(encoder, _time_major(weights, bands))
    return encoder


def _stride(path: str | Path, weights: Mapping[str, Any]) -> tuple[int, int]:
    """The stride at which 1024 frames give as many patches as there are positions."""
    table = side(path, weights, "pos_embed", 1, HOLDS) - Ast.specials
    for stride in range(1, PATCH + 1):
        if ((FRAMES - PATCH) // stride + 1) * ((MELS - PATCH) // stride + 1) == table:
            return stride, stride
    raise ValueError(f"{path}: positions of {table} patches, which {FRAMES} frames do not give: no AST of AudioSet")


def _check_config(path: Path, config: Mapping[str, Any]) -> None:
    sizes = ("num_attention_heads", "time_stride", "frequency_stride")
    wrong = [f"{name} is {config.get(name)!r}, expected {value!r}" for name, value in FIXED.items()
             if config.get(name) != value]  # fmt: skip
    wrong += [f"{name} is {config.get(name)!r}, expected a whole number" for name in sizes
              if not isinstance(config.get(name), int) or config[name] < 1]  # fmt: skip
    if not isinstance(config.get("layer_norm_eps"), float):
        wrong.append(f"layer_norm_eps is {config.get('layer_norm_eps')!r}, expected a number")
    if wrong:
        raise ValueError(f"{path}: {'; '.join(wrong)}")
    extractor = path.parent / "preprocessor_config.json"
    stated = read_json(extractor) if extractor.exists() else {}
    for name, value in (("mean", FBANK_MEAN), ("std", FBANK_STD)):
        if stated.get(name, value) != value:
            raise ValueError(f"{extractor}: {name} is {stated[name]!r}, expected {value}: no AST of AudioSet")


def _time_major(weights: dict[str, Any], bands: int) -> dict[str, Any]:
    """The published patches and positions, whose images have frequency first, as the network holds them."""
    special, table = weights["pos_embed"].split([Ast.specials, weights["pos_embed"].shape[1] - Ast.specials], 1)
    table = table.unflatten(1, (bands, -1)).transpose(1, 2).flatten(1, 2)
    changed = {"pos_embed": torch.cat([special, table], 1)}
    return {**weights, **changed, "patch_embed.weight": weights["patch_embed.weight"].transpose(2, 3)}
