import json
import re
import subprocess
import sys

import kaldiio
import numpy as np
import pytest
from experiments import Experiment, write_dataset

from asdkit.bin import evaluate, score
from asdkit.corpus.manifest import read_manifest, write_manifest
from asdkit.utils.files import read_json, write_text


def test_from_embeddings_to_tables(tmp_path, capsys):
    experiment = Experiment(tmp_path / "a b", seeds=(0, 1))
    experiment.run_all((0, 1))
    lines = (experiment.exp / "seed1/score/knn/eval_test.tsv").read_text().splitlines()
    assert [line.split(" ")[0] for line in lines] == sorted(experiment.utts("eval_test"))
    found = {seed: read_json(experiment.exp / f"seed{seed}/score/knn/results.json") for seed in (0, 1)}
    assert set(found[0]["sets"]) == {"dev", "eval"} and found[1]["seed"] == 1 and found[0]["protocol"] == "dcase2022"
    dev, evaluation = (found[0]["sets"][name]["official"] for name in ("dev", "eval"))
    assert found[0]["all"] == pytest.approx(2 / (1 / dev + 1 / evaluation))
    results = read_json(experiment.exp / "results.json")["scores"]["knn"]
    both = [found[seed]["sets"]["dev"]["official"] for seed in (0, 1)]
    assert both[0] != both[1]
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
    old = read_json(experiment.exp / "seed0/score/knn/results.json")["sets"]["dev"]["official"]
    experiment.run(score, "--force", "true")
    experiment.run(evaluate)  # new scores of stage 5 need no force
    assert read_json(experiment.exp / "seed0/score/knn/results.json")["sets"]["dev"]["official"] != old
    experiment.embed("eval_train", 0, 77)
    for program in (score, evaluate):
        with pytest.raises(ValueError, match="made with eval_train.embedding = "):
            experiment.run(program)
    experiment.embed("eval_train", 0, 10)  # as it was
    experiment.write_set("dev_test", ["fandev"], 0)
    with pytest.raises(ValueError, match="made with dev_test.manifest = .*--stage 5"):
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
    result = read_json(experiment.exp / "seed0/score/knn/results.json")
    assert result["sets"]["eval"]["official"] is None and result["all"] is None
    assert result["sets"]["dev"]["official"] is not None
    text = (experiment.exp / "RESULTS.md").read_text()
    assert "test clips without labels (no ref.tsv): scores, but no metrics" in text


def test_what_names_say_of_test_clips_moves_no_score(tmp_path):
    lines = []
    for name, words in (("plain", ("", "")), ("told", ("_anomaly", "_normal"))):
        experiment = Experiment(tmp_path / name)
        manifest = experiment.data / "dev_test/manifest.tsv"
        rows = read_manifest(manifest)
        embeddings = kaldiio.load_scp(str(experiment.exp / "seed0/embed/dev_test/embedding.scp"))
        table = {}
        for number, row in enumerate(rows):
            table[row["utt"] + words[number % 2]] = embeddings[row["utt"]]
            row["utt"] += words[number % 2]
            row["wav"] = row["wav"].replace(".wav", words[number % 2] + ".wav")
        write_manifest(manifest, rows)
        ark = experiment.exp / "seed0/embed/dev_test/embedding"
        kaldiio.save_ark(f"{ark}.ark", table, scp=f"{ark}.scp")
        experiment.run(score)
        scores = (experiment.exp / "seed0/score/knn/dev_test.tsv").read_text().splitlines()
        lines.append([line.split()[1] for line in scores])
    assert lines[0] == lines[1]


def test_one_set_is_enough(tmp_path):
    experiment = Experiment(tmp_path, sets=("eval",))
    experiment.run_all()
    assert list(read_json(experiment.exp / "results.json")["scores"]["knn"]["sets"]) == ["eval"]


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


def test_protocol_is_read_and_checked(tmp_path):
    experiment = Experiment(tmp_path)
    experiment.run(score)
    write_dataset(experiment.data, protocol="dcase2021")
    experiment.run(evaluate)
    result = read_json(experiment.exp / "seed0/score/knn/results.json")
    assert "pauc_source" in result["sets"]["dev"]["values"]
    write_dataset(experiment.data, protocol="dcase1999")
    with pytest.raises(ValueError, match="protocol: Input should be 'dcase2020', 'dcase2021' or 'dcase2022'"):
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


def test_an_array_that_the_experiment_does_not_make_is_named(tmp_path):
    experiment = Experiment(tmp_path)
    write_text(experiment.exp / "config.yaml", "score:\n  array: rdp8\n")
    with pytest.raises(ValueError, match="makes no array 'rdp8', it makes embedding. Others are named in embed.arrays"):
        experiment.run(score)
