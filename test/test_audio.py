import numpy as np
import pytest
import soundfile
from corpora import noise, write_clip

from asdkit.signals.audio import AudioReader, sample_counts


def bytes_read() -> int:
    with open("/proc/self/io") as file:
        return int(file.readline().split()[1])


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_part_equals_that_part_of_the_whole(tmp_path, suffix):
    path = write_clip(tmp_path / f"a{suffix}", 1.0)
    whole = AudioReader().read(path)
    assert whole.dtype == np.float32 and whole.shape == (16000,)
    np.testing.assert_allclose(whole, noise(1.0), atol=2**-15)
    for start, samples in ((0, 16000), (0, 0), (1600, 3200), (15999, 1), (160, -1)):
        stop = 16000 if samples < 0 else start + samples
        np.testing.assert_array_equal(AudioReader().read(path, start, samples), whole[start:stop])


def test_a_part_of_a_wav_costs_only_that_part(tmp_path):
    path = tmp_path / "hour.wav"
    soundfile.write(path, np.zeros(16000, "int16"), 16000)
    samples = 3600 * 16000
    with open(path, "r+b") as file:  # an hour in a sparse file
        file.seek(4)
        file.write((36 + 2 * samples).to_bytes(4, "little"))
        file.seek(40)
        file.write((2 * samples).to_bytes(4, "little"))
        file.truncate(44 + 2 * samples)
    reader = AudioReader()
    assert reader.length(path) == samples
    reader.read(path, 0, 10)  # opened once before counting
    before = bytes_read()
    assert len(reader.read(path, 3000 * 16000, 32000)) == 32000
    assert bytes_read() - before < 64000 + 40000


def test_a_part_of_a_flac_costs_only_that_part(tmp_path):
    path = write_clip(tmp_path / "a.flac", 60.0)
    before = bytes_read()
    AudioReader().read(path, 30 * 16000, 32000)
    assert bytes_read() - before < path.stat().st_size / 3


def test_channels(tmp_path):
    path = write_clip(tmp_path / "a.wav", 0.1, channels=2)
    both = soundfile.read(path, dtype="float32")[0]
    for channel in (0, 1):
        read = AudioReader(channel=channel).read(path, 100, 500)
        np.testing.assert_array_equal(read, both[100:600, channel])
        assert read.flags.c_contiguous
    with pytest.raises(ValueError, match=r"a\.wav: has 2 channels.*'channel'.*--channel"):
        AudioReader().read(path)
    with pytest.raises(ValueError, match=r"a\.wav: channel 2 asked for, the recording has 2"):
        AudioReader(channel=2).length(path)
    mono = write_clip(tmp_path / "mono.wav")
    np.testing.assert_array_equal(AudioReader(channel=0).read(mono), AudioReader().read(mono))


def test_another_rate_is_refused_unless_asked_for(tmp_path):
    path = write_clip(tmp_path / "a.wav", rate=44100)
    with pytest.raises(ValueError, match=r"a\.wav: 44100 Hz, expected 16000 Hz: set 'resample: true'.*--resample true"):
        AudioReader().read(path)


def test_broken_recordings_are_named(tmp_path):
    good = write_clip(tmp_path / "good.wav", 1.0).read_bytes()
    flac = write_clip(tmp_path / "good.flac", 1.0).read_bytes()
    bad = {
        "empty.wav": (b"", "empty file"),
        "text.wav": (b"these are words\n" * 10, "not a readable wav or flac file"),
        "cut.wav": (good[:9000], "truncated: the header promises 32000 bytes of samples, the file holds 8956"),
        "headless.wav": (good[100:], "not a readable wav or flac file"),
        "silent.wav": (good[:40] + b"\0\0\0\0", "no samples"),
        "cut.flac": (flac[: len(flac) // 2], "cut.flac"),
        "empty.flac": (b"", "empty file"),
    }
    for name, (content, message) in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message) as error:
            AudioReader().read(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)
    with pytest.raises(ValueError, match=r"missing\.wav: cannot be opened: No such file"):
        AudioReader().read(tmp_path / "missing.wav")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path, value):
    samples = noise(0.1)
    samples[800] = value
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 16000, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"a\.wav: holds NaN or infinite samples"):
        AudioReader().read(path)
    assert sample_counts(AudioReader(), [str(path)]) == [1600]
    with pytest.raises(ValueError, match="NaN"):
        sample_counts(AudioReader(), [str(path)], content=True)


def test_a_part_outside_the_recording_is_refused(tmp_path):
    path = write_clip(tmp_path / "a.wav", 0.1)
    for start, samples in ((0, 1601), (1601, 0), (-1, 5)):
        with pytest.raises(ValueError, match="the recording has 1600"):
            AudioReader().read(path, start, samples)


def test_header_checks_keep_the_order_and_name_the_bad_file(tmp_path):
    paths = [str(write_clip(tmp_path / f"{i}.wav", 0.01 * (i + 1))) for i in range(30)]
    assert sample_counts(AudioReader(), paths) == [160 * (i + 1) for i in range(30)]
    (tmp_path / "17.wav").write_bytes(b"")
    with pytest.raises(ValueError, match=r"17\.wav: an empty file"):
        sample_counts(AudioReader(), paths)


def test_the_encoder_rate_is_checked():
    AudioReader(16000).check_rate(16000)
    with pytest.raises(ValueError, match="sample_rate: 16000"):
        AudioReader(8000).check_rate(16000)


def test_a_recording_of_another_length_than_listed_is_refused(tmp_path):
    path = write_clip(tmp_path / "a.wav", 0.1, rate=8000)
    reader = AudioReader(resample=True)
    assert len(reader.read(path, 0, 10, length=1600)) == 10
    for length in (1599, 1601):
        with pytest.raises(ValueError, match=rf"a\.wav: has changed: 1600 samples, it had {length} when it was listed"):
            reader.read(path, 0, 10, length=length)
