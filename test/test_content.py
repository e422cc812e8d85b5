import hashlib

import numpy as np
import pytest
import soundfile
from corpora import noise, write_clip

from asdkit.pretrain.config import SoundConfig
from asdkit.pretrain.corpus import list_audio
from asdkit.signals import recording
from asdkit.signals.audio import AudioReader, sample_counts
from asdkit.signals.content import Content, measure, measure_all


def test_content_is_of_all_samples_and_channels(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "BLOCK", 700)  # several blocks, the last one short
    path = write_clip(tmp_path / "a.wav", 0.1, channels=2)
    samples = soundfile.read(path, dtype="float32")[0]
    samples[:, 0] = samples[:, 0] / 8 + 0.5  # an offset is no level
    samples[900, 1] = -0.75
    soundfile.write(path, samples, 16000, subtype="FLOAT")
    measured = measure(path)
    assert measured.digest == hashlib.sha256(b"16000 2 float32\n" + samples.astype("<f4").tobytes()).hexdigest()
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


def float_wav(path, samples, subtype="FLOAT"):
    soundfile.write(path, samples, 16000, subtype=subtype)
    return path


@pytest.mark.parametrize(
    ("samples", "advice"),
    [
        (np.rint(noise(0.1) * 32768), "integers of 16 bits, it seems: divide them by 32768 "),
        (np.rint(noise(0.1) * 2**23), "divide them by 8388608 "),
        (np.rint(noise(0.1) * 2**31), "divide them by 2147483648 "),
        (np.rint(noise(0.1) * 10), "integers of 8 bits"),  # a quiet machine: no peak tells it
        (noise(0.1) * 200, "of another unit, it seems"),
    ],
    ids=["16 bits", "24 bits", "32 bits", "quiet", "m/s2"],
)
def test_floats_that_are_no_samples_are_refused_with_their_peak(tmp_path, samples, advice):
    for subtype in ("FLOAT", "DOUBLE"):
        path = float_wav(tmp_path / "a.wav", samples, subtype)
        for read in (measure, AudioReader().read):
            with pytest.raises(ValueError, match=r"a\.wav: floating-point samples up to") as error:
                read(path)
            assert f"up to {np.abs(samples).max():g}, " in str(error.value) and advice in str(error.value)


def test_floats_over_full_scale_pass(tmp_path):
    for peak in (1.4, 4.0, 15.9):
        samples = noise(0.1) * 2 * peak
        path = float_wav(tmp_path / "a.wav", samples)
        np.testing.assert_array_equal(AudioReader().read(path), samples)
        assert measure(path).peak == np.abs(samples).max()
    clipped = np.sign(noise(0.1))
    assert measure(float_wav(tmp_path / "a.wav", clipped)).peak == 1


def test_what_is_broken_in_the_middle_is_found(tmp_path):
    content = bytearray(write_clip(tmp_path / "a.flac", 2.0).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 50] = bytes(50)
    (tmp_path / "a.flac").write_bytes(content)
    AudioReader().length(tmp_path / "a.flac")
    samples = noise(2.0)
    samples[16000] = np.nan
    float_wav(tmp_path / "b.wav", samples)
    for name, message in (("a.flac", r"a\.flac: broken at sample"), ("b.wav", r"b\.wav: holds NaN")):
        for read in (measure, lambda path: sample_counts(AudioReader(), [str(path)], content=True)):
            with pytest.raises(ValueError, match=message):
                read(tmp_path / name)
    with pytest.raises(ValueError, match=r"a\.flac: broken at sample"):
        list_audio(tmp_path, SoundConfig())


def test_memory_does_not_grow_with_the_length(tmp_path):
    import tracemalloc

    samples = np.zeros((60 * 16000, 4), "int16")
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 16000)
    tracemalloc.start()
    measure(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < samples.size * 4 / 3, "float32 of the whole recording is thrice that"
