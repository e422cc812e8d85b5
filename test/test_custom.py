"""egs/custom as the README gives it: machines of one's own, in its folders and in its list."""

import itertools
import json
import re
from pathlib import Path

import pytest
from corpora import manifest_of, write_clip
from test_layouts import stage_1
from test_years_e2e import run
from year_corpora import ROOT

from asdkit.bin import export_detector
from asdkit.corpus.manifest import read_ref
from asdkit.corpus.words import WORDS
from asdkit.monitor.detector import Detector

README = (ROOT / "README.md").read_text().partition("## Your own machines")[2].partition("\n## ")[0]
FOLDERS = re.findall(r"^ {6}(\S+)/\*\.wav ", README, re.M)


@pytest.fixture
def factory(tmp_path: Path) -> Path:
    """The README's folders with four clips each, and with a name that tells the truth where they do not."""
    folder, seed = tmp_path / "my factory", 0
    for place in FOLDERS:
        before, braces, after = re.fullmatch(r"([^{]*)(?:\{(.*)\}(.*))?", place).groups()
        for inside, number in itertools.product(braces.split(",") if braces else [""], range(4)):
            told = ("normal_", "anomaly_")[number % 2] if place.endswith("test") else ""
            name = f"{before}{inside}{after or ''}/{told}{number:04d}.wav"
            write_clip(folder / name, 1, seed=(seed := seed + 1))
    return folder


def test_a_folder_of_machines(tmp_path: Path, factory: Path) -> None:
    assert {place.partition("/")[0] for place in FOLDERS} == {"press", "pump7"}
    done = run(ROOT / "egs/custom", tmp_path, "--corpus", factory)
    assert done.returncode == 0, done.stdout + done.stderr
    exp = tmp_path / "exp/tiny/seed0"
    (found,) = json.loads((exp / "score/knn/results.json").read_text())["sets"].values()
    assert sorted(one["machine"] for one in found["machines"]) == ["press", "pump7"]
    scores = dict(line.rsplit(" ", 1) for line in (exp / "score/knn/dev_test.tsv").read_text().splitlines())
    assert len(scores) == 12 and scores.keys() == manifest_of(tmp_path / "data", "dev_test").keys()
    truth = read_ref(tmp_path / "data/dev_test/ref.tsv")
    assert truth["pump7-test-abnormal-0001"][0] == truth["press-test-anomaly_0001"][0] == "anomaly"
    limits = (exp / "score/knn/threshold.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in limits] == ["machine", "press", "pump7"]
    assert (
        "pump7-train-day1-0001" in manifest_of(tmp_path / "data", "dev_train") and "`pump7-train-day1-0001`" in README
    )


def test_without_test_clips_there_are_thresholds_and_a_bundle(tmp_path: Path, factory: Path) -> None:
    for machine in ("press", "pump7"):
        (factory / machine / "test").rename(factory / machine / "val")
    done = run(ROOT / "egs/custom", tmp_path, "--corpus", factory)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 recordings of" in done.stdout and "folders that are not read, such as val/" in done.stdout
    assert "has no test clips" in done.stdout and "nothing to report without test clips" in done.stdout
    folder = tmp_path / "exp/tiny/seed0/score/knn"
    limits = (folder / "threshold.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in limits] == ["machine", "press", "pump7"]
    assert (folder / "train.tsv").exists() and not (folder / "results.json").exists()
    out = tmp_path / "factory.asdkit"
    export_detector.main(["--exp", str(tmp_path / "exp/tiny"), "--out", str(out), "--onnx", "false"])
    assert Detector.open(out, threads=1).names == ["press", "pump7"]


def test_the_readmes_list(tmp_path: Path) -> None:
    (lines,) = re.findall(r"((?:^ {4}\S*,\S*\n)+)", README, re.M)
    for name in re.findall(r"\S+\.wav", lines):
        write_clip(tmp_path / "factory" / name)
    (tmp_path / "factory/factory.csv").write_text("".join(line[4:] + "\n" for line in lines.splitlines()))
    data = stage_1(tmp_path, tmp_path / "factory/factory.csv")
    assert list(manifest_of(data, "dev_train")) == ["press-train-a-0001", "press-train-b-0001"]
    assert list(manifest_of(data, "dev_test")) == ["press-test-0002"] and "`press-train-a-0001`" in README


def test_the_readme_tells_all_words() -> None:
    plurals = {"anomalies", "faults", "defects"}
    for word in {*WORDS["normal"], *WORDS["anomaly"]} - plurals:
        assert f"`{word}`" in README, word
