"""AUC against minutes of normal sound."""

import numpy as np
import pytest
from experiments import Experiment

from asdkit.bin import learning_curve
from asdkit.report.learning import summary
from asdkit.utils.files import read_json


@pytest.fixture
def experiment(tmp_path):
    """Anomalies lie a little away from the normal clips, so that more of these help."""
    made = Experiment(tmp_path, sets=("dev",))

    def away(table):
        for utt in table:
            table[utt] += np.float32(1.5 * (int(utt[-2:]) % 4 < 2)) * np.eye(8, dtype=np.float32)[0]

    made.embed("dev_test", 0, 1, away)
    return made


def test_a_curve_on_paired_draws(experiment, capsys):
    experiment.run(learning_curve, "--draws", "6")
    found = read_json(experiment.exp / "learning_curve.json")
    rows = found["rows"]
    assert found["draws"] == 6 and {row["machine"] for row in rows} == {"fandev", "pumpdev"}
    amounts = sorted({row["minutes"] for row in rows})  # 40 clips of a second: 40, 20, 10, 5
    assert amounts == pytest.approx([1 / 12, 1 / 6, 1 / 3, 2 / 3])
    whole = {(row["machine"], row["auc"]) for row in rows if row["minutes"] == amounts[-1]}
    assert len(whole) == 2  # all clips: every draw is the same
    table = summary(rows)
    assert [row["clips"] for row in table] == [pytest.approx(clips, abs=1) for clips in (5, 10, 20, 40)]
    assert table[0]["auc"] < table[-1]["auc"] and table[0]["gain"] is None
    assert table[-1]["gain"] == pytest.approx(table[-1]["auc"] - table[-2]["auc"])
    text = (experiment.exp / "learning_curve.md").read_text()
    assert text in capsys.readouterr().out and len(text.splitlines()) == 6


def test_draws_are_the_same_for_all_scores_and_amounts(experiment):
    (experiment.exp / "config.yaml").write_text("score:\n  knn: {k: 1}\n  other: {k: 1}\n  two: {k: 2}\n")
    experiment.run(learning_curve, "--draws", "3", "--minutes", "0.2", "0.1")
    rows = read_json(experiment.exp / "learning_curve.json")["rows"]
    by = {
        name: [(row["minutes"], row["auc"]) for row in rows if row["score"] == name] for name in ("knn", "other", "two")
    }
    assert by["knn"] == by["other"] != by["two"]
    assert [minutes for minutes, _ in by["knn"]] == [0.1] * 6 + [0.2] * 6


def test_a_detector_that_refuses_so_few_clips_has_a_gap(experiment, caplog):
    (experiment.exp / "config.yaml").write_text("score:\n  knn: {k: 9}\n")
    experiment.run(learning_curve, "--draws", "2")
    table = summary(read_json(experiment.exp / "learning_curve.json")["rows"])
    assert table[0]["auc"] is None and table[-1]["auc"] is None  # of target clips there are 4 alone
    why = "score.knn: fandev, 0.0833 minutes (5 clips): no AUC: k = 9 neighbours of 4 training embeddings: lower k"
    assert why in caplog.text and caplog.text.count("no AUC") == 2  # of two machines
    experiment.run(learning_curve, "--draws", "2", "--score", "knn", "--minutes", "0.5")


def test_the_picture(experiment):
    pytest.importorskip("matplotlib")
    experiment.run(learning_curve, "--draws", "2")
    assert (experiment.exp / "learning_curve.png").read_bytes()[:4] == b"\x89PNG"
    assert (experiment.exp / "learning_curve.pdf").read_bytes()[:4] == b"%PDF"


def test_without_a_truth_or_sound_enough_it_is_refused(experiment):
    with pytest.raises(ValueError, match="has 0.667 minutes of training clips"):
        experiment.run(learning_curve, "--minutes", "1")
    with pytest.raises(ValueError, match="above 0"):
        experiment.run(learning_curve, "--draws", "0")
    (experiment.exp / "config.yaml").write_text("score:\n  knn: {normalise: test_zscore}\n")
    with pytest.raises(ValueError, match="test_zscore"):
        experiment.run(learning_curve)
    (experiment.exp / "config.yaml").write_text("score:\n  k: 1\n")
    (experiment.data / "dev_test/ref.tsv").unlink()
    with pytest.raises(ValueError, match="needs test clips whose truth is known"):
        experiment.run(learning_curve)
