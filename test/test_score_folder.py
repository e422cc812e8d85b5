"""A folder of scores is the unit of stage 6, whoever wrote it."""

import csv
import re

import numpy as np
import pytest
from experiments import Experiment

from asdkit.bin import evaluate, report, score
from asdkit.config import GivenConfig, KnnConfig, MahalanobisConfig
from asdkit.corpus.manifest import read_manifest
from asdkit.detectors import DETECTORS
from asdkit.detectors.folder import read_scores, read_thresholds, write_scores
from asdkit.detectors.given import Given
from asdkit.detectors.scoring import PerDomain
from asdkit.utils.ark import write_ark
from asdkit.utils.files import read_json, read_text, write_json, write_text


@pytest.fixture
def experiment(tmp_path):
    made = Experiment(tmp_path)
    made.run_all()
    return made


def by_hand(experiment, name="mine", sets=("dev_test", "eval_test", "train"), offset=0.0):
    """A folder of scores as a user's program may write it: those of the detector, doubled and moved."""
    folder, knn = experiment.exp / "seed0/score" / name, experiment.exp / "seed0/score/knn"
    for found in sets:
        write_scores(
            folder / f"{found}.tsv", {utt: 2 * s + offset for utt, s in read_scores(knn / f"{found}.tsv").items()}
        )
    return folder


def report_all(experiment, *options):
    report.main(["--data", str(experiment.data), "--exp", str(experiment.exp), *options])


def test_what_stage_5_writes_can_be_read_by_people_and_by_programs(experiment):
    folder = experiment.exp / "seed0/score/knn"
    manifest = {row["wav"]: row for row in read_manifest(experiment.data / "dev_test/manifest.tsv")}
    scores, limits = read_scores(folder / "dev_test.tsv"), read_thresholds(folder / "threshold.tsv")
    with open(folder / "dev_test.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 80 and rows[0].keys() == set(
        ["file", "machine", "section", "anomaly_score", "threshold", "anomaly"]
    )
    for row in rows:
        clip = manifest[row["file"]]
        limit = limits[clip["machine"], "-"]
        assert float(row["anomaly_score"]) == scores[clip["utt"]] and float(row["threshold"]) == limit
        assert row["anomaly"] == str(int(scores[clip["utt"]] > limit))
    assert {row["anomaly"] for row in rows} == {"0", "1"}
    train = read_scores(folder / "train.tsv")
    assert train.keys() == {*experiment.utts("dev_train"), *experiment.utts("eval_train")}
    made_from = read_json(folder / "made_from.json")
    assert made_from["detector"] == "knn" and made_from["settings"]["score.k"] == 1 and made_from["seed"] == 0
    assert "dev_train.embedding" in made_from["inputs"]
    assert limits == pytest.approx(_limits(experiment, 90.0))


def test_scores_of_any_program_get_thresholds_files_and_a_row(experiment):
    folder = by_hand(experiment, offset=-7.0)
    report_all(experiment)
    knn = experiment.exp / "seed0/score/knn"
    limits, train = read_thresholds(folder / "threshold.tsv"), read_scores(folder / "train.tsv")
    for (machine, _), limit in limits.items():  # nothing says that they are distances: the empirical percentile
        own = [value for utt, value in train.items() if utt.startswith(machine)]
        assert limit == pytest.approx(np.percentile(own, 90))
    names = sorted(path.name for path in (folder / "submission/dev_test").iterdir())
    assert names == sorted(path.name for path in (knn / "submission/dev_test").iterdir()) and len(names) == 4
    assert (folder / "eval_test.csv").exists()
    ours, theirs = (read_json(path / "results.json") for path in (folder, knn))
    assert ours["sets"]["dev"]["values"] == theirs["sets"]["dev"]["values"] and ours["detector"] == "not told"
    assert re.search(
        r"^\| tag +\| mine +\| dcase2022", read_text(experiment.exp.parent / "RESULTS.md").replace("  ", " "), re.M
    )
    before = experiment.stamps()
    report_all(experiment)
    after = experiment.stamps()
    assert not [path for path in before if "seed0" in str(path) and after[path] != before[path]]


def test_what_a_folder_says_of_itself_is_used_and_checked(experiment):
    folder = by_hand(experiment)
    about = {
        "made_by": "mean.py",
        "detector": "mean",
        "non_negative": True,
        "threshold_percentile": 50.0,
        "weights": [1],
    }
    write_json(folder / "made_from.json", about)
    report_all(experiment)
    doubled = {key: 2 * value for key, value in _limits(experiment, 50.0).items()}
    assert read_thresholds(folder / "threshold.tsv") == pytest.approx(doubled)
    result = read_json(folder / "results.json")
    assert (result["made_by"], result["detector"]) == ("mean.py", "mean")
    write_json(folder / "made_from.json", about | {"transductive": True})
    report_all(experiment)  # a user's folder may change
    assert not (folder / "threshold.tsv").exists() and not (folder / "submission").exists()
    assert "mine (transductive)" in read_text(experiment.exp / "RESULTS.md")
    write_json(folder / "made_from.json", {"threshold_percentile": 900.0})
    with pytest.raises(ValueError, match="score/mine/made_from.json: threshold_percentile: .*got 900"):
        report_all(experiment, "--force", "true")


def _limits(experiment, percentile):
    """Thresholds of distances."""
    from asdkit.detectors.threshold import threshold

    train = read_scores(experiment.exp / "seed0/score/knn/train.tsv")
    machines = sorted({utt.split("-")[0] for utt in train})
    own = {machine: np.array([s for utt, s in train.items() if utt.startswith(machine)]) for machine in machines}
    return {(machine, "-"): threshold(values, percentile, True) for machine, values in own.items()}


def test_scores_alone_are_enough_and_clips_must_fit(experiment):
    folder = by_hand(experiment, sets=("dev_test", "eval_test"))
    report_all(experiment)
    assert not (folder / "threshold.tsv").exists() and not (folder / "submission").exists()
    with open(folder / "dev_test.csv", newline="") as file:
        assert {(row["threshold"], row["anomaly"]) for row in csv.DictReader(file)} == {("", "")}
    text = (folder / "dev_test.tsv").read_text().splitlines(True)
    (folder / "dev_test.tsv").write_text("".join(text[1:]))
    with pytest.raises(ValueError, match="mine/dev_test.tsv: 1 clips of dev_test/manifest.tsv are not in it"):
        report_all(experiment, "--force", "true")
    (folder / "dev_test.tsv").unlink()
    with pytest.raises(
        ValueError, match="mine: lacks dev_test.tsv: a folder of scores has one for each of dev_test, eval"
    ):
        report_all(experiment, "--force", "true")


def test_force_evaluates_again(experiment):
    result, before = experiment.exp / "seed0/score/knn/results.json", experiment.stamps()
    report_all(experiment)
    assert experiment.stamps()[result] == before[result]
    report_all(experiment, "--force", "true")
    assert experiment.stamps()[result] != before[result]


def test_train_scores_of_other_clips(experiment):
    folder = by_hand(experiment)
    write_scores(folder / "train.tsv", {"somebody-else": 1.0})
    with pytest.raises(ValueError, match="train.tsv: 'somebody-else' is no training clip of the manifests"):
        report_all(experiment)


def test_any_folder_can_be_evaluated(experiment, tmp_path, capsys):
    folder = by_hand(experiment).rename(tmp_path / "elsewhere")
    evaluate.main(["--data", str(experiment.data), "--scores", str(folder)])
    expected = read_json(experiment.exp / "seed0/score/knn/results.json")["sets"]
    assert read_json(folder / "results.json")["sets"]["dev"]["values"] == expected["dev"]["values"]
    assert f"| dev  | {100 * expected['dev']['official']:14.2f} |" in capsys.readouterr().out
    assert (folder / "submission/eval_test").is_dir()
    write_scores(folder / "dev_test.tsv", {utt: -score for utt, score in read_scores(folder / "dev_test.tsv").items()})
    evaluate.main(["--data", str(experiment.data), "--scores", str(folder)])
    assert read_json(folder / "results.json")["sets"]["dev"]["values"] != expected["dev"]["values"]
    with pytest.raises(ValueError, match="made by stage 5: evaluate it with its experiment, .*--score knn"):
        evaluate.main(["--data", str(experiment.data), "--scores", str(experiment.exp / "seed0/score/knn")])
    with pytest.raises(ValueError, match="--exp FOLDER, an experiment, or --scores FOLDER"):
        evaluate.main(["--data", str(experiment.data)])


def test_given_scores_are_passed_on(tmp_path):
    experiment = Experiment(tmp_path, sets=("dev",))
    write_text(
        experiment.exp / "config.yaml", "score: {ae: {detector: given, array: score.mse, threshold_percentile: 50}}\n"
    )
    rng, tables = np.random.default_rng(0), {}
    for name in ("dev_train", "dev_test"):
        tables[name] = {utt: rng.normal(-3, 1, 2).astype(np.float32) for utt in experiment.utts(name)}
        tables[name][experiment.utts(name)[3]][:] = 0  # no direction, but a score like any other
        write_ark(experiment.exp / "seed0/embed" / name / "score.mse.ark", tables[name])
    experiment.run(score)
    folder = experiment.exp / "seed0/score/ae"
    expected = {utt: float(values.min()) for utt, values in tables["dev_test"].items()}
    assert read_scores(folder / "dev_test.tsv") == expected
    own = [float(values.min()) for utt, values in tables["dev_train"].items() if utt.startswith("fandev")]
    assert read_thresholds(folder / "threshold.tsv")["fandev", "-"] == pytest.approx(np.median(own))
    assert not (folder.parent / "knn").exists()
    report_all(experiment)
    assert "score: ae, detector: given" in read_text(experiment.exp / "RESULTS.md")


class Far:
    """Distance to the mean: a detector that cannot leave single clips out."""

    non_negative = True

    def fit(self, x, recordings=None):
        self.mean = x.mean(0)
        return self

    def anomaly_score(self, x):
        return np.linalg.norm(x - self.mean, axis=1)


def test_a_detector_without_leave_one_out_is_fitted_on_the_other_parts(monkeypatch):
    monkeypatch.setitem(DETECTORS, "knn", lambda config: Far())
    x = np.random.default_rng(0).normal(0, 1, (23, 3)).astype(np.float32)
    rows, found = PerDomain(KnnConfig(per_domain=False)).fit(x, ["all"] * 23).self_scores()
    assert rows.tolist() == list(range(23))
    for row in (0, 7, 22):
        place = x[:, 0].argsort().argsort()  # parts are by values, not by the order of the list
        others = place % 5 != place[row] % 5
        assert found[row] == pytest.approx(np.linalg.norm(x[row] - x[others].mean(0)), rel=1e-5)
    _, alone = PerDomain(KnnConfig(per_domain=False)).fit(x[:1], ["all"]).self_scores()
    assert np.isinf(alone).all()


def test_given_is_the_smallest_value():
    detector = Given().fit(np.array([[3.0, 1.0], [5.0, 4.0]], np.float32))
    assert detector.anomaly_score(np.array([[2.0, -7.0]], np.float32)).tolist() == [-7.0]
    assert detector.leave_one_out(np.array([[5.0, 4.0]], np.float32), np.array([1])).tolist() == [4.0]
    assert DETECTORS["given"](GivenConfig(array="score.x")).non_negative is False
    with pytest.raises(ValueError, match="scores: row 1 holds NaN or infinity"):
        detector.anomaly_score(np.array([[2.0], [np.nan]], np.float32))


@pytest.mark.parametrize(
    "config",
    [GivenConfig(array="score.x"), KnnConfig(), KnnConfig(distance="whitened"), MahalanobisConfig()],
    ids=["given", "knn", "whitened", "mahalanobis"],
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_training_arrays_that_are_not_finite_are_named_by_the_callers_row(config, value):
    x = np.random.default_rng(0).normal(size=(12, 3))
    x[7, 1] = value
    with pytest.raises(ValueError, match="training arrays: row 7 holds NaN or infinity"):
        PerDomain(config).fit(x, ["source", "target"] * 6)
