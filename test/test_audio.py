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


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000])
def test_parts_of_resampled_recordings_equal_the_resampled_whole(tmp_path, rate):
    torch = pytest.importorskip("torch")
    from torchaudio.functional import resample

    path = write_clip(tmp_path / "a.wav", 0.7, rate=rate, subtype="FLOAT")
    reader = AudioReader(resample=True)
    expected = resample(torch.from_numpy(soundfile.read(path, dtype="float32")[0]), rate, 16000).numpy()
    assert reader.length(path) == len(expected) == len(reader.read(path))
    for start, samples in ((0, 1000), (1, 999), (4321, 2000), (len(expected) - 700, 700), (3333, -1), (5000, 0)):
        part = reader.read(path, start, samples)
        stop = len(expected) if samples < 0 else start + samples
        np.testing.assert_allclose(part, expected[start:stop], atol=1e-6)


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


def test_a_wav_written_to_a_pipe_has_no_length_and_is_read(tmp_path):
    path = write_clip(tmp_path / "a.wav", 0.1)
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert len(AudioReader().read(path)) == 1600


def test_a_cut_wav_is_seen_behind_long_metadata(tmp_path):
    content = write_clip(tmp_path / "a.wav", 0.1).read_bytes()
    note = b"LIST" + (9001).to_bytes(4, "little") + bytes(9002)  # chunks are padded to an even length
    whole = content[:36] + note + content[36:]
    (tmp_path / "a.wav").write_bytes(whole)
    assert len(AudioReader().read(tmp_path / "a.wav")) == 1600
    (tmp_path / "a.wav").write_bytes(whole[:-2])
    with pytest.raises(ValueError, match="promises 3200 bytes of samples, the file holds 3198"):
        AudioReader().read(tmp_path / "a.wav")


def test_the_encoder_rate_is_checked():
    AudioReader(16000).check_rate(16000)
    with pytest.raises(ValueError, match="sample_rate: 16000"):
        AudioReader(8000).check_rate(16000)


def test_a_flac_without_a_length_is_named(tmp_path):
    path = write_clip(tmp_path / "a.flac", 0.1)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the upper bits of the number of samples
    content[22:26] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.flac: its header tells no length"):
        AudioReader().length(path)


def test_a_recording_of_another_length_than_listed_is_refused(tmp_path):
    path = write_clip(tmp_path / "a.wav", 0.1, rate=8000)
    reader = AudioReader(resample=True)
    assert len(reader.read(path, 0, 10, length=1600)) == 10
    for length in (1599, 1601):
        with pytest.raises(ValueError, match=rf"a\.wav: has changed: 1600 samples, it had {length} when it was listed"):
            reader.read(path, 0, 10, length=length)
