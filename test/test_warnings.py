"""What stage 5 says of scores and thresholds that are not to be trusted, from its log to the report."""

import logging
import re

import numpy as np
import pytest
from experiments import DIM, Experiment

from asdkit.bin import report, score
from asdkit.detectors.folder import read_scores, read_thresholds, write_scores
from asdkit.utils.ark import read_ark, write_ark
from asdkit.utils.files import read_json, read_text, write_text


def near(table, spread=0.05):
    """Clips that sound alike, as those of one machine do."""
    for i, utt in enumerate(sorted(table)):
        table[utt] = (1 + spread * np.random.default_rng(i).normal(0, 1, DIM)).astype(np.float32)


def dead(*utts):
    def change(table):
        near(table)
        for utt in utts:
            table[utt] = np.array([-1.0] * (DIM - 1) + [1.0], np.float32)

    return change


@pytest.fixture
def experiment(tmp_path):
    made = Experiment(tmp_path, sets=("dev",), seeds=(0, 1))
    train = made.data / "dev_train/manifest.tsv"
    write_text(train, re.sub(r"pumpdev-train-(1[2-9]|[23]\d)\t.*\n", "", read_text(train)))  # 12 clips
    for seed in (0, 1):
        made.embed("dev_train", seed, 0, near)
        made.embed("dev_test", seed, 1, lambda table: near(table, 0.06))
    return made


def test_one_dead_training_recording_is_named_in_log_and_report(experiment, caplog):
    caplog.set_level(logging.WARNING)
    experiment.run_all((0, 1))
    assert not caplog.messages and not list(experiment.exp.rglob("warnings.txt"))
    healthy = read_thresholds(experiment.exp / "seed0/score/knn/threshold.tsv")
    for utts in (["pumpdev-train-07"], ["pumpdev-train-07", "pumpdev-train-08"]):  # two that are equal, too
        experiment.embed("dev_train", 0, 0, dead(*utts))
        caplog.clear()
        experiment.run(score, "--force", "true")
        limits = read_thresholds(experiment.exp / "seed0/score/knn/threshold.tsv")
        assert limits["pumpdev", "-"] > 10 * healthy["pumpdev", "-"]
        assert limits["fandev", "-"] == healthy["fandev", "-"]
        (said,) = caplog.messages
        names = ", ".join(rf"{utt} \([\d.]+\)" for utt in utts)
        assert re.search(rf"^pumpdev: no training clip comes near the threshold [\d.]+: {names} made it", said)
    report.main(["--data", str(experiment.data), "--exp", str(experiment.exp), "--force", "true"])
    text = read_text(experiment.exp / "RESULTS.md")
    assert f"## Before you trust them\n\n- seed 0: {said}\n" in text and text.count("comes near") == 1
    experiment.embed("dev_train", 0, 0, near)
    experiment.run(score, "--force", "true")
    report.main(["--data", str(experiment.data), "--exp", str(experiment.exp), "--force", "true"])
    assert "Before you trust" not in read_text(experiment.exp / "RESULTS.md")


def test_a_test_clip_that_is_a_training_clip_is_named_with_it(experiment, caplog):
    caplog.set_level(logging.WARNING)
    train = experiment.exp / "seed0/embed/dev_train/embedding.ark"
    experiment.run(score)
    assert not caplog.messages
    known = read_ark(train)

    def change(table):
        near(table, 0.06)
        table["fandev-test-04"] = known["fandev-train-13"]
        table["fandev-test-05"] = known["fandev-train-14"] * np.float32(3)  # of the same direction: distance 1e-15
        table["pumpdev-test-06"] = known["fandev-train-15"]  # another machine's: not a copy there

    experiment.embed("dev_test", 0, 1, change)
    experiment.run(score, "--force", "true")
    (said,) = caplog.messages
    assert said.startswith("dev_test: fandev: 2 of 40 test clips have the sound of a training clip")
    assert "fandev-test-04 = fandev-train-13, fandev-test-05 = fandev-train-14" in said


def test_a_digest_tells_a_copy_whose_embedding_was_rounded_in_another_way(tmp_path, caplog, monkeypatch):
    from asdkit.infer.experiment import Experiment as Opened

    made = Experiment(tmp_path, sets=("dev",))
    made.embed("dev_train", 0, 0, near)
    made.embed("dev_test", 0, 1, lambda table: near(table, 0.06))
    made.run(score)
    limits = read_thresholds(made.exp / "seed0/score/knn/threshold.tsv")
    rows = Opened.rows
    monkeypatch.setattr(
        Opened, "rows", lambda self, name: [row | {"digest": row["utt"][-2:]} for row in rows(self, name)]
    )
    made.run(score, "--force", "true")  # every clip of a machine has a copy among its test clips
    assert sum("40 of 40 test clips have the sound of a training clip" in message for message in caplog.messages) == 2
    assert read_thresholds(made.exp / "seed0/score/knn/threshold.tsv") == limits


def test_a_training_set_that_holds_each_clip_twice_has_the_same_thresholds(experiment):
    experiment.run(score)
    limits = read_thresholds(experiment.exp / "seed0/score/knn/threshold.tsv")
    manifest, ark = experiment.data / "dev_train/manifest.tsv", experiment.exp / "seed0/embed/dev_train/embedding.ark"
    table, lines = read_ark(ark), read_text(manifest).splitlines()
    twice = [line for row in lines[1:] for line in (row, row.replace("\t", "-copy\t", 1))]
    write_text(manifest, "\n".join([lines[0], *twice]) + "\n")
    write_ark(ark, {**table, **{f"{utt}-copy": vector for utt, vector in table.items()}})
    experiment.run(score, "--force", "true")
    assert read_thresholds(experiment.exp / "seed0/score/knn/threshold.tsv") == pytest.approx(limits, rel=1e-6)


def test_sections_with_detectors_of_their_own_have_thresholds_of_their_own(experiment):
    write_text(experiment.exp / "config.yaml", "score: {knn: {per_section: true}}\n")
    train = experiment.data / "dev_train/manifest.tsv"
    for path in (train, experiment.data / "dev_test/manifest.tsv"):
        write_text(path, re.sub(r"(fandev-\w+-\d[02468]\t.*\tfandev\t)00", r"\g<1>01", read_text(path)))
    experiment.run(score)
    limits = read_thresholds(experiment.exp / "seed0/score/knn/threshold.tsv")
    assert set(limits) == {("fandev", "00"), ("fandev", "01"), ("pumpdev", "00")} and len(set(limits.values())) == 3


def test_scores_that_are_all_equal_are_refused_by_both_stages(experiment):
    constant = np.linspace(1, 2, DIM, dtype=np.float32)
    experiment.embed("dev_test", 0, 1, lambda table: table.update({u: constant for u in table if "pump" in u}))
    with pytest.raises(ValueError, match="score.knn: pumpdev: dev_test: the scores of all 40 test clips are 0.0"):
        experiment.run(score)
    assert not (experiment.exp / "seed0/score/knn").exists()
    experiment.embed("dev_test", 0, 1, lambda table: near(table))  # the training clips once more
    with pytest.raises(ValueError, match="as good as 0 .* all of them are copies of training clips"):
        experiment.run(score)
    experiment.run(score, seed=1)
    whole = read_scores(experiment.exp / "seed1/score/knn/dev_test.tsv")
    folder = experiment.exp / "seed1/score/mine"
    write_scores(folder / "dev_test.tsv", {u: 0.5 if u.startswith("fan") else s for u, s in whole.items()})
    with pytest.raises(ValueError, match="mine/dev_test.tsv: fandev: the scores of all 40 test clips are 0.5"):
        report.main(["--data", str(experiment.data), "--exp", str(experiment.exp)])


def test_results_of_older_versions_have_no_warnings(experiment):
    experiment.run_all((0, 1))
    path = experiment.exp / "seed0/score/knn/results.json"
    found = read_json(path)
    assert found.pop("warnings") == []
    import json

    path.write_text(json.dumps(found))
    experiment.run(report)
    assert read_json(experiment.exp / "results.json")["scores"]["knn"]["warnings"] == []
