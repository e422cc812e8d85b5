"""Nearest neighbours by a half-whitened distance: closed forms, what new normal clips meet, and its wires."""

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf_shrinkage

from asdkit.config import KnnConfig
from asdkit.detectors.domains import PerDomain
from asdkit.detectors.knn import KNN, deviations
from asdkit.detectors.tables import least_shared, parts_of, side_by_side
from asdkit.detectors.threshold import threshold
from asdkit.detectors.whitening import _shrinkage, half_whitening

RNG = np.random.default_rng(0)


def correlated(count, columns, seed=0):
    """Few directions vary much, all a little."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(4, columns))
    return rng.normal(size=(count, 4)) @ mixing + 0.1 * rng.normal(size=(count, columns))


def by_the_formula(x, new):
    """C^(-1/4) of the whole shrunk covariance, scaled so that the variances' sum stays."""
    covariance = np.cov(x.T, bias=True)
    part, mean = max(ledoit_wolf_shrinkage(x), least_shared(len(x))), np.trace(covariance) / x.shape[1]
    shrunk = (1 - part) * covariance + part * mean * np.eye(x.shape[1])
    values, vectors = np.linalg.eigh(shrunk)
    matrix = (vectors * values**-0.25) @ vectors.T
    return new @ (matrix * np.sqrt(np.trace(covariance) / np.trace(matrix @ shrunk @ matrix)))


@pytest.mark.parametrize("count", [2, 7, 12, 40])
def test_it_is_the_root_of_the_root_of_the_inverse_covariance(count):
    x, new = correlated(count, 12), correlated(5, 12, seed=1)
    np.testing.assert_allclose(half_whitening(x)(new), by_the_formula(x, new), rtol=1e-5, atol=1e-6)


def test_shrinkage_is_ledoit_and_wolfs():
    for count in (3, 8, 50):
        x = correlated(count, 10, seed=count)
        away = x - x.mean(axis=0)
        found = _shrinkage(away, np.linalg.eigvalsh(away.T @ away / count), 10)
        assert found == pytest.approx(ledoit_wolf_shrinkage(x), rel=1e-9)


def test_columns_that_fill_up_an_array_change_nothing():
    short, long = correlated(9, 5), correlated(9, 30, seed=3)
    for one in (short, long):
        both = half_whitening(side_by_side([short, long]))(side_by_side([short, long]))
        which = 0 if one is short else 1
        np.testing.assert_allclose(both[:, which, : one.shape[1]], half_whitening(one)(one), rtol=1e-5, atol=1e-6)
        assert not both[:, which, one.shape[1] :].any()


def test_a_small_deviation_where_little_varies_counts_more_than_in_the_standardised_distance():
    """Two numbers that rise together: apart from each other is rarer than both up."""
    train = correlated(60, 2, seed=5) * [1, 1] @ [[1, 1], [0, 0.02]]
    up, apart = train.mean(0) + 4 * np.array([1, 1]), train.mean(0) + 0.3 * np.array([1, -1])
    ratios = {}
    for distance in ("standardised", "whitened"):
        scores = KNN(1, distance).fit(train).anomaly_score(np.stack([up, apart]))
        ratios[distance] = scores[1] / scores[0]
    assert ratios["whitened"] > 1.5 * ratios["standardised"]


def varied(count, seed, bands=None):
    """As embeddings are: more dimensions than clips, variances that fall as 1 / k^1.5."""
    deviation = np.arange(1, 201) ** -0.75
    x = np.random.default_rng(seed).normal(size=(count, bands or 1, 200)) * deviation
    return x if bands else x[:, 0]


@pytest.mark.parametrize("bands", [None, 3])
def test_new_normal_clips_pass_the_limit_about_as_often_as_asked(bands):
    """The whitening was learnt from the training clips: compared with it as it is, they would lie too near."""
    mixing = np.linalg.qr(np.random.default_rng(9).normal(size=(200, 200)))[0]
    train, new = varied(40, 1, bands) @ mixing, varied(1000, 2, bands) @ mixing
    detector = PerDomain(KnnConfig(distance="whitened", per_domain=False)).fit(train, ["source"] * 40)
    scores = detector.anomaly_score(new)
    assert 0.02 < (scores > np.percentile(detector.self_scores()[1], 90)).mean() < 0.3
    knn = detector.detectors["all"]
    own = [bank.nearest(band, 1, np.arange(40))[0] for bank, band in zip(knn.banks, knn.bands(knn.x), strict=True)]
    assert (scores > np.percentile(np.mean(own, axis=0), 90)).mean() > 0.8


@pytest.mark.parametrize("count", [2, 3, 4, 6])
def test_very_few_clips_still_give_a_limit_that_anomalies_pass(count):
    """Learnt without one of three clips a whitening knows two, which tell nothing of how directions vary."""
    rng = np.random.default_rng(1)
    mixing, shift = rng.normal(size=(12, 640)), rng.normal(size=640)
    x, other = rng.normal(size=(2, 60, 12)) @ mixing + 0.3 * rng.normal(size=(2, 60, 640))
    x, other = x.reshape(60, 4, 160), (other + 8 * shift).reshape(60, 4, 160)
    detector = PerDomain(KnnConfig(distance="whitened", per_domain=False)).fit(x[:count], ["source"] * count)
    assert (detector.anomaly_score(other) > threshold(detector.self_scores()[1], 90, True)).mean() > 0.9


def test_what_leaves_nothing_to_compare_with_is_infinite():
    alone = KNN(1, "whitened").fit(np.repeat(correlated(2, 4), 2, axis=0), np.array([0, 0, 0, 0]))
    assert np.isinf(alone.leave_one_out(alone.x, np.zeros(4, int))).all()
    knn = KNN(1, "whitened").fit(correlated(2, 4))  # the other one tells no whitening: that of both is taken
    one, other = knn.bands(knn.x)[0]
    np.testing.assert_allclose(knn.leave_one_out(knn.x, np.arange(2)), np.linalg.norm(one - other))
    assert np.isfinite(knn.leave_one_out(knn.x, np.array([7, 8]))).all()  # recordings that it did not hear
    copies = KNN(1, "whitened").fit(np.repeat(correlated(6, 4), 2, axis=0), np.repeat(np.arange(6), 2))
    found = copies.leave_one_out(copies.x, np.repeat(np.arange(6), 2))
    assert (found > 0.05).all()  # no copy meets itself
    np.testing.assert_allclose(found[::2], found[1::2])


def test_few_recordings_are_left_out_one_by_one():
    """Fifths of few would give limits by how they fell: here they differ by a tenth."""
    x = varied(22, 3, 2)
    found = KNN(1, "whitened").fit(x).leave_one_out(x, np.arange(22))
    for row in (0, 7, 21):
        others = np.arange(22) != row
        np.testing.assert_allclose(found[row], KNN(1, "whitened").fit(x[others]).anomaly_score(x[row : row + 1])[0])


def test_many_recordings_are_left_out_in_parts():
    assert [parts_of(count) for count in (0, 2, 22, 50, 100, 500, 10**6)] == [5, 5, 22, 50, 25, 5, 5]
    x = varied(120, 3, None)
    found = KNN(1, "whitened").fit(x).leave_one_out(x, np.arange(120))
    others = np.arange(120) % 20 != 7
    np.testing.assert_allclose(found[7::20], KNN(1, "whitened").fit(x[others]).anomaly_score(x[7::20]))


def test_fewer_others_than_k_are_enough():
    knn = KNN(5, "whitened").fit(correlated(6, 4))
    assert np.isfinite(knn.leave_one_out(knn.x, np.arange(6))).all()


def test_clips_that_are_all_alike_are_refused():
    with pytest.raises(ValueError, match="distance: whitened needs training clips that differ, got 3"):
        KNN(1, "whitened").fit(np.ones((3, 4)))


def test_densities_are_refused():
    with pytest.raises(ValueError, match="rescale: null, or distance: standardised"):
        KnnConfig(distance="whitened", rescale={"kind": "ratio"})


def test_a_silent_band_is_finite():
    x = np.stack([correlated(9, 4), np.zeros((9, 4))], axis=1)
    scores = KNN(1, "whitened").fit(x).anomaly_score(x + 0.1)
    assert np.isfinite(scores).all() and (deviations(x)[1] == 1).all()


@pytest.mark.parametrize("distance", ["cosine", "euclid", "standardised", "whitened"])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_recording_that_is_embedded_again_is_a_copy(distance, scale):
    """In another batch embeddings differ by some 1e-7 of their largest number, in a bundle by up to 1e-5."""
    x = scale * (5 + varied(30, 4, 2)) if distance != "cosine" else scale * varied(30, 4, None)
    knn = KNN(1, distance).fit(x)
    again = x + 1e-6 * np.abs(x).max() * np.random.default_rng(5).uniform(-1, 1, x.shape)
    assert (knn.anomaly_score(again) <= knn.nothing).all()
    assert (knn.leave_one_out(x, np.arange(30)) > 10 * knn.nothing).all()
