import re

import numpy as np
import pytest
import scipy.stats

from asdkit.config import KnnConfig
from asdkit.detectors import bank
from asdkit.detectors.knn import KNN
from asdkit.detectors.notes import check_varied, on_threshold
from asdkit.detectors.scoring import PerDomain, recordings_of
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


@pytest.mark.parametrize("k", [1, 3, 27, 30])
def test_training_clips_are_neither_their_own_neighbours_nor_their_copies(k, monkeypatch):
    x = embeddings(30)
    recordings = np.arange(30)
    recordings[[3, 7, 20]] = 3  # three copies, whatever became of their embeddings
    rows = np.array([0, 3, 7, 29])
    expected = []
    for row in rows:
        others = x[recordings != recordings[row]]
        expected.append(KNN(min(k, len(others))).fit(others).anomaly_score(x[row : row + 1])[0])
    for block_bytes in (bank.BLOCK_BYTES, 4 * 512):
        monkeypatch.setattr(bank, "BLOCK_BYTES", block_bytes)
        found = KNN(k).fit(x, recordings).leave_one_out(x[rows], recordings[rows])
        assert found == pytest.approx(expected, abs=1e-6)
    foreign = KNN(k).fit(x, recordings).leave_one_out(x[:4], np.array([40, 41, 42, 43]))  # rows of another domain
    np.testing.assert_array_equal(foreign, KNN(k).fit(x).anomaly_score(x[:4]))
    assert np.isinf(KNN(1).fit(x[:2], np.zeros(2, int)).leave_one_out(x[:2], np.zeros(2, int))).all()


def test_a_clip_that_is_there_many_times_is_compared_with_the_others():
    x = embeddings(30)
    x[10:20] = x[10]
    recordings = np.arange(30)
    recordings[10:20] = 10
    found = KNN(1).fit(x, recordings).leave_one_out(x[10:11], recordings[10:11])
    expected = KNN(1).fit(np.delete(x, slice(10, 20), axis=0)).anomaly_score(x[10:11])
    assert found == pytest.approx(expected, rel=1e-9)


def clips(count, digests=None):
    return [{"utt": f"c{i:03d}", "digest": digests[i] if digests else "-"} for i in range(count)]


def test_copies_are_known_by_digest_or_by_equal_arrays_and_copies_of_copies_too():
    x = embeddings(7)
    assert recordings_of(clips(7), x).tolist() == list(range(7))
    x[5] = x[1]
    assert recordings_of(clips(7), x).tolist() == [0, 1, 2, 3, 4, 1, 5]
    digests = ["a", "b", "-", "-", "a", "c", "c"]  # 6 is 5's double, 5 is 1's by its array
    assert recordings_of(clips(7, digests), x).tolist() == [0, 1, 2, 3, 0, 1, 1]
    x[2], x[3] = 0.0, -0.0
    assert recordings_of(clips(7), x).tolist() == [0, 1, 2, 2, 3, 1, 4]


@pytest.mark.parametrize("domains", [["source"] * 60, ["source"] * 30 + ["target"] * 30], ids=["one", "other domain"])
@pytest.mark.parametrize("part_wise", [False, True])
def test_a_training_set_that_holds_each_clip_twice_has_the_thresholds_of_one_that_does_not(
    domains, part_wise, monkeypatch
):
    x = embeddings(30)
    twice = np.concatenate([x, x])
    if part_wise:  # a detector that cannot leave single clips out
        monkeypatch.delattr(KNN, "leave_one_out")
    _, single = PerDomain(KnnConfig()).fit(x, ["source"] * 30).self_scores()
    recordings = recordings_of(clips(60), twice)
    _, found = PerDomain(KnnConfig()).fit(twice, domains, recordings).self_scores()
    assert found == pytest.approx(np.concatenate([single, single]), rel=1e-6) and found.min() > 0.01


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
    scores = KNN().fit(x).leave_one_out(x, np.arange(3000))
    rows, found = PerDomain(KnnConfig()).fit(x, ["all"] * 3000).self_scores()
    assert len(rows) == 1000 and rows[0] == 0 and rows[-1] == 2999 and (found == scores[rows]).all()
    assert gamma_percentile(found, 90) == pytest.approx(gamma_percentile(scores, 90), rel=0.03)


def train_scores(*values):
    return {f"c{i:02d}": value for i, value in enumerate(values)}


@pytest.mark.parametrize(
    "scores, words",
    [
        (
            [0.01] * 11 + [1.0],
            r"no training clip comes near the threshold 0.1992: c11 \(1\) made it, the others have 0.01 at most",
        ),
        ([0.01] * 10 + [0.9, 1.0], r"c11 \(1\), c10 \(0.9\) made it"),
        ([1e-7] * 12 + [0.1, 0.12], "c13 .0.12., c12 .0.1. made it"),  # near copies, and the only two others
        ([0.001] * 39 + [1.0], r"40 of 40 training clips lie above the threshold 0: .* than the rest, c39 \(1\), c"),
        ([0.0] * 99 + [1.0], "the threshold is 0: every clip that is no copy lies above it"),
        ([0.008, 0.009, 0.01, 0.011, 0.012, 0.013], None),
        ([0.1, 0.3], None),
    ],
)
def test_a_threshold_that_few_clips_made_is_named_with_them(scores, words):
    limit = threshold(np.array(scores), 90, True)
    notes = on_threshold(limit, 90, train_scores(*scores), [0.0, 5.0], True)
    assert (len(notes), bool(words)) in ((0, False), (1, True))
    assert words is None or re.search(words, notes[0])


def test_thresholds_of_scores_that_may_be_negative_and_of_gamma_samples_that_are_as_they_should():
    dead = [-100.0, -101.0, -102.0, -103.0, 900.0]
    limit = threshold(np.array(dead), 90, False)
    assert "c04 (900) made it" in on_threshold(limit, 90, train_scores(*dead), [], False)[0]
    for seed in range(50):
        rng = np.random.default_rng(seed)
        for scores, non_negative in ((rng.gamma(4, 0.1, 40), True), (rng.normal(-1000, 50, 40), False)):
            limit = threshold(scores, 90, non_negative)
            assert not on_threshold(limit, 90, train_scores(*scores), [limit - 1, limit + 1], non_negative)


def test_test_clips_that_all_lie_above_the_threshold_are_told():
    scores = train_scores(0.1, 0.11, 0.12)
    assert "all test clips (2) lie above the threshold 0.13" in on_threshold(0.13, 90, scores, [0.2, 0.3], True)[0]
    assert not on_threshold(0.13, 90, scores, [0.13, 0.3], True) and not on_threshold(0.13, 90, scores, [], True)


def test_scores_that_tell_nothing_apart_are_refused():
    check_varied([0.3], "x")
    check_varied([], "x")
    check_varied([0.3, 0.30001], "x")
    check_varied([1e-12, 2e-12], "x")  # of another program's scale
    with pytest.raises(ValueError, match="x: the scores of all 3 test clips are 0.3 and tell nothing apart: what"):
        check_varied([0.3, 0.3, 0.3], "x", 1e-9)
    with pytest.raises(ValueError, match="of all 2 test clips are as good as 0 .*copies of training clips, or"):
        check_varied([1e-15, 3e-15], "x", 1e-9)
