import math

import numpy as np
import pytest
import soundfile
from corpora import noise

from asdkit.signals.audio import AudioReader

RATES = (22050, 44100, 48000, 50000, 51200, 96000, 192000)


def write(path, samples, rate):
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return path


def level(path, rate, hertz):
    """What is left of a tone at 16 kHz, dB."""
    write(path, np.sin(2 * np.pi * hertz * np.arange(rate // 2) / rate), rate)
    read = AudioReader(resample=True).read(path)[1000:-1000].astype(float)
    return 20 * math.log10(math.sqrt(2 * (read**2).mean()) + 1e-9)


@pytest.mark.parametrize("rate", RATES)
def test_what_can_be_heard_stays_and_what_cannot_does_not_come_back(tmp_path, rate):
    for hertz in (50, 1000, 5000, 6500, 7000):
        assert abs(level(tmp_path / "a.wav", rate, hertz)) < 0.1, hertz
    for hertz in {8500, 8731, 9000, 10000, rate / 2 - 700, rate / 2 - 7000} - {0}:
        if 8500 <= hertz < rate / 2:
            assert level(tmp_path / "a.wav", rate, hertz) < -100, hertz


@pytest.mark.parametrize("rate", [8000, 11025, *RATES, 44056, 16001])
def test_parts_equal_the_whole(tmp_path, rate):
    path = write(tmp_path / "a.wav", noise(0.7, rate=rate), rate)
    reader = AudioReader(resample=True)
    whole = reader.read(path)
    total = -(-round(0.7 * rate) * 16000 // rate)
    assert len(whole) == total == reader.length(path)
    for start, samples in (
        (0, 1000),
        (1, 999),
        (4321, 2000),
        (total - 700, 700),
        (3333, -1),
        (5000, 0),
        (total - 1, 1),
    ):
        stop = total if samples < 0 else start + samples
        np.testing.assert_allclose(reader.read(path, start, samples), whole[start:stop], atol=1e-6, rtol=0)


@pytest.mark.parametrize("rate", [8000, 44100, 51200, 44056])
def test_long_recordings_are_made_piece_by_piece(tmp_path, rate, monkeypatch):
    from asdkit.signals import resample

    path = write(tmp_path / "a.wav", noise(0.7, rate=rate), rate)
    whole = AudioReader(resample=True).read(path)
    monkeypatch.setattr(resample, "_AT_ONCE", 2000)
    np.testing.assert_allclose(AudioReader(resample=True).read(path), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("rate", [8000, 44100, 48000, 15999])
def test_time_and_level_stay(tmp_path, rate):
    at = np.arange(rate) / rate
    path = write(tmp_path / "a.wav", 0.3 * np.sin(2 * np.pi * 440 * at) + 0.1, rate)
    read, at = AudioReader(resample=True).read(path), np.arange(16000) / 16000
    np.testing.assert_allclose(read[500:-500], (0.3 * np.sin(2 * np.pi * 440 * at) + 0.1)[500:-500], atol=2e-6)


def test_short_recordings_and_channels(tmp_path):
    for samples in (1, 2, 3, 50):
        path = write(tmp_path / "a.wav", noise(1.0, channels=2)[:samples], 48000)
        assert AudioReader(channel=1, resample=True).read(path).shape == (-(-samples // 3),)
    stereo = noise(0.2, 48000, channels=2)
    write(tmp_path / "a.wav", stereo, 48000)
    write(tmp_path / "b.wav", stereo[:, 1], 48000)
    both = [AudioReader(channel=c, resample=True).read(tmp_path / n) for c, n in ((1, "a.wav"), (None, "b.wav"))]
    np.testing.assert_array_equal(*both)
