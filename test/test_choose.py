"""Ranking experiments without labels: Pseudo AUC and its bound, what they are made of, the program."""

import shutil

import numpy as np
import pytest
from experiments import DIM, Experiment

from asdkit.bin import choose
from asdkit.config import KnnConfig, LofConfig
from asdkit.detectors.knn import KNN
from asdkit.detectors.pseudo import (
    Estimate,
    auc_bound,
    estimate,
    feature_pseudo_anomalies,
    mean_estimate,
    pseudo_auc,
)
from asdkit.detectors.rescale import Rescale
from asdkit.utils.files import write_text


@pytest.mark.parametrize("system", [0, 1, 2])
@pytest.mark.parametrize(("rule", "how"), [("knn", None), ("ldn2", Rescale("ratio", 2))])
def test_stored_numbers(test_data, system, rule, how):
    folder = test_data / "golden/detectors"
    inputs, stored = np.load(folder / "inputs.npz"), np.load(folder / "pseudo_auc.npz")
    project = stored[f"projection{system}"]
    bank = np.concatenate([inputs["source"], inputs["target"]]) @ project
    detector = KNN(1, "euclid", how=how).fit(bank)
    name = f"s{system}_{rule}"
    inside = np.log(detector.leave_one_out(bank, np.arange(len(bank))))
    outside = {part: np.log(detector.anomaly_score(stored[part] @ project)) for part in ("feature", "cross_class")}
    np.testing.assert_allclose(inside, stored[f"{name}_z_in"], rtol=0, atol=1e-10)
    outside["both"] = np.concatenate(list(outside.values()))
    for part, scores in outside.items():
        if part != "both":
            np.testing.assert_allclose(scores, stored[f"{name}_z_out_{part}"], rtol=0, atol=1e-10)
        assert pseudo_auc(inside, scores) == pytest.approx(float(stored[f"{name}_pseudo_auc_{part}"]), abs=1e-12)
        assert auc_bound(inside, scores) == pytest.approx(float(stored[f"{name}_bound_{part}"]), abs=1e-10)


def test_equal_scores_are_half_a_pair():
    assert pseudo_auc(np.array([1.0, 2, 2, 3]), np.array([2.0])) == 0.5
    assert auc_bound(np.ones(3), np.ones(3)) == 0 and auc_bound(np.ones(3), np.zeros(3)) == 1


def test_mixed_features_come_from_their_own_dimension():
    x = np.arange(24.0).reshape(4, 3, 2)
    made = feature_pseudo_anomalies(x)
    assert made.shape == x.shape
    for band in range(3):
        for column in range(2):
            assert set(made[:, band, column]) <= set(x[:, band, column])
    assert not any((row == made).all(axis=(1, 2)).any() for row in x)


def rows_of(domains, attributes):
    return [{"domain": d, "attr": a, "utt": str(i)} for i, (d, a) in enumerate(zip(domains, attributes, strict=True))]


def test_an_estimate_by_hand():
    x = np.array([[0.0], [1], [3], [10], [12]])
    rows = rows_of(["source"] * 3 + ["target"] * 2, ["a", "a", "b", "-", "-"])
    config, others = KnnConfig(distance="euclid"), np.array([[5.0], [100]])
    found = estimate(config, rows, x, np.arange(5), others)
    assert found.parts == ("mixed features", "other machines", "other domain", "other attributes")
    mixed = KNN(1, "euclid").fit(x).anomaly_score(feature_pseudo_anomalies(x))
    # target clips by the source ones; the clips of a by the others; the one of b by the others
    outside = np.concatenate([mixed, [2, 88], [7, 9], [3, 2], [2]])
    inside = np.array([1, 1, 2, 2, 2])
    assert found.pseudo_auc == pytest.approx(pseudo_auc(inside, outside))
    logs = np.log(inside), np.log(np.maximum(outside, 1e-12))
    assert found.bound == pytest.approx(auc_bound(*logs))


def test_parts_that_there_cannot_be_are_left_out():
    x = np.random.default_rng(0).normal(size=(6, 3))
    alone = estimate(KnnConfig(), rows_of(["source"] * 6, "------"), x, np.arange(6), np.empty((0, 3)))
    assert alone.parts == ("mixed features",) and alone.order == (alone.bound, alone.pseudo_auc)
    x = np.random.default_rng(0).normal(size=(8, 3))
    few = estimate(LofConfig(n_neighbors=5), rows_of(["source"] * 8, "abababab"), x, np.arange(8), x[:1] + 9)
    assert few.parts == ("mixed features", "other machines") and few.order == (few.pseudo_auc, few.bound)
    too_few = "n_neighbors = 5 needs 6 training clips or more, got 4: lower it, add clips (domain all)"
    assert few.refused == (f"other attributes a: {too_few}", f"other attributes b: {too_few}")
    target = estimate(KnnConfig(), rows_of(["target"] * 8, "-" * 8), x, np.arange(8), x[:1] + 9)
    assert target.parts == few.parts and target.refused == ()
    with pytest.raises(ValueError, match="0 training clips can be scored without themselves"):
        estimate(KnnConfig(), rows_of(["source"] * 8, "-" * 8), x, np.zeros(8, int), x)


def test_equal_estimates_are_told_apart_by_the_bound():
    one, other = Estimate(1.0, 0.5, ("a", "b")), Estimate(1.0, 0.7, ("b",))
    assert max(one, other, key=lambda found: found.order) is other
    mean = mean_estimate([one, other])
    assert (mean.pseudo_auc, mean.bound, mean.parts) == (1.0, pytest.approx(0.6), ("b",))


@pytest.fixture
def recipe(tmp_path):
    """Experiments `tight`, whose clips lie closely around a point of their machine, and `loose`, where they do not."""
    for tag, spread in (("tight", 0.05), ("loose", 3.0)):
        made = Experiment(tmp_path, tag=tag, seeds=(0, 1))
        write_text(made.exp / "config.yaml", "score: {knn: {}, again: {normalise: test_zscore}, lof: {n_neighbors: 3}}")
        for seed in (0, 1):
            for number, name in enumerate(("dev_train", "eval_train")):

                def change(table, number=number, spread=spread):
                    rng = np.random.default_rng(number)
                    for utt in table:
                        place = np.eye(DIM)[2 * number + utt.startswith("fan")]
                        table[utt] = (place + spread * rng.normal(size=DIM)).astype(np.float32)

                made.embed(name, seed, number, change)
    return made


def test_the_program_ranks_and_never_opens_the_truth_or_a_test_clip(recipe, capsys, caplog):
    for name in ("dev_test", "eval_test"):
        (recipe.data / name / "ref.tsv").unlink()
        (recipe.data / name / "ref.tsv").mkdir()  # whatever opens it fails
        for tag in ("tight", "loose"):
            for seed in (0, 1):
                shutil.rmtree(recipe.root / f"exp/{tag}/seed{seed}/embed/{name}")
    before = sorted(recipe.root.rglob("*"))
    choose.main(["--data", str(recipe.data), "--expdir", str(recipe.root / "exp")])
    assert sorted(recipe.root.rglob("*")) == before
    ranked, machines, told = capsys.readouterr().out.split("\n\n")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in ranked.splitlines()[2:]]
    assert [line[:2] for line in lines] == [["1", "tight"], ["2", "tight"], ["3", "loose"], ["4", "loose"]]
    assert all(line[5] == "all" for line in lines) and float(lines[0][3]) > 80 > float(lines[2][3]) > 20
    best = [[cell.strip() for cell in line.strip("|").split("|")] for line in machines.splitlines()[2:]]
    assert [line[0] for line in best] == ["fandev", "faneval", "pumpdev", "pumpeval"]
    assert all(line[1].startswith("tight ") and line[5].startswith("mixed features, other machines") for line in best)
    assert "3.8 AUC points below the best" in told and "Wilkinghoff and Tan" in told
    assert "tight/seed1: score.again: left out" in caplog.text


def test_what_cannot_be_ranked_is_named(recipe, capsys, caplog):
    options = ["--data", str(recipe.data), "--expdir", str(recipe.root / "exp"), "--seeds", "0"]
    (recipe.root / "exp/loose/seed0/embed/dev_train/embedding.ark").unlink()
    fused = recipe.root / "exp/fused"
    fused.mkdir()
    write_text(fused / "results.json", "{}")
    choose.main(options)
    assert "loose/seed0: score.knn: left out: cannot read" in caplog.text
    assert "exp/fused: left out: no config.yaml" in caplog.text
    assert "loose" not in capsys.readouterr().out
    with pytest.raises(ValueError, match="no experiment with embeddings to rank: run stage 4 first"):
        choose.main([*options, "--tags", "loose"])


def test_a_tag_that_is_not_there_is_an_error(recipe):
    words = ["--data", str(recipe.data), "--expdir", str(recipe.root / "exp"), "--tags", "tight", "nope"]
    with pytest.raises(ValueError, match="--tags nope: there is no .*exp/nope; .*exp holds loose, tight"):
        choose.main(words)


def test_machines_on_which_systems_are_perfect_are_named():
    high, low = Estimate(0.996, 0.5, ("mixed features",)), Estimate(0.9, 0.5, ("mixed features",))
    told = choose._not_told_apart({("a", "knn"): {"fan": high, "pump": low}, ("b", "knn"): {"fan": low, "pump": low}})
    assert "Do not choose by this for fan: half of the systems or more reach 99.50; " in told
    assert choose._not_told_apart({("a", "knn"): {"fan": high}, ("b", "knn"): {"pump": high}}) == ""
