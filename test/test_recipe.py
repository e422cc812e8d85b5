"""egs/mini from stage 1 to 6 by its run.sh: whole, twice, killed, changed."""

import json
import re

import pytest
from recipe import Recipe, make_corpus

import asdkit

WRITTEN_ANEW = ("RESULTS.md", "results.json", "index.html", "dataset.yaml")  # by every run, with the same text


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("a corpus") / "mini")


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    recipe = Recipe(tmp_path_factory.mktemp("whole run"), corpus)
    done = recipe.run()
    assert done.returncode == 0, done.stdout
    return recipe, done.stdout


def test_ends_with_results(whole):
    recipe, output = whole
    assert [int(n) for n in re.findall(r"^== stage (\d)", output, re.M)] == [1, 2, 3, 4, 5, 6]
    assert output.rstrip().endswith(f"== page: {recipe.exp}/report/index.html")
    results = json.loads((recipe.exp / "seed0/score/knn/results.json").read_text())
    text = json.dumps(results)
    assert results["asdkit"] == asdkit.__version__
    assert results["seed"] == 0 and re.search(r'"git": ?"[0-9a-f]{40}|unknown', text)
    assert "fan" in (recipe.exp / "RESULTS.md").read_text()
    assert len(recipe.results()) == 2 + 2 + 4


def test_experiment_folder_describes_itself(whole):
    recipe, _ = whole
    config, env = (recipe.exp / "config.yaml").read_text(), (recipe.exp / "env.txt").read_text()
    assert "warmup_steps: 1" in config and "weight_decay: 0.01" in config
    assert "torch" in env and "python" in env
    log = (recipe.exp / "log/3.train.seed0.log").read_text().splitlines()
    assert log[0].startswith("# python3 -m asdkit.bin.train ") and re.fullmatch(r"# ended code 0, \d+ s", log[-1])


def test_a_run_starts_nine_interpreters(whole):
    recipe, _ = whole
    logs = [path.name for folder in (recipe.folder / "data/log", recipe.exp / "log") for path in folder.iterdir()]
    assert sorted(logs) == sorted(
        ["1.prepare_data.log", "2.make_lists.log", "3.train.seed0.log", "5.score.seed0.log", "6.report.log"]
        + [f"4.extract_embeddings.seed0.{part}.log" for part in ("1", "2", "merge")]
    ), "the check before the first stage is the ninth, and has no log"


def test_run_twice_skips_everything(whole):
    recipe, _ = whole
    files = [path for path in recipe.folder.rglob("*") if path.is_file() and "log" not in path.parts]
    files = [path for path in files if path.name != "out.txt"]
    tables = [path for path in files if path.name in WRITTEN_ANEW]
    before = {path: path.read_bytes() if path in tables else path.stat().st_mtime_ns for path in files}
    log = recipe.exp / "log/3.train.seed0.log"
    first = log.read_text()
    assert recipe.run().returncode == 0
    kept, added = log.read_text()[: len(first)], log.read_text()[len(first) :]
    assert kept == first and "already trained" in added and added.startswith("\n# python3 -m asdkit.bin.train ")
    assert before == {path: path.read_bytes() if path in tables else path.stat().st_mtime_ns for path in files}


@pytest.mark.parametrize(
    ("stage", "seen"),
    [
        pytest.param(2, "exp/tiny/log/2.make_lists.log", marks=pytest.mark.long),
        (2, "exp/tiny/labels.tsv"),
        (3, "exp/tiny/seed0/checkpoint/last.pt"),
        pytest.param(3, "exp/tiny/seed0/checkpoint/final.pt", marks=pytest.mark.long),
        pytest.param(4, "exp/tiny/log/4.extract_embeddings.seed0.1.log", marks=pytest.mark.long),
        (4, "exp/tiny/seed0/embed/dev_test/split2/embedding.1.ark"),
        (4, "exp/tiny/log/4.extract_embeddings.seed0.merge.log"),
        pytest.param(5, "exp/tiny/log/5.score.seed0.log", marks=pytest.mark.long),
        (5, "exp/tiny/seed0/score"),
    ],
)
def test_killed_and_started_again_gives_the_same_bits(whole, corpus, tmp_path, stage, seen):
    recipe = Recipe(tmp_path, corpus)
    recipe.kill_when(tmp_path / seen)
    again = recipe.run()
    assert again.returncode == 0, again.stdout
    assert recipe.results() == whole[0].results()


def test_a_precision_that_is_chosen_in_a_killed_run_holds_for_all_shards(corpus, tmp_path):
    recipe = Recipe(tmp_path, corpus)
    options = ["--tag", "tiny", "--set", "embed.precision=auto", "--set", "train.steps=4"]
    recipe.kill_when(recipe.exp / "log/4.extract_embeddings.seed0.choose.log", *options)
    done = recipe.run(*options)
    assert done.returncode == 0, done.stdout
    (told,) = re.findall(r"embed.precision auto: (\w+); time for", done.stdout)
    assert json.loads((recipe.exp / "seed0/precision.json").read_text())["precision"] == told
    markers = [json.loads(path.read_text()) for path in recipe.exp.glob("seed0/embed/*/.done")]
    assert len(markers) == 4 and {marker["embed.precision"] for marker in markers} == {told}


def test_changed_config_with_the_same_tag_is_refused(whole):
    recipe, _ = whole
    before = recipe.results()
    changed = recipe.run("--tag", "tiny", "--set", "train.lr=0.5")
    assert changed.returncode != 0
    assert "train.lr = 0.001, now 0.5" in changed.stdout and "--tag" in changed.stdout
    late = recipe.run("--tag", "tiny", "--stage", "5", "--set", "score.k=2")
    assert late.returncode != 0 and "score.knn.k = 1, now 2" in late.stdout
    assert recipe.results() == before


def test_two_seeds_and_a_tag_of_its_own(whole, corpus):
    recipe, _ = whole
    done = recipe.run("--stage", "2", "--seeds", "0 3", "--set", "train.steps=2")
    assert done.returncode == 0, done.stdout
    exp = recipe.exp.with_name("tiny_train.steps_2")
    assert sorted(path.name for path in exp.glob("seed*")) == ["seed0", "seed3"]
    compared = (recipe.exp.parent / "RESULTS.md").read_text()
    assert "tiny_train.steps_2" in compared and re.search(r"\btiny\b", compared)


def test_failure_names_stage_and_reason(corpus, tmp_path):
    failed = Recipe(tmp_path, corpus / "none").run()
    assert failed.returncode != 0
    assert f"no corpus: {corpus}/none does not exist" in failed.stdout and "stage 1 (data) failed" in failed.stdout


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (["trian.steps=1"], "error: --set trian.steps=1: unknown key 'trian'. Did you mean 'train'?"),
        (
            ["encoder.arch=null", "encoder.checkpoint=/no such/file.pt"],
            "error: --set encoder.checkpoint=/no such/file.pt: encoder.checkpoint: there is no file /no such/file.pt. ",
        ),
    ],
)
def test_a_wrong_setting_is_found_before_any_stage_and_leaves_nothing(corpus, tmp_path, settings, reason):
    recipe = Recipe(tmp_path, corpus)
    before = sorted([*tmp_path.rglob("*"), tmp_path / "out.txt"])
    failed = recipe.run(*(word for setting in settings for word in ("--set", setting)))
    assert failed.returncode == 1
    assert failed.stdout.startswith(reason) and failed.stdout.endswith("asd.sh: no stage was run\n")
    assert "== stage" not in failed.stdout and sorted(tmp_path.rglob("*")) == before


def test_a_later_stage_of_an_experiment_that_is_not_there_leaves_nothing(corpus, tmp_path):
    failed = Recipe(tmp_path, corpus).run("--stage", "5", "--tag", "other")
    assert failed.returncode == 1
    assert "exp/other/config.yaml does not exist: run stage 2 first" in failed.stdout
    assert not (tmp_path / "exp").exists()


def test_another_score_trains_and_embeds_nothing(whole):
    recipe, _ = whole
    before = recipe.results()
    done = recipe.run("--stage", "3", "--set", "score.wide={detector: knn, per_domain: false}")
    assert done.returncode == 0, done.stdout
    after = recipe.results()
    added = {name for name in after if name not in before}
    assert before.items() <= after.items() and {name.split("/")[2] for name in added} == {"wide"}
    for log, said in (
        ("3.train.seed0", "already trained"),
        ("4.extract_embeddings.seed0.1", "all embeddings are there"),
    ):
        assert said in (recipe.exp / f"log/{log}.log").read_text().split("\n\n")[-1]
    assert "wide" in (recipe.exp.parent / "RESULTS.md").read_text()
    only = recipe.run("--stage", "5", "--score", "wide")
    assert only.returncode == 0 and "knn" not in (recipe.exp / "log/5.score.seed0.log").read_text().split("\n\n")[-1]
    wrong = recipe.run("--stage", "5", "--score", "wid")
    assert wrong.returncode == 1 and "no stage was run" in wrong.stdout
    assert "--score wid: the experiment's scores are knn, wide" in wrong.stdout


def test_two_experiments_at_once_share_the_features_that_one_of_them_dumps(corpus, tmp_path):
    recipes = [Recipe(tmp_path, corpus), Recipe(tmp_path, corpus)]
    assert recipes[0].run("--stop-stage", "1").returncode == 0
    options = ["--stage", "2", "--stop-stage", "2", "--set", "data.feats_type=fbank", "--tag"]
    runs = [recipe.start(*options, tag) for recipe, tag in zip(recipes, ("a", "b"), strict=True)]
    assert [run.wait(300) for run in runs] == [0, 0]
    logs = [(tmp_path / f"exp/{tag}/log/2.extract_feats.1.log").read_text() for tag in ("a", "b")]
    assert sorted("already done" in log for log in logs) == [False, True]
