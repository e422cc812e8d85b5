"""That a graph gives what torch gives: measured on recordings, shorter and longer than all that it was made from."""

from collections.abc import Sequence

import numpy as np
import torch

from asdkit.config import Config
from asdkit.data.batches import tile
from asdkit.export.graph import INSTEAD, Whole
from asdkit.models.system import System
from asdkit.monitor.session import Session

ALLOWED = 1e-4  # of an array's largest number
LONGEST = 33.4  # seconds: beyond what positions were learnt for, but where an encoder says more
PIECES = 1.7  # times the longest piece of an encoder that takes longer clips in pieces


def lengths(system: System, config: Config) -> list[int]:
    """Five lengths in samples: a chunk, and up to where an encoder with an end would go on in another way."""
    rate, least = system.sample_rate, round(config.data.chunk_seconds * system.sample_rate)
    longest = getattr(getattr(system.embedding_network(), "encoder", None), "longest", 0) * system.hop
    last = max(round(LONGEST * rate), 4 * least, round(PIECES * longest))
    middle = max(10 * rate, 2 * least)
    return [least, round(1.37 * least) + 1, middle, round(1.263 * middle) + 7, last]


def prove(system: System, config: Config, session: Session, recordings: Sequence[np.ndarray]) -> dict[str, float]:
    """The largest difference of each array between graph and torch, over its largest number, at five lengths.

    recordings: float32 [T] each, at the system's rate; they are repeated or cut to the lengths, the first for the
    first. Raises ValueError where a difference is above 1e-4, with the array, the length and the difference.
    """
    assert recordings
    whole = Whole(system, config).eval()
    found: dict[str, float] = {}
    for number, samples in enumerate(lengths(system, config)):
        own = recordings[number % len(recordings)]
        wav = tile(own[:samples], samples)[None].astype(np.float32)
        arrays = session.run(wav)
        with torch.inference_mode():
            expected = {name: array.numpy() for name, array in whole(torch.from_numpy(wav)).items()}
        for name, array in expected.items():
            off = difference(arrays[name], array)
            if not off <= ALLOWED:
                raise ValueError(
                    f"encoder.name {config.encoder.name}: for a clip of {samples} samples {name} of the graph differs "
                    f"from torch's by {off:.1e} of its largest number, {ALLOWED:g} is allowed. {INSTEAD}"
                )
            found[name] = max(found.get(name, 0.0), off)
    return found


def difference(array: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference over the largest number expected; infinite where the shapes differ."""
    if array.shape != expected.shape:
        return float("inf")
    return float(np.abs(array - expected).max() / max(np.abs(expected).max(), np.finfo(np.float32).tiny))
