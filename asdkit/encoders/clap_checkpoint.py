"""CLAP's files: the authors' torch file, or a folder that the library transformers wrote."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asdkit.config import ClapArch, ClapEncoder
from asdkit.encoders import clap
from asdkit.encoders.checkpoints import (
    check_weights,
    depth,
    joined,
    put_in,
    read_folder,
    read_weights,
    renamed,
    shapes_alone,
    side,
)
from asdkit.encoders.clap import Clap
from asdkit.utils.files import read_json

HOLDS = "CLAP is a torch file of 'state_dict', or a folder of config.json and model.safetensors"
STAGES = 4
BLOCK = r"layers\.(\d+)\.blocks\.(\d+)\."
NETWORK = {  # audio_config of config.json, beside the sizes
    "hidden_act": "gelu", "layer_norm_eps": 1e-5, "spec_size": clap.PATCH * clap.SIDE,
}  # fmt: skip
FRONT_END = {  # preprocessor_config.json
    "sampling_rate": clap.RATE, "fft_window_size": clap.FFT, "hop_length": clap.HOP, "feature_size": clap.MELS,
    "frequency_min": clap.LOW, "frequency_max": clap.HIGH,
}  # fmt: skip

# Names in the files -> ours; None is a foreign part: the text's branch, the heads, what is computed here.
_BRANCH = r"(?:module\.)?audio_branch\."
ORIGINAL: dict[str, str | None] = {
    r"(?:module\.)?(?:text_\w+|audio_projection|audio_transform)\.": None,
    r"(?:module\.)?logit_scale_[at]$": None,
    _BRANCH + r"(?:spectrogram_extractor|logmel_extractor|tscam_conv|head)\.": None,
    _BRANCH + r"bn0\.num_batches_tracked$": None,
    _BRANCH + BLOCK + r"(?:attn_mask|attn\.relative_position_index)$": None,
    _BRANCH + r"layers\.": "stages.",
    _BRANCH: "",
}
_ENCODER = r"(?:audio_model\.)?audio_encoder\."
HUGGING_FACE: dict[str, str | None] = {
    r"(?:text_model|text_projection|audio_projection)\.": None,
    r"logit_scale_[at]$": None,
    _ENCODER + r"batch_norm\.num_batches_tracked$": None,
    _ENCODER + BLOCK + r"attention\.self\.relative_position_index$": None,
    _ENCODER + BLOCK + r"layernorm_before\.": r"stages.\1.blocks.\2.norm1.",
    _ENCODER + BLOCK + r"layernorm_after\.": r"stages.\1.blocks.\2.norm2.",
    _ENCODER + BLOCK + r"attention\.self\.": r"stages.\1.blocks.\2.attn.",
    _ENCODER + BLOCK + r"attention\.output\.dense\.": r"stages.\1.blocks.\2.attn.proj.",
    _ENCODER + BLOCK + r"intermediate\.dense\.": r"stages.\1.blocks.\2.mlp.fc1.",
    _ENCODER + BLOCK + r"output\.dense\.": r"stages.\1.blocks.\2.mlp.fc2.",
    _ENCODER + r"batch_norm\.": "bn0.",
    _ENCODER + r"layers\.": "stages.",
    _ENCODER: "",
}


def build_clap(config: ClapEncoder) -> Clap:
    """The network of a configuration: a published file's, or one with random weights; ValueError as `load_clap`."""
    if config.checkpoint:
        return load_clap(config.checkpoint, config.sample_rate)
    return Clap(config.size(), config.sample_rate)


def load_clap(path: str | Path, sample_rate: int = 16000) -> Clap:
    """Read the audio branch from one of CLAP's files, strictly; sample_rate: of the recordings, Hz.

    Raises ValueError naming the file and what is wrong: unreadable or damaged, another network, the network for several
    views of long clips (fusion), another front end, missing, unknown or wrongly shaped weights.
    """
    if Path(path).is_dir():
        config, file = read_folder(path, "clap")
        front_end = Path(path) / "preprocessor_config.json"
        _check_stated(f"{path}/config.json: audio_config", config.get("audio_config") or {}, NETWORK)
        _check_stated(front_end, read_json(front_end) if front_end.exists() else {}, FRONT_END)
    else:
        file = Path(path)
    contents = read_weights(file, HOLDS)
    stored = contents.get("state_dict", contents)
    if not isinstance(stored, dict):
        raise ValueError(f"{file}: 'state_dict' holds {type(stored).__name__}; {HOLDS}")
    if any("fusion_model" in name or "mel_conv2d" in name for name in stored):
        raise ValueError(
            f"{file}: CLAP with fusion, which draws parts of long clips at random; take a file without: "
            "630k-audioset-best.pt, clap-htsat-unfused"
        )
    weights = ours(stored)
    arch = _arch(file, weights)
    with shapes_alone():
        network = Clap(arch, sample_rate)
    check_weights(file, network.state_dict(), weights, "the audio branch of a CLAP")
    _check_filters(file, stored, network)
    put_in(network, weights)
    return network


def ours(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The weights of a file of either layout under this package's names, foreign parts left out."""
    theirs = any(re.match(_ENCODER, name) for name in stored)
    return joined(renamed(stored, HUGGING_FACE if theirs else ORIGINAL), ("query", "key", "value"))


def _arch(file: Path, weights: Mapping[str, Any]) -> ClapArch:
    table = "stages.{}.blocks.0.attn.relative_position_bias_table"
    return ClapArch(
        embed_dim=side(file, weights, "patch_embed.proj.weight", 0, HOLDS),
        depths=[depth(weights, f"stages.{n}.blocks.") for n in range(STAGES)],
        num_heads=[side(file, weights, table.format(n), 1, HOLDS) for n in range(STAGES)],
    )


def _check_stated(where: str | Path, stated: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for name, value in expected.items():
        if stated.get(name, value) != value:
            raise ValueError(f"{where}: {name} is {stated[name]}, expected {value}: another network than CLAP's")


def _check_filters(file: Path, stored: Mapping[str, Any], network: Clap) -> None:
    filters = next((value for name, value in stored.items() if name.endswith("logmel_extractor.melW")), None)
    own = network.mel.filters
    if isinstance(filters, Tensor) and not (
        filters.shape == own.shape and torch.allclose(filters.float(), own, 1e-3, 1e-6)
    ):
        raise ValueError(
            f"{file}: its mel filters are not those of {clap.MELS} bands from {clap.LOW:g} to {clap.HIGH:g} Hz at "
            f"{clap.RATE} Hz: trained on other features"
        )
