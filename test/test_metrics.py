import itertools
import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from asdkit.metrics import EPSILON, Undefined, auc, harmonic_mean, pauc, pauc_eq12, without_each
from asdkit.protocols import ScoredClip, combine, evaluate


def random_clips(rng, ties):
    count = rng.integers(6, 80)
    anomalous = np.r_[0, 0, 1, 1, rng.integers(0, 2, count - 4)]
    scores = rng.integers(0, 12, count) / 7 if ties else rng.standard_normal(count)
    return scores, anomalous


@pytest.mark.parametrize("ties", [True, False])
def test_equal_to_scikit_learn(ties):
    rng = np.random.default_rng(0)
    for _ in range(100):
        scores, anomalous = random_clips(rng, ties)
        assert auc(scores, anomalous) == pytest.approx(roc_auc_score(anomalous, scores), abs=1e-12)
        for max_fpr in (0.1, 0.3):
            expected = roc_auc_score(anomalous, scores, max_fpr=max_fpr)
            assert pauc(scores, anomalous, max_fpr) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("max_fpr", [1.0, 0.1, 0.3])
def test_leaving_each_clip_out_equals_computing_again(max_fpr):
    rng = np.random.default_rng(1)
    for ties in (True, False) * 20:
        scores, anomalous = random_clips(rng, ties)
        again = [pauc(np.delete(scores, i), np.delete(anomalous, i), max_fpr) for i in range(len(scores))]
        np.testing.assert_allclose(without_each(scores, anomalous, max_fpr), again, rtol=0, atol=1e-12)


def test_eq12_is_the_printed_sum_and_another_number():
    rng = np.random.default_rng(2)
    scores, anomalous = rng.integers(0, 40, 90) / 3, np.r_[np.zeros(57, int), np.ones(33, int)]
    top = sorted(scores[anomalous == 0], reverse=True)[:5]  # floor(0.1 * 57)
    printed = sum(a > n for n in top for a in scores[anomalous == 1]) / (5 * 33)
    assert pauc_eq12(scores, anomalous) == pytest.approx(printed, abs=1e-15)
    assert abs(pauc(scores, anomalous) - printed) > 0.1
    thirty = np.arange(30.0), np.zeros(30, int)  # 0.1 * 30 counts as 3, not as 2.999
    high = np.r_[thirty[0], 26.5], np.r_[thirty[1], 1]
    assert pauc_eq12(*high) == 0 and pauc_eq12(np.r_[thirty[0], 27.5], high[1]) == pytest.approx(1 / 3)


def test_perfect_chance_and_worst():
    scores, anomalous = np.arange(20.0), np.repeat([0, 1], 10)
    assert auc(scores, anomalous) == 1 and pauc(scores, anomalous) == 1
    assert auc(-scores, anomalous) == 0 and pauc(-scores, anomalous) == pytest.approx(0.9 / 1.9)
    assert auc(np.zeros(20), anomalous) == 0.5 and pauc(np.zeros(20), anomalous) == pytest.approx(0.5, abs=1e-15)


@pytest.mark.parametrize(
    "scores, anomalous, words",
    [
        ([1.0, np.nan, 2.0], [0, 1, 0], "1 of 3 scores are not finite, the first is number 1"),
        ([1.0, np.inf, 2.0], [0, 1, 0], "not finite"),
        ([1.0, 2.0], [0, 0], "no anomalous clips"),
        ([1.0, 2.0], [1, 1], "no normal clips"),
        ([], [], "no normal clips"),
        ([1.0, 2.0], [0], "two lists of one length"),
        ([1.0, 2.0], [0, 2], "0 .normal. and 1"),
    ],
)
@pytest.mark.parametrize("metric", [auc, pauc, pauc_eq12, without_each])
def test_bad_input_is_named(metric, scores, anomalous, words):
    with pytest.raises(ValueError, match=words):
        metric(np.array(scores), np.array(anomalous))


def test_too_few_clips_and_bad_rate():
    with pytest.raises(Undefined, match="10 normal clips or more, got 9"):
        pauc_eq12(np.arange(10.0), np.r_[np.zeros(9, int), 1])
    with pytest.raises(Undefined, match="two normal and two anomalous"):
        without_each(np.arange(3.0), np.array([0, 0, 1]))
    with pytest.raises(ValueError, match="max_fpr is 0"):
        pauc(np.arange(2.0), np.array([0, 1]), 0)


def test_harmonic_mean_clips_at_epsilon():
    assert harmonic_mean([0.5, 1.0]) == pytest.approx(2 / 3, abs=1e-15)
    assert harmonic_mean([0.0, 1.0]) == pytest.approx(2 * EPSILON, rel=1e-9)


def make_clips(machines, sections, counts, seed=0, domains=("source", "target")):
    """counts: clips of (source normal, source anomaly, target normal, target anomaly) in each section."""
    rng, clips = np.random.default_rng(seed), []
    kinds = list(itertools.product(domains, ("normal", "anomaly")))
    for machine, section in itertools.product(machines, sections):
        for (domain, condition), count in zip(kinds, counts, strict=True):
            shift = (condition == "anomaly") + 0.5 * (domain == "target")
            clips += [ScoredClip(machine, section, domain, condition, s) for s in rng.normal(shift, 1, count).round(1)]
    return clips


def plain(clips, metric, normals=("source", "target"), anomalies=("source", "target")):
    """A metric over chosen domains, by scikit-learn."""
    chosen = [c for c in clips if c.domain in (normals if c.condition == "normal" else anomalies)]
    scores, truth = [c.score for c in chosen], [c.condition == "anomaly" for c in chosen]
    return roc_auc_score(truth, scores, max_fpr={"auc": None, "pauc": 0.1}[metric])


def by_section(clips):
    keys = sorted({(c.machine, c.section) for c in clips})
    return {key: [c for c in clips if (c.machine, c.section) == key] for key in keys}


def test_dcase2022_compares_normals_of_a_domain_with_all_anomalies():
    clips = make_clips(("fan", "valve"), ("00", "01", "02"), (30, 25, 20, 15))
    found = evaluate(clips, "dcase2022")
    values = {
        key: [plain(own, "auc", ("source",)), plain(own, "auc", ("target",)), plain(own, "pauc")]
        for key, own in by_section(clips).items()
    }
    for row in found["sections"]:
        assert list(row["values"]) == ["auc_source", "auc_target", "pauc"]
        assert list(row["values"].values()) == pytest.approx(values[row["machine"], row["section"]], abs=1e-12)
        assert (row["normal"], row["anomaly"]) == (50, 40)
    assert found["official"] == pytest.approx(harmonic_mean(sum(values.values(), [])), abs=1e-12)
    fan = [v for (machine, _), own in values.items() if machine == "fan" for v in own]
    assert found["machines"][0]["machine"] == "fan"
    assert found["machines"][0]["score"] == pytest.approx(harmonic_mean(fan), abs=1e-12)
    assert found["values"]["auc_target"] == pytest.approx(harmonic_mean([v[1] for v in values.values()]), abs=1e-12)
    first = by_section(clips)["fan", "00"]
    in_domain = plain(first, "auc", ("target",), ("target",))
    assert found["sections"][0]["extras"]["auc_target_in_domain"] == pytest.approx(in_domain, abs=1e-12)
    assert abs(in_domain - values["fan", "00"][1]) > 0.01
    assert found["notes"] == [] and found["clips"] == len(clips)
    json.dumps(found, allow_nan=False)


def test_dcase2021_stays_inside_each_domain():
    clips = make_clips(("fan", "pump"), ("03", "04"), (30, 25, 20, 15), seed=3)
    values = [
        plain(own, metric, (domain,), (domain,))
        for own in by_section(clips).values()
        for metric in ("auc", "pauc")
        for domain in ("source", "target")
    ]
    found = evaluate(clips, "dcase2021")
    assert [v for row in found["sections"] for v in row["values"].values()] == pytest.approx(values, abs=1e-12)
    assert found["official"] == pytest.approx(harmonic_mean(values), abs=1e-12)


def test_dcase2020_averages_ids_then_machines():
    clips = make_clips(("fan",), ("00", "02", "04"), (20, 20), 4, ("-",)) + make_clips(
        ("pump",), ("01",), (30, 10), 5, ("-",)
    )
    mean = {}
    for machine in ("fan", "pump"):
        own = {key: group for key, group in by_section(clips).items() if key[0] == machine}
        mean[machine] = {m: np.mean([plain(group, m, "-", "-") for group in own.values()]) for m in ("auc", "pauc")}
    found = evaluate(clips, "dcase2020")
    for row in found["machines"]:
        assert row["values"] == pytest.approx(mean[row["machine"]], abs=1e-12)
        assert row["score"] == pytest.approx(np.mean(list(mean[row["machine"]].values())), abs=1e-12)
    assert found["official"] == pytest.approx(np.mean([list(v.values()) for v in mean.values()]), abs=1e-12)
    assert found["values"]["auc"] == pytest.approx((mean["fan"]["auc"] + mean["pump"]["auc"]) / 2, abs=1e-12)


@pytest.mark.parametrize("protocol", ["dcase2020", "dcase2021", "dcase2022"])
def test_interval_agrees_with_a_stratified_bootstrap(protocol):
    clips = make_clips(("fan", "pump"), ("00",), (50, 50, 50, 50), seed=6)
    strata = {}
    for clip in clips:
        strata.setdefault(clip[:4], []).append(clip)
    rng = np.random.default_rng(7)
    scores = []
    for _ in range(200):
        drawn = [own[i] for own in strata.values() for i in rng.integers(0, len(own), len(own))]
        scores.append(evaluate(drawn, protocol)["official"])
    assert evaluate(clips, protocol)["half_width95"] == pytest.approx(1.96 * np.std(scores), rel=0.2)


def test_machine_without_target_clips():
    clips = make_clips(("fan",), ("00",), (30, 20), domains=("source",)) + make_clips(
        ("pump",), ("00",), (30, 20, 9, 9)
    )
    found = evaluate(clips, "dcase2022")
    fan, pump = found["machines"]
    assert fan["values"]["auc_target"] is None and pump["values"]["auc_target"] is not None
    assert fan["score"] == pytest.approx(harmonic_mean([fan["values"]["auc_source"], fan["values"]["pauc"]]))
    assert found["values"]["auc_target"] == pytest.approx(pump["values"]["auc_target"])
    assert (
        "auc_target, auc_target_in_domain, pauc_target_in_domain not defined, no normal clips of domain target: fan 00"
        in found["notes"]
    )


@pytest.mark.parametrize(
    "protocol, names", [("dcase2021", ["auc_all", "pauc_all"]), ("dcase2022", ["auc_all", "pauc"])]
)
def test_machine_without_domains(protocol, names):
    clips = make_clips(("own",), ("00",), (30, 20), domains=("-",))
    found = evaluate(clips, protocol)
    assert list(found["values"]) == names
    assert found["official"] == pytest.approx(
        harmonic_mean([plain(clips, "auc", "-", "-"), plain(clips, "pauc", "-", "-")])
    )
    assert found["notes"] == [f"no domains known, the official values are {' and '.join(names)} over all clips: own 00"]


def test_one_condition_only():
    clips = make_clips(("fan",), ("00",), (30, 0, 20, 0))
    found = evaluate(clips, "dcase2022")
    assert found["official"] is None and found["half_width95"] is None
    assert set(found["values"].values()) == set(found["extras"].values()) == {None}
    assert any("no anomalous clips: fan 00" in note for note in found["notes"])
    both = evaluate(clips + make_clips(("pump",), ("00",), (30, 20, 30, 20)), "dcase2022")
    assert both["official"] == pytest.approx(both["machines"][1]["score"]) and both["machines"][0]["score"] is None


def test_single_anomaly_has_a_score_and_no_interval():
    found = evaluate(make_clips(("fan",), ("00",), (30, 1, 20, 0)), "dcase2022")
    assert found["official"] is not None and found["half_width95"] is None
    assert any(note.startswith("no 95% interval") for note in found["notes"])


def test_no_clips_at_all():
    found = evaluate([], "dcase2022")
    assert found["official"] is None and found["machines"] == [] and found["clips"] == 0


def test_order_of_clips_does_not_matter():
    clips = make_clips(("fan", "pump"), ("00", "01"), (12, 11, 12, 11))
    found, turned = evaluate(clips, "dcase2022"), evaluate(clips[::-1], "dcase2022")
    assert found["sections"] == turned["sections"] and found["official"] == turned["official"]
    assert found["half_width95"] == pytest.approx(turned["half_width95"], rel=1e-12)


@pytest.mark.parametrize(
    "clip, words",
    [
        (ScoredClip("fan", "00", "source", "broken", 1.0), "condition 'broken'"),
        (ScoredClip("fan", "00", "taget", "normal", 1.0), "domain 'taget'"),
        (ScoredClip("fan", "00", "source", "normal", float("nan")), "fan 00: 1 of .* not finite"),
    ],
)
def test_bad_clips(clip, words):
    with pytest.raises(ValueError, match=words):
        evaluate([clip, *make_clips(("fan",), ("00",), (3, 3, 3, 3))], "dcase2022")
    with pytest.raises(ValueError, match="protocol 'dcase1999', allowed: dcase2020, dcase2021, dcase2022"):
        evaluate([], "dcase1999")


def test_all_as_the_paper_aggregates():
    assert combine(0.6411, 0.6695, "dcase2022") == pytest.approx(0.6550, abs=5e-5)  # Table X
    assert combine(0.6425, 0.7370, "dcase2022") == pytest.approx(0.6865, abs=5e-5)  # Table IX
    assert combine(0.7515, 0.6759, "dcase2021") == pytest.approx(0.7117, abs=5e-5)  # Table VII
    assert combine(0.9108, 0.9501, "dcase2020") == pytest.approx(0.9305, abs=6e-5)  # Table VI
    assert combine(None, 0.9, "dcase2022") is None and combine(0.9, None, "dcase2022") is None
