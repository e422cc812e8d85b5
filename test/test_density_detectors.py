"""Detectors that scikit-learn computes, against stored numbers, closed forms and what they cannot take."""

import tracemalloc

import numpy as np
import pytest

from asdkit.config import MahalanobisConfig
from asdkit.config.scoring import GmmConfig, IforestConfig, LofConfig, SmoteConfig
from asdkit.detectors.domains import PerDomain
from asdkit.detectors.gmm import GMM
from asdkit.detectors.iforest import IForest
from asdkit.detectors.lof import LOF
from asdkit.detectors.mahalanobis import Mahalanobis
from asdkit.detectors.smote import between

ALL = [
    lambda: LOF(4),
    lambda: GMM(1, "full", 1e-6, 0),
    Mahalanobis,
    lambda: IForest(20, 256, 0),
]


@pytest.fixture(scope="module")
def golden(test_data):
    folder = test_data / "golden/detectors"
    return dict(np.load(folder / "inputs.npz")), dict(np.load(folder / "lof_gmm_mahalanobis.npz"))


def close(got, expected):
    return np.abs(got - expected).max() <= 1e-8 * np.abs(expected).max()


def test_stored_numbers(golden):
    inputs, stored = golden
    bank, test = np.concatenate([inputs["source"], inputs["target"]]), inputs["test"]
    for n in (1, 2, 4, 8, 16, 32):
        assert close(LOF(n).fit(bank).anomaly_score(test), stored[f"lof{n}"]), n
    assert close(GMM(1, "full", 1e-6, 0).fit(bank).anomaly_score(test), stored["gmm1"])
    for name, x in (("source", inputs["source"]), ("target", inputs["target"]), ("all", bank)):
        assert close(Mahalanobis().fit(x).anomaly_score(test), stored[f"lw_{name}_dist"]), name


def test_a_gaussian_in_closed_form():
    x = np.random.default_rng(0).normal(size=(500, 1))
    mean, variance = x.mean(), x.var() + 1e-6
    expected = (2.0 - mean) ** 2 / variance / 2 + np.log(2 * np.pi * variance) / 2
    for kind in ("full", "tied", "diag", "spherical"):
        score = GMM(1, kind, 1e-6, 0).fit(x).anomaly_score(np.array([[2.0]]))
        np.testing.assert_allclose(score, expected, rtol=1e-6)


@pytest.mark.parametrize("new", ALL)
def test_what_lies_far_away_scores_higher(new):
    x = np.random.default_rng(1).normal(size=(60, 5))
    detector = new().fit(x.astype(np.float32))
    inside, outside = detector.anomaly_score(x[:20]), detector.anomaly_score(x[:20] + 20)
    assert inside.dtype == np.float64 and inside.max() < outside.min()
    np.testing.assert_array_equal(new().fit(x[::-1]).anomaly_score(x[:3]).shape, (3,))
    np.testing.assert_array_equal(detector.anomaly_score(x[:20])[5:6], detector.anomaly_score(x[5:6]))


@pytest.mark.parametrize("new", ALL)
@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((0, 3)), "clips or more, got 0"),
        (np.ones((1, 3)), "clips or more, got 1"),
        (np.ones(3), r"expected a table \[clips, dimensions\]"),
        (np.full((9, 3), np.nan), "row 0 holds NaN"),
    ],
)
def test_what_cannot_be_learnt_from_is_named(new, x, words):
    with pytest.raises(ValueError, match=words):
        new().fit(x)


@pytest.mark.parametrize("new", ALL)
def test_clips_that_do_not_fit_are_named(new):
    detector = new().fit(np.random.default_rng(2).normal(size=(9, 3)))
    with pytest.raises(ValueError, match="4 dimensions, the training embeddings 3"):
        detector.anomaly_score(np.ones((2, 4)))
    with pytest.raises(ValueError, match="embeddings: row 1 holds NaN"):
        detector.anomaly_score(np.array([[1.0, 2, 3], [np.inf, 0, 0]]))


def test_copies_are_told_of_before_they_spoil_the_density():
    x = np.random.default_rng(3).normal(size=(30, 4))
    copied = np.concatenate([x, *[x[:1]] * 4])
    with pytest.raises(ValueError, match="occurs 5 times, n_neighbors is 4"):
        LOF(4).fit(copied)
    assert LOF(5).fit(copied).anomaly_score(x).max() < 100
    with pytest.raises(ValueError, match="all 7 training embeddings are equal"):
        Mahalanobis().fit(np.ones((7, 4)))


def test_the_same_seed_gives_the_same_bits():
    x = np.random.default_rng(4).normal(size=(50, 6))
    for new in (lambda seed: GMM(3, "diag", 1e-6, seed), lambda seed: IForest(10, 16, seed)):
        first, again, other = (new(seed).fit(x).anomaly_score(x) for seed in (0, 0, 1))
        assert (first == again).all() and (first != other).any()


def test_parts_have_their_share_of_few_target_clips():
    x = np.random.default_rng(0).normal(size=(40, 3))
    config = MahalanobisConfig(smote=SmoteConfig(k=2))
    for seed in range(5):
        domains = np.array(["source"] * 36 + ["target"] * 4)[np.random.default_rng(seed).permutation(40)]
        assert np.isfinite(PerDomain(config).fit(x, list(domains)).self_scores()[1]).all()
    with pytest.raises(ValueError, match="smote: 3 clips, more than k = 3 are needed: lower smote.k"):
        PerDomain(MahalanobisConfig(smote=SmoteConfig(k=3))).fit(x, list(domains)).self_scores()
    with pytest.raises(ValueError, match="smote: there are no target clips to make more of"):
        PerDomain(config).fit(x, ["source"] * 40)


@pytest.mark.parametrize(
    ("config", "clips", "words"),
    [
        (MahalanobisConfig(), 2, "a covariance needs 2 training clips or more, got 1: add clips (domain all)"),
        (IforestConfig(), 2, "a forest needs 2 training clips or more, got 1: add clips (domain all)"),
        (LofConfig(), 6, "n_neighbors = 4 needs 5 training clips or more, got 4: lower it, add clips (domain all)"),
        (GmmConfig(n_components=4), 4, "got 3: lower it, add clips (domain all)"),
        (GmmConfig(n_components=4, per_domain=True), 4, "lower it, add clips, or per_domain: false (domain source)"),
    ],
)
def test_too_few_clips_for_thresholds_are_counted_as_the_user_does(config, clips, words):
    x = np.random.default_rng(0).normal(size=(clips + 1, 3))
    with pytest.raises(ValueError) as error:
        PerDomain(config).fit(x[:-1], ["source"] * clips).self_scores()
    assert f"learn the detector again without a fifth (rounded up) of its {clips} training clips: " in str(error.value)
    assert str(error.value).endswith(words)
    assert np.isfinite(PerDomain(config).fit(x, ["source"] * (clips + 1)).self_scores()[1]).all()
    with pytest.raises(ValueError, match=r"got 1: .*add clips(, or per_domain: false)? \(domain (all|source)\)$"):
        PerDomain(config).fit(x[:1], ["source"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clips_made_between_neighbours_need_no_table_of_all_differences(dtype):
    x = np.random.default_rng(0).normal(size=(300, 400)).astype(dtype)
    x[5] = x[4]  # equal ones: the first counts
    flat = x.astype(np.float64)
    squared = ((flat[:, None] - flat[None]) ** 2).sum(axis=2)
    np.fill_diagonal(squared, np.inf)
    near = squared.argsort(axis=1, kind="stable")[:, :2]
    tracemalloc.start()
    made, parents = between(x, 400, 2, 0)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    random = np.random.default_rng(0)
    first = random.integers(300, size=100)
    second = near[first, random.integers(2, size=100)]
    expected = flat[first] + random.random(100)[:, None] * (flat[second] - flat[first])
    np.testing.assert_array_equal(parents, np.stack([first, second], axis=1))
    np.testing.assert_array_equal(made, expected.astype(dtype))
    assert most < 60e6  # all differences: 288 MB
