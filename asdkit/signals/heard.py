"""What becomes of a recording's samples before a network hears them: its level, and a length that is enough."""

import numpy as np

LEVEL = 0.05  # of full scale (-26 dB): what an RMS is brought to
SILENT = 1e-7  # below a 24-bit recording's last bit: silence, whatever the offset


def at_level(wav: np.ndarray, rms: float) -> np.ndarray:
    """Samples [T] scaled so that `rms` becomes LEVEL; 0 stands for their own. Silence stays silence."""
    rms = rms or root_mean_square(wav)
    return wav * np.float32(LEVEL / rms) if rms > SILENT else wav


def root_mean_square(wav: np.ndarray) -> float:
    """Of samples [T], around their mean."""
    return float(np.std(wav, dtype=np.float64))


def tile(array: np.ndarray, length: int) -> np.ndarray:
    """Repeat an array along its first axis and cut it to `length`."""
    if len(array) == length:
        return array
    return np.concatenate([array] * -(-length // len(array)))[:length]
