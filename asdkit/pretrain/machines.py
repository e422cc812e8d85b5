"""Machines without end for pre-training: turning shafts with what sits on them, under changing load, worn or not.

Nobody's machine in particular. What egs/mini's machines are made of is left out (MINI_...): they are for testing.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from asdkit.pretrain.synth import (
    CONTROL,
    HIGHEST,
    LOWEST_PEAK,
    PEAKS,
    Dice,
    decibels,
    responses,
    stretched,
    unit,
    wander,
    waves_of,
)
from asdkit.signals.audio import RATE

SLOWEST, FASTEST = 3.0, 90.0  # turns a second
ORDERS = 64  # of the shaft, as tones
TONES = 8  # harmonics of a mesh
ELEMENTS = (2, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 21, 24)  # blades, lobes, poles; not 3, 4, 7
TEETH = tuple(n for n in range(11, 90) if n not in (19, 47))
MINI_STRIKES = (3.375, 5.625, 0.375)  # a turn
MINI_MODES = (
    410.0, 520.0, 870.0, 900.0, 980.0, 1250.0, 1350.0, 1640.0, 1900.0, 2300.0, 2600.0, 2700.0, 2950.0, 3600.0, 4700.0,
    5100.0, 5200.0, *(hz * (1 + 0.04 * place) for hz in (1150.0, 2450.0, 3700.0, 5600.0) for place in range(4)),
)  # fmt: skip
APART = 0.02  # as a share: so near to mini's numbers nothing is drawn


@dataclass(frozen=True)
class Machines:
    """Some machines, a row of each tensor for one.

    speed: turns a second [M, 1]. elements: on the shaft [M, 1]. teeth: of wheel and pinion [M, 2]. strikes: a turn
    [M, 1]. resonances: Hz [M, PEAKS]. wear: 0..1 [M, 1]. parts: how loud tones, mesh, flow and strikes are, in turn
    [M, 4], 0: not there.
    """

    speed: Tensor
    elements: Tensor
    teeth: Tensor
    strikes: Tensor
    resonances: Tensor
    wear: Tensor
    parts: Tensor


def draw_machines(count: int, dice: Dice) -> Machines:
    """Draw `count` machines."""
    parts = decibels(-dice.uniform(0, 20, count, 4)) * dice.chance(0.6, count, 4)
    always = torch.nn.functional.one_hot(dice.integer(0, 4, count), 4)
    elements, teeth = (torch.tensor(numbers) for numbers in (ELEMENTS, TEETH))
    return Machines(
        speed=dice.log_uniform(SLOWEST, FASTEST, count, 1),
        elements=elements[dice.integer(0, len(elements), count, 1)],
        teeth=teeth[dice.integer(0, len(teeth), count, 2)],
        strikes=apart(0.2, 16, MINI_STRIKES, dice, count, 1),
        resonances=apart(LOWEST_PEAK, HIGHEST, MINI_MODES, dice, count, PEAKS),
        wear=dice.uniform(0, 1, count, 1) ** 3,
        parts=torch.maximum(parts, always.float()),
    )


def machine_sounds(count: int, samples: int, dice: Dice) -> Tensor:
    """The sounds of `count` machines, one each: [count, samples] at 16 kHz, each with a root mean square of 1."""
    machines = draw_machines(count, dice)
    points = samples // CONTROL + 2
    load = wander(count, points, dice).sigmoid() * dice.uniform(0, 1, count, 1)  # [M, points] 0..1
    slip = 0.05 * dice.uniform(0, 1, count, 1) * load + dice.log_uniform(1e-4, 0.02, count, 1) * wander(
        count, points, dice
    )
    hz = machines.speed * (1 - slip)
    turns = dice.uniform(0, 1, count, 1) + (stretched(hz, samples).double() / RATE).cumsum(1)  # [M, T]
    pressed = stretched(1 + dice.uniform(0, 1, count, 1) * load, samples)  # louder under load
    sounds = torch.zeros(count, samples)
    for part, make in zip(machines.parts.unbind(1), (tones, mesh, flow, struck), strict=True):
        sounds += part.unsqueeze(1) * unit(make(machines, turns, dice))
    sounds *= pressed
    spectrum = torch.fft.rfft(sounds * rhythm(count, samples, dice))
    return unit(torch.fft.irfft(spectrum * responses(count, samples, dice, machines.resonances), samples))


def tones(machines: Machines, turns: Tensor, dice: Dice) -> Tensor:
    """Lines at all orders of the shaft, those of the elements above the others: [M, T]."""
    count, orders = len(turns), torch.arange(1, ORDERS + 1)
    uneven = 0.3 * dice.uniform(0, 1, count, 1) + 0.7 * machines.wear
    amplitude = orders ** -dice.uniform(0.3, 1.5, count, 1) * dice.uniform(0.3, 1, count, ORDERS)
    amplitude = amplitude * torch.where(orders % machines.elements == 0, 1.0, 0.3 * uneven)
    amplitude = amplitude * (orders * machines.speed * 1.1 < RATE / 2)
    return waves_of(amplitude, turns, dice)


def mesh(machines: Machines, turns: Tensor, dice: Dice) -> Tensor:
    """The tone of teeth that meet and its harmonics, with both shafts in amplitude and phase: [M, T]."""
    count = len(turns)
    own, other = machines.teeth[:, [0]], machines.teeth[:, [1]]
    sway = _swing(turns * (own / other), dice)  # of the other shaft
    orders = torch.arange(1, TONES + 1)
    amplitude = orders ** -dice.uniform(0.5, 2, count, 1) * dice.uniform(0.3, 1, count, TONES)
    amplitude = amplitude * (orders * own * machines.speed * 1.1 < RATE / 2)
    amplitude[:, 0] += 0.05
    phase = own * turns + (0.002 + 0.05 * machines.wear) * sway.double()
    depth = dice.uniform(0, 0.3, count, 2) + 0.6 * machines.wear
    swung = (1 + depth[:, [0]] * _swing(turns, dice)) * (1 + depth[:, [1]] * sway)
    return waves_of(amplitude, phase, dice) * swung


def flow(machines: Machines, turns: Tensor, dice: Dice) -> Tensor:
    """Noise of a flow or of friction that swells with the elements, or once a turn: [M, T]."""
    count, samples = turns.shape
    order = torch.where(dice.chance(0.5, count, 1), machines.elements, 1)
    depth = dice.uniform(0, 0.8, count, 1)
    return dice.normal(count, samples) * (1 + depth * _swing(turns * order, dice))


def struck(machines: Machines, turns: Tensor, dice: Dice) -> Tensor:
    """Strikes at a rate of the shaft, of uneven strength, in and out of the load once a turn: [M, T]."""
    count, samples = turns.shape
    at = (turns * machines.strikes).floor().diff(dim=1, prepend=turns[:, :1] * machines.strikes - 1) > 0
    uneven = 1 + (0.1 + 0.4 * machines.wear) * dice.normal(count, samples)
    return at * uneven * (1 + dice.uniform(0, 0.9, count, 1) * _swing(turns, dice))


def rhythm(count: int, samples: int, dice: Dice) -> Tensor:
    """Factors of machines that work in strokes, a third of them, with soft edges; the others run on: [count, T]."""
    points = samples // CONTROL + 2
    time = torch.arange(points) * CONTROL / RATE
    cycle = (time * dice.log_uniform(0.5, 6, count, 1) + dice.uniform(0, 1, count, 1)) % 1
    works = ((dice.uniform(0.2, 0.8, count, 1) - cycle) * 40).sigmoid() * (cycle * 40 - 3).sigmoid()
    rest = dice.uniform(0.02, 0.5, count, 1)
    return stretched(torch.where(dice.chance(1 / 3, count, 1), rest + (1 - rest) * works, 1.0), samples)


def apart(low: float, high: float, taken: tuple[float, ...], dice: Dice, *shape: int) -> Tensor:
    """Log-uniform from `low` to `high`, nowhere within APART of the values taken: [*shape]."""
    walls = [(math.log(low), math.log(low))]
    for value in sorted(taken):
        walls.append((math.log(value * (1 - APART)), math.log(value * (1 + APART))))
    walls.append((math.log(high), math.log(high)))
    free, end = [], walls[0][1]
    for begin, stop in walls[1:]:
        free += [(end, begin)] if begin > end else []
        end = max(end, stop)
    starts, stops = torch.tensor(free).unbind(1)
    before = torch.cat([torch.zeros(1), (stops - starts).cumsum(0)])  # length of all that is free below each part
    place = dice.uniform(0, float(before[-1]), *shape)
    part = torch.bucketize(place, before[1:-1], right=True)
    return (starts[part] + place - before[part]).exp()


def _swing(turns: Tensor, dice: Dice) -> Tensor:
    """Cosine of an angle in turns [M, T], from a random place: float32 [M, T]."""
    return (2 * math.pi * ((turns + dice.uniform(0, 1, len(turns), 1)) % 1)).float().cos()
