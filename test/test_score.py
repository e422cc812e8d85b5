import json
import re
import subprocess
import sys

import kaldiio
import numpy as np
import pytest
from experiments import DIM, Experiment

from asdkit.bin import evaluate, score
from asdkit.utils.files import read_json, write_text


def test_from_embeddings_to_tables(tmp_path, capsys):
    experiment = Experiment(tmp_path / "a b", seeds=(0, 1))
    experiment.run_all((0, 1))
    lines = (experiment.exp / "seed1/score/knn/eval_test.tsv").read_text().splitlines()
    assert [line.split(" ")[0] for line in lines] == sorted(experiment.utts("eval_test"))
    found = {seed: read_json(experiment.exp / f"seed{seed}/results.json") for seed in (0, 1)}
    assert set(found[0]["sets"]) == {"dev", "eval"} and found[1]["seed"] == 1 and found[0]["protocol"] == "dcase2022"
    dev, evaluation = (found[0]["sets"][name]["official"] for name in ("dev", "eval"))
    assert found[0]["all"] == pytest.approx(2 / (1 / dev + 1 / evaluation))
    results = read_json(experiment.exp / "results.json")
    both = [found[seed]["sets"]["dev"]["official"] for seed in (0, 1)]
    assert results["sets"]["dev"]["official"]["mean"] == pytest.approx(np.mean(both))
    assert results["sets"]["dev"]["official"]["std"] == pytest.approx(np.std(both, ddof=1))
    cell = f"{100 * np.mean(both):.2f} ± {100 * np.std(both, ddof=1):.2f}"
    for text in (capsys.readouterr().out, (experiment.exp / "RESULTS.md").read_text()):
        assert re.search(rf"\| dev  \| +{cell} \|", text)
    assert cell in (experiment.exp.parent / "RESULTS.md").read_text()


def test_scores_read_back_exactly_and_need_no_truth(tmp_path):
    experiment = Experiment(tmp_path)
    for name in ("dev_test", "eval_test"):
        (experiment.data / name / "ref.tsv").write_bytes(b"\xff not readable")
    experiment.run(score)
    train = np.array(list(dict(kaldiio.load_ark(str(experiment.exp / "seed0/embed/dev_train/embedding.ark"))).values()))
    test = dict(kaldiio.load_ark(str(experiment.exp / "seed0/embed/dev_test/embedding.ark")))
    lines = (experiment.exp / "seed0/score/knn/dev_test.tsv").read_text().splitlines()
    for line in lines[:10]:  # fandev comes first
        utt, text = line.split(" ")
        cosines = train[:40] @ test[utt] / np.linalg.norm(train[:40], axis=1) / np.linalg.norm(test[utt])
        assert float(text) == pytest.approx(1 - cosines.max(), abs=1e-6) and repr(float(text)) == text


def test_training_clips_of_both_sets_serve_both(tmp_path):
    """The machines of dev and eval may be the same, as in 2020 to 2022."""
    experiment = Experiment(tmp_path)
    for path in experiment.data.glob("*/manifest.tsv"):
        path.write_text(path.read_text().replace("faneval\t", "fandev\t"))
    experiment.run(score)
    alone = Experiment(tmp_path / "alone")
    alone.run(score)
    both, one = ((e.exp / "seed0/score/knn/dev_test.tsv").read_text().splitlines() for e in (experiment, alone))
    pairs = [(float(a.split()[1]), float(b.split()[1])) for a, b in zip(both, one, strict=True) if a.startswith("fan")]
    assert all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def test_done_work_is_skipped_and_a_change_is_refused_by_name(tmp_path):
    experiment = Experiment(tmp_path)
    experiment.run_all()
    before = experiment.stamps()
    experiment.run(score)
    experiment.run(evaluate)
    assert experiment.stamps() == before
    config = experiment.exp / "config.yaml"
    config.write_text(config.read_text().replace("k: 1\n", "k: 2\n"))
    for program in (score, evaluate):
        with pytest.raises(ValueError, match=r"made with score.k = 1, now 2.*--force true"):
            experiment.run(program)
    old = read_json(experiment.exp / "seed0/results.json")["sets"]["dev"]["official"]
    experiment.run(score, "--force", "true")
    with pytest.raises(ValueError, match="made with config = "):
        experiment.run(evaluate)
    experiment.run(evaluate, "--force", "true")
    assert read_json(experiment.exp / "seed0/results.json")["sets"]["dev"]["official"] != old
    experiment.embed("eval_train", 0, 77)
    with pytest.raises(ValueError, match="made with eval_train.embedding = "):
        experiment.run(score)
    experiment.write_set("dev_test", ["fandev"], 0)
    with pytest.raises(ValueError, match="made with dev_test.manifest.tsv = "):
        experiment.run(evaluate)


def test_killed_between_scores_and_marker_is_scored_again(tmp_path):
    experiment = Experiment(tmp_path)
    experiment.run(score)
    scores = experiment.exp / "seed0/score/knn"
    whole = (scores / "dev_test.tsv").read_bytes()
    (scores / ".done").unlink()
    (scores / "dev_test.tsv").write_text("half")
    with pytest.raises(ValueError, match=r"score/knn/.done.*has the stage that writes it been run"):
        experiment.run(evaluate)
    experiment.run(score)
    assert (scores / "dev_test.tsv").read_bytes() == whole


def test_data_without_labels_has_scores_and_says_so(tmp_path):
    experiment = Experiment(tmp_path)
    (experiment.data / "eval_test/ref.tsv").unlink()
    experiment.run_all()
    assert (experiment.exp / "seed0/score/knn/eval_test.tsv").exists()
    result = read_json(experiment.exp / "seed0/results.json")
    assert result["sets"]["eval"]["official"] is None and result["all"] is None
    assert result["sets"]["dev"]["official"] is not None
    text = (experiment.exp / "RESULTS.md").read_text()
    assert "test clips without labels (no ref.tsv): scores, but no metrics" in text


def test_one_set_is_enough(tmp_path):
    experiment = Experiment(tmp_path, sets=("eval",))
    experiment.run_all()
    assert list(read_json(experiment.exp / "results.json")["sets"]) == ["eval"]


def test_transductive_scores_are_labelled_from_configuration_to_tables(tmp_path):
    plain, transductive = Experiment(tmp_path, tag="plain"), Experiment(tmp_path, tag="z")
    write_text(transductive.exp / "config.yaml", "score:\n  k: 1\n  normalise: test_zscore\n")
    for experiment in (plain, transductive):
        experiment.run_all()
    assert (plain.exp / "RESULTS.md").read_text().startswith("# plain\n")
    assert (transductive.exp / "RESULTS.md").read_text().startswith("# z (transductive)\n")
    text = (tmp_path / "exp/RESULTS.md").read_text()
    assert "| z (transductive) |" in text and "| plain " in text
    lines = [(e.exp / "seed0/score/knn/dev_test.tsv").read_text().splitlines() for e in (plain, transductive)]
    assert any(float(line.split()[1]) < 0 for line in lines[1]) and lines[0] != lines[1]


def drop(*utts):
    return lambda table: [table.pop(utt) for utt in utts]


def put(utt, vector):
    return lambda table: table.update({utt: np.asarray(vector, np.float32)})


@pytest.mark.parametrize(
    "name, change, words",
    [
        (
            "dev_test",
            drop("fandev-test-03", "fandev-test-07"),
            "no embedding of 2 of 80 clips: fandev-test-03, fandev-",
        ),
        ("dev_train", put("fandev-train-05", np.ones(DIM + 1)), "'fandev-train-05' has 9 dimensions, .* has 8"),
        ("dev_test", put("fandev-test-05", np.zeros(DIM)), "'fandev-test-05' is a zero vector or holds NaN"),
        ("dev_test", put("fandev-test-05", np.full(DIM, np.nan)), "'fandev-test-05' is a zero vector or holds NaN"),
        ("dev_test", put("fandev-test-05", np.ones((2, DIM))), "'fandev-test-05' is not followed by a float vector"),
    ],
)
def test_broken_embeddings_are_named(tmp_path, name, change, words):
    experiment = Experiment(tmp_path)
    experiment.embed(name, 0, 1, change)
    with pytest.raises(ValueError, match=f"seed0/embed/{name}/embedding.ark: .*{words}"):
        experiment.run(score)
    assert not (experiment.exp / "seed0/score/knn").exists()


def test_sets_of_different_dimension(tmp_path):
    experiment = Experiment(tmp_path)
    longer = lambda table: table.update({utt: np.ones(DIM + 2, np.float32) for utt in table})  # noqa: E731
    experiment.embed("eval_train", 0, 1, longer)
    with pytest.raises(ValueError, match="different dimensions: .*'dev_train': 8, 'eval_train': 10"):
        experiment.run(score)
    experiment.embed("eval_train", 0, 1)
    experiment.embed("eval_test", 0, 1, longer)
    with pytest.raises(ValueError, match="different dimensions: .*'eval_train': 8, .*'eval_test': 10"):
        experiment.run(score)


@pytest.mark.parametrize("lost", [1, 4 * DIM - 1, 4 * DIM, 4 * DIM + 3, 4 * DIM + 9, 4 * DIM + 12, 4 * DIM + 25, 500])
def test_ark_cut_short(tmp_path, lost):
    experiment = Experiment(tmp_path)
    ark = experiment.exp / "seed0/embed/dev_test/embedding.ark"
    ark.write_bytes(ark.read_bytes()[:-lost])
    with pytest.raises(ValueError, match=r"dev_test/embedding.ark: .*cut short.*[Rr]un stage 4 again"):
        experiment.run(score)


def test_ark_cut_between_two_clips_and_clip_twice(tmp_path):
    experiment = Experiment(tmp_path)
    ark = experiment.exp / "seed0/embed/dev_test/embedding.ark"
    whole = ark.read_bytes()
    size = len(whole) - whole.rindex(b"pumpdev-test-39 ")
    ark.write_bytes(whole[:-size])
    with pytest.raises(ValueError, match="'pumpdev-test-39', which embedding.scp lists, is not in it: cut short"):
        experiment.run(score)
    ark.write_bytes(whole + whole[-size:])
    with pytest.raises(ValueError, match="'pumpdev-test-39' occurs twice"):
        experiment.run(score)
    ark.write_bytes(b"no archive at all " * 20)
    with pytest.raises(ValueError, match="after its start, 'no' is not followed by a float vector"):
        experiment.run(score)
    ark.unlink()
    with pytest.raises(ValueError, match="cannot read .*dev_test/embedding.ark"):
        experiment.run(score)


def test_data_that_cannot_be_scored(tmp_path):
    experiment = Experiment(tmp_path, sets=("dev",))
    train = experiment.data / "dev_train/manifest.tsv"
    whole = train.read_text()
    train.write_text("".join(line for line in whole.splitlines(True) if not line.startswith("pump")))
    with pytest.raises(
        ValueError, match="dev_test: no training clips for the machine pumpdev; there are some for fandev"
    ):
        experiment.run(score)
    train.unlink()
    with pytest.raises(ValueError, match="holds dev_test: scoring needs training clips and test clips"):
        experiment.run(score)


@pytest.mark.parametrize(
    "change, words",
    [
        (
            lambda lines: lines[3:],
            "dev_test.tsv: 3 clips of .*dev_test/manifest.tsv are not in it: fandev-test-00, fan",
        ),
        (lambda lines: [*lines, "other 0.5"], "manifest.tsv: 1 clips of .*dev_test.tsv are not in it: other"),
        (lambda lines: [lines[0], *lines], "dev_test.tsv:2: key 'fandev-test-00' occurs twice"),
        (
            lambda lines: ["fandev-test-00 nan", *lines[1:]],
            "score of 'fandev-test-00' is nan, expected a finite number",
        ),
        (lambda lines: ["fandev-test-00 high", *lines[1:]], "score of 'fandev-test-00' is 'high', not a number"),
    ],
)
def test_score_file_that_does_not_fit(tmp_path, change, words):
    experiment = Experiment(tmp_path, sets=("dev",))
    experiment.run(score)
    path = experiment.exp / "seed0/score/knn/dev_test.tsv"
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    with pytest.raises(ValueError, match=words):
        experiment.run(evaluate)
    assert not (experiment.exp / "seed0/results.json").exists()


@pytest.mark.parametrize(
    "change, words",
    [
        (
            lambda lines: lines[:-2],
            r"ref.tsv: 2 clips of .*dev_test.tsv are not in it: pumpdev-test-38, pumpdev-test-39",
        ),
        (lambda lines: [*lines, "zzz\tnormal\tsource"], "dev_test.tsv: 1 clips of .*ref.tsv are not in it: zzz"),
        (lambda lines: [*lines, lines[-1]], "two clips with one id 'pumpdev-test-39'"),
    ],
)
def test_reference_that_does_not_fit(tmp_path, change, words):
    experiment = Experiment(tmp_path, sets=("dev",))
    experiment.run(score)
    path = experiment.data / "dev_test/ref.tsv"
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    with pytest.raises(ValueError, match=words):
        experiment.run(evaluate)


def test_protocol_is_read_and_checked(tmp_path):
    experiment = Experiment(tmp_path)
    experiment.run(score)
    write_text(experiment.data / "dataset.yaml", "name_style: dcase2022\nprotocol: dcase2021\n")
    experiment.run(evaluate)
    result = read_json(experiment.exp / "seed0/results.json")
    assert "pauc_source" in result["sets"]["dev"]["values"]
    write_text(experiment.data / "dataset.yaml", "protocol: dcase1999\n")
    with pytest.raises(ValueError, match="protocol is 'dcase1999', allowed: dcase2020, dcase2021, dcase2022"):
        experiment.run(evaluate, "--force", "true")


@pytest.mark.parametrize("program", ["score", "evaluate", "report"])
def test_programs_start_without_heavy_imports(program):
    code = (
        f"import sys; from asdkit.bin import {program}; {program}.get_parser().format_help(); "
        "print(sorted({'numpy', 'torch', 'sklearn', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout.replace("'", '"')) == []


def test_no_torch_and_no_scikit_learn_from_embeddings_to_tables(tmp_path):
    experiment = Experiment(tmp_path)
    code = (
        "import sys; from asdkit.bin import score, evaluate, report\n"
        f"data, exp = {str(experiment.data)!r}, {str(experiment.exp)!r}\n"
        "for program in (score, evaluate): program.main(['--data', data, '--exp', exp])\n"
        "report.main(['--exp', exp])\n"
        "sys.exit(bool({'torch', 'sklearn', 'scipy', 'transformers'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True)
