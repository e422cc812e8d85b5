"""The generated mini corpus: layout, repeatability, and that it is neither trivial nor hopeless."""

import csv
import hashlib
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score

RECIPE = Path(__file__).parents[1] / "egs" / "mini"
DEV, EVAL = ("fan", "gearbox", "valve"), ("bearing", "pump")
ATTRIBUTED = ("fan", "valve", "pump")
TRAIN_NAME = re.compile(r"section_00_(source|target)_train_normal_\d{4}_(.+)\.wav")
DEV_TEST_NAME = re.compile(r"section_00_(source|target)_test_(normal|anomaly)_\d{4}_(.+)\.wav")
EVAL_TEST_NAME = re.compile(r"section_00_\d{4}\.wav")
ATTRIBUTES = re.compile(r"[a-z]+_\d+_[a-z]+_\d+")


def run(*options: object) -> subprocess.CompletedProcess:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "local/data.sh", *map(str, options)]
    return subprocess.run(command, cwd=RECIPE, env={**os.environ, "PATH": path}, capture_output=True, text=True)


def make(out: Path, *options: object) -> Path:
    done = run(out, *options)
    assert done.returncode == 0, done.stderr
    return out


def digests(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


TINY = ("--clips-per-domain", 1, "--seconds", 1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("mini tiny") / "a corpus", *TINY)


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("mini") / "corpus")


@dataclass
class Test:
    """Features of one machine: training clips, and test clips with their truth."""

    __test__ = False
    train: dict[str, np.ndarray]
    train_target: np.ndarray  # bool
    test: dict[str, np.ndarray]
    anomaly: np.ndarray  # bool
    target: np.ndarray  # bool


def mel_bank(bands: int = 128, points: int = 512, rate: int = 16000) -> np.ndarray:
    mel = 1127 * np.log1p(np.arange(points // 2 + 1) * rate / points / 700)[:, None]
    edges = np.linspace(1127 * np.log1p(20 / 700), 1127 * np.log1p(rate / 2 / 700), bands + 2)
    rise = (mel - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - mel) / (edges[2:] - edges[1:-1])
    return np.clip(np.minimum(rise, fall), 0, None).astype(np.float32)


def features(path: Path, bank: np.ndarray) -> dict[str, np.ndarray]:
    wav, rate = soundfile.read(path, dtype="float32")
    assert rate == 16000 and wav.shape == (48000,)
    frames = np.lib.stride_tricks.sliding_window_view(wav, 400)[::160]
    frames = (frames - frames.mean(1, keepdims=True)) * np.hanning(400).astype(np.float32) ** 0.85
    log_mel = np.log(np.abs(np.fft.rfft(frames, 512)) ** 2 @ bank + 1e-10)  # [frames, 128]
    mean = log_mel.mean(0)
    return {
        "mean": mean,
        "shape": np.r_[mean - mean.mean(), 3 * log_mel.std(0)],
        "trivial": np.array([np.sqrt(np.mean(wav**2)), np.abs(wav).max(), wav.mean()]),
    }


def truth(root: Path, machine: str, kind: str) -> dict[str, bool]:
    path = root / "ground_truth" / f"ground_truth_{kind}" / f"ground_truth_{machine}_section_00_test.csv"
    with path.open(newline="") as file:
        return {name: value == "1" for name, value in csv.reader(file)}


def wavs(root: Path, machine: str, split: str) -> list[Path]:
    return sorted((root / ("dev_data" if machine in DEV else "eval_data") / machine / split).glob("*"))


def measure(root: Path, machine: str, bank: np.ndarray) -> Test:
    train, test = wavs(root, machine, "train"), wavs(root, machine, "test")
    if machine in DEV:
        anomaly, target = (np.array([f"_{word}_" in path.name for path in test]) for word in ("anomaly", "target"))
    else:
        anomaly, target = (
            np.array([truth(root, machine, kind)[path.name] for path in test]) for kind in ("data", "domain")
        )
    both = []
    for paths in (train, test):
        rows = [features(path, bank) for path in paths]
        both.append({key: np.stack([row[key] for row in rows]) for key in rows[0]})
    return Test(both[0], np.array(["_target_" in path.name for path in train]), both[1], anomaly, target)


@pytest.fixture(scope="module")
def measured(full) -> dict[str, Test]:
    bank = mel_bank()
    return {machine: measure(full, machine, bank) for machine in (*DEV, *EVAL)}


def official(data: Test, feature: str) -> list[float]:
    """AUC source, AUC target and pAUC of 1-NN, one detector per domain, the minimum of the two.

    Cosine on `mean`; on `shape`, whose parts differ in scale, Euclidean after standardisation.
    """
    train, test, metric = data.train[feature], data.test[feature], "cosine"
    if feature == "shape":
        mean, spread = train.mean(0), train.std(0) + 1e-3
        train, test, metric = (train - mean) / spread, (test - mean) / spread, "euclidean"
    distance = cdist(test, train, metric)
    score = np.minimum(distance[:, data.train_target].min(1), distance[:, ~data.train_target].min(1))
    values = []
    for domain in (False, True):
        used = (data.target == domain) | data.anomaly
        values.append(roc_auc_score(data.anomaly[used], score[used]))
    return [*values, roc_auc_score(data.anomaly, score, max_fpr=0.1)]


def harmonic(values: list[float]) -> float:
    return len(values) / sum(1 / value for value in values)


def test_same_options_give_identical_files(tiny, tmp_path):
    again = make(tmp_path / "again", *TINY)
    assert digests(again) == digests(tiny)


def test_other_seed_changes_every_recording(tiny, tmp_path):
    other = digests(make(tmp_path / "other", *TINY, "--seed", 1))
    first = digests(tiny)
    recordings = [name for name in first if name.endswith(".wav")]
    assert len(recordings) == 5 * 8 and other.keys() == first.keys()
    assert all(other[name] != first[name] for name in recordings)
    assert len({first[name] for name in recordings}) == len(recordings)


def test_a_clip_does_not_depend_on_how_many_there_are(tiny, tmp_path):
    larger = digests(make(tmp_path / "larger", "--clips-per-domain", 2, "--seconds", 1))
    common = {name: value for name, value in digests(tiny).items() if name.endswith(".wav") and "_normal_" in name}
    assert len(common) == 3 * 6 + 2 * 4
    assert common.items() <= larger.items()


def test_description_names_the_machines(full):
    description = yaml.safe_load((RECIPE / "conf" / "dataset.yaml").read_text())
    for name, machines in (("dev", DEV), ("eval", EVAL)):
        entry = description["sets"][name]
        folders = sorted(path.name for path in (full / entry["path"]).iterdir())
        assert folders == sorted(entry["machines"]) == sorted(machines)
    assert (full / description["ground_truth"]).is_dir()


@pytest.mark.parametrize("machine", (*DEV, *EVAL))
def test_names_and_counts(full, machine):
    train = [TRAIN_NAME.fullmatch(path.name) for path in wavs(full, machine, "train")]
    assert [match[1] for match in train].count("source") == 90 and len(train) == 100
    attributes = {domain: {match[2] for match in train if match[1] == domain} for domain in ("source", "target")}
    if machine in ATTRIBUTED:
        assert attributes["source"].isdisjoint(attributes["target"])
        assert all(ATTRIBUTES.fullmatch(attr) for group in attributes.values() for attr in group)
    else:
        assert attributes == {"source": {"noAttribute"}, "target": {"noAttribute"}}
    test = [path.name for path in wavs(full, machine, "test")]
    assert len(test) == 100
    if machine in DEV:
        groups = [DEV_TEST_NAME.fullmatch(name).group(1, 2) for name in test]
        assert all(groups.count((d, c)) == 25 for d in ("source", "target") for c in ("normal", "anomaly"))
    else:
        assert all(EVAL_TEST_NAME.fullmatch(name) for name in test)


@pytest.mark.parametrize("machine", EVAL)
def test_ground_truth_covers_the_test_clips_and_names_tell_nothing(full, machine):
    names = [path.name for path in wavs(full, machine, "test")]
    for kind in ("data", "domain"):
        values = truth(full, machine, kind)
        assert sorted(values) == names and sum(values.values()) == 50
        assert 0.4 < roc_auc_score([values[name] for name in names], np.arange(100)) < 0.6


@pytest.mark.parametrize("machine", (*DEV, *EVAL))
def test_attribute_table_agrees_with_names(full, machine):
    folder = wavs(full, machine, "train")[0].parents[1]
    with (folder / "attributes_00.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["file_name", *(["d1p", "d1v", "d2p", "d2v"] if machine in ATTRIBUTED else [])]
    splits = ("train", "test") if machine in DEV else ("train",)
    expected = [f"{machine}/{split}/{path.name}" for split in splits for path in wavs(full, machine, split)]
    assert sorted(row[0] for row in rows) == sorted(expected)
    for name, *values in rows:
        assert name.endswith(f"_{'_'.join(values) or 'noAttribute'}.wav")


def test_files_are_alike_and_do_not_clip(full):
    for machine in (*DEV, *EVAL):
        for path in wavs(full, machine, "test") + wavs(full, machine, "train"):
            assert path.stat().st_size == 44 + 2 * 48000
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")


def test_level_does_not_give_the_labels_away(measured):
    for truth_of in ("anomaly", "target"):
        labels = np.concatenate([getattr(data, truth_of) for data in measured.values()])
        for column, what in enumerate(("rms", "peak", "mean")):
            values = [data.test["trivial"][:, column] for data in measured.values()]
            for (machine, data), value in zip(measured.items(), values, strict=True):
                area = roc_auc_score(getattr(data, truth_of), value)
                assert 0.38 < area < 0.62, f"{machine}: {what} tells {truth_of}, AUC {area:.3f}"
            area = roc_auc_score(labels, np.concatenate(values))
            assert 0.45 < area < 0.55, f"{what} tells {truth_of}, AUC {area:.3f}"
    assert max(data.test["trivial"][:, 1].max() for data in measured.values()) < 0.9


@pytest.mark.parametrize("machines", (DEV, EVAL), ids=("dev", "eval"))
def test_mean_spectrum_finds_some_anomalies_but_far_from_all(measured, machines):
    values = {machine: official(measured[machine], "mean") for machine in machines}
    score = harmonic(sum(values.values(), []))
    assert 0.55 < score < 0.75, values
    assert all(0.5 < harmonic(three) < 0.8 for three in values.values()), values


@pytest.mark.parametrize("machines", (DEV, EVAL), ids=("dev", "eval"))
def test_modulation_tells_clearly_more_than_the_mean_spectrum(measured, machines):
    mean, shape = (
        harmonic(sum((official(measured[machine], feature) for machine in machines), []))
        for feature in ("mean", "shape")
    )
    assert shape > mean + 0.1, (mean, shape)


def test_finished_corpus_is_kept_and_other_settings_refused(tiny):
    before = {path: path.stat().st_mtime_ns for path in tiny.rglob("*")}
    again = run(tiny, *TINY)
    assert again.returncode == 0 and "already generated" in again.stdout
    other = run(tiny, *TINY, "--seed", 5)
    assert other.returncode != 0 and "made with seed = 0, now 5" in other.stderr
    assert {path: path.stat().st_mtime_ns for path in tiny.rglob("*")} == before


def test_forced_run_makes_a_damaged_corpus_again(tiny, tmp_path):
    corpus = make(tmp_path / "corpus", *TINY)
    wavs(corpus, "fan", "train")[0].write_bytes(b"")
    assert "already generated" in run(corpus, *TINY).stdout and digests(corpus) != digests(tiny)
    make(corpus, *TINY, "--force", "true")
    assert digests(corpus) == digests(tiny)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


def test_killed_run_is_started_afresh(tiny, tmp_path):
    left = tmp_path / "corpus.partial" / "dev_data" / "fan" / "train"
    left.mkdir(parents=True)
    (left / "section_00_source_train_normal_0000_spd_24_load_1.wav").write_bytes(b"RIFF")
    (left / "stray.wav").write_bytes(b"")
    assert digests(make(tmp_path / "corpus", *TINY)) == digests(tiny)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


def test_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    refused = run(tmp_path, *TINY)
    assert refused.returncode != 0 and "holds no finished mini corpus" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seed", -1), "--seed -1: must be 0 or more"),
        (("--clips-per-domain", 0), "--clips-per-domain 0: must be 1 to 2000"),
        (("--seconds", 0.1), "--seconds 0.1: must be 1 to 60"),
        (("--seconds", "nan"), "--seconds nan: must be 1 to 60"),
        (("--sed", 1), "--sed"),
    ],
)
def test_bad_options_are_refused(tmp_path, options, message):
    refused = run(tmp_path / "corpus", *options)
    assert refused.returncode != 0 and message in refused.stderr and "Traceback" not in refused.stderr
    assert not any(tmp_path.iterdir())


def test_data_script_without_a_folder_tells_its_usage():
    refused = run()
    assert refused.returncode == 2 and "usage:" in refused.stderr
