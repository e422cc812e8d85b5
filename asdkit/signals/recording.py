"""One recording file: opened, checked against its header, read in parts."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

from asdkit.signals.headers import check_file

_UNKNOWN_LENGTH = 2**63 - 1  # what libsndfile says of a flac without a length
_LOUDEST = 16  # 24 dB over full scale: no microphone's overs, but samples in other units


@contextmanager
def open_recording(path: str | Path) -> Iterator[soundfile.SoundFile]:
    """A wav or flac file whose header agrees with what the file holds; raises ValueError naming it."""
    check_file(path)
    try:
        file = soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path}: not a readable wav or flac file: {error.error_string}") from None
    with file:
        if file.frames == 0:
            raise ValueError(f"{path}: holds no samples")
        if file.frames == _UNKNOWN_LENGTH:
            raise ValueError(f"{path}: its header tells no length, as of a file written to a pipe: encode it again")
        yield file


def read_samples(file: soundfile.SoundFile, path: str | Path, start: int, stop: int) -> np.ndarray:
    """Samples [start, stop) at the file's own rate, of all channels: float32 [T, C], full scale 1.

    Raises ValueError naming the file where it is broken or ends early, or holds what are no samples.
    """
    try:
        file.seek(start)
        samples = file.read(stop - start, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path}: broken at sample {start} or later: {error.error_string}") from None
    if len(samples) != stop - start:
        raise ValueError(f"{path}: ends early: {len(samples)} of {stop - start} samples from {start} on")
    if file.subtype in ("FLOAT", "DOUBLE") and samples.size:
        _check_floats(samples, path)
    return samples


def _check_floats(samples: np.ndarray, path: str | Path) -> None:
    peak = float(max(samples.max(), -samples.min()))
    if not np.isfinite(peak):  # max and min of what holds a NaN are NaN
        raise ValueError(f"{path}: holds NaN or infinite samples")
    if peak > _LOUDEST or (peak >= 2 and (samples == np.rint(samples)).all()):
        scale = next(bits for bits in (8, 16, 24, 32) if peak <= 2 ** (bits - 1) or bits == 32)
        raise ValueError(
            f"{path}: floating-point samples up to {peak:g}, where full scale is 1: integers of {scale} bits, it "
            f"seems, or another unit. Divide them by {2 ** (scale - 1)} (or by what full scale is) and write them again"
        )
