"""Embeddings, scores and references that do not fit: stages 5 and 6 name them."""

import shutil

import numpy as np
import pytest
from experiments import DIM, Experiment

from asdkit.bin import evaluate, score
from asdkit.detectors.folder import read_scores
from asdkit.utils.files import write_text


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
        ("dev_test", put("fandev-test-05", np.zeros(DIM)), "'fandev-test-05' is a zero vector, which has no direction"),
        ("dev_test", put("fandev-test-05", np.full(DIM, np.nan)), "'fandev-test-05' holds NaN or infinity"),
        ("dev_test", put("fandev-test-05", np.ones((2, DIM))), f"'fandev-test-05' has 2 x {DIM} dimensions"),
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


def test_embeddings_that_are_being_made_again_are_not_scored_as_done(tmp_path):
    experiment = Experiment(tmp_path)
    experiment.run(score)
    (experiment.exp / "seed0/embed/dev_test/embedding.scp").unlink()  # as a killed stage 4 leaves them
    with pytest.raises(ValueError, match="dev_test/embedding.scp does not exist: run stage 4"):
        experiment.run(score)


def test_scores_of_other_embeddings_are_not_evaluated(tmp_path):
    experiment = Experiment(tmp_path)
    experiment.run_all()
    experiment.embed("dev_train", 0, 77)
    with pytest.raises(ValueError, match="score/knn/.done: made with dev_train.embedding = .*--stage 5 --force true"):
        experiment.run(evaluate, "--force", "true")
    for ark in (experiment.exp / "seed0/embed").rglob("embedding.ark"):
        ark.unlink()  # embeddings may be removed once they are scored
    experiment.run(evaluate, "--force", "true")


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
    with pytest.raises(ValueError, match="holds dev_test: scoring needs training clips: add some, from stage 1"):
        experiment.run(score)


def test_without_test_clips_thresholds_are_the_same_and_of_all_machines(tmp_path):
    whole, alone = Experiment(tmp_path / "whole", sets=("dev",)), Experiment(tmp_path / "alone", sets=("dev",))
    shutil.rmtree(alone.data / "dev_test")
    for experiment in (whole, alone):
        experiment.run(score)
    for name in ("train.tsv", "threshold.tsv"):
        path = "seed0/score/knn/" + name
        assert (alone.exp / path).read_text() == (whole.exp / path).read_text()
    (alone.exp / "seed0/score/knn/threshold.tsv").unlink()
    alone.run(score)
    assert (alone.exp / "seed0/score/knn/threshold.tsv").exists()
    stamps = alone.stamps()
    alone.run(score)
    assert alone.stamps() == stamps
    write_text(alone.exp / "config.yaml", "score: {other: {normalise: test_zscore}}")
    with pytest.raises(ValueError, match="score.other: normalise is test_zscore, and there are no test clips"):
        alone.run(score)


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
    with pytest.raises(ValueError, match="dev_test.tsv: changed since it was written. --stage 5 --force true"):
        experiment.run(evaluate)
    path.with_name(".written").unlink()  # as older versions left it
    with pytest.raises(ValueError, match=words):
        experiment.run(evaluate)
    assert not (experiment.exp / "seed0/score/knn/results.json").exists()


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


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ("{}", True),
        ("{distance: euclid}", False),
        ("{distance: standardised, per_domain: false}", False),
        ("{array: [embedding, deviation], distance: standardised, per_domain: false}", False),
        ("{array: [embedding, deviation], distance: whitened, per_domain: false}", False),
        ("{array: [embedding, deviation]}", False),
        ("{detector: kmeans}", True),
        ("{detector: kmeans, distance: euclid}", False),
        ("{detector: mahalanobis}", False),
    ],
)
def test_a_silent_clip_is_scored_where_zeros_are_a_value(tmp_path, settings, refused):
    """Deviations over time of a silent recording are 0: the surest anomaly must not end stage 5."""
    experiment = Experiment(tmp_path, sets=("dev",))
    for name in ("dev_train", "dev_test"):
        silent = put("fandev-test-05", np.zeros(DIM)) if name == "dev_test" else None
        folder = experiment.embed(name, 0, len(name), silent)
        for kind in ("ark", "scp"):
            text = (folder / f"embedding.{kind}").read_bytes()
            (folder / f"deviation.{kind}").write_bytes(text.replace(b"embedding.ark", b"deviation.ark"))
    text = f"embed: {{arrays: {{deviation: {{pooling: std}}}}}}\nscore: {{knn: {settings}}}\n"
    write_text(experiment.exp / "config.yaml", text)
    if refused:
        with pytest.raises(ValueError, match="dev_test/embedding.ark: 'fandev-test-05' is a zero vector, which has no"):
            experiment.run(score)
        return
    experiment.run(score)
    found = read_scores(experiment.exp / "seed0/score/knn/dev_test.tsv")
    assert len(found) == 80 and found["fandev-test-05"] > 0 and all(np.isfinite([*found.values()]))
