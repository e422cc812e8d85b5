"""Scores over the steps of a training: utils/steps.sh, asdkit.bin.steps."""

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest
from corpora import ROOT
from recipe import CONFIG, MINI, environment, make_corpus

from asdkit.bin import extract_embeddings, make_lists, prepare_data, report, score, steps, study, train
from asdkit.corpus.manifest import read_manifest
from asdkit.report.steps import read_steps, steps_table
from asdkit.utils.files import read_json, write_text

CHANGES = (
    "train.save_steps=[2,4]",
    "train.steps=6",
    "score={knn: {}, gem: {array: gem}}",
    "embed.chunks=true",
    "train.grad_clip=1.0",
)
CHANGES += ("embed.arrays={gem: {pooling: gem}}",)


class Tiny:
    """A trained experiment of a few clips, its stages called in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.exp, self.data = folder, folder / "exp/tiny", folder / "data"
        write_text(folder / "tiny.yaml", CONFIG)
        corpus = str(make_corpus(folder / "corpus"))
        prepare_data.main(["--dataset", str(MINI / "conf/dataset.yaml"), "--corpus", corpus, "--data", str(self.data)])
        self.lists(self.exp, *CHANGES)
        train.main(self.work(self.exp))
        self.score(self.exp)
        report.main(["--data", str(self.data), "--exp", str(self.exp)])

    def work(self, exp: Path) -> list[str]:
        return ["--data", str(self.data), "--dump", str(self.folder / "dump"), "--exp", str(exp)]

    def lists(self, exp: Path, *changes: str) -> None:
        settings = (word for one in changes for word in ("--set", one))
        make_lists.main(["--config", str(self.folder / "tiny.yaml"), *settings, *self.work(exp)])

    def score(self, exp: Path) -> None:
        extract_embeddings.main(self.work(exp))
        extract_embeddings.main([*self.work(exp), "--merge", "true"])
        score.main(["--data", str(self.data), "--exp", str(exp)])


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return Tiny(tmp_path_factory.mktemp("steps"))


def run(recipe, *words):
    places = [
        f"--{key}={recipe.folder / name}" for key, name in (("data", "data"), ("dump", "dump"), ("expdir", "exp"))
    ]
    command = ["bash", str(ROOT / "utils/steps.sh"), "--num-threads", "1", *places, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment())


def test_steps_are_scored_as_stage_5_would(recipe, capsys):
    steps.main(["--exp", str(recipe.exp), "--list", "true"])
    assert capsys.readouterr().out == "2,4,6\n"
    for step in ("2", "4", "6"):
        steps.main([*recipe.work(recipe.exp), "--step", step])
    steps.main([*recipe.work(recipe.exp), "--gather", "true"])
    assert "| 6" in capsys.readouterr().out
    folder = recipe.exp / "seed0/steps"
    assert sorted(path.name for path in folder.iterdir()) == ["step2", "step4", "step6"]
    for name in ("knn", "gem"):  # the last step's are the experiment's own
        for found in ("dev_test", "eval_test"):
            own = recipe.exp / f"seed0/score/{name}/{found}.tsv"
            assert (folder / f"step6/{name}/{found}.tsv").read_bytes() == own.read_bytes()
    rows = read_steps(recipe.exp)
    results = read_json(recipe.exp / "results.json")["scores"]["gem"]
    last = {row["set"]: row["official"] for row in rows if (row["step"], row["score"]) == (6, "gem")}
    assert last == {name: results["sets"][name]["official"]["mean"] for name in ("dev", "eval")} | {
        "all": results["all"]["mean"]
    }
    assert (recipe.exp / "STEPS.md").read_text().count("|") > 40
    # those on the way are what embed.checkpoint gives
    other = recipe.folder / "exp/other"
    (other / "seed0").mkdir(parents=True)
    (other / "seed0/checkpoint").symlink_to(recipe.exp / "seed0/checkpoint")
    recipe.lists(other, *CHANGES, "embed.checkpoint=step2")
    recipe.score(other)
    own = (folder / "step2/knn/dev_test.tsv").read_bytes()
    assert own == (other / "seed0/score/knn/dev_test.tsv").read_bytes()
    assert own != (folder / "step6/knn/dev_test.tsv").read_bytes()


@pytest.mark.long
def test_steps_through_the_shell(recipe):
    done = run(recipe, "--tag", "tiny")
    assert done.returncode == 0 and "== steps:" in done.stdout, done.stdout + done.stderr
    before = {path: path.stat().st_mtime_ns for path in (recipe.exp / "seed0/steps").rglob("*.tsv")}
    again = run(recipe, "--tag", "tiny")  # what is scored is skipped
    assert again.returncode == 0 and len(before) == 12
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_mistakes_are_explained(recipe, tmp_path):
    where = ["--data", str(recipe.folder / "data"), "--exp", str(recipe.exp)]
    with pytest.raises(ValueError, match=r"step 3: .* kept weights of the steps 2, 4, 6"):
        steps.main([*where, "--step", "3"])
    with pytest.raises(ValueError, match="give --step N, --list true or --gather true"):
        steps.main(where)
    none = tmp_path / "exp/none"
    write_text(
        none / "config.yaml",
        re.sub(r"save_steps:(\n  - \d+)+", "save_steps: []", (recipe.exp / "config.yaml").read_text()),
    )
    with pytest.raises(ValueError, match=r"train.save_steps is empty.*--set train.save_steps=\[3\]"):
        steps.main(["--exp", str(none), "--list", "true"])
    with pytest.raises(ValueError, match="utils/steps.sh"):
        read_steps(none)
    with pytest.raises(ValueError, match="no scores of single steps"):
        steps.main(["--data", str(recipe.folder / "data"), "--exp", str(none), "--gather", "true"])
    done = run(recipe, "--tag", "nobody")
    assert done.returncode == 1 and "there is no experiment" in done.stderr
    dry = run(recipe, "--tag", "nobody", "--dry-run")
    assert dry.returncode == 0 and "asdkit.bin.steps" in dry.stdout


def test_a_table_of_steps():
    rows = [
        {"step": step, "seed": seed, "score": "knn", "set": name, "official": value, "values": {}}
        for step, seed, name, value in (
            (1, 0, "dev", 0.5),
            (1, 1, "dev", 0.6),
            (1, 0, "eval", None),
            (10, 0, "dev", 0.7),
        )
    ]
    lines = [re.split(r" *\| *", line.strip("| ")) for line in steps_table(rows).splitlines()]
    assert lines[0] == ["step", "score", "seeds", "dev", "eval"]
    assert lines[2:] == [["1", "knn", "2", "55.00 ± 7.07", "-"], ["10", "knn", "1", "70.00", "-"]]


def test_connected_branches_are_one_with_their_step(recipe, capsys):
    """egs/mini/local/equation3.py: what it trains in place of the branches acts as they do; branches stay equal."""
    found = importlib.util.spec_from_file_location("equation3", MINI / "local/equation3.py")
    script = importlib.util.module_from_spec(found)
    found.loader.exec_module(script)
    out = recipe.folder / "exp/equation3"
    where = [*recipe.work(recipe.exp), "--lora", str(recipe.exp), "--out", str(out)]
    script.main(where)
    for kind in ("one", "apart"):
        told = read_json(out / kind / "seed0/results.json")
        assert told["size"] > 0 and told["from_connected"] < 0.02, told
        assert set(told["official"]) == {"dev", "eval", "all"}
    one = script.factors(out / "one/seed0/checkpoint/final.pt")
    apart = script.factors(out / "apart/seed0/checkpoint/final.pt")
    assert all(a.shape[0] == b.shape[0] == 1 for a, b in one.values())
    assert all((b[0] - b[1]).abs().max() > 10 * (b[0] + b[1]).abs().mean() for _, b in apart.values())
    rows = [line.split("|") for line in (out / "RESULTS.md").read_text().splitlines() if line.startswith("| 0 ")]
    assert len(rows) == 3 and all(float(row[3]) < 1e-5 and float(row[5]) < 1e-4 for row in rows)
    before = (out / "one/seed0/results.json").stat().st_mtime_ns
    capsys.readouterr()
    script.main(where)
    assert (out / "one/seed0/results.json").stat().st_mtime_ns == before and "step matched" in capsys.readouterr().out


def test_figures_of_a_study(recipe):
    """Weights of group adapters and embeddings, of the training clips of the machines that are asked for."""
    pytest.importorskip("matplotlib")
    row = "{{model: A, config: a.yaml, tag: tiny, machines: {}}}"
    texts = {
        "groups": f"title: G\nfigure: groups\nrows:\n  - {row.format('[]')}\n",
        "maps": f"title: M\nfigure: maps\nrows:\n  - {row.format('[fan, valve], colour: attribute')}\n",
        "none": f"title: N\nfigure: maps\nrows:\n  - {row.format('[nobody]')}\n",
    }
    for name, text in texts.items():
        write_text(recipe.folder / f"{name}.yaml", text)
    where = ["--exp", str(recipe.folder / "exp"), "--data", str(recipe.data)]
    study.main(["--study", str(recipe.folder / "groups.yaml"), *where])
    lines = [
        re.split(r" *\| *", line.strip("| ")) for line in (recipe.folder / "exp/groups.md").read_text().splitlines()
    ]
    assert [line[0] for line in lines[-5:]] == ["bearing", "fan", "gearbox", "pump", "valve"]
    assert all(33 < float(line[2]) <= 100 and 1 <= float(line[3]) <= 3 for line in lines[-5:])  # of three groups
    study.main(["--study", str(recipe.folder / "maps.yaml"), *where])
    line = re.split(r" *\| *", (recipe.folder / "exp/maps.md").read_text().splitlines()[-1].strip("| "))
    attributes = {(row["machine"], row["attr"]) for row in read_manifest(recipe.data / "dev_train/manifest.tsv")}
    assert line[:3] == ["A", "16", str(len({one for one in attributes if one[0] in ("fan", "valve")}))]
    for name in ("groups", "maps"):
        assert (recipe.folder / f"exp/{name}.png").stat().st_size > 5000
    with pytest.raises(ValueError, match="no training clips of nobody"):
        study.main(["--study", str(recipe.folder / "none.yaml"), *where])
