"""p-values, limits from false alarms a day, episodes."""

import numpy as np
import pytest

from asdkit.detectors.knn import KNN
from asdkit.monitor.calibration import Calibration, Rule
from asdkit.monitor.episodes import Timed, Watch, find_episodes

DAY = 8640  # clips of ten seconds back to back
RULE = Rule(limit=2, release=1, level=0.01, k=2, n=3, asked=1, expected=1, worst=1, upper=1)


def timed(*scores):
    return [Timed(score, 10 * i, 10 * i + 10) for i, score in enumerate(scores)]


def test_pvalues_count_those_as_high():
    calibration = Calibration(np.array([3.0, 1.0, 2.0, 2.0]))
    assert calibration.pvalues(np.array([0.5, 1, 1.5, 2, 2.5, 3, 9])).tolist() == [1, 1, 0.8, 0.8, 0.4, 0.4, 0.2]
    for level in (0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 0.9, 1.0):
        scores = np.array([0.5, 1, 1.5, 2, 2.5, 3, 9])
        assert ((scores > calibration.limit(level)) == (calibration.pvalues(scores) <= level)).all(), level


def test_clips_of_one_recording_count_as_one():
    """Three recordings, one of them in a hundred clips."""
    scores = np.concatenate([np.linspace(5, 6, 100), [1.0, 2.0]])
    calibration = Calibration(scores, np.array([7] * 100 + [1, 2]))
    assert calibration.count == 3
    assert np.allclose(calibration.pvalues(np.array([7, 5.5, 3, 1.5, 0])), [1 / 4, 1.5 / 4, 2 / 4, 3 / 4, 1])
    assert np.isclose(calibration.smallest(DAY), DAY / 4)


def test_pvalues_are_valid_over_recordings():
    """New clips of new recordings, where clips of a recording are nearly equal: a level is exceeded no more often."""
    random, below, levels = np.random.default_rng(0), np.zeros(3), np.array([0.05, 0.2, 0.5])
    sizes = np.array([1, 2, 5, 30, 1, 3, 9, 2, 1, 40, 4, 6, 7, 1, 1, 2, 3, 20, 5])
    for _ in range(2000):
        place = random.normal(size=len(sizes) + 1)
        own = np.repeat(np.arange(len(sizes)), sizes)
        calibration = Calibration(place[own] + 0.1 * random.normal(size=len(own)), own)
        below += calibration.pvalues(place[-1:] + 0.1 * random.normal(size=1)) <= levels
    assert (below / 2000 <= levels + 3 * np.sqrt(levels / 2000)).all()
    assert (below / 2000 >= 0.7 * levels).all()


@pytest.mark.parametrize("k", [1, 3])
def test_nearest_neighbours_that_leave_one_out_are_on_the_safe_side(k):
    random, below = np.random.default_rng(1), 0.0
    for _ in range(200):
        x = random.normal(size=(49, 4)).astype(np.float32)
        detector = KNN(k, "euclid").fit(x[:39])
        own = detector.leave_one_out(x[:39], np.arange(39))
        below += (Calibration(own).pvalues(detector.anomaly_score(x[39:])) <= 0.1).mean()
    assert 0.07 <= below / 200 <= 0.105


def test_what_a_thousand_clips_support():
    """8.6 false alarms a day by single clips, far fewer by two of three."""
    calibration = Calibration(np.random.default_rng(0).normal(size=1000))
    assert round(calibration.smallest(DAY), 2) == 8.63
    assert np.isclose(calibration.smallest(DAY, 2, 3), DAY * 2 * 2 / 1001 / 1002)
    rule = calibration.rule(8.7, DAY)
    assert rule.limit == calibration.scores[0]
    assert np.isclose(rule.expected, DAY / 1001) and np.isclose(rule.worst, DAY / 1001)
    assert np.isclose(rule.upper, DAY * (1 - 0.05 ** (1 / 1000)))  # the chance that none of 1000 lies above
    with pytest.raises(ValueError, match=r"1 false alarms a day .* 1000 recordings support 8.63 a day.*2 of 2 clips"):
        calibration.rule(1, DAY)
    with pytest.raises(ValueError, match="take normal clips of 8639 recordings"):
        calibration.rule(1, DAY)
    Calibration(np.arange(8639.0)).rule(1, DAY)
    with pytest.raises(ValueError, match="8638 recordings support"):
        Calibration(np.arange(8638.0)).rule(1, DAY)
    rule = calibration.rule(1, DAY, 2, 3)
    assert rule.expected <= 1 < rule.worst and rule.limit < calibration.scores[0]
    assert calibration.rule(86.4, DAY).level > 9.9 / 1001


@pytest.mark.parametrize(("k", "n"), [(1, 1), (1, 4), (2, 3), (3, 5)])
def test_observed_alarms_of_independent_clips(k, n):
    """The mean over machines is what was asked for, or less."""
    random, found, asked = np.random.default_rng(k + n), [], 100.0
    for _ in range(40):
        rule = Calibration(random.normal(size=300)).rule(asked, DAY, k, n)
        found.append(len(find_episodes(rule, timed(*random.normal(size=DAY // 4)))) * 4)
    spread = np.std(found) / np.sqrt(len(found))
    assert 0.5 * asked <= np.mean(found) <= asked + 3 * spread  # at high levels alarms that are near each other join
    assert np.mean(np.array(found) > rule.upper) <= 0.15


def test_dependent_clips_stay_below_the_worst():
    """Clips in pairs of equals: far more alarms than of independent ones, never more than `worst` on the average."""
    random, found = np.random.default_rng(0), []
    for _ in range(20):
        rule = Calibration(random.normal(size=999)).rule(20, DAY, 2, 3)
        found.append(len(find_episodes(rule, timed(*random.normal(size=DAY // 4).repeat(2)))) * 2)
    assert 5 * rule.expected < np.mean(found) <= 1.1 * rule.worst


def test_what_makes_no_sense_is_refused():
    calibration = Calibration(np.array([1.0, np.inf, 2.0]))
    assert calibration.count == 2
    for wrong in ((0, 10), (1, 0), (np.inf, 10)):
        with pytest.raises(ValueError, match="above 0"):
            calibration.rule(*wrong)
    for wrong in ((0, 1), (3, 2)):
        with pytest.raises(ValueError, match="1 <= k <= n"):
            calibration.rule(10, 20, *wrong)
    with pytest.raises(ValueError, match="50 false alarms a day of 50 clips: every clip would raise one"):
        calibration.rule(50, 50)
    with pytest.raises(ValueError, match="NaN"):
        calibration.pvalues(np.array([np.nan]))
    with pytest.raises(ValueError, match="NaN"):
        Calibration(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="two recordings"):
        Calibration(np.array([np.inf]))


def test_an_episode_begins_ends_and_peaks():
    watch = Watch(RULE)
    states = [watch.add(clip) is not None for clip in timed(0, 3, 0, 4, 5, 1.5, 0, 0, 0, 0)]
    assert states == [False, False, False, True, True, True, True, True, False, False]
    assert watch.raised == 1 and watch.going is None
    (episode,) = find_episodes(RULE, timed(0, 3, 0, 4, 5, 1.5, 0, 0, 0, 0))
    assert (episode.start, episode.raised, episode.end) == (10, 40, 60)
    assert (episode.peak, episode.peak_score, episode.clips, episode.open) == (4, 5, [1, 3, 4], False)


def test_single_clips_over_the_limit_raise_nothing():
    assert find_episodes(RULE, timed(3, 0, 0, 3, 0, 0, 3)) == []


def test_a_second_episode_needs_clips_of_its_own():
    found = find_episodes(RULE, timed(3, 3, 0, 0, 0, 3, 0, 3))
    assert [(episode.clips, episode.open) for episode in found] == [([0, 1], False), ([5, 7], True)]


def test_clips_without_a_score_change_nothing():
    found = find_episodes(RULE, timed(3, None, None, None, 3, None, 0, None, 0, None, None, 0))
    assert [(episode.clips, episode.open) for episode in found] == [([0, 4], False)]


def test_single_clips_as_alarms():
    rule = RULE._replace(k=1, n=1)
    assert [episode.clips for episode in find_episodes(rule, timed(3, 0, 3, 1.5, 3, 0))] == [[0], [2, 4]]


def held(thing):
    """Elements of all that an object keeps, lists within it too."""
    if isinstance(thing, (list, tuple, dict)) or hasattr(thing, "popleft"):
        return sum(1 + held(one) for one in (thing.values() if isinstance(thing, dict) else thing))
    return held(vars(thing)) if hasattr(thing, "__dict__") else 0


def test_an_endless_stream_keeps_no_more_than_it_needs():
    """Neither many alarms nor one that never ends."""
    many, one = Watch(RULE), Watch(RULE)
    sizes = []
    for _ in range(2):
        for clip in timed(*[3, 3, 0, 0, 0] * 400):
            many.add(clip)
            one.add(clip._replace(score=3))
        sizes.append((held(many), held(one)))
    assert many.raised == 800 and many.going is None and one.raised == 1 and one.going.over == 4000
    assert sizes[0] == sizes[1] and sizes[0][0] < 60 and len(one.going.clips) == 1000
