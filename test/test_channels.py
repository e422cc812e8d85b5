"""Channels of a machine: what the dataset description declares of them, and how stage 1 reads them."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpora import ROOT, manifest_of
from stages import Stages

from asdkit.bin import evaluate, fuse, prepare_data
from asdkit.corpus.description import dump_dataset, load_dataset, load_description
from asdkit.infer.experiment import Experiment
from asdkit.signals.recording import Signal
from asdkit.utils.files import read_json

HEAD = "name: shop\nname_style: free\nprotocol: dcase2020\nsets:\n  dev: {path: .}\n"
CHANNELS = """channels:
  sound: {kind: sound, rate: 48000, files: .npz, variable: mic, folder: takes}
  vibration: {kind: vibration, rate: 25600, unit: m/s^2, scale: 9.80665, files: .npz, variable: acc, folder: takes}
"""


def takes(folder: Path, gain: float = 1.0) -> Path:
    """Two machines, each recording with a microphone (integers) and an accelerometer in g, far beyond 1."""
    random = np.random.default_rng(0)
    for machine in ("lathe", "mill"):
        for name in ("train/a", "train/b", "train/c", "test/normal_a", "test/anomaly_b"):
            path = folder / "takes" / machine / f"{name}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            acc = gain * 30 * random.standard_normal(25600)
            np.savez(path, mic=random.integers(-9999, 9999, 48000).astype("int16"), acc=acc, fs=np.array(25600))
    return folder


def stage_1(tmp_path: Path, text: str, *more: str) -> Path:
    (tmp_path / "dataset.yaml").write_text(text)
    data = tmp_path / "data"
    words = ["--dataset", tmp_path / "dataset.yaml", "--corpus", tmp_path / "corpus", "--data", data, *more]
    prepare_data.main([str(word) for word in words])
    return data


def test_each_channel_is_a_corpus_of_its_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    takes(tmp_path / "corpus")
    rows = {}
    for name, unit, rate in (("sound", "full scale 1", 48000), ("vibration", "m/s^2", 25600)):
        data = stage_1(tmp_path, HEAD + CHANNELS, "--channel", name, "--force", "true")
        assert f"channel {name}: {name} in {unit}, {rate} Hz" in caplog.text
        dataset = load_dataset(data)
        assert list(dataset.channels) == [name] and dataset.channel is None and dataset.sample_rate == rate
        rows[name] = {**manifest_of(data, "dev_train"), **manifest_of(data, "dev_test")}
        assert {row["samples"] for row in rows[name].values()} == {str(rate)}
        path = Path(dataset.root, rows[name]["mill-train-a"]["wav"])
        with np.load(path) as held:
            wanted = held["mic"] / 2**15 if name == "sound" else held["acc"] * 9.80665
        assert np.allclose(dataset.reader().read(path), wanted, rtol=1e-6)
    assert rows["sound"].keys() == rows["vibration"].keys()  # so that scores are fused clip by clip
    assert float(rows["vibration"]["mill-train-a"]["peak"]) > 300


def test_the_channel_has_to_be_named_and_whole(tmp_path: Path) -> None:
    takes(tmp_path / "corpus")
    with pytest.raises(ValueError, match="several channels: choose one with --channel: sound, vibration"):
        stage_1(tmp_path, HEAD + CHANNELS)
    with pytest.raises(ValueError, match="there is no channel 'smell': choose one with --channel: sound, vibration"):
        stage_1(tmp_path, HEAD + CHANNELS, "--channel", "smell")
    for entry, told in (
        ("{kind: vibration, rate: 100}", "kind vibration needs 'unit'"),
        ("{kind: sound, rate: 100, scale: 2.0}", "'scale' and 'full_scale' are in a unit"),
        ("{kind: sound, rate: 100, files: .xyz}", "'.xyz' is none of .wav, .flac, .npy"),
        ("{kind: sound}", "rate"),
    ):
        with pytest.raises(ValueError, match=f"channels.a.*{told}"):
            stage_1(tmp_path, f"{HEAD}channels:\n  a: {entry}\n")
    with pytest.raises(ValueError, match=r"expected <machine>/train/\*.npy .* no npy"):
        stage_1(tmp_path, HEAD + "channels:\n  a: {kind: sound, rate: 100, files: .npy}\n")


def test_other_rates_are_resampled_when_that_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    takes(tmp_path / "corpus")
    said = HEAD + CHANNELS + "sample_rate: 16000\n"
    with pytest.raises(ValueError, match="25600 Hz, expected 16000 Hz"):
        stage_1(tmp_path, said, "--channel", "vibration")
    data = stage_1(tmp_path, said, "--channel", "vibration", "--resample", "true")
    assert {row["samples"] for row in manifest_of(data, "dev_train").values()} == {"16000"}
    assert "channel vibration: vibration in m/s^2, 25600 Hz, resampled to 16000 Hz" in caplog.text


def test_a_second_sensor_is_taken_out_in_the_unit(tmp_path: Path) -> None:
    far = np.random.default_rng(0).standard_normal(16000)
    near = np.random.default_rng(1).standard_normal(16000)
    np.save(tmp_path / "a.npy", 20 * np.stack([near + far, far]))
    entry = "{kind: vibration, rate: 16000, unit: g, scale: 2.0, column: 0, files: .npy}"
    (tmp_path / "dataset.yaml").write_text(f"{HEAD}channels:\n  a: {entry}\nreference_channel: 1\n")
    reader = load_description(tmp_path / "dataset.yaml").reader("complex")
    assert np.std(reader.read(tmp_path / "a.npy") / 40 - near) < 0.3 and reader.identity()["signal.scale"] == 2.0


def test_descriptions_without_channels_are_as_before(tmp_path: Path) -> None:
    (tmp_path / "dataset.yaml").write_text(HEAD + "channel: 1\n")
    found = load_description(tmp_path / "dataset.yaml")
    assert "channels" not in found.model_dump() and found.suffixes == (".wav", ".flac")
    assert found.reader().identity() == {"sample_rate": 16000, "channel": 1, "resample": False}


def test_what_is_declared_is_what_is_read(tmp_path: Path) -> None:
    entry = "{kind: current, rate: 100, unit: A, scale: 2.0, full_scale: 5.0, variable: b, column: 1}"
    (tmp_path / "dataset.yaml").write_text(f"{HEAD}channels:\n  clamp: {entry}\n")
    found = load_description(tmp_path / "dataset.yaml")
    assert found.reader().signal == Signal("b", 100, "A", 2.0, 5.0) and found.reader().channel == 1
    told = found.reader().identity()
    assert told["signal.unit"] == "A" and told["signal.full_scale"] == 5.0 and told["sample_rate"] == 100
    assert "clamp" in str(found.model_dump()) and "scale: 2.0" in dump_dataset_of(found, tmp_path)


def dump_dataset_of(found: object, root: Path) -> str:
    from asdkit.corpus.description import Dataset

    return dump_dataset(Dataset(**found.model_dump(), root=str(root)))


def test_a_sensor_that_stands_still_is_refused(tmp_path: Path) -> None:
    takes(tmp_path / "corpus", gain=1e-9)  # as weak as sensors may be in their unit
    stage_1(tmp_path, HEAD + CHANNELS, "--channel", "vibration")
    for path in (tmp_path / "corpus/takes/mill/train").glob("*.npz"):
        np.savez(path, acc=np.full(25600, 9.81), mic=np.zeros(5, "int16"))
    with pytest.raises(ValueError, match="3 of 6 training recordings hold no signal: .*is constant"):
        stage_1(tmp_path, HEAD + CHANNELS, "--channel", "vibration", "--force", "true")


def write_sensors(corpus: Path) -> None:
    """Two machines that a microphone (48 kHz, wav) and an accelerometer (25.6 kHz, m/s^2, npy) record at once.

    Of every two anomalies one is heard, a whistle at 9 kHz, and one is felt, a vibration of 20 m/s^2 at 7 kHz.
    """
    heard, felt = np.arange(24000) / 48000, np.arange(12800) / 25600
    for pitch, machine in ((180, "lathe"), (420, "mill")):
        for number, place in enumerate(["train/normal"] * 6 + ["test/normal"] * 4 + ["test/anomaly"] * 4):
            rng, odd = np.random.default_rng(pitch + number), "anomaly" in place
            sound = 0.1 * np.sin(2 * np.pi * pitch * heard) + 0.01 * rng.standard_normal(24000)
            vibration = 30 * np.sin(2 * np.pi * pitch * felt) + 3 * rng.standard_normal(12800)
            sound += odd * (number % 2) * 0.05 * np.sin(2 * np.pi * 9000 * heard)
            vibration += odd * (1 - number % 2) * 20 * np.sin(2 * np.pi * 7000 * felt)
            for kind in ("sound", "vibration"):
                (corpus / kind / machine / place).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(corpus / f"sound/{machine}/{place}_{number:04d}.wav", sound, 48000, subtype="PCM_24")
            np.save(corpus / f"vibration/{machine}/{place}_{number:04d}.npy", vibration.astype("float32"))


def test_two_sensors_from_stage_1_to_6_and_as_one_score(tmp_path: Path) -> None:
    write_sensors(tmp_path / "corpus")
    found = {}
    for name in ("sound", "vibration"):
        stages = Stages(tmp_path, (ROOT / f"egs/custom/channels/{name}.yaml").read_text(), name)
        stages.data = tmp_path / "data" / name
        stages.work = ["--data", str(stages.data), "--exp", str(stages.exp)]
        stages.lists = [*stages.work, "--dump", str(tmp_path / "dump" / name)]
        stages.run(1, 1, "--dataset", str(ROOT / "egs/custom/channels/dataset.yaml"), "--channel", name)
        stages.run(2)
        found[name] = [stages.auc(machine) for machine in ("lathe", "mill")]
        assert 70 < np.mean(found[name]) < 97  # half of the anomalies for certain, the others by chance
        mill = tmp_path / f"corpus/{name}/mill/test"
        told = Experiment.open(stages.exp, data=stages.data).score(
            [str(path) for path in sorted(mill.glob("normal_0006*")) + sorted(mill.glob("anomaly_001*"))],
            machine="mill",
        )
        assert (told > told[0]).sum() >= 2  # a new file is read as those of the corpus
    words = [
        "--members",
        str(tmp_path / "exp/sound"),
        str(tmp_path / "exp/vibration"),
        "--exp",
        str(tmp_path / "exp/both"),
    ]
    fuse.main(["--data", str(tmp_path / "data/sound"), *words])
    evaluate.main(["--data", str(tmp_path / "data/sound"), "--exp", str(tmp_path / "exp/both")])
    (both,) = read_json(tmp_path / "exp/both/seed0/score/fusion/results.json")["sets"].values()
    assert [one["values"]["auc"] for one in both["machines"]] == [1.0, 1.0]


def test_the_script_makes_an_experiment_for_each_channel_and_fuses_them(tmp_path: Path) -> None:
    words = ["--dry-run", "--corpus", "x", "--seeds", "0 1", "--expdir", str(tmp_path / "exp")]
    done = subprocess.run([ROOT / "egs/custom/channels.sh", *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    prepared = re.findall(r"prepare_data .*--data data/(\w+) .*--channel (\w+)", done.stdout)
    assert prepared == [("sound", "sound"), ("vibration", "vibration")]
    assert re.findall(r"bin\.fuse .*--members \S+/exp/(\w+) \S+/exp/(\w+)", done.stdout) == [("sound", "vibration")]
    for bad, told in (("sound", "two channels or more"), ("sound smell", "no experiment channels/smell.yaml")):
        done = subprocess.run(
            [ROOT / "egs/custom/channels.sh", "--channels", bad, *words], capture_output=True, text=True, timeout=120
        )
        assert done.returncode != 0 and told in done.stderr
