"""The envelope spectrum against closed forms."""

import math

import pytest
import torch

from asdkit.config import EnvelopeEncoder
from asdkit.encoders import build_encoder


def tone(rate, carrier, modulations, seconds=1.0):
    """A carrier whose amplitude is 1 + the sum of m cos(2 pi f t), [1, T]; modulations: f -> m."""
    time = torch.arange(round(rate * seconds), dtype=torch.float64) / rate
    swing = 1 + sum(m * torch.cos(2 * torch.pi * f * time) for f, m in modulations.items())
    return (swing * torch.cos(2 * torch.pi * carrier * time))[None]


@pytest.mark.parametrize(("rate", "carrier"), [(16000, 3000), (25600, 5120), (96000, 40000)])
def test_a_modulated_tone_shows_its_modulations(rate, carrier):
    encoder = build_encoder(EnvelopeEncoder(sample_rate=rate))
    feats = encoder.frontend(tone(rate, carrier, {30: 0.5, 108: 0.2, 500: 0.1}))
    assert feats.shape == (1, 3, 250) and (encoder.window, encoder.hop, encoder.dim) == (rate // 2, rate // 4, 250)
    amplitude = feats[0].exp()
    for f, m in ((30, 0.5), (108, 0.2), (500, 0.1)):  # bin f / 2, counted from 2 Hz
        torch.testing.assert_close(amplitude[:, f // 2 - 1], torch.full((3,), m), rtol=2e-3, atol=0)
    away = [f // 2 - 1 + side for f in (30, 108, 498) for side in (-3, 3)]
    assert amplitude[:, [i for i in away if i < 247]].max() < 2e-3


def test_what_lies_outside_the_band_is_not_heard():
    encoder = build_encoder(EnvelopeEncoder(low=2000, high=4000))
    inside = tone(16000, 3000, {50: 0.4})
    both = inside + tone(16000, 1000, {70: 0.9}) + tone(16000, 6000, {90: 0.9})
    amplitude = encoder.frontend(both)[0].exp()
    torch.testing.assert_close(amplitude[:, 24], encoder.frontend(inside)[0, :, 24].exp(), rtol=1e-2, atol=0)
    assert amplitude[:, [34, 44]].max() < 0.01


def test_impacts_show_their_rate():
    """Rings of 3 kHz, 87 times a second: lines at 87, 174 and 261 Hz stand above what is between them."""
    time = torch.arange(32000, dtype=torch.float64) / 16000
    since = time % (1 / 87)
    rings = torch.exp(-800 * since) * torch.sin(2 * torch.pi * 3000 * since)
    noise = torch.randn(32000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    encoder = build_encoder(EnvelopeEncoder(frame_seconds=1))
    level = encoder.frontend((rings + 0.05 * noise)[None])[0].mean(0)
    lines = level[[86, 173, 260]]
    assert lines.min() > level[[i for i in range(20, 300) if (i + 1) % 87 not in (0, 1, 2, 85, 86)]].max()


def test_an_offset_is_not_heard():
    encoder = build_encoder(EnvelopeEncoder(low=0))
    wav = tone(16000, 3000, {50: 0.4})
    torch.testing.assert_close(encoder.frontend(wav + 3)[0, :, 24], encoder.frontend(wav)[0, :, 24], atol=1e-3, rtol=0)


def test_silence_and_a_steady_tone_are_the_floor():
    encoder = build_encoder(EnvelopeEncoder())
    assert (encoder.frontend(torch.zeros(1, 16000)) == math.log(1e-10)).all()
    assert encoder.frontend(tone(16000, 3000, {}))[0].max() < math.log(1e-6)


def test_what_is_refused():
    with pytest.raises(ValueError, match="'low' 1000 and 'high' 1000: low < high <= 1000 Hz"):
        EnvelopeEncoder(sample_rate=2000)
    with pytest.raises(ValueError, match="'highest' 500: 2 Hz, .* to 100 Hz, the width of the band"):
        EnvelopeEncoder(high=1100)
    with pytest.raises(ValueError, match="'highest' 1: 2 Hz"):
        EnvelopeEncoder(highest=1)
    with pytest.raises(ValueError, match=r"clip of 4000 samples, at least 0.5 s \(one frame"):
        build_encoder(EnvelopeEncoder()).frontend(torch.zeros(1, 4000))
    assert EnvelopeEncoder(frame_seconds=0.25).frontend == "envelope_frame_seconds_0.25"
