"""What is done to the recordings of training chunks: speed, mixup, noise and gain, in this order."""

from collections.abc import Sequence
from fractions import Fraction
from math import floor

import numpy as np

from asdkit.config import TrainConfig
from asdkit.data.levels import read_clip
from asdkit.data.lists import Clip
from asdkit.data.noise import NoiseMixer
from asdkit.signals.audio import AudioReader
from asdkit.signals.heard import tile
from asdkit.signals.resample import resample, resampled_length

_SPEED, _MIXUP, _GAIN = 5, 6, 7  # random streams of their own beside those of `NoiseMixer` and the samplers
_STEPS = 100  # factors of speed are hundredths, so that a few filters make them


class Augmenter:
    """Changes chunks; what happens to one depends on (seed, step, place in the whole batch) alone.

    noise: what mixes noise in; None: nothing does.
    """

    def __init__(self, config: TrainConfig, reader: AudioReader, seed: int, noise: NoiseMixer | None = None) -> None:
        self.reader, self.seed, self.noise = reader, seed, noise
        self.speed, self.mixup, self.gain = config.speed, config.mixup, config.gain

    def read(self, clip: Clip, start: int, chunk: int, step: int, place: int) -> np.ndarray:
        """The chunk [T] float32 of a clip that starts at the sample `start`, at the speed drawn for it.

        Clips that are shorter are repeated. Errors as for `read_clip`.
        """
        factor = Fraction(1)
        if self.speed and clip.machine in self.speed.machines:
            rng = np.random.default_rng((self.seed, _SPEED, step, place))
            factor = Fraction(round(_STEPS * float(rng.choice(self.speed.factors))), _STEPS)
        if factor == 1:
            return tile(read_clip(self.reader, clip, start, min(chunk, clip.samples)), chunk)
        old, new = factor.numerator, factor.denominator
        total = resampled_length(clip.samples, old, new)
        first = max(min(floor(start / factor), total - chunk), 0)

        def samples(begin: int, end: int) -> np.ndarray:
            return read_clip(self.reader, clip, begin, end - begin)

        return tile(resample(samples, clip.samples, first, min(first + chunk, total), old, new), chunk)

    def partner(self, size: int, step: int, place: int) -> tuple[int, float]:
        """Place of the chunk of a batch of `size` that is mixed into this one, and this one's share; 1: nothing is."""
        if self.mixup is None:
            return place, 1.0
        rng = np.random.default_rng((self.seed, _MIXUP, step, place))
        if rng.random() >= self.mixup.probability:
            return place, 1.0
        other = (place + 1 + int(rng.integers(size - 1))) % size
        return other, float(np.float32(rng.beta(self.mixup.alpha, self.mixup.alpha)))

    def finish(self, wav: np.ndarray, machine: str, step: int, place: int) -> np.ndarray:
        """A chunk [T] float32 of a machine, mixed with another or not -> with noise and gain. Errors as for `mix`."""
        if self.noise:
            wav = self.noise.mix(wav, machine, step, place)
        if self.gain is None:
            return wav
        rng = np.random.default_rng((self.seed, _GAIN, step, place))
        if rng.random() >= self.gain.probability:
            return wav
        return wav * np.float32(10 ** (rng.uniform(self.gain.low, self.gain.high) / 20))


def augmenter(
    config: TrainConfig, clips: Sequence[Clip], reader: AudioReader, seed: int, noise: NoiseMixer | None
) -> Augmenter | None:
    """What changes the chunks of training clips; None: nothing does.

    Raises ValueError for a machine in train.speed.machines that has no clips.
    """
    known = {clip.machine for clip in clips}
    if config.speed and (unknown := [machine for machine in config.speed.machines if machine not in known]):
        raise ValueError(
            f"train.speed.machines: no training clips of machine {unknown[0]!r}; there are some of "
            f"{', '.join(sorted(known))}"
        )
    found = Augmenter(config, reader, seed, noise)
    return found if any((found.noise, found.speed, found.mixup, found.gain)) else None
