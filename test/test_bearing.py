"""egs/bearing: what is generated, by closed forms; the recipe; the public corpus, on a stand-in of its layout."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from recipe import environment
from scipy.io import savemat

from asdkit.bin import extract_embeddings, make_lists, prepare_data, score, train
from asdkit.config import EnvelopeEncoder
from asdkit.encoders import build_encoder

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "egs" / "bearing"


@pytest.fixture(scope="module")
def physics():
    """The module local/bearing.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(RECIPE / "local"))
        import bearing

        yield bearing


def python(script, *words):
    command = [sys.executable, str(RECIPE / "local" / script), *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
    )


def generated(out, seed, clips):
    done = python("generate.py", "--out", out, "--seed", seed, "--clips-per-domain", clips, "--seconds", 1)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    out = tmp_path_factory.mktemp("bearing") / "corpus"
    return out, generated(out, 0, 4)


def digests(root):
    return {path.relative_to(root): hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*.wav")}


def test_orders_are_those_of_a_6205(physics):
    found = physics.orders()
    known = {"BPFO": 3.5848, "BPFI": 5.4152, "BSF": 2.357, "FTF": 0.3983}  # the usual table of this bearing
    assert found.keys() == known.keys()
    assert all(found[name] == pytest.approx(value, rel=1e-3) for name, value in known.items())
    assert found["BPFO"] + found["BPFI"] == pytest.approx(9) and found["BPFO"] == pytest.approx(9 * found["FTF"])


@pytest.mark.parametrize(("fault", "name", "times"), [("outer", "BPFO", 1), ("inner", "BPFI", 1), ("ball", "BSF", 2)])
def test_a_fault_strikes_at_its_rate(physics, fault, name, times):
    for sensor in physics.SENSORS:
        take = physics.Take(np.random.default_rng(1), 8.0, 1500, 2.0, 0.5, fault, 1.0)
        seconds, strength = take.impacts
        order = times * physics.orders()[name]
        angles = np.interp(seconds * physics.FINE, np.arange(len(take.turns)), take.turns)
        assert np.diff(angles).mean() == pytest.approx(1 / order, rel=0.005)
        assert np.diff(angles).std() * order == pytest.approx(physics.SLIP, rel=0.2) and strength.min() > 0
        hertz = order * np.diff(take.turns).mean() * physics.FINE
        wav = torch.from_numpy(physics.recorded(take, sensor))[None]
        encoder = build_encoder(EnvelopeEncoder(sample_rate=sensor.rate, frame_seconds=1, highest=300))
        level = encoder.frontend(wav)[0].mean(0)
        line = round(hertz) - 1  # bin of 1 Hz, counted from 1 Hz
        assert level[line - 1 : line + 2].max() > level.median() + 0.7


def test_a_worn_cage_lets_the_noise_swell(physics):
    take = physics.Take(np.random.default_rng(1), 4.0, 1500, 2.0, 0.5, "cage", 1.0)
    encoder = build_encoder(EnvelopeEncoder(sample_rate=25600, frame_seconds=2, highest=50))
    level = encoder.frontend(torch.from_numpy(physics.recorded(take, physics.ACCELERATION))[None])[0].mean(0)
    assert abs((level.argmax() + 1) / 2 - physics.orders()["FTF"] * 25) <= 0.5


def test_what_is_made(corpus, tmp_path):
    out, told = corpus
    assert "1500 rpm: BPFO 89.6 Hz, BPFI 135.4 Hz, BSF 58.9 Hz, FTF 10.0 Hz" in told
    assert "acceleration/bearing_min6dB: 16 + 16 clips of 1 s, 25600 Hz" in told
    for folder, rate in (("acceleration", 25600), ("sound", 48000)):
        paths = sorted((out / folder).rglob("*.wav"))
        assert len(paths) == 96 and len({path.name for path in paths}) == 32
        assert {soundfile.info(path).samplerate for path in paths} == {rate}
    names = [path.name for path in (out / "sound/bearing_0dB/test").iterdir()]
    assert all(sum(f"_fault_{fault}_" in name for name in names) == 2 for fault in ("outer", "inner", "ball", "cage"))
    for name, seed in (("again", 0), ("other", 1)):
        generated(tmp_path / name, seed, 1)
    again, other, first = digests(tmp_path / "again"), digests(tmp_path / "other"), digests(out)
    assert len(again) == 48 and again.items() <= first.items()  # a take depends on the seed and its place alone
    assert not set(other.values()) & set(first.values())


def test_machines_differ_in_the_noise_alone(corpus):
    """What is left of one ratio less what is left of the next is the same noise, twice as strong each 6 dB."""
    out, _ = corpus
    for folder in ("acceleration", "sound"):
        for path in sorted((out / folder / "bearing_6dB/train").iterdir())[:3]:
            waves = [
                soundfile.read(out / folder / f"bearing_{ratio}dB/train" / path.name)[0] for ratio in (6, 0, "min6")
            ]
            steps = [waves[1] - waves[0], waves[2] - waves[1]]
            np.testing.assert_allclose(steps[1], steps[0] * 10 ** (6 / 20), atol=1e-6)
            signal = waves[1] - steps[0] / (1 - 10 ** (-6 / 20))
            ratio = 20 * np.log10(signal.std() / (steps[0] / (1 - 10 ** (-6 / 20))).std())
            assert -4 < ratio < 5  # 0 dB for a bearing at 1500 rpm and 1 kN


def test_another_corpus_is_not_overwritten(corpus, tmp_path):
    out, _ = corpus
    done = python("generate.py", "--out", out, "--seed", 3)
    assert done.returncode == 1 and "made with {'seed': 0" in done.stderr
    done = python("generate.py", "--out", out, "--seed", -1)
    assert done.returncode == 1 and "--seed -1: must be 0 to" in done.stderr


SMALL = "encoder.arch={embed_dim: 16, depth: 1, num_heads: 2}"


@pytest.mark.parametrize(
    ("config", "channel", "settings"),
    [
        ("envelope", "acceleration", []),
        ("logmel", "sound", ["encoder.sample_rate=48000"]),
        ("logmel_linear", "acceleration", []),
        ("fisher", "sound", ["encoder.sample_rate=48000", SMALL]),
    ],
)
def test_stages_of_each_experiment(corpus, tmp_path, capsys, monkeypatch, config, channel, settings):
    data, exp = ["--data", str(tmp_path / "data")], tmp_path / "exp"
    sources = ["--dataset", str(RECIPE / "conf/dataset.yaml"), "--corpus", str(corpus[0]), "--channel", channel]
    prepare_data.main([*sources, *data])
    work = [*data, "--dump", str(tmp_path / "dump"), "--exp", str(exp)]
    words = [word for setting in settings for word in ("--set", setting)]
    make_lists.main(["--config", str(RECIPE / f"conf/{config}.yaml"), *words, *work])
    train.main([*work, "--device", "cpu"])
    extract_embeddings.main([*work, "--device", "cpu"])
    extract_embeddings.main([*work, "--merge", "true"])
    score.main([*data, "--exp", str(exp)])
    monkeypatch.syspath_prepend(str(RECIPE / "local"))
    import by_fault

    capsys.readouterr()
    by_fault.main([str(exp), "--fault", "inner"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| experiment | score | 6 dB | 0 dB | -6 dB |"
    assert [line.split(" | ")[1] for line in lines[2:]] == ["knn", "standardised"]
    with pytest.raises(ValueError, match="no clips of the fault 'rust'. There are outer"):
        by_fault.main([str(exp), "--fault", "rust"])
    with pytest.raises(ValueError, match="no scores"):
        by_fault.main([str(tmp_path)])


@pytest.mark.long
def test_the_recipe_from_the_shell(tmp_path):
    folders = [f"--{name}={tmp_path / name}" for name in ("data", "dump", "expdir")]
    command = [str(RECIPE / "run.sh"), "--corpus", str(tmp_path / "corpus"), "--num-threads", "1", *folders]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "expdir/envelope/RESULTS.md").is_file()


@pytest.fixture
def published(tmp_path):
    """A stand-in for the files of the Bearing Data Center: numbers, variables and rate are theirs."""
    rng = np.random.default_rng(0)
    numbers = {
        97: ["X097"],
        98: ["X098"],
        99: ["X098", "X099"],
        100: ["X100"],
        109: ["X109"],
        174: ["X173"],
        262: ["X262"],
    }
    for number, held in numbers.items():
        folder = tmp_path / "mat" / ("normal" if number < 101 else "48k")
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {f"{name}_DE_time": np.full((96000, 1), int(name[1:]) / 100) for name in held}
        arrays |= {f"{name}_FE_time": rng.normal(size=(96000, 1)) for name in held} | {f"{held[-1]}RPM": [[1797]]}
        savemat(folder / f"{number}.mat", arrays)
    return tmp_path / "mat"


def test_the_public_corpus(published, tmp_path):
    done = python("prepare_cwru.py", "--from", published, "--out", tmp_path / "out", "--seconds", 0.5, "--clips", 3)
    assert done.returncode == 0, done.stderr
    assert "left out" in done.stdout and "110.mat" in done.stdout and "109.mat" not in done.stdout
    found = {path.name: soundfile.read(path) for path in (tmp_path / "out").rglob("*.wav")}
    assert len(found) == 4 * 4 + 3 * 3
    assert all(rate == 48000 and len(wav) == 24000 for wav, rate in found.values())
    for name, level in (
        ("section_00_source_train_normal_099001_hp_2.wav", 0.99),
        ("section_00_source_test_anomaly_174000_hp_0_fault_inner_size_014.wav", 1.73),
        ("section_00_source_test_anomaly_262002_hp_0_fault_outer_clock_12_size_021.wav", 2.62),
    ):
        np.testing.assert_allclose(found[name][0] * 20, level, atol=1e-5)
    assert (tmp_path / "out/drive_end/test/section_00_source_test_normal_097000_hp_0.wav").is_file()
    sources = ["--dataset", str(RECIPE / "conf/dataset_cwru.yaml"), "--corpus", str(tmp_path / "out")]
    prepare_data.main([*sources, "--data", str(tmp_path / "data"), "--check-content", "false"])
    rows = (tmp_path / "data/dev_test/ref.tsv").read_text().splitlines()[1:]
    assert len(rows) == 4 * 2 + 3 * 3 and sum("anomaly" in row for row in rows) == 9


def test_a_public_corpus_that_is_none(published, tmp_path):
    (published / "48k/109.mat").write_bytes(b"no MATLAB")
    done = python("prepare_cwru.py", "--from", published, "--out", tmp_path / "out")
    assert done.returncode == 1 and "109.mat: not a MATLAB file" in done.stderr
    os.remove(published / "normal/98.mat")
    done = python("prepare_cwru.py", "--from", published, "--out", tmp_path / "out")
    assert done.returncode == 1 and "no 98.mat, of the normal baseline" in done.stderr
    assert not (tmp_path / "out").exists()
