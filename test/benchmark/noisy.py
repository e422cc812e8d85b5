"""The corpora of detectors.py: motors and slide rail (level.py) as they are and in noise."""

import zlib
from pathlib import Path

import numpy as np
import soundfile
from level import Clip

from asdkit.signals.noise import with_noise
from asdkit.utils.files import write_text

QUIETER = 1 / 4  # all noisy clips alike: at -12 dB loud recordings would reach 30 times full scale
NOISES, SNRS = ("pink", "factory"), (0, -6, -12)
CORPORA = ("mini", "clean", *(f"{kind}_{snr}" for kind in NOISES for snr in SNRS))


def write(out: Path, corpus: str, clips: list[Clip]) -> None:
    """The clips with their noise as 32-bit floats, QUIETER so that they stay far from other units; last, their list."""
    folder = out / "corpora" / corpus
    if (folder / "list.csv").exists():
        return
    kind, _, snr = corpus.partition("_")
    rows = []
    for path, machine, split, condition in clips:
        samples, rate = soundfile.read(path, dtype="float64")
        if kind in NOISES:
            samples = QUIETER * with_noise(samples, kind, float(snr), zlib.crc32(path.stem.encode()), rate)
        name = f"{machine}/{split}/{path.stem}.wav"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, samples.astype(np.float32), rate, subtype="FLOAT")
        rows.append(",".join([name, machine, split, condition]))
    write_text(folder / "list.csv", "\n".join(["path,machine,split,condition", *rows, ""]))
