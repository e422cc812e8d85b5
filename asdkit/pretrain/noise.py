"""What a student hears over its clip in pre-training: noise of several kinds, and the answer of a room."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from asdkit.pretrain.config import NoiseConfig
from asdkit.pretrain.synth import LOWEST, Dice, decibels, envelopes, impulses, responses, unit, waves_of
from asdkit.signals.audio import RATE

OTHERS = 3  # clips in a babble
MAINS = (50.0, 60.0)  # Hz
PARTS = 2  # kinds of noise in a clip, the second quieter


def heard_in_noise(clips: Tensor, config: NoiseConfig, dice: Dice) -> Tensor:
    """Clips [B, T] of rms 1 as a microphone between other things hears them: [B, T].

    A part of them (`probability`) gets noise at an SNR drawn for each clip from `snr_db`, and a part (`room`) is heard
    through a room before that. The others stay.
    """
    heard = torch.where(dice.chance(config.room, len(clips), 1), unit(in_a_room(clips, dice)), clips)
    factor = decibels(-dice.uniform(*config.snr_db, len(clips), 1))
    return heard + noises(clips, config.kinds, dice) * factor * dice.chance(config.probability, len(clips), 1)


def noises(clips: Tensor, kinds: list[str], dice: Dice) -> Tensor:
    """Noise for each clip, of two of the kinds: [B, T] of rms 1. Babble is made of the other clips."""
    total = torch.zeros_like(clips)
    for part in range(PARTS):
        kind = dice.integer(0, len(kinds), len(clips))
        level = decibels(-dice.uniform(6, 30, len(clips), 1)) if part else torch.ones(len(clips), 1)
        for number, name in enumerate(kinds):
            rows = (kind == number).nonzero().flatten()
            if len(rows):
                total[rows] += level[rows] * unit(KINDS[name](clips, rows, dice))
    return unit(total)


def coloured(clips: Tensor, rows: Tensor, dice: Dice) -> Tensor:
    """Gaussian noise from white to brown (power ~ 1 / f^0..2), whose level moves a little: [R, T]."""
    samples = clips.shape[1]
    exponent = dice.uniform(0, -2, len(rows), 1)
    hz = torch.linspace(0, RATE / 2, samples // 2 + 1).clamp(min=LOWEST)
    noise = torch.fft.irfft(torch.fft.rfft(dice.normal(len(rows), samples)) * hz ** (exponent / 2), samples)
    return noise * (1 + 0.2 * envelopes(len(rows), samples, dice))


def hum(clips: Tensor, rows: Tensor, dice: Dice) -> Tensor:
    """The mains and its harmonics, odd and even of different strengths: [R, T]."""
    count, harmonics = len(rows), torch.arange(1, 41)
    mains = torch.tensor(MAINS)[dice.integer(0, len(MAINS), count)].unsqueeze(1) * dice.uniform(0.995, 1.005, count, 1)
    strength = harmonics ** -dice.uniform(0.3, 2, count, 1) * dice.uniform(0, 1, count, len(harmonics))
    strength = strength * torch.where(harmonics % 2 == 0, dice.uniform(0, 1, count, 1), 1.0)
    phase = mains.double() / RATE * torch.arange(clips.shape[1])
    return waves_of(strength, phase, dice)


def babble(clips: Tensor, rows: Tensor, dice: Dice) -> Tensor:
    """Other clips of the batch at once, each at a level and from a place of its own: [R, T]."""
    total = torch.zeros(len(rows), clips.shape[1])
    for _ in range(OTHERS):
        other = (rows + dice.integer(1, max(len(clips), 2), len(rows))) % len(clips)
        start = int(dice.integer(0, clips.shape[1], 1))
        total += clips[other].roll(start, 1) * decibels(-dice.uniform(0, 12, len(rows), 1))
    return total


def strikes(clips: Tensor, rows: Tensor, dice: Dice) -> Tensor:
    """Strikes that ring at random resonances, as of work nearby: [R, T]."""
    samples = clips.shape[1]
    spectrum = torch.fft.rfft(impulses(len(rows), samples, dice))
    return torch.fft.irfft(spectrum * responses(len(rows), samples, dice), samples)


KINDS = {"coloured": coloured, "hum": hum, "babble": babble, "strikes": strikes}


def in_a_room(clips: Tensor, dice: Dice) -> Tensor:
    """Clips [B, T] and their reverberation: a tail of noise that falls by 60 dB within 0.1 to 0.8 s: [B, T]."""
    count, samples = clips.shape
    seconds = torch.arange(min(samples, RATE)) / RATE
    fall = 3 * math.log(10) / dice.log_uniform(0.1, 0.8, count, 1)
    tail = unit(dice.normal(count, len(seconds)) * (-fall * seconds).exp())
    # a tail of unit power has the direct sound's power where its samples' squares sum to 1
    tail *= decibels(-dice.uniform(-6, 12, count, 1)) / math.sqrt(len(seconds))
    tail[:, 0] += 1
    spectrum = torch.fft.rfft(clips) * torch.fft.rfft(F.pad(tail, (0, samples - len(seconds))))
    return torch.fft.irfft(spectrum, samples)
