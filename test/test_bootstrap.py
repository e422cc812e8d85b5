"""The paired bootstrap of official scores: closed forms, planted differences, coverage."""

import numpy as np
import pytest

from asdkit.metrics import auc, pauc, resampled
from asdkit.protocols import PROTOCOLS, ScoredClip, evaluate, sections_of
from asdkit.report import bootstrap as module
from asdkit.report.bootstrap import bootstrap, official_scores, spread


def clips_of(rng, machines=2, sections=2, n=10, domains=("source", "target"), shift=1.0):
    """Scored clips: n of each stratum, anomalies shifted by `shift`; some equal scores."""
    return [
        ScoredClip(f"m{m}", f"{s:02d}", domain, condition, round(rng.normal(shift * (condition == "anomaly")), 2))
        for m in range(machines)
        for s in range(sections)
        for domain in domains
        for condition in ("normal", "anomaly")
        for _ in range(n)
    ]


def rescored(clips, scores):
    return [clip._replace(score=float(score)) for clip, score in zip(clips, scores, strict=True)]


@pytest.mark.parametrize("max_fpr", [1.0, 0.1, 0.37])
def test_a_sample_counts_as_the_clips_it_repeats(max_fpr):
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores, anomalous = rng.integers(0, 8, 25) / 4, rng.permutation([True] * 9 + [False] * 16)
        counts = rng.integers(0, 3, (5, 25))
        counts[:, [0, int(np.flatnonzero(anomalous != anomalous[0])[0])]] = 1
        found = resampled(scores, anomalous, counts, max_fpr)
        for row, value in zip(counts, found, strict=True):
            repeated = np.repeat(scores, row), np.repeat(anomalous, row)
            assert value == pytest.approx(auc(*repeated) if max_fpr == 1 else pauc(*repeated, max_fpr), abs=1e-12)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("domains", [("source", "target"), ("-",), ("source",)])
def test_each_draw_is_the_official_score_of_its_clips(protocol, domains):
    rng = np.random.default_rng(1)
    clips = clips_of(rng, domains=domains)
    runs = [clips, rescored(clips, rng.normal(size=len(clips)))]
    sections = [sections_of(run, protocol) for run in runs]
    now = official_scores(sections, protocol)
    drawn = bootstrap(sections, protocol, 3, seed=5)
    for number, run in enumerate(runs):
        found = evaluate(run, protocol)
        assert now.official[number] == pytest.approx(found["official"], abs=1e-12)
        for row in found["machines"]:
            assert now.machines[row["machine"]][number] == pytest.approx(row["score"], abs=1e-12)
    assert drawn.official.shape == (2, 3) and len(set(drawn.official.ravel())) == 6
    # The same draws by hand, with the generator's numbers in the order in which sections and strata take them.
    rng, repeated = np.random.default_rng(5), [[[] for _ in range(3)] for _ in runs]
    for own in zip(*(sum(one.values(), []) for one in sections), strict=True):
        for mask in own[0].strata():
            members = np.flatnonzero(mask)
            picks = rng.integers(0, len(members), (3, len(members)))
            for which, section in enumerate(own):
                for draw, chosen in enumerate(picks):
                    kind = "anomaly" if section.anomalous[members[0]] else "normal"
                    repeated[which][draw] += [
                        ScoredClip(section.machine, section.section, section.domains[i], kind, section.scores[i])
                        for i in members[chosen]
                    ]
    for which in range(2):
        for draw in range(3):
            expected = evaluate(repeated[which][draw], protocol)["official"]
            assert drawn.official[which, draw] == pytest.approx(expected, abs=1e-12)


def test_blocks_do_not_change_what_a_draw_is(monkeypatch):
    clips = clips_of(np.random.default_rng(2))
    whole = bootstrap([sections_of(clips, "dcase2022")] * 2, "dcase2022", 50)
    monkeypatch.setattr(module, "BLOCK", 7 * 40)
    parts = bootstrap([sections_of(clips, "dcase2022")] * 2, "dcase2022", 50)
    assert parts.official.shape == whole.official.shape and (parts.official[0] == parts.official[1]).all()
    assert parts.official.std() == pytest.approx(whole.official.std(), rel=0.5)


def test_what_is_not_defined_stays_out():
    clips = [clip for clip in clips_of(np.random.default_rng(3)) if (clip.machine, clip.section) != ("m1", "01")]
    clips += [ScoredClip("m1", "01", "source", "normal", 0.0), ScoredClip("m2", "00", "source", "normal", 0.0)]
    found = bootstrap([sections_of(clips, "dcase2022")], "dcase2022", 4)
    assert set(found.machines) == {"m0", "m1"} and np.isfinite(found.official).all()
    none = bootstrap([sections_of(clips[-1:], "dcase2022")], "dcase2022", 4)
    assert none.official.shape == (1, 0) and none.machines == {}


def test_equal_runs_differ_by_nothing_and_a_planted_difference_is_found():
    rng = np.random.default_rng(4)
    clips = clips_of(rng, n=25)
    anomalous = np.array([clip.condition == "anomaly" for clip in clips])
    values = np.array([clip.score for clip in clips])
    better = rescored(clips, values + 0.5 * anomalous + rng.normal(0, 0.2, len(clips)))
    same = rescored(clips, 3 * values + 1)  # another unit, the same order
    runs = [sections_of(one, "dcase2022") for one in (clips, same, better)]
    now, drawn = official_scores(runs, "dcase2022").official[:, 0], bootstrap(runs, "dcase2022", 400).official
    assert spread(now[1] - now[0], drawn[1] - drawn[0]) == (0, 0, 0, 0, 0)
    found = spread(now[2] - now[0], drawn[2] - drawn[0])
    assert 0 < found.low < found.difference < found.high and found.above > 0.99 and found.below < 0.01
    # Each alone moves with the clips far more than the difference does: that is what pairing is for.
    assert np.std(drawn[2] - drawn[0]) < 0.6 * np.std(drawn[2])


@pytest.mark.long
@pytest.mark.parametrize("n", [25])
def test_the_interval_covers_the_true_difference(n):
    """Of 400 pairs of runs with a known difference about 95 % of the intervals hold it."""
    rng = np.random.default_rng(n)

    def pair(count):
        clips = clips_of(rng, machines=3, sections=1, n=count, shift=1.0)
        anomalous = np.array([clip.condition == "anomaly" for clip in clips])
        values = np.array([clip.score for clip in clips])
        other = 0.7 * values + rng.normal(0, 0.7, len(clips)) + 0.6 * anomalous
        return [sections_of(one, "dcase2022") for one in (clips, rescored(clips, other))]

    truth = np.diff(official_scores(pair(20000), "dcase2022").official[:, 0])[0]
    inside = 0
    for trial in range(400):
        runs = pair(n)
        drawn = bootstrap(runs, "dcase2022", 300, trial).official
        found = spread(0, drawn[1] - drawn[0])
        inside += found.low <= truth <= found.high
    print(f"{n} clips of a stratum: {inside / 4:.1f} % of the intervals hold the difference {truth:.4f}")
    assert 0.91 <= inside / 400 <= 0.98
