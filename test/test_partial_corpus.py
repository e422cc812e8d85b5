"""Part of a year's recordings: real clips of 2020, of which only slider id 00 has training clips."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from recipe import environment
from test_years_e2e import LOGMEL, run
from year_corpora import ROOT

from asdkit.corpus.manifest import read_manifest, read_ref

RECIPE = ROOT / "egs/dcase2020"
README = " ".join((RECIPE / "README.md").read_text().split())


@pytest.fixture
def corpus(test_data: Path) -> Path:
    return test_data / "data/real/dcase2020"


def test_slider_id_00_from_stage_1_to_6(corpus: Path, tmp_path: Path) -> None:
    done = run(RECIPE, tmp_path, "--corpus", corpus, "--machines", "slider", "--sections", "00", *LOGMEL)
    assert done.returncode == 0, done.stderr
    assert "eval set left out: there is no folder" in done.stdout
    assert len(read_manifest(tmp_path / "data/dev_train/manifest.tsv")) == 75
    ref = read_ref(tmp_path / "data/dev_test/ref.tsv")
    assert sorted(condition for condition, _ in ref.values()) == ["anomaly", "anomaly", "normal", "normal"]
    results = json.loads((tmp_path / "exp/tiny/seed0/score/knn/results.json").read_text())
    assert list(results["sets"]) == ["dev"] and results["all"] is None
    (section,) = results["sets"]["dev"]["sections"]
    assert (section["machine"], section["section"]) == ("slider", "00") and 0 <= results["sets"]["dev"]["official"] <= 1


def test_stage_1_stops_as_the_readme_says(corpus: Path, tmp_path: Path) -> None:
    whole = run(RECIPE, tmp_path, "--corpus", corpus, "--stop-stage", "1")
    assert whole.returncode != 0 and "stage 1 (data) failed" in whole.stderr
    assert "no training clips of ToyCar, ToyConveyor, fan, pump, valve in the dev set" in whole.stdout + whole.stderr
    assert "(`no training clips of fan in the dev set`)" in README
    (tmp_path / "part/dev_data").mkdir(parents=True)
    for machine in ("pump", "slider", "valve", "ToyCar", "ToyConveyor"):
        (tmp_path / "part/dev_data" / machine).symlink_to(corpus / "dev_data" / machine)
    part = run(RECIPE, tmp_path, "--corpus", tmp_path / "part", "--stop-stage", "1")
    (said,) = re.findall("the machine 'fan' of the dataset description is missing", part.stdout + part.stderr)
    assert part.returncode != 0 and f"(`{said}`)" in README
    assert not (tmp_path / "data/dataset.yaml").exists()


def test_ids_without_training_clips_are_named_as_the_readme_says(corpus: Path, tmp_path: Path) -> None:
    done = run(RECIPE, tmp_path, "--corpus", corpus, "--machines", "slider", "--stop-stage", "1")
    assert done.returncode == 0, done.stderr
    (said,) = re.findall("no training clips of slider, sections 02, 04, 06 in the dev set", done.stdout)
    assert f"(`{said}`)" in README


def test_machines_reach_stage_0(tmp_path: Path) -> None:
    words = ["--stage", "0", "--stop-stage", "0", "--machines", "fan,pump"]
    assert "--out downloads --machines fan\\,pump\n" in run(RECIPE, tmp_path, *words, "--dry-run").stdout
    words = [sys.executable, "-m", "asdkit.bin.download", "--machines", "fan,pump", "--dry-run", "true"]
    env = environment(PYTHONPATH=str(ROOT))
    done = subprocess.run(words, cwd=RECIPE, capture_output=True, text=True, env=env, timeout=60)
    archives = re.findall(r"files/(\S+\.zip)/content", done.stdout)
    assert len(archives) == 6 and all(re.search("fan|pump", name) for name in archives)


def test_stage_0_of_generated_machines_makes_them_all(tmp_path: Path) -> None:
    words = ["bash", ROOT / "egs/mini/local/data.sh", tmp_path / "x", "--machines", "fan"]
    words += ["--clips-per-domain", "1", "--seconds", "1"]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), timeout=120)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "x").rglob("*")} >= {"fan", "valve", "pump"}
