"""Sounds without end for pre-training: tones, harmonic stacks, impulse trains and noise, coloured and modulated.

Every clip sums one to three sources. A source is an excitation (a periodic wave of moving pitch, white noise, or
impulses) through random resonances and a random spectral slope, under a random envelope.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from asdkit.signals.audio import RATE

LOWEST, HIGHEST = 30.0, 7600.0  # Hz, of anything with a pitch or a resonance
TABLE = 2048  # points of one period of a wave
HARMONICS = 48
CONTROL = 80  # samples between the points of an envelope or a pitch curve
PEAKS = 3
LOWEST_PEAK = 60.0  # Hz


class Dice:
    """Random tensors from one CPU generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Uniform between `low` and `high`."""
        return low + (high - low) * torch.rand(*shape, generator=self.generator)

    def log_uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Uniform on a logarithmic scale."""
        return self.uniform(math.log(low), math.log(high), *shape).exp()

    def normal(self, *shape: int) -> Tensor:
        """Standard normal."""
        return torch.randn(*shape, generator=self.generator)

    def integer(self, low: int, high: int, *shape: int) -> Tensor:
        """Whole numbers from `low` to `high` - 1."""
        return torch.randint(low, high, shape, generator=self.generator)

    def chance(self, probability: float, *shape: int) -> Tensor:
        """True with the given probability."""
        return torch.rand(*shape, generator=self.generator) < probability


def generate(count: int, samples: int, generator: torch.Generator) -> Tensor:
    """Make `count` clips: [count, samples] at 16 kHz, each with a root mean square of 1."""
    dice = Dice(generator)
    owner = torch.repeat_interleave(torch.arange(count), dice.integer(1, 4, count))  # [S] clip of each source
    sounds = excitations(len(owner), samples, dice)
    spectrum = torch.fft.rfft(sounds)
    spectrum *= responses(len(owner), samples, dice)
    sounds = unit(torch.fft.irfft(spectrum, samples)) * envelopes(len(owner), samples, dice)
    sounds = unit(sounds) * decibels(-dice.uniform(0, 20, len(owner), 1))
    clips = torch.zeros(count, samples).index_add_(0, owner, sounds)
    floor = dice.normal(count, samples) * decibels(-dice.uniform(25, 70, count, 1))
    return unit(unit(clips) + floor)


def excitations(count: int, samples: int, dice: Dice) -> Tensor:
    """Waves, noises and impulses, a random kind in every row: [count, samples]."""
    kind = dice.integer(0, 3, count)
    sounds = torch.empty(count, samples)
    for number, make in enumerate((waves, noises, impulses)):
        rows = (kind == number).nonzero().flatten()
        if len(rows):
            sounds[rows] = make(len(rows), samples, dice)
    return sounds


def waves(count: int, samples: int, dice: Dice) -> Tensor:
    """Periodic waves of one to many harmonics whose pitch stays, drifts, sweeps or trembles: [count, samples]."""
    pitch = dice.log_uniform(LOWEST, 3000, count, 1) * 2 ** _pitch_curves(count, samples, dice)
    pitch = pitch.clamp(LOWEST, HIGHEST)  # [count, points] Hz
    order = torch.arange(1, HARMONICS + 1)
    amplitude = order ** -dice.uniform(0, 2, count, 1) * dice.uniform(0, 1, count, HARMONICS)
    amplitude = amplitude * (dice.chance(0.5, count, 1) | (order % 2 == 1))  # odd harmonics only, in half of them
    amplitude = amplitude * (order <= dice.log_uniform(1, HARMONICS + 1, count, 1))
    amplitude = amplitude * (order * pitch.amax(1, keepdim=True) < RATE / 2)  # none above half the sample rate
    amplitude[:, 0] += 0.1
    phase = (stretched(pitch, samples).double() / RATE).cumsum(1)
    return waves_of(amplitude, phase, dice)


def waves_of(amplitude: Tensor, phase: Tensor, dice: Dice) -> Tensor:
    """Harmonics of the given amplitudes [B, H] and random angles over a phase in periods, float64 [B, T]: [B, T]."""
    angle = dice.uniform(0, 2 * math.pi, *amplitude.shape)
    table = torch.fft.irfft(F.pad(torch.polar(amplitude, angle), (1, 0)), TABLE, norm="forward")
    table = torch.cat([table, table[:, :1]], 1)
    place = ((phase % 1) * TABLE).float()
    index = place.long().clamp(max=TABLE - 1)
    left, right = table.gather(1, index), table.gather(1, index + 1)
    return torch.lerp(left, right, place - index)


def noises(count: int, samples: int, dice: Dice) -> Tensor:
    """White noise [count, samples]."""
    return dice.normal(count, samples)


def impulses(count: int, samples: int, dice: Dice) -> Tensor:
    """Trains of impulses, from regular to random, 0.7 to 60 a second: [count, samples]."""
    most = math.ceil(60 * samples / RATE) + 1
    period = RATE / dice.log_uniform(0.7, 60, count, 1)
    jitter = dice.log_uniform(0.003, 2, count, 1) * dice.normal(count, most)
    places = ((torch.arange(most) + dice.uniform(0, 1, count, 1) + jitter) * period).long()
    inside = (places >= 0) & (places < samples)
    heights = (1 + 0.3 * dice.normal(count, most)) * inside
    sounds = torch.zeros(count, samples).scatter_add_(1, places.clamp(0, samples - 1), heights)
    sounds[:, 0] += ~inside.any(1)
    return sounds


def responses(count: int, samples: int, dice: Dice, centre: Tensor | None = None) -> Tensor:
    """Frequency responses of random slopes and resonances: complex [count, samples // 2 + 1].

    centre: Hz of the resonances, [count, PEAKS]; none: drawn.
    """
    frequency = torch.linspace(0, RATE / 2, samples // 2 + 1).clamp(min=10.0)
    centre = dice.log_uniform(LOWEST_PEAK, HIGHEST, count, PEAKS) if centre is None else centre
    sharpness = dice.log_uniform(1, 100, count, PEAKS)
    height = decibels(dice.uniform(-10, 30, count, PEAKS))
    response = torch.full((count, len(frequency)), 1.0, dtype=torch.complex64)
    for k in range(PEAKS):
        ratio = frequency / centre[:, k, None]
        detuning = sharpness[:, k, None] * (ratio - 1 / ratio)
        # height / (1 + i detuning), by parts: several times quicker than a complex division
        real = height[:, k, None] / (1 + detuning * detuning)
        response += torch.complex(real, -real * detuning)
    return response * slopes(count, samples, dice)


def slopes(count: int, samples: int, dice: Dice, spread: float = 6.0) -> Tensor:
    """Smooth random curves over log frequency, `spread` decibels per point: factors [count, samples // 2 + 1]."""
    points = 9
    frequency = torch.linspace(0, RATE / 2, samples // 2 + 1).clamp(min=LOWEST)
    place = (frequency / LOWEST).log2() / math.log2(RATE / 2 / LOWEST) * (points - 1)
    left = place.long().clamp(max=points - 2)
    tilt = dice.normal(count, 1) * torch.linspace(1, -1, points) * 2 * spread
    level = tilt + dice.normal(count, points) * spread
    return decibels(torch.lerp(level[:, left], level[:, left + 1], (place - left).expand(count, -1)))


def envelopes(count: int, samples: int, dice: Dice) -> Tensor:
    """Constant, periodic, bursts or slow drift, a random kind in every row: [count, samples], above 0."""
    points = samples // CONTROL + 2
    time = torch.arange(points) * CONTROL / RATE
    cycle = (time * dice.log_uniform(0.5, 40, count, 1) + dice.uniform(0, 1, count, 1)) * 2 * math.pi
    periodic = (0.5 + 0.5 * cycle.cos()) ** dice.log_uniform(0.3, 8, count, 1)
    onset = dice.uniform(-0.3, 1, count, 4, 1) * samples / RATE
    age = time - onset  # [count, 4, points]
    burst = torch.where(age >= 0, (-age / dice.log_uniform(0.01, 1, count, 4, 1)).exp(), 0.0).sum(1)
    drift = decibels(wander(count, points, dice) * dice.uniform(0, 12, count, 1))
    kind = dice.integer(0, 4, count, 1)
    shape = torch.where(kind == 1, periodic, torch.where(kind == 2, burst, torch.where(kind == 3, drift, 1.0)))
    depth = torch.where(kind == 3, 1.0, dice.uniform(0.2, 1, count, 1))
    return stretched(1 - depth + depth * shape + 1e-3, samples)


def decibels(level: Tensor) -> Tensor:
    """Level in dB -> factor of the amplitude."""
    return (level * (math.log(10) / 20)).exp()


def unit(sounds: Tensor) -> Tensor:
    """Scale every row to a root mean square of 1; silence stays silence: [B, T] -> [B, T]."""
    return sounds / sounds.square().mean(1, keepdim=True).sqrt().clamp(min=1e-5)


def _pitch_curves(count: int, samples: int, dice: Dice) -> Tensor:
    """Octaves above the mean pitch: [count, points]."""
    points = samples // CONTROL + 2
    time = torch.arange(points) * CONTROL / RATE
    drift = wander(count, points, dice) * dice.log_uniform(0.001, 0.5, count, 1)
    sweep = (time / time[-1] - 0.5) * dice.uniform(-2, 2, count, 1) * dice.chance(0.2, count, 1)
    cycle = time * dice.log_uniform(1, 25, count, 1) + dice.uniform(0, 1, count, 1)
    tremble = (2 * math.pi * cycle).sin() * dice.log_uniform(0.002, 0.2, count, 1) * dice.chance(0.3, count, 1)
    return drift + sweep + tremble


def wander(count: int, points: int, dice: Dice) -> Tensor:
    """Slow random curves, standard normal at seven knots: [count, points]."""
    return F.interpolate(dice.normal(count, 1, 7), points, mode="linear", align_corners=True)[:, 0]


def stretched(curve: Tensor, samples: int) -> Tensor:
    """Points every CONTROL samples -> samples: [count, points] -> [count, samples]."""
    length = (curve.shape[1] - 1) * CONTROL + 1
    return F.interpolate(curve[:, None], length, mode="linear", align_corners=True)[:, 0, :samples]
