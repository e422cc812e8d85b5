"""Dasheng (Dinkel et al., 'Scaling up masked audio encoder learning for general audio classification', 2024)."""

from pathlib import Path
from typing import Any

from torch import Tensor

from asdkit.config import DashengEncoder
from asdkit.encoders.ced import MELS, ORIGINAL, Ced
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

FRAMES = 4  # of a patch
COLUMNS = 252  # that positions were learnt for: 10.08 s
HEADS = {1280: 16}  # of the one published size whose heads are not of 64 numbers

HOLDS = "a Dasheng file is a torch file of 'model' and 'config', or model.safetensors in a folder with config.json"
HUGGING_FACE = {rf"encoder\.{pattern}": name for pattern, name in ORIGINAL.items()} | {
    r"encoder\.": "",
    r"outputlayer\.": None,
}


class Dasheng(Ced):
    """40-ms slices of the mel spectrogram in dB through pre-norm blocks: 10 s give 1001 frames and 250 tokens.

    Front end, positions and blocks are made as CED's; a patch is as high as the spectrogram. Clips of more than 1008
    frames go through in pieces of 1008, each with positions from the start, as in the authors' code. The authors' clip
    embedding is the mean over the tokens.
    """

    named, bands = "dasheng", 1
    least, longest, piece, step = FRAMES, FRAMES * COLUMNS, FRAMES * COLUMNS, FRAMES * COLUMNS
    patch = (FRAMES, MELS)


def build_dasheng(config: DashengEncoder) -> Dasheng:
    """The network of a configuration: a published one, or one with random weights; ValueError as `load_dasheng`."""
    return load_dasheng(config.checkpoint) if config.checkpoint else Dasheng(config.size())


def load_dasheng(path: str | Path) -> Dasheng:
    """Read the authors' file of any size, also one fine-tuned on AudioSet, or a folder of the hub, strictly.

    Heads are those that the file's 'config' or config.json tells, else the published ones. The classifier and the
    stored front end are left out. Raises ValueError naming the file and what is wrong: unreadable or damaged, code in
    it, another network, missing, unknown or wrongly shaped weights.
    """
    if Path(path).is_dir() or Path(path).name in IN_FOLDER:
        config, file = read_folder(path, "dasheng")
        told = config | (config.get("encoder_kwargs") or {})
        weights = renamed(read_weights(file, HOLDS), HUGGING_FACE)
    else:
        file, contents = path, read_weights(path, HOLDS)
        inner, told = contents.get("model"), contents.get("config")
        weights = renamed(inner if isinstance(inner, dict) else contents, ORIGINAL)
    dim = side(file, weights, "time_pos_embed", 1, HOLDS)
    hidden = side(file, weights, "trunk.0.mlp.fc1.weight", 0, HOLDS)
    arch = vit_arch(file, weights, dim, _heads(told) or HEADS.get(dim), "no published Dasheng")
    with shapes_alone():
        encoder = Dasheng(arch, hidden)
    patches = weights.get("patch_embed.weight")
    if isinstance(patches, Tensor) and patches.ndim == 4:
        weights["patch_embed.weight"] = patches.transpose(2, 3)  # [dim, 1, mels, frames] before
    check_weights(file, encoder.state_dict(), weights, f"a Dasheng of {dim} numbers a token")
    put_in(encoder, weights)
    return encoder


def _heads(config: Any) -> int | None:
    found = config.get("num_heads") if isinstance(config, dict) else None
    return found if isinstance(found, int) and found > 0 else None
