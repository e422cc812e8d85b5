"""From a pre-training's checkpoint to a file that every BEATs loader reads."""

from pathlib import Path

import torch

from asdkit.encoders.beats import Beats
from asdkit.encoders.beats_checkpoint import load_beats, save_beats
from asdkit.layers.beats_layers import BeatsConfig
from asdkit.models.checkpoint import read_checkpoint
from asdkit.utils.files import sha256_file, write_text
from asdkit.utils.typed_yaml import validate

PREFIX = "encoder."


def trained_encoder(checkpoint: str | Path) -> Beats:
    """The encoder of a pre-training's final.pt or last.pt; raises ValueError when the file is something else."""
    content = read_checkpoint(checkpoint)
    if not {"module", "cfg"} <= content.keys():
        raise ValueError(f"{checkpoint}: not a checkpoint of asdkit.bin.pretrain")
    encoder = Beats(validate(BeatsConfig, content["cfg"], f"{checkpoint}: cfg"))
    weights = {key: value for key, value in content["module"].items() if key.startswith(PREFIX)}
    encoder.load_state_dict({key.removeprefix(PREFIX): value for key, value in weights.items()})
    return encoder


def export(checkpoint: str | Path, out: str | Path, half: bool) -> str:
    """Write `out` and `<out>.sha256` (as sha256sum writes it), read `out` back; returns its SHA-256.

    `half`: 16-bit floats on disk, the loader gives 32-bit ones. Raises ValueError for an unusable checkpoint and for
    weights that 16 bits cannot hold.
    """
    encoder = trained_encoder(checkpoint)
    if half:
        encoder = encoder.half()
    if not all(torch.isfinite(value).all() for value in encoder.state_dict().values()):
        raise ValueError(f"{checkpoint}: holds weights that are not finite{' in 16 bits: use --half false' * half}")
    beside = Path(f"{out}.sha256")
    beside.unlink(missing_ok=True)  # that of an older file, which the loader would compare
    save_beats(encoder, out)
    digest = sha256_file(out)
    write_text(beside, f"{digest}  {Path(out).name}\n")
    load_beats(out)
    return digest
