import numpy as np
import pytest
import scipy.stats

from asdkit.config import KnnConfig
from asdkit.detectors.knn import KNN
from asdkit.detectors.scoring import PerDomain
from asdkit.detectors.threshold import gamma_percentile, threshold


def embeddings(count, seed=0, dim=12):
    return np.random.default_rng(seed).normal(0.3, 1, (count, dim)).astype(np.float32)


@pytest.mark.parametrize("percentile", [50, 90, 99])
@pytest.mark.parametrize("shape, close", [(0.6, 0.05), (2, 0.01), (20, 0.001), (1000, 0.0001)])
def test_percentile_of_the_gamma_distribution(shape, close, percentile):
    spread = np.sqrt(1 / shape)  # two scores with the distribution's mean 3 and its deviation
    scores = 3 * np.array([1 - spread, 1 + spread])
    expected = scipy.stats.gamma.ppf(percentile / 100, shape, scale=3 / shape)
    assert gamma_percentile(scores, percentile) == pytest.approx(expected, rel=close)


def test_threshold_lets_the_given_share_of_normal_clips_pass():
    scores = np.random.default_rng(0).gamma(4, 0.1, 5000)
    for percentile in (50, 90, 95):
        assert np.mean(scores <= gamma_percentile(scores, percentile)) == pytest.approx(percentile / 100, abs=0.01)


def test_percentile_at_its_limits():
    assert gamma_percentile(np.full(7, 0.25), 90) == 0.25
    assert gamma_percentile(np.zeros(7), 90) == 0
    assert threshold(np.array([0.25, np.inf, 0.25]), 90, True) == 0.25
    assert gamma_percentile(np.array([0.0] * 99 + [1.0]), 90) == 0
    for non_negative in (True, False):
        with pytest.raises(ValueError, match="two training clips or more, got 1"):
            threshold(np.array([np.inf]), 90, non_negative)


@pytest.mark.parametrize("mean", [-1000.0, 0.0, 5.0])
def test_scores_that_may_be_negative_have_their_own_percentile(mean):
    """A gamma distribution fitted to log likelihoods puts the threshold on the wrong side of nearly all of them."""
    scores = np.random.default_rng(0).normal(mean, 50, 4000)
    for percentile in (50, 90, 99):
        assert np.mean(scores <= threshold(scores, percentile, False)) == pytest.approx(percentile / 100, abs=0.001)
    with pytest.raises(ValueError, match="said never to be negative is -"):
        threshold(scores, 90, True)


@pytest.mark.parametrize("k", [1, 3, 29, 30])
def test_training_clips_are_not_their_own_neighbours(k):
    x = embeddings(30)
    x[7] = x[3]  # a double is a neighbour all the same
    rows = np.array([0, 3, 7, 29])
    expected = [KNN(min(k, 29)).fit(np.delete(x, row, axis=0)).anomaly_score(x[row : row + 1])[0] for row in rows]
    for detector in (KNN(k), KNN(k, block_bytes=4 * 512)):
        assert detector.fit(x).leave_one_out(rows) == pytest.approx(expected, abs=1e-6)
    assert (KNN(1).fit(x).leave_one_out(rows)[1:3] < 1e-12).all()
    assert np.isinf(KNN(1).fit(x[:1]).leave_one_out(np.array([0]))).all()


def test_threshold_comes_from_each_clip_against_all_others():
    x, domains = embeddings(60), ["source"] * 57 + ["target"] * 3
    config = KnnConfig(k=2, threshold_percentile=75)
    scores = []
    for i in range(60):
        rest = [name for j, name in enumerate(domains) if j != i]
        scores.append(PerDomain(config).fit(np.delete(x, i, axis=0), rest).anomaly_score(x[i : i + 1])[0])
    rows, found = PerDomain(config).fit(x, domains).self_scores()
    assert rows.tolist() == list(range(60)) and found == pytest.approx(np.array(scores), rel=1e-6)


def test_single_clip_of_a_domain_is_compared_with_the_other_domain():
    x = embeddings(20)
    _, found = PerDomain(KnnConfig()).fit(x, ["source"] * 19 + ["target"]).self_scores()
    assert ((found > 0) & (found < 2)).all()
    assert np.isinf(PerDomain(KnnConfig()).fit(x[:1], ["source"]).self_scores()[1]).all()


def test_many_training_clips_are_sampled():
    x = embeddings(3000)
    scores = KNN().fit(x).leave_one_out(np.arange(3000))
    rows, found = PerDomain(KnnConfig()).fit(x, ["all"] * 3000).self_scores()
    assert len(rows) == 1000 and rows[0] == 0 and rows[-1] == 2999 and (found == scores[rows]).all()
    assert gamma_percentile(found, 90) == pytest.approx(gamma_percentile(scores, 90), rel=0.03)
