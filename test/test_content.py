import hashlib

import numpy as np
import pytest
import soundfile
from corpora import noise, write_clip

from asdkit.signals import content
from asdkit.signals.content import Content, measure, measure_all


def test_content_is_of_all_samples_and_channels(tmp_path, monkeypatch):
    monkeypatch.setattr(content, "_BLOCK", 700)  # several blocks, the last one short
    path = write_clip(tmp_path / "a.wav", 0.1, channels=2)
    samples = soundfile.read(path, dtype="float32")[0]
    samples[900, 1] = -0.75
    soundfile.write(path, samples, 16000)
    measured = measure(path)
    assert measured.digest == hashlib.sha256(b"16000 2\n" + samples.astype("<f4").tobytes()).hexdigest()
    assert (measured.samples, measured.rate, measured.peak) == (1600, 16000, 0.75)
    np.testing.assert_allclose(measured.rms, samples.astype(float).std(0), rtol=1e-6)


def test_copies_in_other_files_have_the_same_digest(tmp_path):
    options = ({}, {"subtype": "FLOAT"}, {"subtype": "PCM_24"}, {"format": "W64"}, {"format": "RF64"})
    samples = soundfile.read(write_clip(tmp_path / "a.flac", 0.1), dtype="float32")[0]
    first = measure(tmp_path / "a.flac")
    for number, given in enumerate(options):
        soundfile.write(tmp_path / f"{number}.wav", samples, 16000, **given)
        assert measure(tmp_path / f"{number}.wav") == first
    others = (samples[:-1], 16000), (samples, 16001), (samples.reshape(-1, 2), 16000), (samples[::-1], 16000)
    for number, (data, rate) in enumerate(others):
        soundfile.write(tmp_path / f"other{number}.wav", data, rate)
    digests = {measure(path).digest for path in tmp_path.glob("other*.wav")} | {first.digest}
    assert len(digests) == 1 + len(others)


def test_many_recordings_in_their_order(tmp_path):
    paths = [write_clip(tmp_path / f"{number}.wav", 0.01, seed=number) for number in range(40)]
    measured = list(measure_all(paths, 3))
    assert measured == [measure(path) for path in paths] and all(isinstance(one, Content) for one in measured)
    paths[20].write_bytes(paths[20].read_bytes()[:-2])
    with pytest.raises(ValueError, match=r"20\.wav: truncated"):
        list(measure_all(paths, 3))


@pytest.mark.parametrize("scale", [40, 128, 32768, 2**23, 2**31])
def test_floats_that_are_no_samples_are_refused_with_their_peak(tmp_path, scale):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(0.1) * scale, 16000, subtype="FLOAT")
    peak = np.abs(noise(0.1)).max() * scale
    with pytest.raises(ValueError, match=rf"a\.wav: floating-point samples up to {peak:g}".replace("+", r"\+")):
        measure(path)
