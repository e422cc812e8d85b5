"""FISHER (Fan et al., 'FISHER: A Foundation Model for Multi-Modal Industrial Signal Comprehensive Representation')."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ConfigDict, Field
from torch import Tensor

from asdkit.config import FisherEncoder, VitArch
from asdkit.encoders.checkpoints import check_weights, depth, put_in, read_torch, renamed, shapes_alone, side
from asdkit.encoders.eat import IMAGE, PatchesAndClip
from asdkit.layers.log_spectrum import LogSpectrum
from asdkit.layers.vit import sine_table
from asdkit.utils.typed_yaml import Section, validate

PATCH, BAND, FRAMES = 16, 100, 1024  # bins of a band; frames of the longest clip that the authors' code takes
TABLE = (128, 50)  # of random weights: columns and rows of the grid whose positions are numbered
MEAN, SCALE = -3.017344307886898, 2 * 2.1531635155379805  # of the logarithms: mean, twice the deviation
HOLDS = "a FISHER file is a torch file of 'cfg' (with 'model') and 'model'"


class _Image(Section):
    """What a file says of the patches."""

    model_config = ConfigDict(extra="ignore")

    patch_size: Literal[16] = PATCH
    flatten: Literal["freq"] = "freq"
    num_extra_tokens: Literal[1] = 1


class _Modalities(Section):
    model_config = ConfigDict(extra="ignore")

    image: _Image = _Image()


class _Cfg(Section):
    """What a file says of its network, as far as it is needed; other values than the literal ones make another."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    num_heads: int = Field(ge=1)
    band_width: int = Field(ge=PATCH)
    layer_norm_first: Literal[False] = False
    modalities: _Modalities = _Modalities()


class Fisher(PatchesAndClip):
    """The logarithm of the spectrum at the recordings' own rate, in bands of 4 kHz, each with a class token of its own.

    Frames of 25 ms every 10 ms at any rate, so that a bin is 40 Hz wide; 100 bins from below are a band, what is left
    above is not heard, and where there are fewer, zeros fill up the one band. All bands go through the same network by
    themselves, which does not know which it hears. A token is 16 frames of 16 bins: a clip of 10 s at 16 kHz gives 2
    class tokens, low band first, and 62 x 12 others; at 48 kHz 6, and 62 x 36. The class tokens side by side are the
    authors' clip embedding; those of different rates have different sizes and do not compare.

    Clips go in as they are, and where they are longer than 1024 frames, in pieces of 1024, after which the authors'
    code cuts; nothing is filled up in time. The mean of what the front end is given is taken out first. positions: the
    rows of the published table in their order, though they are numbered for another grid, as in the authors' code.
    """

    named, least = "fisher", PATCH

    def __init__(
        self, arch: VitArch, sample_rate: int, width: int = BAND, rows: int | None = None, hidden: int | None = None
    ) -> None:
        table = sine_table(*TABLE, arch.embed_dim) if rows is None else torch.empty(1, rows, arch.embed_dim)
        super().__init__(arch, width, table, hidden)
        self.sample_rate, self.window, self.hop = sample_rate, 25 * sample_rate // 1000, 10 * sample_rate // 1000
        self.spectrogram = LogSpectrum(self.window, self.hop)
        self.width, self.mels = width, self.spectrogram.bins
        self.specials = self.apart = max(self.mels // width, 1)
        self.bands = self.apart * self.patch_embed.bands
        columns = min(FRAMES // PATCH, table.shape[1] // self.patch_embed.bands)
        self.longest = self.piece = self.step = columns * PATCH

    def frontend(self, wav: Tensor) -> Tensor:
        """wav [B, T], floats in [-1, 1] -> normalised logarithms [B, 1 + (T - window) // hop, window // 2 + 1].

        Raises ValueError for clips shorter than one frame (25 ms).
        """
        return (self.spectrogram(wav) - MEAN) / SCALE

    def network(self, feats: Tensor) -> Tensor:
        """Features [B, F, bins] -> tokens [B, apart + F // 16 * bands, dim]."""
        return self.together(self.trunk(self.prepare(self.patch_embed(self.split(feats)))))

    def split(self, feats: Tensor) -> Tensor:
        """Features [B, F, bins] -> bands [B * apart, F, width], a clip's one after the other, the lowest first."""
        heard = self.apart * self.width
        feats = torch.nn.functional.pad(feats, (0, max(heard - self.mels, 0)))[..., :heard]
        return feats.unflatten(2, (self.apart, self.width)).transpose(1, 2).flatten(0, 1)

    def together(self, x: Tensor) -> Tensor:
        """What a block gives for bands [B * apart, 1 + N, dim] -> tokens of clips [B, apart * (1 + N), dim]."""
        x = x.unflatten(0, (-1, self.apart))  # [B, apart, 1 + N, dim]
        patches = x[:, :, 1:].unflatten(2, (-1, self.patch_embed.bands)).transpose(1, 2)  # [B, columns, apart, ...]
        return torch.cat([x[:, :, 0], patches.flatten(1, 3)], 1)


def build_fisher(config: FisherEncoder) -> Fisher:
    """The network of a configuration: a published one, or one with random weights; ValueError as `load_fisher`."""
    if config.checkpoint:
        return load_fisher(config.checkpoint, config.sample_rate)
    return Fisher(config.size(), config.sample_rate)


def load_fisher(path: str | Path, sample_rate: int) -> Fisher:
    """Read a published file of any size (tiny, mini, small) for recordings of `sample_rate`, strictly.

    Raises ValueError naming the file and what is wrong: unreadable or damaged, code in it, another network, missing,
    unknown or wrongly shaped weights.
    """
    contents = read_torch(path, HOLDS, settings=True)
    cfg, stored = _parts(path, contents)
    weights = renamed(stored, IMAGE)
    dim = side(path, weights, "cls_token", 2, HOLDS)
    rows = side(path, weights, "positions", 1, HOLDS)
    hidden = side(path, weights, "trunk.0.mlp.fc1.weight", 0, HOLDS)
    if dim % cfg.num_heads:
        raise ValueError(f"{path}: tokens of {dim} numbers are not {cfg.num_heads} heads: no published FISHER")
    arch = VitArch(embed_dim=dim, depth=depth(weights, "trunk."), num_heads=cfg.num_heads)
    with shapes_alone():
        encoder = Fisher(arch, sample_rate, cfg.band_width, rows, hidden)
    check_weights(path, encoder.state_dict(), weights, f"a FISHER of {dim} numbers a token")
    put_in(encoder, weights)
    return encoder


def _parts(path: str | Path, contents: Any) -> tuple[_Cfg, Mapping[str, Any]]:
    """cfg.model and the weights of what a file holds; ValueError for something else."""
    cfg = contents.get("cfg") if isinstance(contents, dict) else None
    if not isinstance(cfg, dict) or not isinstance(cfg.get("model"), dict):
        raise ValueError(f"{path}: no dict 'model' under 'cfg' in it; {HOLDS}")
    if not isinstance(contents.get("model"), dict):
        raise ValueError(f"{path}: no dict under 'model' in it; {HOLDS}")
    return validate(_Cfg, cfg["model"], f"{path}: cfg.model"), contents["model"]
