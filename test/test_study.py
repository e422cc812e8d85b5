"""Studies: a publication's table, its numbers beside ours; egs/dcase2024/study.sh."""

import re
import subprocess
from pathlib import Path

import pytest
from corpora import ROOT
from recipe import environment, make_corpus
from shell_helpers import write_script
from test_report import write_seed
from test_size import SIZE

from asdkit.bin import report, study
from asdkit.config import load_config
from asdkit.config.identity import experiment_identity
from asdkit.fetch.published import PUBLISHED
from asdkit.report.study import load_study, study_table
from asdkit.utils.files import write_json, write_text
from asdkit.utils.typed_yaml import read_yaml

RECIPE = ROOT / "egs/dcase2024"
TABLES = {"table1": 15, "table2": 15, "table3": 7, "table4": 10, "table5": 7, "table11": 3}  # rows
SMALL = ("table4", "table5", "table11")  # of mini too
STUDY = """title: A table
columns: dev
published: conf/published.yaml
source: Somebody
rows:
  - {model: Log-mels, published: Theirs, config: conf/a.yaml, tag: logmel}
  - {model: Small, size: 1M, published: Theirs, config: conf/a.yaml, tag: small, set: ["encoder={name: beats, train:
    true, arch: {encoder_layers: 1, encoder_embed_dim: 16, encoder_ffn_embed_dim: 16, encoder_attention_heads: 2,
    embed_dim: 8, conv_pos: 4, conv_pos_groups: 1}}", train.steps=2]}
  - {model: Absent, published: Theirs, config: conf/a.yaml, tag: absent, get: ced_base,
     set: ["encoder={name: ced, checkpoint: nowhere.pt}"]}
"""
THEIRS = """systems:
  - {name: Theirs, source: Somebody, set: dev, official: 61.5, auc_source: 62.5, machines: {fan: {hmean: 60.25}}}
"""
CONFIG = """encoder: {name: logmel}
model: {pooling: mean, embedding_dim: null}
data: {chunk_seconds: 0.5}
train: {steps: 0, batch_size: 4, warmup_steps: 0}
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A recipe with a study; run.sh notes what it is called with, and fails for the experiment that fails.txt names."""
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path / "conf/study/mine.yaml", STUDY)
    write_text(tmp_path / "conf/published.yaml", THEIRS)
    write_text(tmp_path / "conf/a.yaml", CONFIG)
    write_script(
        tmp_path / "run.sh", '#!/usr/bin/env bash\necho "$@" >>calls.txt\n[[ "$*" != *"$(cat fails.txt)"* ]]\n'
    )
    write_text(tmp_path / "fails.txt", "nothing")
    return tmp_path


def run(*words):
    command = ["bash", str(ROOT / "utils/study.sh"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment())


def cells(text, first, second):
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    at = next(number for number, row in enumerate(rows) if row[0] == first)
    return next(row[2:] for row in rows[at:] if row[1].startswith(second))


def test_a_study_runs_what_can_be_run_and_ends_in_a_table(recipe):
    write_text(recipe / "fails.txt", "--tag logmel")
    cluster = ["--cmd", "run_slurm.sh --partition main", "--nodes", "2"]
    done = run("mine", "--seeds", "0 1", "--set", "embed.batch_size=3", *cluster)
    assert done.returncode == 1 and "study.sh: failed: logmel; the same command goes on" in done.stderr
    assert "left out: no nowhere.pt (../../.venv/bin/python ../../tools/get_checkpoint.py ced_base)" in done.stderr
    first, second = (recipe / "calls.txt").read_text().splitlines()
    assert first.startswith("--config conf/a.yaml --tag logmel --seeds 0 1 --stage 1 ")
    assert "--cmd run_slurm.sh --partition main" in first and " --nodes 2 " in first
    assert first.endswith("--set embed.batch_size=3")
    assert "--tag small --set encoder={name: beats, train: true" in second and "--set train.steps=2" in second
    assert cells((recipe / "exp/mine.md").read_text(), "Small", "paper") == ["1M", "60.25", "62.50", "-", "61.50"]
    assert "| Small" in done.stdout and "== mine: exp/mine.md" in done.stdout


def test_finished_experiments_are_skipped(recipe, capsys):
    def listed(*words):
        study.main(["--study", "conf/study/mine.yaml", *words, "--list", "true"])
        found = capsys.readouterr()
        return [line.split("\t")[0] for line in found.out.splitlines()], found.err

    assert listed()[0] == ["logmel", "small"]
    for seed in (0, 1):
        write_seed(recipe / "exp/logmel", seed, 0.5)
    report.main(["--exp", "exp/logmel"])
    write_text(recipe / "exp/logmel/config.yaml", CONFIG)
    capsys.readouterr()
    assert listed("--seeds", "0 1")[0] == ["small"] and "Log-mels: exp/logmel is there" in listed()[1]
    assert listed("--seeds", "0 1 2")[0] == ["logmel", "small"]  # one seed is missing
    assert listed("--set", "model.pooling=mean_std")[0] == ["logmel", "small"]  # another experiment: run.sh refuses it


def test_the_table_holds_figures_and_ours(recipe, capsys):
    for seed, dev in ((0, 0.5), (1, 0.6)):
        write_seed(recipe / "exp/logmel", seed, dev, size=SIZE)
    report.main(["--exp", "exp/logmel"])
    capsys.readouterr()
    study.main(["--study", "conf/study/mine.yaml"])
    text = capsys.readouterr().out
    assert (recipe / "exp/mine.md").read_text() == text
    assert cells(text, "Log-mels", "here, 2 seeds") == ["90.8M", "55.00 ± 7.07", "55.00 ± 7.07", "-", "55.00 ± 7.07"]
    assert cells(text, "Small", "here") == ["-"] * 5
    sets = STUDY.replace("columns: dev", "columns: sets")
    write_text(recipe / "conf/study/sets.yaml", sets)
    text = study_table(load_study("conf/study/sets.yaml"), recipe / "exp")
    assert cells(text, "Log-mels", "paper") == ["-", "61.50", "-", "-"]
    assert cells(text, "Log-mels", "here")[1:3] == ["55.00 ± 7.07", "60.00 ± 0.00"]


def test_mistakes_are_explained(recipe):
    done = run("my")
    assert done.returncode == 1 and "there is no study 'my' here; there are: mine" in done.stderr
    write_text(recipe / "conf/study/twice.yaml", STUDY.replace("tag: small", "tag: logmel"))
    with pytest.raises(ValueError, match="twice.yaml: rows: 'logmel: knn' is there twice"):
        load_study("conf/study/twice.yaml")
    write_text(recipe / "conf/study/other.yaml", STUDY.replace("published: Theirs", "published: Nobody's", 1))
    with pytest.raises(ValueError, match='conf/published.yaml: no system "Nobody\'s" of Somebody'):
        study_table(load_study("conf/study/other.yaml"), recipe / "exp")


@pytest.mark.parametrize("name", TABLES)
def test_the_papers_tables(name, monkeypatch, tmp_path):
    monkeypatch.chdir(RECIPE)
    found = load_study(f"conf/study/{name}.yaml")
    for row in found.rows:
        if row.missing:
            continue
        config = load_config(row.config, row.set)
        encoder = config.encoder
        assert encoder.train or encoder.name == "autoencoder" or config.model.lora
        if row.get:
            entry = PUBLISHED[row.get]
            place = f"../../pretrained/{row.get}/{entry.file}".rstrip("/")
            assert (encoder.checkpoint, encoder.name) == (place, entry.encoder)
    text = study_table(found, tmp_path)
    assert len(re.findall(r"^\| .*\| +paper", text, re.M)) == TABLES[name]
    if name in ("table1", "table2", "table3"):
        assert cells(text, "BEATs", "paper")[-1] == {"table1": "62.42", "table2": "64.46", "table3": "63.42"}[name]


@pytest.mark.parametrize(("name", "number"), list(zip(TABLES, ("I", "II", "III", "IV", "V", "XI"), strict=True)))
@pytest.mark.parametrize("recipe", ["dcase2024", "mini"])
def test_numbers_are_those_of_the_text(recipe, name, number, test_data, monkeypatch, tmp_path):
    if recipe == "mini" and name not in SMALL:
        pytest.skip("not a study of mini")
    if not (test_data / "paper.txt").exists():
        pytest.skip("the paper's text is not there")
    text = (test_data / "paper.txt").read_text().split(f"TABLE {number}:")[1].split("TABLE ")[0]
    text = text.replace("<u>", "").replace("</u>", "")
    printed = [re.findall(r"\t(\d\d\.\d\d)", line) for line in text.splitlines()]
    monkeypatch.chdir(ROOT / "egs" / recipe)
    table = study_table(load_study(f"conf/study/{name}.yaml"), tmp_path)
    ours = [re.findall(r" (\d\d\.\d\d) ", line) for line in table.splitlines() if re.search(r"\| +paper", line)]
    assert ours == [line for line in printed if line]


@pytest.mark.parametrize("recipe", ["dcase2024", "mini", "custom"])
def test_experiments_are_shared_by_the_tables(recipe, monkeypatch):
    """One tag is one experiment, in whichever table; in the layout of the paper, with a place for what is missing."""
    monkeypatch.chdir(ROOT / "egs" / recipe)
    found, lines = {}, []
    for path in sorted(Path("conf/study").glob("*.yaml")):
        for row in load_study(path).rows:
            if row.missing:
                lines.append((path.stem, row.model))
                continue
            identity = experiment_identity(load_config(row.config, row.set))
            assert found.setdefault(row.tag, identity) == identity, (path, row.tag)
    assert lines == []
    same = [tag for tag in found for other in found if tag < other and found[tag] == found[other]]
    assert not same, "the same experiment under two names"


def test_rows_of_a_table_in_its_own_layout(recipe):
    """Columns of the paper's, what is there in ours below where it differs, and rows without an experiment."""
    rows = """labels: [Rank, FC]
rows:
  - {model: a, cells: ["32", yes], here: ["8", yes], published: Theirs, config: conf/a.yaml, tag: a}
  - {model: b, cells: ["64", "no"], published: Theirs, missing: to come}
"""
    text = STUDY.split("rows:")[0].replace("columns: dev", "columns: sets\nnote: Small.") + rows
    write_text(recipe / "conf/study/own.yaml", text)
    done = run("own")
    assert done.returncode == 0 and "b: left out: to come" in done.stderr
    lines = (recipe / "exp/own.md").read_text().splitlines()
    assert [re.split(r" *\| *", line.strip("| ")) for line in lines[-4:]] == [
        ["32", "yes", "paper", "61.50", "-", "-"],
        ["8", "yes", "here", "-", "-", "-"],
        ["64", "no", "paper", "61.50", "-", "-"],
        ["here: to come", "-", "-", "-"],
    ]
    assert "Small." in lines
    wrong = {
        "needs config and tag": text.replace(", config: conf/a.yaml", ""),
        "one text for each of labels": text.replace('["8", yes]', '["8"]'),
        "one tag with different settings": text.replace("missing: to come", "config: conf/b.yaml, tag: a, score: b"),
    }
    for message, content in wrong.items():
        write_text(recipe / "conf/study/wrong.yaml", content)
        with pytest.raises(ValueError, match=message):
            load_study("conf/study/wrong.yaml")


@pytest.mark.long
def test_a_study_on_a_small_corpus(recipe):
    corpus = make_corpus(recipe / "corpus")
    write_text(recipe / "conf/dataset.yaml", (ROOT / "egs/mini/conf/dataset.yaml").read_text())
    write_script(recipe / "run.sh", f'#!/usr/bin/env bash\nexec bash {ROOT}/utils/asd.sh --corpus {corpus} "$@"\n')
    options = ("--seeds", "0 1", "--num-threads", "1")
    dry = run("mine", *options, "--dry-run")
    assert dry.returncode == 0 and not (recipe / "exp").exists() and "asdkit.bin.train" in dry.stdout
    done = run("mine", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (recipe / "exp/mine.md").read_text()
    for model in ("Log-mels", "Small"):
        assert all(re.match(r"\d", value) for value in cells(text, model, "here, 2 seeds")[1:])
    before = {path: path.stat().st_mtime_ns for path in (recipe / "exp").glob("*/**/*") if path.is_file()}
    again = run("mine", *options)
    assert again.returncode == 0 and "Small: exp/small is there" in again.stderr
    assert before == {path: path.stat().st_mtime_ns for path in (recipe / "exp").glob("*/**/*") if path.is_file()}


CURVE = "title: Steps\nfigure: steps\nrows:\n  - {model: Log-mels, config: conf/a.yaml, tag: logmel}\n"
FIGURES = ("fig5", "fig6", "fig7")


@pytest.mark.parametrize("recipe", ["dcase2024", "mini"])
@pytest.mark.parametrize("name", FIGURES)
def test_the_papers_figures(recipe, name, monkeypatch, capsys):
    monkeypatch.chdir(ROOT / "egs" / recipe)
    found = load_study(f"conf/study/{name}.yaml")
    machines = {one for own in read_yaml("conf/dataset.yaml")["sets"].values() for one in own["machines"]}
    for row in found.rows:
        config = load_config(row.config, row.set)
        assert (found.figure == "steps") <= bool(config.train.save_steps)
        assert (found.figure == "groups") <= bool(config.model.group_adapter)
        assert set(row.machines) <= machines and set(config.data.hide_attributes) <= machines
        assert not config.data.hide_attributes or config.data.hide_attributes == row.machines
    study.main(["--study", f"conf/study/{name}.yaml", "--steps", "true"])
    steps = capsys.readouterr().out.split()
    assert steps == ([row.tag for row in found.rows] if name == "fig5" else [])


def test_a_figure_of_steps(recipe, capsys):
    pytest.importorskip("matplotlib")
    text = CURVE.replace("figure", "note: No numbers.\nfigure")
    write_text(recipe / "conf/study/curve.yaml", text)
    with pytest.raises(ValueError, match="utils/steps.sh --tag logmel"):
        study.main(["--study", "conf/study/curve.yaml"])
    rows = [
        {"step": step, "seed": seed, "score": score, "set": name, "official": value, "values": {}}
        for step, seed, score, name, value in (
            *((1, seed, "knn", name, 0.5 + seed / 10) for seed in (0, 1) for name in ("dev", "eval", "all")),
            (2, 0, "knn", "dev", 0.75),
            (2, 0, "knn", "eval", None),
            (2, 0, "other", "dev", 0.1),
        )
    ]
    write_json(recipe / "exp/logmel/steps.json", rows)
    study.main(["--study", "conf/study/curve.yaml"])
    told = capsys.readouterr().out
    assert told == (recipe / "exp/curve.md").read_text() and "No numbers." in told and "![Steps](curve.png)" in told
    assert "| 1    |   knn |     2 | 55.00 ± 7.07 | 55.00 ± 7.07 | 55.00 ± 7.07 |" in told and "other" not in told
    pdf = (recipe / "exp/curve.pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and b"/Type3" not in pdf and b"/FontFile2" in pdf
    assert (recipe / "exp/curve.png").read_bytes().startswith(b"\x89PNG")
    write_text(recipe / "conf/study/both.yaml", text + "published: a.yaml\nsource: b\n")
    with pytest.raises(ValueError, match="published and source belong together, and a figure has neither"):
        load_study("conf/study/both.yaml")


def test_a_study_scores_the_steps_that_its_figure_needs(recipe):
    write_text(recipe / "conf/study/curve.yaml", CURVE)
    dry = run("curve", "--seeds", "0 1", "--cmd", "run_slurm.sh --partition main", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    wanted = r"run_slurm.sh .*--partition main .*asdkit.bin.steps .*--exp exp/logmel --seed 1 --step JOB"
    assert re.search(wanted, dry.stdout) and "--gather true" in dry.stdout
    write_text(recipe / "fails.txt", "--tag logmel")
    done = run("curve")  # nothing to score where the experiment failed
    assert done.returncode == 1 and "failed: logmel the table or figure; the same command goes on" in done.stderr
