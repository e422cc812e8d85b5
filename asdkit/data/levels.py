"""How loud a network hears a clip (`data.level`): the one place where clips are read for it."""

import logging
import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from asdkit.config import Config
from asdkit.corpus.description import load_dataset
from asdkit.corpus.names import sets_of
from asdkit.data.chain import Prepared
from asdkit.data.lists import Clip, recorded_clips
from asdkit.signals.audio import AudioReader
from asdkit.signals.heard import SILENT, root_mean_square
from asdkit.signals.heard import at_level as scaled
from asdkit.utils.ark import read_frames, split_location
from asdkit.utils.cli import progress
from asdkit.utils.done import Done, check_written
from asdkit.utils.files import read_table, sha256_file, write_table

COLUMNS = ("machine", "rms")


def read_clip(reader: AudioReader, clip: Clip, start: int = 0, samples: int = -1) -> np.ndarray:
    """Samples [start, start + samples) of a clip as the network is to hear them, float32 [T]; -1: to the end.

    With `clip.rms` they are scaled so that this RMS becomes LEVEL; 0 stands for the clip's own, of all its samples
    around their mean. Silence stays silence. Errors as for `AudioReader.read`, and for the archive of `clip.treated`.
    """
    wav = _samples(reader, clip, start, samples)
    if clip.rms is None:
        return wav
    whole = samples in (-1, clip.samples)
    rms = clip.rms or (root_mean_square(wav) if whole else _rms_of(reader, clip))
    return scaled(wav, rms) if rms > 0 else wav


def at_level(clips: Sequence[Clip], config: Config, exp: str | Path) -> list[Clip]:
    """The clips with the RMS that `data.level` brings to LEVEL; exp/<tag>/levels.tsv holds those of machines.

    Raises ValueError for a machine that is not in it, and where there is no such file.
    """
    if config.data.level == "keep":
        return list(clips)
    if config.data.level == "clip_rms":
        return [replace(clip, rms=0.0) for clip in clips]
    path = Path(exp) / "levels.tsv"
    levels = {row["machine"]: float(row["rms"]) for row in read_table(path, COLUMNS)}
    if unknown := sorted({clip.machine for clip in clips} - levels.keys()):
        raise ValueError(f"{path}: no level of machine {unknown[0]!r}; there are some of {', '.join(levels)}")
    return [replace(clip, rms=levels[clip.machine] or None) for clip in clips]


def level_inputs(config: Config, exp: str | Path) -> dict[str, str]:
    """What levels add to a done marker: the hash of those of machines, where they count."""
    if config.data.level != "machine_rms":
        return {}
    check_written(Path(exp) / ".done.levels", "--stage 2 --force true")
    return {"levels": sha256_file(Path(exp) / "levels.tsv")}


def write_levels(config: Config, data: str | Path, exp: str | Path, force: bool = False) -> None:
    """Write exp/<tag>/levels.tsv, where `data.level` is machine_rms: root mean square over a machine's training clips.

    Each clip counts the same, silent ones do not; 0: all are silent. Raises ValueError naming a broken recording.
    """
    if config.data.level != "machine_rms":
        return
    prepared, reader = Prepared(data), load_dataset(data).reader(config.data.reference)
    sets = sets_of("train", prepared.sets())
    told = {key: value for key, value in reader.identity().items() if key != "filter"}
    inputs = {**{name: prepared.digest(name) for name in sets}, **told}
    done = Done(Path(exp) / ".done.levels", inputs, force, reread=prepared.today)
    if done.is_done():
        return
    clips = [clip for name in sets for clip in recorded_clips(data, name)]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = pool.map(lambda clip: root_mean_square(reader.read(clip.path, length=clip.samples)), clips)
        measured = list(progress(found, "levels of machines", len(clips)))
    heard: dict[str, list[float]] = defaultdict(list)
    for clip, rms in zip(clips, measured, strict=True):
        heard[clip.machine] += [rms**2] if rms > SILENT else []
    levels = {machine: float(np.mean(squares or [0.0])) ** 0.5 for machine, squares in sorted(heard.items())}
    write_table(Path(exp) / "levels.tsv", COLUMNS, [{"machine": m, "rms": repr(rms)} for m, rms in levels.items()])
    done.finish([Path(exp) / "levels.tsv"])
    logging.info("levels: %s", ", ".join(f"{m} {20 * np.log10(max(rms, SILENT)):.1f} dB" for m, rms in levels.items()))


@cache
def _rms_of(reader: AudioReader, clip: Clip) -> float:
    return root_mean_square(_samples(reader, clip))


def _samples(reader: AudioReader, clip: Clip, start: int = 0, samples: int = -1) -> np.ndarray:
    if clip.treated is None:
        return reader.read(clip.path, start, samples, clip.samples)
    ark, offset = split_location(clip.treated)
    return read_frames(ark, offset, start, clip.samples - start if samples < 0 else samples)[:, 0].copy()
