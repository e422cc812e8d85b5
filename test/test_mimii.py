"""egs/mimii on generated clips in the layout that the makers publish, and the README's list of ToyADMOS."""

import csv
import itertools
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpora import manifest_of, write_clip
from test_layouts import stage_1
from test_years_e2e import run
from year_corpora import ROOT

from asdkit.bin import evaluate, extract_embeddings, score
from asdkit.bin import train as train_program
from asdkit.corpus.manifest import read_ref

RECIPE = ROOT / "egs/mimii"
README = (RECIPE / "README.md").read_text()
ARCHIVES = [f"{snr}_dB_{machine}" for snr in ("-6", "0", "6") for machine in ("fan", "pump")]
MIMII = {"name_style": "mimii", "channel": 0}


def write_mimii(root: Path, archives: list[str] = ARCHIVES, ids: tuple[str, ...] = ("00", "02")) -> Path:
    """Four normal and two abnormal clips of each id, these with a tone; file names are the same everywhere."""
    rng = np.random.default_rng(0)
    tone = np.sin(2 * np.pi * 3000 * np.arange(8000) / 16000)[:, None]
    for archive, section in itertools.product(archives, ids):
        folder = root / archive / archive.rpartition("_")[2] / f"id_{section}"
        for condition, count in (("normal", 4), ("abnormal", 2)):
            (folder / condition).mkdir(parents=True)
            for number in range(count):
                wave = rng.uniform(-0.1, 0.1, (8000, 8)) + 0.1 * tone * (condition == "abnormal")
                soundfile.write(folder / condition / f"{number:08d}.wav", wave, 16000, subtype="PCM_16")
    return root


def test_stages_1_to_6(tmp_path: Path) -> None:
    corpus = write_mimii(tmp_path / "corpus")
    done = run(RECIPE, tmp_path, "--corpus", corpus, "--config", "conf/logmel.yaml", "--stop-stage", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    data, exp = ["--data", str(tmp_path / "data")], ["--exp", str(tmp_path / "exp/tiny")]
    lists = [*data, "--dump", str(tmp_path / "dump"), *exp]
    train_program.main([*lists, "--device", "cpu"])
    for options in (["--device", "cpu"], ["--merge", "true"]):
        extract_embeddings.main([*lists, *options])
    score.main([*data, *exp])
    evaluate.main([*data, *exp])
    train, test = (manifest_of(tmp_path / "data", name) for name in ("dev_train", "dev_test"))
    assert (len(train), len(test)) == (6 * 2 * 2, 6 * 2 * 4)
    machines = {f"{machine}_{snr}dB" for machine in ("fan", "pump") for snr in ("min6", "0", "6")}
    assert {row["machine"] for row in train.values()} == machines
    assert {row["section"] for row in train.values()} == {"00", "02"}
    assert "fan_6dB-test-id_00-abnormal-00000000" in test and "`fan_6dB-test-id_00-abnormal-00000000`" in README
    found = json.loads((tmp_path / "exp/tiny/seed0/score/knn/results.json").read_text())["sets"]["dev"]
    assert len(found["sections"]) == 12 and found["official"] == 1


def test_the_first_normal_clips_are_tested_with_all_abnormal_ones(tmp_path: Path) -> None:
    corpus = write_mimii(tmp_path / "corpus", ["6_dB_fan"], ("00",))
    data = stage_1(tmp_path, corpus, **MIMII)
    assert [utt[-8:] for utt in manifest_of(data, "dev_train")] == ["00000002", "00000003"]
    assert read_ref(data / "dev_test/ref.tsv") == {
        f"fan_6dB-test-id_00-{name}-0000000{number}": (condition, "source")
        for name, condition in (("abnormal", "anomaly"), ("normal", "normal"))
        for number in (0, 1)
    }
    for number in (2, 3):
        (corpus / f"6_dB_fan/fan/id_00/normal/{number:08d}.wav").unlink()
    with pytest.raises(ValueError, match="fan_6dB, section 00: 2 normal and 2 anomalous clips.*none to train on"):
        stage_1(tmp_path, corpus, "--force", "true", **MIMII)


@pytest.mark.parametrize(
    ("folder", "machine"),
    [
        ("6_dB_fan/fan", "fan_6dB"),
        ("-6_dB_fan/fan", "fan_min6dB"),
        ("min6dB/fan", "fan_min6dB"),
        ("0dB/0_dB_slider/slider", "slider_0dB"),
        ("6_dB_fan", "fan_6dB"),
        ("fan", "fan"),
    ],
)
def test_other_ways_to_unpack(tmp_path: Path, folder: str, machine: str, caplog) -> None:
    caplog.set_level("INFO")
    for name in ("normal/00000000", "normal/00000001", "abnormal/00000000"):
        write_clip(tmp_path / "corpus" / folder / "id_04" / f"{name}.wav", channels=8)
    write_clip(tmp_path / "corpus" / folder / "notes.wav")
    data = stage_1(tmp_path, tmp_path / "corpus", **MIMII)
    (row,) = manifest_of(data, "dev_train").values()
    assert (row["machine"], row["section"], row["wav"]) == (machine, "04", f"{folder}/id_04/normal/00000001.wav")
    assert "ignored: 1 recordings of" in caplog.text and f"such as {folder}/notes.wav" in caplog.text


def test_some_machines_and_nothing(tmp_path: Path) -> None:
    corpus = write_mimii(tmp_path / "corpus")
    data = stage_1(tmp_path, corpus, "--machines", "fan_6dB,pump_0dB", **MIMII)
    assert {row["machine"] for row in manifest_of(data, "dev_test").values()} == {"fan_6dB", "pump_0dB"}
    with pytest.raises(ValueError, match="no machine 'fan'. Found: fan_0dB, fan_6dB, fan_min6dB"):
        stage_1(tmp_path, corpus, "--machines", "fan", "--force", "true", **MIMII)
    write_clip(tmp_path / "other/fan/train/0.wav")
    with pytest.raises(ValueError, match=r"expected -6_dB_fan/fan/id_00.*Found: fan/train/\*.wav \(1\)"):
        stage_1(tmp_path, tmp_path / "other", "--force", "true", **MIMII)


def test_the_readmes_list_of_toyadmos(tmp_path: Path) -> None:
    for case in ("ToyCar/case1", "ToyCar/case2", "ToyTrain/case1"):
        for kind, count in (("Normal", 3), ("Anomalous", 1)):
            for number in range(count):
                for microphone in "12":
                    machine, _, section = case.partition("/")
                    name = f"{kind}Sound_IND/1{number}_{machine}_{section}_{kind}_IND_ch{microphone}_0001.wav"
                    write_clip(tmp_path / case / name, rate=48000)
        write_clip(tmp_path / case / "EnvironmentalNoise/1_N_ch1_0001.wav", rate=48000)
    (script,) = re.findall(r"```\n(echo path.*?)```", README, re.S)
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, check=True, timeout=60)
    with open(tmp_path / "toyadmos.csv") as file:
        assert len(list(csv.DictReader(file))) == 3 * 4
    data = stage_1(tmp_path, tmp_path / "toyadmos.csv", "--resample", "true", **MIMII)
    train, ref = manifest_of(data, "dev_train"), read_ref(data / "dev_test/ref.tsv")
    groups = {(row["machine"], row["section"]) for row in train.values()}
    assert groups == {("ToyCar", "1"), ("ToyCar", "2"), ("ToyTrain", "1")}
    assert (len(train), sorted(condition for condition, _ in ref.values())) == (6, ["anomaly"] * 3 + ["normal"] * 3)
    assert all("Anomalous" in utt if condition == "anomaly" else "Normal" in utt for utt, (condition, _) in ref.items())
