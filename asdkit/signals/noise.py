"""Noise as it is added to recordings: coloured, and like a factory's; drawn from a seed, at a level in dB."""

from collections.abc import Callable

import numpy as np

from asdkit.signals.audio import RATE

SLOPES = {"white": 0.0, "pink": -1.0, "brown": -2.0}  # power ~ frequency to this
CORNER = 20.0  # Hz: below it the spectrum is flat, and what is below hearing takes no share of the power
MAINS = 50.0  # Hz
STRIKES, BURSTS = 3.0, 0.7  # a second, on average
SYLLABLES = 4.0  # a second, in a burst of voices


def coloured(random: np.random.Generator, samples: int, exponent: float, rate: int = RATE) -> np.ndarray:
    """Gaussian noise [samples] float64, rms 1, whose power falls as frequency (Hz, above CORNER) to the exponent."""
    hz = np.maximum(np.fft.rfftfreq(samples, 1 / rate), CORNER)
    return _unit(_shaped(random, samples, hz ** (exponent / 2)))


def factory(random: np.random.Generator, samples: int, rate: int = RATE) -> np.ndarray:
    """Noise like a factory's, [samples] float64, rms 1: a pink floor that swells, hum, strikes that ring, voices.

    The parts are drawn anew for each clip: hum of the mains and its harmonics, STRIKES a second of random strength and
    resonances, BURSTS a second of speech-like noise (200 to 4000 Hz, SYLLABLES a second).
    """
    seconds = np.arange(samples) / rate
    floor = coloured(random, samples, -1.0, rate) * (1 + 0.4 * _drift(random, samples, rate))
    harmonics = np.arange(1, 13)
    strength = random.uniform(0.2, 1, len(harmonics)) / harmonics
    angles = 2 * np.pi * MAINS * random.uniform(0.995, 1.005) * np.outer(harmonics, seconds)
    hum = strength @ np.cos(angles + random.uniform(0, 2 * np.pi, (len(harmonics), 1)))
    parts = [floor, random.uniform(0.2, 0.7) * _unit(hum)]
    parts.append(random.uniform(0.4, 1.0) * _unit(_strikes(random, samples, rate)))
    parts.append(random.uniform(0.2, 0.7) * _unit(_voices(random, samples, rate)))
    return _unit(np.sum(parts, axis=0))


NOISES: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    **{
        kind: lambda random, samples, rate, own=own: coloured(random, samples, own, rate)
        for kind, own in SLOPES.items()
    },
    "factory": factory,
}


def with_noise(wav: np.ndarray, kind: str, snr_db: float, seed: int, rate: int = RATE) -> np.ndarray:
    """A recording wav [samples] with noise `snr_db` decibels below its own mean power (negative: above): float64.

    Which noise is drawn depends on kind, seed and length alone; the sum may lie beyond full scale. Raises ValueError
    for an unknown kind, and for a recording that is empty or silent, which has no level to add noise at.
    """
    if kind not in NOISES:
        raise ValueError(f"noise {kind!r}: allowed are {', '.join(NOISES)}")
    wav = np.asarray(wav, np.float64)
    if wav.ndim != 1 or not wav.any():
        raise ValueError(f"noise at {snr_db:g} dB needs a mono recording with a signal, got shape {wav.shape}")
    noise = NOISES[kind](np.random.default_rng([seed, len(kind), ord(kind[0])]), len(wav), rate)
    return wav + noise * np.sqrt(np.mean(wav**2) / np.mean(noise**2) / 10 ** (snr_db / 10))


def _shaped(random: np.random.Generator, samples: int, magnitude: np.ndarray) -> np.ndarray:
    return np.fft.irfft(np.fft.rfft(random.standard_normal(samples)) * magnitude, samples)


def _unit(x: np.ndarray) -> np.ndarray:
    """At rms 1; zeros stay."""
    return x / (np.sqrt(np.mean(x**2)) or 1)


def _drift(random: np.random.Generator, samples: int, rate: int) -> np.ndarray:
    """A slow curve in [-1, 1], about a turn a second."""
    knots = random.uniform(-1, 1, int(samples / rate) + 3)
    return np.interp(np.linspace(0, len(knots) - 1, samples), np.arange(len(knots)), knots)


def _strikes(random: np.random.Generator, samples: int, rate: int) -> np.ndarray:
    """Impulses that ring at four resonances each."""
    found = np.zeros(samples)
    for at in random.integers(0, samples, 1 + random.poisson(STRIKES * samples / rate)):
        hz, decay = random.uniform(300, 6000, (4, 1)), random.uniform(0.005, 0.06, (4, 1))  # s
        after = np.arange(min(samples - at, int(0.4 * rate))) / rate
        ring = (np.exp(-after / decay) * np.sin(2 * np.pi * hz * after)).sum(axis=0)
        found[at : at + len(after)] += random.lognormal(0, 0.8) * ring
    return found


def _voices(random: np.random.Generator, samples: int, rate: int) -> np.ndarray:
    """Bursts of band-limited noise whose level moves as syllables do."""
    hz = np.fft.rfftfreq(samples, 1 / rate)
    babble = _shaped(random, samples, ((hz > 200) & (hz < 4000)) / np.maximum(hz, 200) ** 0.5)
    seconds = np.arange(samples) / rate
    level = np.zeros(samples)
    for at in random.uniform(0, samples / rate, 1 + random.poisson(BURSTS * samples / rate)):
        level += random.uniform(0.3, 1) * np.exp(-0.5 * ((seconds - at) / random.uniform(0.15, 0.6)) ** 2)
    return babble * level * (0.5 + 0.5 * np.sin(2 * np.pi * (SYLLABLES * seconds + random.uniform())) ** 2)
