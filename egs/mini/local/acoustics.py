"""Building blocks of sound: turning shafts, periodic forces, impacts, filtered noise, resonances, the factory around.

All signals are float32 [n] at RATE. Spectra are per bin of numpy's rfft, [n // 2 + 1].
"""

from functools import lru_cache

import numpy as np

RATE = 16000  # Hz
TABLE = 1 << 14  # points of one period in `periodic`
CLANK_MODES = ((640, 30, 1.0), (1370, 40, 0.8), (2210, 50, 0.6), (3900, 50, 0.4))


@lru_cache(maxsize=8)
def frequencies(n: int) -> np.ndarray:
    """Return the frequencies in Hz of a spectrum of n samples; 0 Hz is replaced by the first bin's half."""
    hz = np.fft.rfftfreq(n, 1 / RATE).astype(np.float32)
    hz[0] = hz[1] / 2
    return hz


def band(n: int, centre: float, octaves: float) -> np.ndarray:
    """Return a bell on a logarithmic frequency axis around `centre` Hz, with a standard deviation in octaves."""
    return np.exp(-0.5 * (np.log2(frequencies(n) / centre) / octaves) ** 2)


def slope(n: int, db_per_octave: float, corner: float = 200.0) -> np.ndarray:
    """Return a magnitude that is flat below `corner` Hz and then falls or rises by `db_per_octave`."""
    return np.maximum(frequencies(n) / corner, 1) ** (db_per_octave / 6.02)


@lru_cache(maxsize=8)
def high_pass(n: int, corner: float) -> np.ndarray:
    """Return the magnitude of a high-pass filter, zero at 0 Hz."""
    power = (np.fft.rfftfreq(n, 1 / RATE) / corner) ** 4
    return (power / (1 + power)).astype(np.float32)


@lru_cache(maxsize=256)
def modes(n: int, table: tuple[tuple[float, float, float], ...], detune: float) -> np.ndarray:
    """Return the complex transfer of resonances (Hz, quality, gain), all frequencies multiplied by `detune`.

    Transfers are kept for the next clip, so callers round `detune`.
    """
    hz = frequencies(n)
    total = np.zeros(len(hz), np.complex64)
    for centre, quality, gain in table:
        r = hz / np.float32(centre * detune)
        total += np.float32(gain) / ((1 - r * r) * np.float32(quality) + 1j * r)
    return total


def filtered(x: np.ndarray, transfer: np.ndarray) -> np.ndarray:
    """Return x filtered by a transfer given per bin (circular, so nothing rings in from silence)."""
    return np.fft.irfft(np.fft.rfft(x) * transfer, len(x)).astype(np.float32)


def unit(x: np.ndarray) -> np.ndarray:
    """Return x scaled to a root mean square of one."""
    return x / np.float32(np.sqrt(np.mean(x * x)) + 1e-9)


def noise(rng: np.random.Generator, n: int, magnitude: np.ndarray) -> np.ndarray:
    """Return Gaussian noise with the given spectral magnitude and a root mean square of one."""
    parts = rng.standard_normal((2, n // 2 + 1), dtype=np.float32)
    return unit(np.fft.irfft((parts[0] + 1j * parts[1]) * magnitude, n).astype(np.float32))


def drift(rng: np.random.Generator, n: int, per_second: float = 2.0) -> np.ndarray:
    """Return a slow random curve, about uniform in [-1, 1], with `per_second` turning points a second."""
    knots = rng.uniform(-1, 1, int(n / RATE * per_second) + 2)
    return np.interp(np.linspace(0, len(knots) - 1, n), np.arange(len(knots)), knots)


def rotation(rng: np.random.Generator, n: int, hz: float, wander: float = 0.003) -> np.ndarray:
    """Return the angle, in revolutions, of a shaft whose speed wanders by a fraction of `hz`; random start."""
    return rng.uniform() + np.cumsum(hz / RATE * (1 + wander * drift(rng, n)))


def periodic(turns: np.ndarray, amplitudes: np.ndarray, phases: np.ndarray) -> np.ndarray:
    """Return the sum over k >= 1 of amplitudes[k-1] cos(2 pi k turns + phases[k-1]), read from a table."""
    spectrum = np.zeros(TABLE // 2 + 1, np.complex64)
    spectrum[1 : len(amplitudes) + 1] = amplitudes * np.exp(1j * phases) * TABLE / 2
    table = np.fft.irfft(spectrum, TABLE).astype(np.float32)
    return table[(turns * TABLE).astype(np.int64) & (TABLE - 1)]


def swing(turns: np.ndarray, order: float = 1.0, phase: float = 0.0) -> np.ndarray:
    """Return cos of `order` times the angle: the shape of a once-per-turn modulation."""
    angle = turns * order + phase
    return np.cos(np.float32(2 * np.pi) * (angle - np.floor(angle)).astype(np.float32))


def window(turns: np.ndarray, width: float, at: float = 0.0) -> np.ndarray:
    """Return a bump, one per turn, one at its top, with a standard deviation of `width` turns."""
    away = turns - at
    away = (away - np.round(away)).astype(np.float32)
    return np.exp(np.float32(-0.5 / width**2) * away * away)


def passings(turns: np.ndarray, order: float = 1.0, phase: float = 0.0) -> np.ndarray:
    """Return the sample indices at which `order` times the angle passes a whole number."""
    return np.flatnonzero(np.diff(np.floor(turns * order + phase)) > 0)


def strikes(n: int, at: np.ndarray, strength: np.ndarray | float) -> np.ndarray:
    """Return impulses of the given strengths at sample indices; those outside the clip are left out."""
    x = np.zeros(n, np.float32)
    inside = (at >= 0) & (at < n)
    np.add.at(x, at[inside], np.broadcast_to(strength, at.shape)[inside].astype(np.float32))
    return x


def factory(rng: np.random.Generator, n: int, hum: float) -> np.ndarray:
    """Return the sound of the factory: coloured noise, a distant machine around `hum` Hz, now and then a clank."""
    colour = slope(n, rng.uniform(-4.7, -4.3)) * (1 + 0.3 * band(n, rng.uniform(300, 3000), 0.5))
    floor = noise(rng, n, colour) * (1 + 0.25 * drift(rng, n, 3.0)).astype(np.float32)
    turns = rotation(rng, n, hum * rng.uniform(0.92, 1.08), 0.01)
    decay = np.arange(1, 9) ** -1.0 * rng.uniform(0.3, 1.0, 8)
    floor += unit(periodic(turns, decay, rng.uniform(0, 2 * np.pi, 8))) * np.float32(rng.uniform(0.1, 0.4))
    at = rng.integers(0, n, rng.poisson(0.5 * n / RATE))
    if len(at):
        ring = modes(n, CLANK_MODES, 1 + 0.05 * rng.integers(-5, 6))
        clank = filtered(strikes(n, at, rng.uniform(0.3, 1, len(at))), ring)
        floor += clank * np.float32(rng.uniform(0.5, 2.5) / np.abs(clank).max())
    return floor


def microphone(rng: np.random.Generator, n: int, tilt: float, dip: float) -> np.ndarray:
    """Return the magnitude of a microphone and its place: a tilt in dB per octave and a dip at `dip` Hz."""
    place = 1 - rng.uniform(0.45, 0.55) * band(n, dip * rng.uniform(0.97, 1.03), 0.25)
    return slope(n, tilt + rng.uniform(-0.15, 0.15), 500.0) * place * high_pass(n, 30.0)


def limited(x: np.ndarray, ceiling: float = 3.0) -> np.ndarray:
    """Return x as a recorder with a limiter keeps it: nothing louder than `ceiling`, what is quiet unchanged."""
    square = (x / np.float32(ceiling)) ** 2
    return x / np.sqrt(np.sqrt(1 + square * square))
