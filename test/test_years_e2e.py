"""Each challenge year's own run.sh, stages 1 to 6, on a made-up corpus in the year's layout.

Stored commands: for y in 2020 ... 2026: egs/dcase$y/run.sh --stage 0 --dry-run > test/golden/dry_run_dcase$y.txt
"""

import json
import subprocess
from pathlib import Path

import pytest
from recipe import environment
from year_corpora import REVEALED, ROOT, UNSEEN, Truth, description, write_year

from asdkit.bin import evaluate, extract_embeddings, make_lists, prepare_data, score, train
from asdkit.corpus.description import load_description
from asdkit.corpus.manifest import read_manifest, read_ref
from asdkit.utils.files import read_table

YEARS = range(2020, 2027)
SETS = ("dev_train", "dev_test", "eval_train", "eval_test")
LOGMEL = ["--config", "conf/beats_frozen.yaml", "--set", "encoder.name=logmel", "--set", "encoder.checkpoint=null"]
SMALL = """encoder.checkpoint=null
encoder.arch={encoder_layers: 2, encoder_embed_dim: 24, encoder_ffn_embed_dim: 48, encoder_attention_heads: 4,
 embed_dim: 16, conv_pos: 16, conv_pos_groups: 4}
data.chunk_seconds=0.5
model.lora.branches=2
model.lora.rank=2
model.group_adapter.groups=3
model.embedding_dim=8
train.steps=4
train.batch_size=8
train.warmup_steps=1"""
# The year's default experiment, its sizes made small
PAPERS = [word for setting in SMALL.replace("\n ", " ").splitlines() for word in ("--set", setting)]


def without_counts(path: Path, year: int) -> Path:
    """The year's dataset description, for corpora of another size."""
    lines = description(year).read_text().splitlines()
    path.write_text("\n".join("counts: null" if line.startswith("counts:") else line for line in lines))
    return path


def run(recipe: Path, folder: Path, *options: object) -> subprocess.CompletedProcess[str]:
    """Run a recipe's run.sh into `folder`, one process at a time."""
    words = [word for key in ("data", "dump") for word in (f"--{key}", folder / key)]
    words += ["--expdir", folder / "exp", "--tag", "tiny", "--nj", "1", "--num-threads", "1", *options]
    return subprocess.run(
        ["bash", recipe / "run.sh", *map(str, words)], capture_output=True, text=True, env=environment(), timeout=300
    )


def run_year(year: int, folder: Path, *options: object) -> tuple[dict, Truth]:
    """Stages 1 to 6 of a year; its results and the truth."""
    truth = write_year(folder / "corpus", year)
    dataset = without_counts(folder / "dataset.yaml", year)
    done = run(description(year).parents[1], folder, "--corpus", folder / "corpus", "--dataset", dataset, *options)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "exp/tiny/seed0/score/knn/results.json").read_text()), truth


def logmel_results(year: int, folder: Path) -> dict:
    """Stages 2 to 6 with mean log-mels on what stage 1 wrote; the results."""
    data, exp = ["--data", str(folder / "data")], ["--exp", str(folder / "exp/logmel")]
    lists = [*data, "--dump", str(folder / "dump"), *exp]
    make_lists.main(["--config", str(description(year).with_name("beats_frozen.yaml")), *LOGMEL[2:], *lists])
    train.main([*lists, "--device", "cpu"])
    for options in (["--device", "cpu"], ["--merge", "true"]):
        extract_embeddings.main([*lists, *options])
    score.main([*data, *exp])
    evaluate.main([*data, *exp])
    return json.loads((folder / "exp/logmel/seed0/score/knn/results.json").read_text())


def check(year: int, folder: Path, results: dict, truth: Truth) -> None:
    """What holds for every year and every system."""
    what = load_description(description(year))
    for part in ("dev", "eval"):
        found = results["sets"][part]
        assert 0 < found["official"] <= 1 and results["protocol"] == what.protocol
        machines = getattr(what.sets, part).machines
        assert sorted(one["machine"] for one in found["machines"]) == sorted(machines)
        manifest = read_manifest(folder / f"data/{part}_test/manifest.tsv")
        assert {(row["domain"], row["attr"]) for row in manifest} == {("-", "-")}
        assert {row["machine"] for row in read_manifest(folder / f"data/{part}_train/manifest.tsv")} == set(machines)
        assert read_ref(folder / f"data/{part}_test/ref.tsv") == truth[f"{part}_test"]
    written = [*(folder / "data").glob("*/*.tsv"), *(folder / "exp/tiny").glob("*.t*"), *folder.glob("dump/raw/*/*")]
    assert len(written) > 10 and not [path for path in written if REVEALED in path.read_text()]
    classes = (folder / "exp/tiny/classes.txt").read_text()
    labels = read_table(folder / "exp/tiny/labels.tsv", ("utt", "label", "attributed"))
    assert UNSEEN not in classes and all("-train-" in row["utt"] for row in labels)
    assert "noAttribute" not in classes


# Their neighbours' names and scores are much alike.
BESIDE = [pytest.param(year, marks=pytest.mark.long) if year in (2021, 2022, 2024, 2025) else year for year in YEARS]


@pytest.mark.parametrize("year", BESIDE)
def test_stages_1_to_6(year: int, tmp_path: Path) -> None:
    """The paper's system of the year in small; then mean log-mels, which find every anomaly."""
    results, truth = run_year(year, tmp_path, *PAPERS)
    check(year, tmp_path, results, truth)
    classes = (tmp_path / "exp/tiny/classes.txt").read_text().splitlines()
    attributed = {
        row["attributed"] for row in read_table(tmp_path / "exp/tiny/labels.tsv", ("utt", "label", "attributed"))
    }
    if year == 2020:  # one class per machine id, no attributes
        assert len(classes) == 4 * 7 + 7 + 6
    if year == 2024:
        assert "RoboticArm/00/weight00_BckgA" in classes and "gearbox/00/-" in classes
    assert attributed == ({"0", "1"} if year >= 2024 else {"1"})
    if year == 2025:
        assert "ignored: 2 supplemental clips in" in (tmp_path / "data/log/1.prepare_data.log").read_text()
        assert not [path for path in (tmp_path / "data").glob("*/*.tsv") if "supplemental" in path.read_text()]
        extra = read_table(tmp_path / "data/supplemental.tsv", ("wav", "machine", "part", "kind"))
        assert len(extra) == 2 * 15 and {row["kind"] for row in extra} == {"machine", "noise"}
    if year == 2026:
        assert "channel: 0\n" in (tmp_path / "data/dataset.yaml").read_text()
    # Truth that is joined to the wrong clips, or a mixture of two channels, would cost some of it.
    found = logmel_results(year, tmp_path)
    for part in ("dev", "eval"):
        assert [one["machine"] for one in found["sets"][part]["machines"] if one["score"] < 1] == []
        assert found["sets"][part]["official"] == 1


def test_a_list_of_names_serves_as_ground_truth(tmp_path: Path) -> None:
    """2024's list, whose names lack `_test_`, tells what the evaluator's folders tell."""
    truth = write_year(tmp_path / "corpus", 2024)
    dataset = without_counts(tmp_path / "dataset.yaml", 2024)
    text = dataset.read_text()
    dataset.write_text(text.replace("ground_truth: ground_truth", "ground_truth: ground_truth/eval_data_list_2024.csv"))
    words = ["--dataset", dataset, "--corpus", tmp_path / "corpus", "--data", tmp_path / "data"]
    prepare_data.main([str(word) for word in words])
    assert read_ref(tmp_path / "data/eval_test/ref.tsv") == truth["eval_test"]


@pytest.mark.parametrize("year", YEARS)
def test_dry_run(year: int) -> None:
    command = ["bash", description(year).parents[1] / "run.sh", "--stage", "0", "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (ROOT / f"test/golden/dry_run_dcase{year}.txt").read_text()
