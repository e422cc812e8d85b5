"""Training sounds: crops of recordings and generated ones, mixed, filtered, sped up and levelled."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from asdkit.pretrain.config import SoundConfig
from asdkit.pretrain.machines import machine_sounds
from asdkit.pretrain.noise import heard_in_noise
from asdkit.pretrain.synth import Dice, decibels, generate, slopes, unit
from asdkit.signals.audio import RATE, SUFFIXES, AudioReader, sample_counts
from asdkit.utils.files import read_table, sha256_text, write_table

COLUMNS = ("wav", "samples")
SILENT = 1e-4  # root mean square below which a crop is drawn again
TRIES = 4


def reader(config: SoundConfig) -> AudioReader:
    """The reader of the recordings."""
    return AudioReader(RATE, config.channel, config.resample)


def list_audio(folder: str | Path, config: SoundConfig) -> list[dict[str, str]]:
    """Find every wav and flac file below `folder`: rows of `wav` (absolute) and `samples` (at 16 kHz).

    Raises ValueError when the folder is missing or holds none, or naming a recording that cannot be read.
    """
    root = Path(folder).absolute()
    if not root.is_dir():
        raise ValueError(f"--corpus: there is no folder {root}")
    paths = sorted(str(path) for path in root.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(f"--corpus: {root} holds no {' or '.join(SUFFIXES)} file, in subfolders neither")
    counts = sample_counts(reader(config), paths, content=True)
    return [{"wav": path, "samples": str(count)} for path, count in zip(paths, counts, strict=True)]


def write_list(path: str | Path, rows: list[dict[str, str]]) -> None:
    """Write the list of recordings."""
    write_table(path, COLUMNS, rows)


def read_list(path: str | Path) -> list[dict[str, str]]:
    """Read the list of recordings; raises ValueError saying what to do where there is none, or an older one."""
    try:
        return read_table(path, COLUMNS)
    except ValueError as error:
        raise ValueError(f"{error}. Make the list again: stage 1 (list_audio)") from None


def list_digest(path: str | Path) -> str:
    """SHA-256 of the recordings' names and lengths; the folder that they lie in does not count."""
    return sha256_text("\n".join(f"{Path(row['wav']).name} {row['samples']}" for row in read_list(path)))


class Recordings:
    """The recordings of a list, the first ones kept in memory up to `cache_hours`."""

    def __init__(self, path: str | Path, config: SoundConfig) -> None:
        rows = read_list(path)
        self.paths = [row["wav"] for row in rows]
        self.lengths = [int(row["samples"]) for row in rows]
        self.reader = reader(config)
        self.room = int(config.cache_hours * 3600 * RATE)
        self.cache: dict[int, np.ndarray] = {}

    def read(self, index: int, start: int, count: int) -> np.ndarray:
        """So many samples of one recording, tiled where it is shorter: float32 [count].

        Raises ValueError naming a recording that has changed or cannot be read.
        """
        have = self.lengths[index]
        stop = min(start + count, have)
        if index not in self.cache and have <= self.room:
            self.cache[index] = self.reader.read(self.paths[index], length=have)
            self.room -= have
        if index in self.cache:
            samples = self.cache[index][start:stop]
        else:
            samples = self.reader.read(self.paths[index], start, stop - start, have)
        return samples if len(samples) == count else np.resize(samples, count)

    def crops(self, count: int, samples: int, config: SoundConfig, dice: Dice) -> Tensor:
        """Random crops [count, samples] at random speeds; silent ones are drawn again, a few times."""
        crops = torch.empty(count, samples)
        lengths = (samples * dice.uniform(1 - config.speed, 1 + config.speed, count)).long().tolist()
        for row, length in enumerate(lengths):
            for _ in range(TRIES):
                index = int(dice.integer(0, len(self.paths), 1))
                start = int(dice.integer(0, max(self.lengths[index] - length, 0) + 1, 1))
                crop = torch.from_numpy(self.read(index, start, length))
                if crop.square().mean().sqrt() > SILENT:
                    break
            crops[row] = F.interpolate(crop[None, None], samples, mode="linear", align_corners=False)[0, 0]
        return crops


def training_sounds(
    count: int, config: SoundConfig, recordings: Recordings | None, generator: torch.Generator, seconds: float = 0
) -> tuple[Tensor, Tensor]:
    """One batch of training clips: as they are heard, and clean, both [count, samples].

    What is heard is within [-1, 1]; without `sound.noise` it is the clean clip. Without recordings all clips are
    generated. seconds: their length (default: crop_seconds).
    """
    dice = Dice(generator)
    samples = round((seconds or config.crop_seconds) * RATE)
    recorded = 0 if recordings is None else round(count * (1 - config.generated))
    clips = _generated(count - recorded, samples, config, generator)
    if recordings is not None and recorded:
        crops = unit(recordings.crops(recorded, samples, config, dice))
        others = torch.cat([clips, crops])[dice.integer(0, count, recorded)]
        share = decibels(-dice.uniform(0, 20, recorded, 1)) * dice.chance(config.mixed, recorded, 1)
        clips = torch.cat([clips, _filtered(crops + others * share, dice)])
    clips = unit(clips)
    heard = heard_in_noise(clips, config.noise, dice) if config.noise else clips
    # one gain for both, so that the clean clip is what it is within what is heard
    gain = _gain(heard, config, dice)
    return heard * gain, clips * gain


def _generated(count: int, samples: int, config: SoundConfig, generator: torch.Generator) -> Tensor:
    if not count:
        return torch.empty(0, samples)
    machines = round(count * config.machines)
    parts = [generate(count - machines, samples, generator)] if machines < count else []
    return torch.cat([*parts, machine_sounds(machines, samples, Dice(generator))] if machines else parts)


def _filtered(clips: Tensor, dice: Dice) -> Tensor:
    samples = clips.shape[1]
    gains = slopes(len(clips), samples, dice, spread=3.0)
    return torch.fft.irfft(torch.fft.rfft(clips) * gains, samples)


def _gain(clips: Tensor, config: SoundConfig, dice: Dice) -> Tensor:
    """Factors [B, 1] that bring clips to random levels, and below full scale."""
    level = decibels(dice.uniform(*config.level_db, len(clips), 1)) / clips.square().mean(1, keepdim=True).sqrt().clamp(
        min=1e-5
    )
    return level / (level * clips.abs().amax(1, keepdim=True) / 0.99).clamp(min=1.0)
