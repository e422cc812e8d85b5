"""What stage 1 hears: recordings without signal, copies, sounds that changed places."""

import os

import numpy as np
import pytest
import soundfile
from corpora import base_clip, manifest_of, write_base
from stages import Stages

from asdkit.signals.content import measure_all

RATE = 16000


@pytest.fixture
def stages(tmp_path):
    stages = Stages(tmp_path)
    write_base(stages.corpus, train=4, per_test=2)
    return stages


def noise(level, channels=1, seed=0):
    return np.random.default_rng(seed).standard_normal((2 * RATE, channels)) * level


def put(stages, name, samples, **options):
    path = stages.corpus / name
    soundfile.write(path, samples, RATE, **options)
    return path


def stage_1(stages, *options):
    stages.run(1, 1, *options)


DEAD = {
    "zeros": (np.zeros(2 * RATE), {}, "is silent"),
    "one value": (np.full(2 * RATE, 0.3), {}, "is constant"),
    "a step of 16 bits": (
        np.random.default_rng(0).integers(0, 2, 2 * RATE) / 32768,
        {},
        "is nearly silent .-96 dB, below",
    ),
    "floats near nothing": (noise(1e-7), {"subtype": "FLOAT"}, "is constant"),
    "far below the others": (noise(1e-4), {}, "is nearly silent .-80 dB, 50 dB or more below the median"),
    "an offset and hiss": (noise(1e-5) + 0.2, {"subtype": "PCM_24"}, "is nearly silent .-100 dB"),
}


@pytest.mark.parametrize("case", DEAD)
def test_a_recording_without_signal_is_refused_in_training_and_told_in_test(stages, case, caplog):
    samples, options, told = DEAD[case]
    path = put(stages, "pump/test/normal_0001.wav", samples, **options)
    stage_1(stages)
    assert "dev_test: 1 of 8 recordings hold no signal: pump/test/normal_0001.wav: is " in caplog.text
    path.rename(stages.corpus / "pump/train/normal_0001.wav")
    base_clip(path, 101, "pump")
    with pytest.raises(ValueError, match=f"dev_train: 1 of 8 training .*pump/train/normal_0001.wav: {told}.*Take them"):
        stage_1(stages, "--force", "true")
    stage_1(stages, "--check-content", "false", "--force", "true")


def test_a_whole_machine_without_signal_is_refused_and_quiet_ones_are_not(stages):
    for path in (stages.corpus / "pump/train").iterdir():
        soundfile.write(path, noise(1e-3), RATE)  # -60 dB, all of them
    stage_1(stages)
    for number, path in enumerate(sorted((stages.corpus / "pump/train").iterdir())):
        soundfile.write(path, noise(2e-5, seed=number), RATE, subtype="PCM_24")
    with pytest.raises(
        ValueError, match="4 of 8 training recordings hold no signal: pump/train/normal_0000.wav: is nearly"
    ):
        stage_1(stages, "--force", "true")


def test_a_channel_without_signal_is_named_with_those_that_have_some(stages, caplog):
    for number, path in enumerate(sorted(stages.corpus.rglob("*.wav"))):
        soundfile.write(path, noise(0.1, 3, number) * [1, 0 if "pump" in str(path) else 1, 1], RATE)
    message = (
        r"4 of 8 training .* pump/train/normal_0000.wav: channel 1 of 3 is silent or constant; "
        r"signal is in channel 0, 2: --channel 0;"
    )
    with pytest.raises(ValueError, match=message):
        stage_1(stages, "--channel", "1")
    assert not stages.data.exists()
    stage_1(stages, "--channel", "2")
    assert "no signal" not in caplog.text
    row = manifest_of(stages.data, "dev_train")["pump-train-normal_0000"]
    assert [float(level) > 0.05 for level in row["rms"].split(",")] == [True, False, True]


def test_a_finished_folder_with_a_silent_recording_is_opened_with_a_warning(stages, caplog):
    put(stages, "pump/train/normal_0001.wav", np.zeros(2 * RATE))
    stage_1(stages, "--check-content", "false")
    stage_1(stages)
    assert "dev_train: 1 of 8 recordings hold no signal: pump/train/normal_0001.wav: is silent" in caplog.text


def copy(stages, old, new):
    samples, rate = soundfile.read(stages.corpus / old)
    soundfile.write(stages.corpus / new, samples, rate, subtype="PCM_16")


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_copies_are_named(stages, caplog):
    stage_1(stages)
    assert not warnings(caplog)
    for number in range(4):
        copy(stages, f"press/train/normal_000{number}.wav", f"press/train/normal_100{number}.flac")
    copy(stages, "press/train/normal_0000.wav", "pump/train/normal_1000.wav")
    copy(stages, "pump/test/anomaly_0000.wav", "pump/train/normal_1001.wav")
    copy(stages, "press/test/anomaly_0001.wav", "press/test/normal_1001.wav")
    for name in ("press/test/normal_2000.wav", "press/test/normal_2001.wav"):
        put(stages, name, np.zeros(2 * RATE))  # alike, but no copies of a sound
    stage_1(stages, "--force", "true")
    assert warnings(caplog) == [
        "dev_test: 2 of 11 recordings hold no signal: press/test/normal_2000.wav: is silent; "
        "press/test/normal_2001.wav: is silent",
        "5 training clips are copies of others (same sound): press/train/normal_0000.wav = "
        "press/train/normal_1000.flac = pump/train/normal_1000.wav; "
        "press/train/normal_0001.wav = press/train/normal_1001.flac; "
        "press/train/normal_0002.wav = press/train/normal_1002.flac; "
        "press/train/normal_0003.wav = press/train/normal_1003.flac",
        "1 test clips are copies of others (same sound): press/test/anomaly_0001.wav = press/test/normal_1001.wav",
        "the same sound is normal and an anomaly: press/test/anomaly_0001.wav = press/test/normal_1001.wav",
        "1 test clips lie in training too (same sound; 1 are anomalies): pump/test/anomaly_0000.wav = "
        "pump/train/normal_1001.wav",
    ]
    caplog.clear()
    stage_1(stages)
    assert len(warnings(caplog)) == 5  # as long as they are there


def test_many_copies_are_counted(stages, caplog):
    for number in range(9):
        copy(stages, "press/train/normal_0000.wav", f"press/test/normal_100{number}.wav")
        copy(stages, f"pump/train/normal_000{number % 4}.wav", f"pump/train/normal_200{number}.wav")
    for number in range(10, 16):
        base_clip(stages.corpus / f"pump/train/normal_{number}.wav", number, "pump")
        copy(stages, f"pump/train/normal_{number}.wav", f"pump/train/normal_3{number}.wav")
    stage_1(stages)
    within, both = warnings(caplog)
    assert within.startswith("15 training clips are copies") and within.endswith(" and 5 more")
    assert both.startswith("9 test clips lie in training too (same sound): press/test/normal_1000.wav = ")


def test_recordings_that_change_names_and_times_that_are_kept(stages):
    """Of one size and one time, as archives may give them: seen by when the file's name or time was changed."""
    for path in stages.corpus.rglob("*.wav"):
        os.utime(path, (10**9, 10**9))
    stage_1(stages)
    first, second = (stages.corpus / f"press/test/{name}_0000.wav" for name in ("normal", "anomaly"))
    first.rename(stages.corpus / "x")
    second.rename(first)
    (stages.corpus / "x").rename(second)
    with pytest.raises(
        ValueError, match=r"2 recordings, press/test/anomaly_0000.wav the first, are changed \(another sound"
    ):
        stage_1(stages)
    stage_1(stages, "--force", "true")
    base_clip(stages.corpus / "pump/train/normal_0000.wav", 55, "pump")
    os.utime(stages.corpus / "pump/train/normal_0000.wav", (10**9, 10**9))
    with pytest.raises(ValueError, match=r"pump/train/normal_0000.wav is changed \(another sound"):
        stage_1(stages)


def test_what_was_looked_at_again_is_known(stages, monkeypatch):
    stage_1(stages)
    os.chmod(stages.corpus / "press/train/normal_0000.wav", 0o600)
    read = []
    monkeypatch.setattr(
        "asdkit.corpus.content.measure_all", lambda paths, *more: read.extend(paths) or measure_all(paths, *more)
    )
    stage_1(stages)
    stage_1(stages)
    assert read == [str(stages.corpus / "press/train/normal_0000.wav")]


def test_a_recording_that_is_damaged_inside_is_found(stages):
    path = stages.corpus / "press/train/normal_0000.flac"
    copy(stages, "press/train/normal_0001.wav", path.relative_to(stages.corpus))
    (stages.corpus / "press/train/normal_0000.wav").unlink()
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4000] = bytes(4000)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"normal_0000.flac: broken at sample \d+"):
        stage_1(stages)
    stage_1(stages, "--check-content", "false")
