"""A ball bearing on a shaft, in order and with each fault, as an accelerometer and a microphone take it.

A shaft turns in a deep-groove ball bearing: 9 balls of 7.94 mm on a pitch circle of 39.04 mm, outer ring at rest. Balls
roll over a spot on the outer ring BPFO = 3.585 times a turn, on the inner ring BPFI = 5.415 times; a ball spins
BSF = 2.357 times, and the cage goes round FTF = 0.398 times. What rolls makes noise, more with speed, load and wear;
with imbalance and misalignment the shaft swings once, twice, three times a turn. Noise and impacts ring the housing.

outer  a spall on the outer ring, always in the loaded zone: an impact at each ball
inner  a spall on the inner ring: impacts at BPFI, strong in the loaded zone alone, once a turn
ball   a spall on a ball, which strikes both rings: impacts at twice BSF, in and out of the loaded zone with the cage
cage   a worn cage: balls bunch and let go, so that the rolling noise swells and fades with FTF

Balls slip: no two intervals are alike, and errors add up. Everything is drawn from the generator that is passed in;
signals of both sensors are made of the same turns and impacts. Acceleration is in m/s^2, sound in Pa.
"""

from dataclasses import dataclass, field

import numpy as np

BALLS, BALL, PITCH, ANGLE = 9, 7.94, 39.04, 0.0  # number, diameters in mm, contact angle in radians
SLIP = 0.01  # deviation of the interval between two impacts, of the interval
FINE = 2000  # points a second of the shaft's angle
FAULTS = ("outer", "inner", "ball", "cage")
WEIGHT = 0.9  # root mean square of the largest spall's impacts, over that of the rolling noise


def orders(balls: int = BALLS, ball: float = BALL, pitch: float = PITCH, angle: float = ANGLE) -> dict[str, float]:
    """Return how often a turn of the shaft balls pass a spot, spin, and the cage turns (outer ring at rest)."""
    ratio = ball / pitch * np.cos(angle)
    return {
        "BPFO": balls / 2 * (1 - ratio),
        "BPFI": balls / 2 * (1 + ratio),
        "BSF": pitch / (2 * ball) * (1 - ratio**2),
        "FTF": (1 - ratio) / 2,
    }


@dataclass(frozen=True)
class Sensor:
    """What hears the bearing. modes: Hz, quality, gain of what rings on the way; level: of the healthy bearing.

    slopes: decibels an octave above 500 Hz, of the rolling noise and of what else is in the hall.
    """

    name: str
    rate: int
    full_scale: float
    level: float
    modes: tuple[tuple[float, float, float], ...]
    slopes: tuple[float, float]
    hum: float


ACCELERATION = Sensor(
    "acceleration", 25600, 100.0, 1.5, ((1850, 18, 0.5), (3900, 25, 1.0), (7400, 30, 0.7)), (-1.0, -1.5), 173.0
)
SOUND = Sensor(
    "sound", 48000, 20.0, 0.3, ((950, 12, 0.6), (3900, 14, 1.0), (8100, 16, 0.5), (15500, 18, 0.3)), (-2.0, -3.0), 121.0
)
SENSORS = (ACCELERATION, SOUND)


@dataclass
class Take:
    """What one recording is made of: rpm, load (kN), wear and size of the spall (both 0 to 1), fault or ''."""

    rng: np.random.Generator
    seconds: float
    rpm: float
    load: float
    wear: float
    fault: str = ""
    size: float = 0.0
    turns: np.ndarray = field(init=False)  # the shaft's angle in revolutions, [seconds * FINE + 1]
    impacts: tuple[np.ndarray, np.ndarray] = field(init=False)  # seconds, strengths

    def __post_init__(self) -> None:
        n = int(self.seconds * FINE) + 1
        knots = self.rng.uniform(-1, 1, int(2 * self.seconds) + 2)
        wander = 1 + 0.003 * np.interp(np.linspace(0, len(knots) - 1, n), np.arange(len(knots)), knots)
        speed = self.rpm / 60 * (1 + self.rng.uniform(-0.01, 0.01)) * wander
        self.turns = self.rng.uniform() + np.cumsum(speed) / FINE
        self.impacts = self._impacts()

    def at(self, rate: int) -> np.ndarray:
        """Return the shaft's angle at each sample of a rate, in revolutions."""
        return np.interp(np.arange(round(self.seconds * rate)) / rate * FINE, np.arange(len(self.turns)), self.turns)

    def _impacts(self) -> tuple[np.ndarray, np.ndarray]:
        found = orders()
        order = {"outer": found["BPFO"], "inner": found["BPFI"], "ball": 2 * found["BSF"]}.get(self.fault)
        if order is None:
            return np.zeros(0), np.zeros(0)
        count = int((self.turns[-1] - self.turns[0]) * order) + 2
        angles = self.turns[0] + np.cumsum(1 + SLIP * self.rng.standard_normal(count)) / order
        angles = angles[angles < self.turns[-1]]
        strength = self.rng.uniform(0.7, 1.3, len(angles))
        if self.fault == "inner":
            strength *= np.maximum(np.cos(2 * np.pi * angles), 0.05) ** 1.5
        if self.fault == "ball":
            strength *= (1 + 0.9 * np.cos(2 * np.pi * found["FTF"] * angles)) / 2
        return np.interp(angles, self.turns, np.arange(len(self.turns)) / FINE), strength


def recorded(take: Take, sensor: Sensor) -> np.ndarray:
    """Return what a sensor takes of the bearing, without anything else, in its unit: [seconds * rate]."""
    turns = take.at(sensor.rate)
    n = len(turns)
    force = noise(take.rng, n, slope(n, sensor.rate, sensor.slopes[0]))
    force *= 1 + 0.15 * np.cos(2 * np.pi * turns)
    if take.fault == "cage":
        force *= 1 + take.size * np.cos(2 * np.pi * (orders()["FTF"] * turns + take.rng.uniform()))
    rolling = unit(np.fft.irfft(np.fft.rfft(force) * (0.3 + np.abs(transfer(sensor, n))), n))
    rolling *= (take.rpm / 1500) * take.load**0.3 * (0.8 + 0.6 * take.wear)
    phases = take.rng.uniform(0, 2 * np.pi, 3)
    sizes = take.rng.uniform(0.6, 1.0, 3) * (0.5, 0.25, 0.12) * (take.rpm / 1500) ** 2
    shaft = sum(a * np.cos(2 * np.pi * k * turns + p) for k, a, p in zip((1, 2, 3), sizes, phases, strict=True))
    signal = rolling + (shaft if sensor is ACCELERATION else 0.2 * shaft)
    seconds, strength = take.impacts
    if len(seconds):
        rings = np.fft.irfft(np.fft.rfft(strikes(seconds, strength, sensor.rate, n)) * transfer(sensor, n), n)
        signal = signal + unit(rings) * WEIGHT * take.size * take.load**0.5 * (take.rpm / 1500)
    return sensor.level * signal


def hall(rng: np.random.Generator, sensor: Sensor, n: int) -> np.ndarray:
    """Return what else a sensor takes, other machines and now and then a knock: [n], a root mean square of one."""
    floor = noise(rng, n, slope(n, sensor.rate, sensor.slopes[1]))
    time = np.arange(n) / sensor.rate
    hum = sensor.hum * rng.uniform(0.94, 1.06)
    for k in range(1, 7):
        floor += rng.uniform(0.1, 0.35) / k * np.cos(2 * np.pi * (hum * k * time + rng.uniform()))
    seconds = rng.uniform(0, n / sensor.rate, rng.poisson(0.7 * n / sensor.rate))
    if len(seconds):
        train = strikes(seconds, rng.uniform(0.3, 1, len(seconds)), sensor.rate, n)
        knocks = np.fft.irfft(np.fft.rfft(train) * transfer(sensor, n, 0.83), n)
        floor += knocks * rng.uniform(1, 3) / np.abs(knocks).max()
    return unit(floor)


def transfer(sensor: Sensor, n: int, detune: float = 1.0) -> np.ndarray:
    """Return the spectrum of what one impact sounds like: resonances that die away, [n // 2 + 1]."""
    time = np.arange(n) / sensor.rate
    ring = np.zeros(n)
    for hertz, quality, gain in sensor.modes:
        pitch = hertz * detune
        ring += gain * np.exp(-np.pi * pitch / quality * time) * np.sin(2 * np.pi * pitch * time)
    return np.fft.rfft(ring)


def strikes(seconds: np.ndarray, strength: np.ndarray, rate: int, n: int) -> np.ndarray:
    """Return impacts of these strengths at these times, each shared by the two samples it lies between: [n]."""
    x = np.zeros(n + 1)
    place = seconds * rate
    whole = np.minimum(place.astype(np.int64), n - 1)
    part = place - whole
    np.add.at(x, whole, strength * (1 - part))
    np.add.at(x, whole + 1, strength * part)
    return x[:n]


def slope(n: int, rate: int, per_octave: float) -> np.ndarray:
    """Return a magnitude that falls by `per_octave` decibels above 500 Hz and is zero at 0 Hz, [n // 2 + 1]."""
    hertz = np.fft.rfftfreq(n, 1 / rate)
    return np.maximum(hertz / 500, 1) ** (per_octave / 6.02) * (hertz > 5)


def noise(rng: np.random.Generator, n: int, magnitude: np.ndarray) -> np.ndarray:
    """Return Gaussian noise of that spectral magnitude with a root mean square of one: [n]."""
    return unit(np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) * magnitude, n))


def unit(x: np.ndarray) -> np.ndarray:
    """Return x over its root mean square."""
    return x / (np.sqrt(np.mean(x * x)) + 1e-12)
