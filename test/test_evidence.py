"""Band and time of the largest difference from a training clip, as asdkit-detect tells them."""

import numpy as np
import pytest

from asdkit.monitor.evidence import Spectra, band_edges, largest, levels, most_alike, step, summary

RATE = 16000


def hum(seed, seconds=4.0, rate=RATE):
    """Noise and a tone: a machine."""
    draw, at = np.random.default_rng(seed), np.arange(round(seconds * rate)) / rate
    return (0.01 * draw.standard_normal(len(at)) + 0.05 * np.sin(2 * np.pi * 0.01 * rate * at)).astype(np.float32)


def spectra(rate=RATE):
    found = [summary(levels(hum(i, rate=rate), rate)) for i in range(6)]
    return Spectra(band_edges(rate), np.stack([mean for mean, _ in found]), np.stack([spread for _, spread in found]))


def tone(hertz, start, end, size, rate=RATE, seconds=4.0):
    at = np.arange(round(seconds * rate)) / rate
    return size * np.sin(2 * np.pi * hertz * at) * ((at >= start) & (at < end))


def test_levels_are_those_of_a_tone():
    found = levels(tone(1000, 0, 4, 0.5), RATE)
    edges, loudest = band_edges(RATE), found.mean(axis=0).argmax()
    assert edges[loudest] <= 1000 < edges[loudest + 1]
    total = 10 * np.log10((10 ** (found / 10)).sum(axis=1))  # of 0.5 * sin: 0.125
    np.testing.assert_allclose(total, 10 * np.log10(0.125), atol=0.1)
    assert levels(np.zeros(RATE), RATE).max() == -120


@pytest.mark.parametrize("rate", [8000, 16000, 50000])
def test_what_is_added_for_a_while_is_found(rate):
    known, pitch = spectra(rate), 0.2 * rate
    clip = hum(9, rate=rate) + tone(pitch, 2.0, 2.0 + 8 * step(rate) / 4, 0.02, rate).astype(np.float32)
    course = levels(clip, rate)
    found = largest(course, known, most_alike(course, known), 4.0, rate)
    assert found.low <= pitch <= found.high and found.high < 1.4 * pitch
    assert found.db > 3 and found.unusual > 1 and not found.throughout
    assert abs(found.start - 2) <= 2 * step(rate) and abs(found.end - 2 - 2 * step(rate)) <= 3 * step(rate)


def test_what_is_there_all_the_time_or_gone_is_found():
    known = spectra()
    found = largest(levels(hum(9) + tone(3000, 0, 4, 0.03), RATE), known, 2, 4.0, RATE)
    assert found.low <= 3000 <= found.high and found.db > 10 and found.throughout and found.unusual > 2
    quiet = largest(levels(hum(9) - tone(160, 0, 4, 0.045), RATE), known, 2, 4.0, RATE)
    assert quiet.low <= 160 <= quiet.high and quiet.db < -10 and quiet.throughout


def test_where_nothing_differs_nothing_is_claimed():
    known = spectra()
    assert max(largest(levels(hum(i), RATE), known, 0, 4.0, RATE).unusual for i in range(20, 30)) < 1.3


@pytest.mark.parametrize("clip", [np.zeros(64000), np.ones(64000) * 0.3, np.zeros(1), hum(3, 0.05), hum(3, 70.0)])
def test_clips_of_any_kind_and_length_have_an_answer(clip):
    known = spectra()
    course = levels(clip.astype(np.float32), RATE)
    found = largest(course, known, most_alike(course, known), len(clip) / RATE, RATE)
    assert np.isfinite(found).all() and 0 <= found.start <= found.end <= len(clip) / RATE + 1e-9
    assert found.low < found.high
