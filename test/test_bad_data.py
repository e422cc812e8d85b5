"""Every bad input through the program's main(): one clear error, nothing half-written."""

import numpy as np
import pytest
import soundfile
from corpora import noise, prepare, snapshot, write_clip, write_corpus

TRAIN = "dev_data/raw/fan/train"
NAME = "section_00_source_train_normal_0000_spd_0.wav"


def truncated(folder):
    path = write_clip(folder / TRAIN / NAME, 1.0)
    path.write_bytes(path.read_bytes()[:5000])


def truncated_flac(folder):
    (folder / TRAIN / NAME).unlink()
    path = write_clip((folder / TRAIN / NAME).with_suffix(".flac"), 1.0)
    path.write_bytes(path.read_bytes()[:-100])


def not_a_number(folder):
    samples = noise(0.1)
    samples[5] = np.nan
    soundfile.write(folder / TRAIN / NAME, samples, 16000, subtype="FLOAT")


def flac_broken_inside(folder):
    (folder / TRAIN / NAME).unlink()
    path = write_clip((folder / TRAIN / NAME).with_suffix(".flac"), 2.0)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 50] = bytes(50)
    path.write_bytes(content)


def never_closed(folder):
    path = write_clip(folder / TRAIN / NAME)
    content = path.read_bytes()
    path.write_bytes(content[:40] + bytes(4) + content[44:])


def remove(folder, pattern):
    for path in folder.glob(pattern):
        path.unlink()


CASES = {
    "empty file": (lambda c: (c / TRAIN / NAME).write_bytes(b""), f"{NAME}: an empty file"),
    "truncated": (truncated, f"{NAME}: truncated: the header promises 32000"),
    "truncated flac": (truncated_flac, r"spd_0\.flac: broken at sample"),
    "text": (lambda c: (c / TRAIN / NAME).write_text("not audio\n" * 99), f"{NAME}: not a readable wav or flac"),
    "flac broken inside": (flac_broken_inside, r"spd_0\.flac: broken at sample"),
    "never closed": (never_closed, f"{NAME}: its header was never closed.*sox --ignore-length"),
    "GSM": (lambda c: write_clip(c / TRAIN / NAME, subtype="GSM610"), f"{NAME}: its samples are coded .*GSM 6.10"),
    "integers as floats": (
        lambda c: soundfile.write(c / TRAIN / NAME, np.rint(noise(0.1) * 32768), 16000, subtype="FLOAT"),
        f"{NAME}: floating-point samples up to .*integers of 16 bits",
    ),
    "NaN": (not_a_number, f"{NAME}: holds NaN"),
    "no samples": (lambda c: write_clip(c / TRAIN / NAME, 0), f"{NAME}: holds no samples"),
    "stereo": (lambda c: write_clip(c / TRAIN / NAME, channels=2), f"{NAME}: has 2 channels.*--channel"),
    "rate": (lambda c: write_clip(c / TRAIN / NAME, rate=48000), f"{NAME}: 48000 Hz, expected 16000.*--resample true"),
    "dangling link": (
        lambda c: ((c / TRAIN / NAME).unlink(), (c / TRAIN / NAME).symlink_to("/nonexistent.wav")),
        f"{NAME}: cannot be opened: No such file",
    ),
    "name": (
        lambda c: (c / TRAIN / NAME).rename(c / TRAIN / "clip1.wav"),
        "clip1.wav: not a name of the style 'dcase2022'. Allowed: section_00",
    ),
    "anomaly in train": (
        lambda c: (c / TRAIN / NAME).rename(c / TRAIN / NAME.replace("normal", "anomaly")),
        "an anomaly among the training clips",
    ),
    "test clip in train": (
        lambda c: (c / TRAIN / NAME).rename(c / TRAIN / NAME.replace("train", "test")),
        "the name says 'test', the folder says 'train'",
    ),
    "wav and flac": (
        lambda c: write_clip((c / TRAIN / NAME).with_suffix(".flac")),
        r"two clips with one id 'fan-train-section_00_source_train_normal_0000_spd_0': "
        r"dev_data/raw/fan/train/.*\.(wav|flac) and dev_data/raw/fan/train/.*\.(wav|flac)",
    ),
    "no training clips": (lambda c: remove(c, f"{TRAIN}/*"), "no training clips of fan in the dev set"),
    "no test clips": (lambda c: remove(c, "dev_data/raw/fan/test/*"), "no test clips of fan in the dev set"),
    "white space": (
        lambda c: (c / TRAIN / NAME).rename(c / TRAIN / NAME.replace("spd_0", "spd 0")),
        "hold no white space",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_bad_recording_stops_stage_1(tmp_path, case):
    damage, message = CASES[case]
    corpus = write_corpus(tmp_path / "corpus")
    before = snapshot(prepare(tmp_path))
    damage(corpus)
    with pytest.raises(ValueError, match=message) as error:
        prepare(tmp_path, "--force", "true")
    assert "\n" not in str(error.value)
    after = snapshot(tmp_path / "data")
    for files in (before, after):
        files.pop(".done", None)  # --force may take the marker away, so that the next run tries again
    assert after == before


@pytest.mark.parametrize("case", CASES)
def test_a_first_run_that_fails_writes_nothing(tmp_path, case):
    damage, message = CASES[case]
    damage(write_corpus(tmp_path / "corpus"))
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path)
    assert not (tmp_path / "data").exists()


def test_no_corpus(tmp_path):
    with pytest.raises(ValueError, match="no corpus: .*corpus does not exist"):
        prepare(tmp_path)
    (tmp_path / "corpus").mkdir()
    with pytest.raises(ValueError, match="no corpus in .*: expected <machine>/train.*there is no folder .*dev_data"):
        prepare(tmp_path)
    assert not (tmp_path / "data").exists()


def test_a_listed_machine_that_is_missing(tmp_path):
    write_corpus(tmp_path / "corpus")
    with pytest.raises(ValueError, match="machine 'gearbox' of the dataset description is missing. Found: fan, valve"):
        prepare(tmp_path, sets={"dev": {"path": "dev_data", "machines": ["fan", "gearbox"]}})


def test_options_override_the_description(tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    write_clip(corpus / TRAIN / NAME, rate=48000, channels=2)
    with pytest.raises(ValueError, match="channel"):
        prepare(tmp_path, "--resample", "true")
    with pytest.raises(ValueError, match="Hz"):
        prepare(tmp_path, "--channel", "0")
    with pytest.raises(ValueError, match="channel 1 asked for, the recording has 1"):
        prepare(tmp_path, "--channel", "1", "--resample", "true")
    data = prepare(tmp_path, "--channel", "0", "--resample", "true")
    assert "channel: 0\nresample: true\n" in (data / "dataset.yaml").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name_stile": "free"}, "unknown key 'name_stile'. Did you mean 'name_style'"),
        (
            {"name_style": "dcase2023"},
            "name_style: Input should be 'dcase2020', 'dcase2021', 'dcase2022', 'free' or 'mimii'",
        ),
        ({"protocol": None}, "protocol: Field required"),
        ({"sample_rate": "16k"}, "sample_rate: .*got '16k'"),
        ({"channel": -1}, "channel: "),
        ({"sets": {}}, "sets: neither 'dev' nor 'eval'"),
        ({"sets": {"test": {"path": "."}}}, "unknown key 'sets.test'"),
        (
            {"sets": {"dev": {"path": ".", "machine": ["fan"]}}},
            "unknown key 'sets.dev.machine'. Did you mean 'machines'",
        ),
        ({"sets": {"dev": {"path": ".", "machines": []}}}, "sets.dev.machines: "),
    ],
)
def test_mistakes_in_the_description(tmp_path, changes, message):
    write_corpus(tmp_path / "corpus")
    with pytest.raises(ValueError, match=f"dataset.yaml: {message}"):
        prepare(tmp_path, **changes)
