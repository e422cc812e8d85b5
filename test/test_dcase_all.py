"""egs/dcase_all: one training on several years, each scored as its own recipe scores it."""

import subprocess
from pathlib import Path

import pytest
from recipe import environment
from test_join_years import FAN, copies, plant, some, without_counts, written
from test_years_e2e import PAPERS
from year_corpora import ROOT

from asdkit.infer.experiment import Experiment
from asdkit.utils.files import read_json, read_table

RUN = ROOT / "egs/dcase_all/run.sh"
YEARS = ["2020", "2023", "2026"]

pytestmark = pytest.mark.long


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """run.sh with a tiny network into `folder`."""
    words = [word for key in ("data", "dump") for word in (f"--{key}", folder / key)]
    words += ["--expdir", folder / "exp", "--corpus", folder / "corpus", "--datasets", folder, "--tag", "tiny"]
    words += ["--config", "conf/beats_lora_ga_dlcl.yaml", *PAPERS, "--nj", "1", "--num-threads", "1", *options]
    return subprocess.run(["bash", RUN, *map(str, words)], capture_output=True, text=True, env=environment())


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """Trained on 2020 and 2026, of which one clip is a copy; 2023 is scored too."""
    folder = tmp_path_factory.mktemp("all")
    corpus = written(folder, YEARS)
    for year in YEARS:
        without_counts(folder / f"{year}.yaml", int(year))
    plant(corpus, f"2020/{FAN['2020']}", f"2020/{some(corpus / '2020', 'eval_data/fan/train/*')}")
    plant(
        corpus,
        f"2020/{some(corpus / '2020', 'dev_data/fan/test/*')}",
        f"2020/{some(corpus / '2020', 'dev_data/pump/train/*')}",
    )
    refused = run(folder, "--years", "2026 2020", "--score-years", "2020 2023 2026")
    assert refused.returncode == 1 and "1 test clips lie in training too" in refused.stderr, refused.stderr
    assert not (folder / "exp").exists()
    told = run(folder, "--years", "2026 2020", "--score-years", "2020 2023 2026", "--overlap", "drop")
    assert told.returncode == 0, told.stdout + told.stderr
    (folder / "out.txt").write_text(told.stdout)
    return folder


def test_each_year_is_scored_as_its_recipe_does(done):
    trained = done / "exp/2020_2026/tiny"
    table = (trained / "YEARS.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in table[4:]] == YEARS
    assert [line.split("|")[3].strip() for line in table[4:]] == ["dcase2020", "dcase2022", "dcase2022"]
    assert {row["fate"] for row in copies(done / "data/2020_2026")} == {
        "kept",
        "left out",
        "test",
        "left out: a test clip",
    }
    for year in YEARS:
        exp = done / f"exp/2020_2026/{year}/tiny"
        result = read_json(exp / "seed0/score/knn/results.json")
        assert all(0 <= result["sets"][part]["official"] <= 1 for part in ("dev", "eval"))
        made = read_json(exp / "seed0/score/knn/made_from.json")
        assert made["per_section"] is (year == "2020")
        assert f"| {year} " in (done / "out.txt").read_text()
        assert (exp / "seed0/checkpoint").resolve() == trained / "seed0/checkpoint"
        heard = {"2020": [], "2026": []}.get(year)
        assert result["unheard"] == heard or (year == "2023" and len(result["unheard"]) == 14)


def test_labels_of_a_year_are_those_that_its_clips_were_trained_with(done):
    joined = dict(row for row in _labels(done / "exp/2020_2026/tiny"))
    own = dict(row for row in _labels(done / "exp/2020_2026/2020/tiny"))
    first, copy = (f"fan-train-{Path(FAN['2020']).stem}", "fan-train-normal_id_01_00000000")
    assert own[copy] == own[first] == joined[f"2020-{first}"] and f"2020-{copy}" not in joined
    assert not _labels(done / "exp/2020_2026/2023/tiny")


def _labels(exp: Path) -> list[tuple[str, str]]:
    return [(row["utt"], row["label"]) for row in read_table(exp / "labels.tsv", ("utt", "label", "attributed"))]


def test_an_experiment_of_a_year_opens_alone(done):
    experiment = Experiment.open(done / "exp/2020_2026/2026/tiny", device="cpu")
    clip = next((done / "corpus/2026/dev_data/fan/test").glob("*.wav"))
    assert experiment.score([clip], machine="fan").shape == (1,)


def test_again_nothing_is_made_and_a_year_more_is_another_experiment(done):
    before = {path: path.stat().st_mtime_ns for path in done.glob("exp/**/*.[at][rs][kv]")}
    again = run(done, "--years", "2020 2026", "--score-years", "2020 2023 2026", "--overlap", "drop")
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
    more = run(done, "--dry-run", "--overlap", "drop")  # all that are there
    assert more.returncode == 0 and "/exp/2020_2023_2026/tiny" in more.stdout


def test_what_is_typed_wrong(done, tmp_path):
    for options, said in (
        (["--years", "2020 2019"], "there is no recipe of the year '2019'"),
        (["--years", "2020"], "one year alone is egs/dcase2020"),
        (["--years", "2020 2023", "--overlap", "keep"], "--overlap is refuse or drop"),
        (["--corpus", str(tmp_path), "--data", str(tmp_path)], "no year's recordings: --corpus FOLDER holds"),
        (["--stage", "0"], "stage 0 fetches the years that are named"),
        (
            ["--years", "2020 2026", "--overlap", "drop", "--set", "data.feats_type=fbank", "--tag", "b"],
            "data.feats_type has to be raw",
        ),
    ):
        told = run(done, "--stop-stage", "2", *options)
        assert told.returncode == 1 and said in told.stderr, told.stderr
