"""A recording as it was recorded: before another rate, level or a second microphone changes its samples."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from asdkit.signals.audio import AudioReader
from asdkit.signals.formats import open_signal


class Recorded(NamedTuple):
    """Samples float32 [T] of the channel that is listened to, full scale 1, at `rate` Hz; subtype: as libsndfile names
    it, empty for files of measurements; channels: of the file."""

    samples: np.ndarray
    rate: int
    subtype: str
    channels: int


def recorded(reader: AudioReader, path: str | Path) -> Recorded:
    """What a file holds of the channel that `reader` reads; raises ValueError naming a broken file."""
    with open_signal(path, reader.signal) as recording:
        channel = reader.channel or 0
        if channel >= recording.channels:
            raise ValueError(
                f"{path}: channel {channel} asked for, the recording has {recording.channels} (0 is first)"
            )
        blocks = [block[:, channel] for block in recording.blocks(0, recording.frames)]
        samples = np.concatenate([np.empty(0, np.float32), *blocks])
        full = reader.signal and reader.signal.full_scale
        subtype = getattr(getattr(recording, "file", None), "subtype", "")
        return Recorded(samples / np.float32(full) if full else samples, recording.rate, subtype, recording.channels)
