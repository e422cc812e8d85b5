"""The five machines: what they sound like in order, and what each fault changes.

fan      An axial fan with 7 blades. Each blade passes the struts once per turn: a tone at 7 x shaft speed with
         harmonics; blades are not quite equal, hence weak lines at the other shaft orders. Turbulence makes broadband
         noise whose centre and level grow with speed, in step with the blades. Faults: imbalance (everything swings
         once per turn), rub (a blade touches the housing: a burst of friction per turn), stall (cells of separated
         flow go round at 0.4 x shaft speed and make the flow swell and fade).
gearbox  19 teeth drive 47. Tooth contact gives a tone at 19 x shaft speed with harmonics, stronger under load, and
         both shafts modulate it slightly. Faults: tooth (a chipped tooth strikes once per turn and rings the
         housing), eccentric (the wheel is off its centre: amplitude and frequency swing with the output shaft),
         wear (flanks lose their shape: energy moves from the fundamental to the harmonics, more in some teeth).
valve    A solenoid valve working a rhythm. Opening and closing strike two different parts, between them gas hisses and
         the coil hums at 100 Hz. Faults: leak (hiss while closed), sticking (strokes come late and unevenly),
         bounce (the plunger falls back on its seat two or three times after closing).
pump     Three plungers. Each turn a plunger discharges (flow noise) and sucks, and its check valve strikes in between.
         Faults: cavitation (vapour bubbles crackle in the suction halves), seal (one plunger hisses while it
         discharges), check (the strike of one check valve of three is late and weak).
bearing  A slow belt-driven roller on a ball bearing: 9 balls, ball to pitch diameter 0.25. Rolling noise rings the
         housing, louder when the heavy side passes. Balls roll over a spot on the outer ring 9/2 x (1 - 0.25) = 3.375
         times per turn, on the inner ring 9/2 x (1 + 0.25) = 5.625 times, in and out of the load once per turn.
         Faults: outer, inner (a spall is struck at these rates), slip (the belt slips, so that the speed sags, and
         squeals as it catches), dry (too little grease: friction in bursts with the cage, 0.375 per turn).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from acoustics import (
    RATE,
    band,
    drift,
    filtered,
    modes,
    noise,
    passings,
    periodic,
    rotation,
    slope,
    strikes,
    swing,
    unit,
    window,
)

FAN_MODES = ((410, 6, 1.0), (980, 8, 0.7), (2300, 8, 0.4))
GEAR_MODES = ((870, 12, 1.0), (1640, 15, 0.9), (2950, 18, 0.8), (4700, 18, 0.6))
OPEN_MODES = ((1250, 12, 1.0), (2700, 16, 0.9), (5200, 20, 0.7))
CLOSE_MODES = ((900, 10, 1.0), (1900, 14, 0.9), (3600, 18, 0.8))
PUMP_MODES = ((520, 8, 1.0), (1350, 10, 0.9), (2600, 12, 0.7), (5100, 12, 0.5))
BEARING_MODES = ((1150, 9, 0.8), (2450, 12, 1.0), (3700, 14, 0.8), (5600, 14, 0.6))
# seconds of opening within a rhythm's cycle, cycle, share of the time open
RHYTHMS = {0: ((0.0,), 0.50, 0.45), 1: ((0.0, 0.3), 0.90, 0.18), 2: ((0.0,), 0.70, 0.30), 3: ((0.0, 0.22), 0.60, 0.2)}


@dataclass
class Take:
    """What one clip is made of: random numbers, number of samples, operating point, fault (or "") and severity."""

    rng: np.random.Generator
    n: int
    point: dict[str, int]
    fault: str = ""
    severity: float = 0.0

    def of(self, fault: str) -> float:
        """Return the severity (0..1) of a fault: zero unless the clip has this one."""
        return self.severity if self.fault == fault else 0.0

    def vary(self, value: float, spread: float = 0.1) -> float:
        """Return the value changed by up to a fraction, as no two recordings are equal."""
        return value * self.rng.uniform(1 - spread, 1 + spread)


@dataclass(frozen=True)
class Machine:
    """A machine type: where it belongs, its operating points per domain, its faults and how it sounds."""

    name: str
    part: str
    attributed: bool
    source: tuple[dict[str, int], ...]
    target: tuple[dict[str, int], ...]
    faults: tuple[str, ...]
    sound: Callable[[Take], np.ndarray]
    snr: float  # dB, machine to factory noise, mean


def _phases(take: Take, count: int) -> np.ndarray:
    return take.rng.uniform(0, 2 * np.pi, count)


def _modes(take: Take, table: tuple, detune: float = 1.0) -> np.ndarray:
    return modes(take.n, table, round(take.vary(detune, 0.015), 3))


def fan(take: Take) -> np.ndarray:
    """Return the sound of the fan; operating point: spd (turns per second), load 1-3."""
    rng, n = take.rng, take.n
    speed, load = take.vary(take.point["spd"], 0.02), take.point["load"]
    turns = rotation(rng, n, speed)
    orders = np.arange(1, 92)
    amplitudes = 0.012 * rng.uniform(0.5, 1.5, 91) * orders**-0.3
    blade = orders % 7 == 0
    amplitudes[blade] = (0.5 + 0.25 * load) * (orders[blade] / 7) ** -1.3 * rng.uniform(0.85, 1.15, blade.sum())
    tone = periodic(turns, amplitudes, _phases(take, 91))
    flow = noise(rng, n, (band(n, 28 * speed, 1.1) + 0.08) * slope(n, -2.0, 900.0))
    flow *= (1 + 0.3 * swing(turns, 7)) * np.float32((speed / 28) ** 2 * (0.7 + 0.2 * load))
    depth = take.vary(0.06, 0.5) + 0.5 * take.of("imbalance")
    stall = 0.65 * take.of("stall")
    sound = (tone + flow) * (1 + depth * swing(turns)) + stall * swing(turns, 0.4) * flow
    sound = filtered(sound, 1 + 0.5 * _modes(take, FAN_MODES))
    if rub := take.of("rub"):
        sound += noise(rng, n, band(n, 3200, 0.6)) * window(turns, 0.04) * np.float32(1.7 * rub)
    return sound


def gearbox(take: Take) -> np.ndarray:
    """Return the sound of the gearbox; operating point: volt (sets the speed), wt (load)."""
    rng, n = take.rng, take.n
    speed, load = take.vary(12 * take.point["volt"], 0.02), take.point["wt"] / 100
    turns = rotation(rng, n, speed)
    wheel = turns * (19 / 47)
    wobble = 0.004 + 0.05 * take.of("eccentric")
    mesh = 19 * turns + wobble * swing(wheel)
    worn = take.of("wear")
    orders = np.arange(1, 9)
    amplitudes = orders**-1.2 * (0.6 + load) * rng.uniform(0.85, 1.15, 8)
    amplitudes[1:4] *= 1 + 0.8 * worn
    tone = periodic(mesh, amplitudes, _phases(take, 8))
    tone *= 1 + take.vary(0.1, 0.4) * swing(turns) + (take.vary(0.1, 0.4) + 0.8 * take.of("eccentric")) * swing(wheel)
    tone *= 1 + 0.7 * worn * swing(turns, 3, rng.uniform())
    hiss = noise(rng, n, slope(n, -3.0, 600.0)) * np.float32(0.35)
    sound = unit(filtered(tone + hiss, 0.4 + 0.5 * _modes(take, GEAR_MODES)))
    if chipped := take.of("tooth"):
        at = passings(turns)
        ring = unit(filtered(strikes(n, at, rng.uniform(0.7, 1.3, len(at))), _modes(take, GEAR_MODES)))
        sound += ring * np.float32(0.9 * chipped)
    return sound


def _strokes(take: Take) -> tuple[np.ndarray, np.ndarray]:
    """Return the sample indices of opening and of closing, with the fault `sticking` in their timing."""
    starts, cycle, share = RHYTHMS[take.point["pat"]]
    first = -take.rng.uniform() * cycle
    cycles = first + np.arange(int(take.n / RATE / cycle) + 2) * cycle
    opened = (cycles[:, None] + np.asarray(starts)).ravel()
    opened += take.rng.normal(0, 0.002, len(opened))
    closed = opened + share * cycle + take.rng.normal(0, 0.002, len(opened))
    late = 0.12 * take.of("sticking")
    opened += late * take.rng.uniform(0, 1, len(opened))
    closed += late * take.rng.uniform(0, 1, len(opened))
    return (opened * RATE).astype(np.int64), (closed * RATE).astype(np.int64)


def valve(take: Take) -> np.ndarray:
    """Return the sound of the valve; operating point: pat (rhythm), pres (gas pressure 1-3)."""
    rng, n = take.rng, take.n
    opened, closed = _strokes(take)
    edges = strikes(n, opened.clip(0, n - 1), 1.0) - strikes(n, closed.clip(0, n - 1), 1.0)
    state = np.cumsum(edges)
    gate = filtered(np.clip(state, 0, 1), 1 / (1 + (np.fft.rfftfreq(n, 1 / RATE) / 25) ** 2))
    pressure = take.point["pres"]
    hiss = noise(rng, n, band(n, 2200 + 500 * pressure, 0.7)) * np.float32(0.25 + 0.12 * pressure)
    hum = periodic(rotation(rng, n, 100, 0.001), np.array([1, 0.5, 0.3, 0.2]), _phases(take, 4)) * np.float32(0.12)
    force = rng.uniform(0.8, 1.2, (2, len(opened)))
    blows = strikes(n, closed, force[1])
    for hop, height in ((0.030, 0.7), (0.050, 0.45)):
        again = closed + (RATE * rng.normal(hop, 0.003, len(closed))).astype(np.int64)
        blows += strikes(n, again, height * take.of("bounce") * force[1])
    spectrum = np.fft.rfft(strikes(n, opened, force[0])) * _modes(take, OPEN_MODES)
    clicks = np.fft.irfft(spectrum + np.fft.rfft(blows) * _modes(take, CLOSE_MODES), n).astype(np.float32)
    open_share = gate + np.float32(0.6 * take.of("leak")) * (1 - gate)
    return 60 * clicks + hiss * open_share + hum * gate


def pump(take: Take) -> np.ndarray:
    """Return the sound of the pump; operating point: spd (turns per minute), head (pressure 1-3)."""
    rng, n = take.rng, take.n
    head = take.point["head"]
    turns = rotation(rng, n, take.vary(take.point["spd"], 0.02) / 60, 0.006)
    motor = periodic(turns * 6, np.arange(1, 13) ** -0.8, _phases(take, 12)) * np.float32(0.25)
    flow, bubbles, blows = np.zeros((3, n), np.float32)
    for plunger in range(3):
        angle = turns + plunger / 3
        force = swing(angle)
        flow += np.maximum(force, 0)
        bubbles += np.maximum(-force, 0)
        bad = take.of("check") if plunger == 0 else 0.0
        at = passings(angle, 1, 0.25 - 0.12 * bad)
        blows += strikes(n, at, rng.uniform(0.85, 1.15, len(at)) * (1 - 0.9 * bad))
    sound = noise(rng, n, band(n, 900 + 250 * head, 1.0)) * flow * np.float32(0.35 + 0.1 * head)
    sound += motor + filtered(blows, _modes(take, PUMP_MODES)) * np.float32(25 + 8 * head)
    if seal := take.of("seal"):
        sound += noise(rng, n, band(n, 3500, 0.7)) * np.maximum(swing(turns), 0) * np.float32(0.8 * seal)
    if bubbling := take.of("cavitation"):
        pops = (rng.random(n) < 0.02 * bubbles**2) * rng.exponential(1, n)
        sound += unit(filtered(pops.astype(np.float32), band(n, 3000, 0.8))) * np.float32(0.6 * bubbling)
    return sound


def bearing(take: Take) -> np.ndarray:
    """Return the sound of the bearing; operating point: vel (turns per second), loc (place of the microphone)."""
    rng, n = take.rng, take.n
    slip = take.of("slip")
    speed = take.vary(take.point["vel"], 0.02)
    turns = rotation(rng, n, speed, 0.003 + 0.12 * slip)
    place = _modes(take, BEARING_MODES, 1 + 0.04 * take.point["loc"])
    rolling = noise(rng, n, slope(n, -2.0, 400.0)) * (1 + take.vary(0.2, 0.5) * swing(turns))
    dry = take.of("dry")
    rolling = rolling * (1 + 1.2 * dry * window(turns * 0.375, 0.12) * (1 + 0.5 * drift(rng, n, 6))).astype(np.float32)
    motor = periodic(turns * 4, np.arange(1, 25) ** -1.0, _phases(take, 24)) * np.float32(0.4)
    outer, inner = passings(turns, 3.375), passings(turns, 5.625)
    load = 1 + 0.9 * np.cos(2 * np.pi * turns[inner])
    hits = strikes(n, outer, take.of("outer") * rng.uniform(0.7, 1.3, len(outer)))
    hits += strikes(n, inner, take.of("inner") * load * rng.uniform(0.7, 1.3, len(inner)))
    sound = filtered(rolling + 20 * hits, place) + motor
    if slip:
        catch = np.maximum(drift(rng, n, 4), 0) ** 2
        squeal = periodic(np.cumsum((2300 + 150 * catch) / RATE), np.array([1, 0.4]), _phases(take, 2))
        sound += (1.2 * slip * catch).astype(np.float32) * squeal
    return sound


def _points(first: str, firsts: tuple, second: str, seconds: tuple) -> tuple[dict[str, int], ...]:
    return tuple({first: a, second: b} for a in firsts for b in seconds)


MACHINES = (
    Machine("fan", "dev", True, _points("spd", (24, 28), "load", (1, 2)), _points("spd", (32,), "load", (2, 3)),
            ("imbalance", "rub", "stall"), fan, 3.0),
    Machine("gearbox", "dev", False, _points("volt", (2, 3), "wt", (0, 50)), _points("volt", (4,), "wt", (50, 100)),
            ("tooth", "eccentric", "wear"), gearbox, 3.0),
    Machine("valve", "dev", True, _points("pat", (0, 1), "pres", (1, 2)), _points("pat", (2, 3), "pres", (3,)),
            ("leak", "sticking", "bounce"), valve, 3.0),
    Machine("pump", "eval", True, _points("spd", (240, 300), "head", (1, 2)), _points("spd", (360,), "head", (2, 3)),
            ("cavitation", "seal", "check"), pump, 2.5),
    Machine("bearing", "eval", False, _points("vel", (6, 8), "loc", (0, 1)), _points("vel", (10,), "loc", (2, 3)),
            ("outer", "inner", "slip", "dry"), bearing, 5.0),
)  # fmt: skip
