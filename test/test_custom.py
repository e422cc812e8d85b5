"""egs/custom as the README gives it: three machines of one's own."""

import json
from pathlib import Path

import pytest
from corpora import manifest_of, write_clip
from test_years_e2e import run
from year_corpora import ROOT

MACHINES = ("press", "pump7", "fan")
SHORT = ["--set", "train.steps=2", "--set", "train.warmup_steps=1"]


@pytest.fixture
def factory(tmp_path: Path) -> Path:
    folder, seed = tmp_path / "my factory", 0
    for machine in MACHINES:
        names = [f"train/{i}.wav" for i in range(4)]
        names += [f"test/{condition}_{i}.wav" for condition in ("normal", "anomaly") for i in range(2)]
        for name in names:
            write_clip(folder / machine / name, 1, seed=(seed := seed + 1))
    return folder


def test_a_folder_of_machines(tmp_path: Path, factory: Path) -> None:
    done = run(ROOT / "egs/custom", tmp_path, "--corpus", factory, *SHORT)
    assert done.returncode == 0, done.stdout + done.stderr
    exp = tmp_path / "exp/tiny/seed0"
    (found,) = json.loads((exp / "score/knn/results.json").read_text())["sets"].values()
    assert sorted(one["machine"] for one in found["machines"]) == sorted(MACHINES)
    scores = dict(line.rsplit(" ", 1) for line in (exp / "score/knn/dev_test.tsv").read_text().splitlines())
    assert len(scores) == 12 and scores.keys() == manifest_of(tmp_path / "data", "dev_test").keys()
    limits = (exp / "score/knn/threshold.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in limits] == ["machine", *sorted(MACHINES)]
