"""Noise: its level, its spectrum, its seed."""

import numpy as np
import pytest

from asdkit.signals.noise import NOISES, SLOPES, with_noise

SIGNAL = np.sin(np.arange(160000) / 7) * 0.1


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("snr_db", [20, 0, -12])
def test_the_level_is_the_one_asked_for(kind, snr_db):
    noise = with_noise(SIGNAL, kind, snr_db, seed=3) - SIGNAL
    assert 10 * np.log10(np.mean(SIGNAL**2) / np.mean(noise**2)) == pytest.approx(snr_db, abs=1e-9)


@pytest.mark.parametrize(("kind", "exponent"), SLOPES.items())
def test_power_falls_with_frequency_as_the_colour_says(kind, exponent):
    power = np.mean([np.abs(np.fft.rfft(with_noise(SIGNAL, kind, 0, s) - SIGNAL)) ** 2 for s in range(4)], axis=0)
    edges = 62.5 * 2 ** np.arange(8)  # octaves, 62.5 Hz to 8 kHz
    hz = np.fft.rfftfreq(len(SIGNAL), 1 / 16000)
    octaves = [power[(hz >= low) & (hz < 2 * low)].mean() for low in edges[:-1]]
    assert np.polyfit(np.log(edges[:-1]), np.log(octaves), 1)[0] == pytest.approx(exponent, abs=0.05)


@pytest.mark.parametrize("kind", NOISES)
def test_a_seed_gives_the_same_noise_at_every_level_and_another_seed_another(kind):
    one, again, other = (with_noise(SIGNAL, kind, 0, seed) - SIGNAL for seed in (0, 0, 1))
    assert np.array_equal(one, again)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.3
    louder = with_noise(SIGNAL, kind, -20, 0) - SIGNAL
    assert np.allclose(louder, 10 * one, atol=1e-9)


def test_a_factory_is_uneven_in_time_and_hums():
    noise = with_noise(SIGNAL, "factory", 0, 1) - SIGNAL
    level = np.sqrt((noise.reshape(-1, 800) ** 2).mean(axis=1))  # of 50 ms
    assert level.max() > 2 * np.median(level)
    power = np.abs(np.fft.rfft(noise * np.hanning(len(noise)))) ** 2  # 0.1 Hz a bin
    assert power[490:511].max() > 20 * np.median(power[400:600])


@pytest.mark.parametrize("kind", NOISES)
def test_short_clips_and_other_rates_have_noise_too(kind):
    for samples, rate in ((1, 16000), (37, 16000), (4800, 48000)):
        found = with_noise(np.ones(samples), kind, 6, 0, rate)
        assert found.shape == (samples,)
        assert np.isfinite(found).all()


def test_what_has_no_level_and_unknown_kinds_are_refused():
    for wav in (np.zeros(9), np.zeros(0), np.ones((2, 9))):
        with pytest.raises(ValueError, match="noise at -6 dB needs a mono recording with a signal"):
            with_noise(wav, "pink", -6, 0)
    with pytest.raises(ValueError, match="noise 'blue': allowed are white, pink, brown, factory"):
        with_noise(SIGNAL, "blue", 0, 0)
