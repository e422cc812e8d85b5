"""Folders that an older version made: what opens, what stage 1 adds, and the markers that hold on."""

import json
from hashlib import sha256
from pathlib import Path

import pytest
from corpora import snapshot, write_clip
from experiments import Experiment

from asdkit.bin import evaluate, extract_feats, make_lists, prepare_data, score, train
from asdkit.config import load_config
from asdkit.corpus.manifest import read_manifest
from asdkit.data.chain import Prepared
from asdkit.data.lists import input_clips, training_inputs

DESCRIPTION = "name: x\nname_style: free\nprotocol: dcase2022\nsets:\n  dev:\n    path: .\n"
DATASET = """\
# written by stage 1 (prepare_data)
name: x
name_style: free
protocol: dcase2022
sets:
  dev:
    path: .
    machines:
    - fan
  eval: null
ground_truth: null
counts: null
sample_rate: 16000
channel: null
resample: false
root: ROOT
revealed_attributes: null
"""
TRAIN = """\
utt\twav\tmachine\tsection\tdomain\tattr
fan-train-normal_a\tfan/train/normal_a.wav\tfan\t00\tsource\t-
fan-train-normal_b\tfan/train/normal_b.wav\tfan\t00\tsource\t-
"""
TEST = """\
utt\twav\tmachine\tsection\tdomain\tattr
fan-test-anomaly_c\tfan/test/anomaly_c.wav\tfan\t00\t-\t-
"""
# A recording of n samples has 44 + 2 n bytes.
TRAIN_BYTES = "fan-train-normal_a 3244\nfan-train-normal_b 6444\n"
TRAIN_SAMPLES = "fan-train-normal_a 1600\nfan-train-normal_b 3200\n"
LABELS = "utt\tlabel\tattributed\nfan-train-normal_a\t0\t0\nfan-train-normal_b\t0\t0\n"


def sha(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """corpus/, data/, dump/ and exp/a/ as they were left behind after stage 2."""
    root = tmp_path / "corpus"
    for name, seconds in (("train/normal_a", 0.1), ("train/normal_b", 0.2), ("test/anomaly_c", 0.1)):
        write_clip(root / f"fan/{name}.wav", seconds)
    clips = ["fan/test/anomaly_c.wav\t3244", "fan/train/normal_a.wav\t3244", "fan/train/normal_b.wav\t6444"]
    made = {
        **{"name": "x", "name_style": "free", "protocol": "dcase2022", "sets.dev.path": ".", "sets.eval": None},
        **{"sets.dev.machines": ["fan"], "ground_truth": None, "counts": None, "sample_rate": 16000, "channel": None},
        **{"resample": False, "root": str(root), "revealed_attributes": None, "truth": "-"},
        "clips": sha("\n".join(clips)),
    }
    data = {
        "conf.yaml": DESCRIPTION,
        "data/dataset.yaml": DATASET.replace("ROOT", str(root)),
        "data/.done": json.dumps(made),
        "data/dev_train/manifest.tsv": TRAIN,
        "data/dev_train/utt2bytes": TRAIN_BYTES,
        "data/dev_test/manifest.tsv": TEST,
        "data/dev_test/utt2bytes": "fan-test-anomaly_c 3244\n",
        "data/dev_test/ref.tsv": "utt\tcondition\tdomain\nfan-test-anomaly_c\tanomaly\tsource\n",
        "exp/a/config.yaml": "{}\n",
        "exp/a/labels.tsv": LABELS,
        "exp/a/classes.txt": "fan/00/-\n",
    }
    digests = {
        "dev_train": sha(sha(TRAIN) + sha(TRAIN_BYTES)),
        "dev_test": sha(sha(TEST) + sha("fan-test-anomaly_c 3244\n")),
    }
    data["exp/a/.done.labels"] = json.dumps({"label": "machine+section+attr", "dev_train": digests["dev_train"]})
    reader = {"root": str(root), "sample_rate": 16000, "channel": None, "resample": False}
    for name, digest in digests.items():
        data[f"dump/raw/{name}/.done"] = json.dumps({"manifest": digest, **reader})
        data[f"dump/raw/{name}/wav.scp"] = "of stage 2\n"
    write(tmp_path, data)
    return tmp_path


def stage_1(folder: Path, *more: str) -> None:
    options = ["--dataset", str(folder / "conf.yaml"), "--corpus", str(folder / "corpus")]
    prepare_data.main([*options, "--data", str(folder / "data"), *more])


def words(folder: Path) -> list[str]:
    return ["--data", str(folder / "data"), "--dump", str(folder / "dump"), "--exp", str(folder / "exp/a")]


def test_an_old_manifest_is_read_without_lengths(old):
    rows = read_manifest(old / "data/dev_train/manifest.tsv")
    assert [(row["utt"][-1], row["samples"], row["bytes"]) for row in rows] == [("a", "-", "3244"), ("b", "-", "6444")]
    (old / "data/dev_train/utt2bytes").unlink()
    assert [row["bytes"] for row in read_manifest(old / "data/dev_train/manifest.tsv")] == ["-", "-"]


def test_stages_2_to_4_ask_for_stage_1(old):
    before = snapshot(old)
    line = r"data/dev_\w+/manifest.tsv: written by an older version: run stage 1 again; nothing is trained again$"
    for program in (make_lists, train):
        with pytest.raises(ValueError, match=line):
            program.main(
                [*(["--config", str(old / "exp/a/config.yaml")] if program is make_lists else []), *words(old)]
            )
    with pytest.raises(ValueError, match=line):  # what stage 4 embeds
        input_clips(load_config(old / "exp/a/config.yaml"), old / "data", old / "dump", "dev_test")
    assert snapshot(old) == before
    (old / "exp/a/config.yaml").write_text("data: {feats_type: fbank}\n")
    with pytest.raises(ValueError, match=line):
        extract_feats.main(words(old))


def test_stage_1_adds_lengths_and_content_and_nothing_else(old, caplog):
    caplog.set_level("INFO")
    before = snapshot(old)
    stage_1(old)
    assert "already done; the recordings' lengths were added; the content of 3 recordings was read" in caplog.text
    after = snapshot(old)
    assert {name for name in before | after if before.get(name) != after.get(name)} == {
        f"data/{name}/{file}"
        for name in ("dev_train", "dev_test")
        for file in ("manifest.tsv", "utt2bytes", "earlier.txt")
    }
    rows = read_manifest(old / "data/dev_train/manifest.tsv")
    assert [(row["utt"][-1], row["wav"], row["samples"], row["bytes"]) for row in rows] == [
        ("a", "fan/train/normal_a.wav", "1600", "3244"),
        ("b", "fan/train/normal_b.wav", "3200", "6444"),
    ]
    assert all(len(row["digest"]) == 64 for row in rows) and not (old / "data/dev_train/utt2bytes").exists()
    caplog.clear()
    stage_1(old)
    assert caplog.text.endswith("already done\n") and snapshot(old) == after


def test_without_content_stage_1_adds_the_lengths_alone(old, caplog):
    caplog.set_level("INFO")
    stage_1(old, "--check-content", "false")
    assert "recordings are not read: silent ones" in caplog.text
    lines = (old / "data/dev_train/manifest.tsv").read_text().splitlines()
    assert lines[1:] == [
        "fan-train-normal_a\tfan/train/normal_a.wav\tfan\t00\tsource\t-\t1600\t3244\t-\t-\t-\t-",
        "fan-train-normal_b\tfan/train/normal_b.wav\tfan\t00\tsource\t-\t3200\t6444\t-\t-\t-\t-",
    ]


@pytest.mark.parametrize("content", ["true", "false"])
def test_markers_of_stages_2_to_4_hold_on(old, caplog, content):
    stage_1(old, "--check-content", content)
    before = snapshot(old)
    caplog.set_level("INFO")
    make_lists.main(["--config", str(old / "exp/a/config.yaml"), *words(old)])
    assert caplog.text.count("already done") == 3
    after = snapshot(old)
    assert after.pop("exp/a/dataset.yaml") == after["data/dataset.yaml"] and after == before
    marker = {
        "dataset.sample_rate": 16000,
        "dataset.channel": None,
        "dataset.resample": False,
        "dev_train.manifest": sha(sha(TRAIN) + sha(TRAIN_BYTES)),
        "dev_train.utt2num_samples": sha(TRAIN_SAMPLES),
        "labels": sha(LABELS),
    }
    assert trained_from(old) == Prepared(old / "data").today(marker)
    if content == "true":  # what has changed since is not what sizes told of
        write_clip(old / "corpus/fan/train/normal_b.wav", 0.2, seed=9)
        stage_1(old, "--force", "true")
        now, made = trained_from(old), Prepared(old / "data").today(marker)
        assert [key for key in now if now[key] != made[key]] == ["dev_train.manifest"]


def trained_from(folder: Path) -> dict:
    return training_inputs(load_config(folder / "exp/a/config.yaml"), Prepared(folder / "data"), folder / "exp/a")


def test_scores_and_results_stand_on_old_manifests(tmp_path):
    experiment = Experiment(tmp_path)
    experiment.run_all()
    texts = {}
    for path in experiment.data.glob("*/manifest.tsv"):
        lines = [line.split("\t") for line in path.read_text().splitlines()]
        texts[path.parent.name] = "".join("\t".join(fields[:6]) + "\n" for fields in lines)
        path.write_text(texts[path.parent.name])
        path.with_name("utt2bytes").write_text("".join(f"{fields[0]} {fields[7]}\n" for fields in lines[1:]))
    before = experiment.stamps()
    experiment.run(score)
    experiment.run(evaluate)
    assert experiment.stamps() == before and len(texts) == 4
    made = json.loads((experiment.exp / "seed0/score/knn/.done").read_text())
    assert {name: made[f"{name}.manifest"] for name in texts} == {name: sha(text) for name, text in texts.items()}
