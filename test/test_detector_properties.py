"""What holds for every detector, whatever the clips: tried on made-up ones, copies, zeros, single clips among them."""

import numpy as np
import pytest

pytest.importorskip("hypothesis")
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from threadpoolctl import threadpool_limits

from asdkit.config import GmmConfig, IforestConfig, KmeansConfig, KnnConfig, LofConfig, MahalanobisConfig
from asdkit.config.scoring import RescaleConfig, SmoteConfig
from asdkit.detectors import domains
from asdkit.detectors.domains import PerDomain
from asdkit.detectors.tables import Chosen

EXAMPLES = settings(max_examples=20, deadline=None, derandomize=True, database=None)
FEW = settings(EXAMPLES, max_examples=3)
SMOTE = SmoteConfig(amount=0.5, k=1)


def rescaled(kind, **more):
    return KnnConfig(rescale=RescaleConfig(kind=kind, **more))


DETECTORS = {
    "knn": KnnConfig(),
    "knn of 3": KnnConfig(k=3, per_domain=False),
    "euclid": KnnConfig(distance="euclid"),
    "standardised": KnnConfig(distance="standardised", per_domain=False),
    "whitened": KnnConfig(distance="whitened", per_domain=False),
    "ratio": rescaled("ratio"),
    "ratio of all": rescaled("ratio", rank=0.9),
    "sum": KnnConfig(distance="euclid", rescale=RescaleConfig(kind="ratio", k=2, k_target=1, total=True)),
    "difference": rescaled("difference", k=2),
    "variance": KnnConfig(per_domain=False, rescale=RescaleConfig(kind="variance", k=2)),
    "log variance": KnnConfig(per_domain=False, distance="euclid", rescale=RescaleConfig(kind="log_variance")),
    "z-scores": KnnConfig(distance="euclid", normalise="zscore"),
    "medians": KnnConfig(normalise="median"),
    "smote": KnnConfig(smote=SMOTE),
    "kmeans": KmeansConfig(n_clusters=4),
    "kmeans euclid": KmeansConfig(n_clusters=3, distance="euclid", smote=SMOTE, per_domain=False),
    "means at unit length": KmeansConfig(n_clusters=4, renormalise=True),
    "lof": LofConfig(n_neighbors=2),
    "gmm": GmmConfig(),
    "gmm of 2": GmmConfig(n_components=2, covariance_type="diag"),
    "mahalanobis": MahalanobisConfig(),
    "iforest": IforestConfig(n_estimators=8),
}
BANDS = {
    "bands": KnnConfig(),
    "largest band": KnnConfig(join="max", rescale=RescaleConfig(kind="ratio")),
    "coupled": KnnConfig(join="coupled", rescale=RescaleConfig(kind="variance", k=2)),
    "side by side": KnnConfig(join="coupled", distance="euclid", smote=SMOTE),
    "standardised bands": KnnConfig(distance="standardised", rescale=RescaleConfig(kind="ratio", k=2)),
    "whitened bands": KnnConfig(distance="whitened", per_domain=False),
}
every = pytest.mark.parametrize("name", [*DETECTORS, *BANDS])


def shape(name, count, size):
    return (count, 2, size) if name in BANDS else (count, size)


def config_of(name):
    return {**DETECTORS, **BANDS}[name]


def usual(name, seed, target=6):
    """Training clips with domains, and test clips, in no special position."""
    random = np.random.default_rng(seed)
    x = random.normal(1, 1, shape(name, 24 + target, 5))
    x[24:] += 0.5
    return x, ["source"] * 24 + ["target"] * target, random.normal(1, 1.5, shape(name, 9, 5))


def scores(name, x, domains, tests):
    return PerDomain(config_of(name)).fit(x, domains).anomaly_score(tests)


@every
@EXAMPLES
@given(data=st.data())
def test_scores_are_finite_or_the_error_says_why(name, data):
    count, size = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 3))
    values = st.integers(-2, 2).map(float)
    x = data.draw(arrays(np.float64, shape(name, count, size), elements=values))
    tests = np.concatenate([x[:2], data.draw(arrays(np.float64, shape(name, 3, size), elements=values))])
    domains = data.draw(st.lists(st.sampled_from(["source", "target"]), min_size=count, max_size=count))
    recordings = np.array(data.draw(st.lists(st.integers(0, count), min_size=count, max_size=count)))
    try:
        detector = PerDomain(config_of(name)).fit(x, domains, recordings)
        found, (rows, own) = detector.anomaly_score(tests), detector.self_scores()
    except ValueError as error:
        assert str(error) and "array" not in str(error)  # not a library's, on shapes
        return
    assert found.shape == (len(tests),) and np.isfinite(found).all()
    assert (rows == np.arange(count)).all() and (own > -np.inf).all()  # infinity: nothing is left to compare with


@every
@FEW
@given(seed=st.integers(0, 10**6))
def test_the_order_of_training_clips_changes_nothing(name, seed):
    x, domains, tests = usual(name, seed)
    x[3], recordings = x[2], np.array([0, 0, 1, *range(1, len(x) - 2)])  # two parts of one recording, and a copy
    order = np.random.default_rng(seed + 1).permutation(len(x))
    one = PerDomain(config_of(name)).fit(x, domains, recordings)
    other = PerDomain(config_of(name)).fit(x[order], [domains[i] for i in order], recordings[order] + 7)
    assert np.array_equal(one.anomaly_score(tests), other.anomaly_score(tests))
    assert np.array_equal(one.self_scores()[1][order], other.self_scores()[1])


@every
@FEW
@given(seed=st.integers(0, 10**6))
def test_a_clip_alone_has_the_score_it_has_among_others(name, seed):
    x, domains, tests = usual(name, seed)
    detector = PerDomain(config_of(name)).fit(x, domains)
    alone = np.concatenate([detector.anomaly_score(clip[None]) for clip in tests])
    np.testing.assert_allclose(alone, detector.anomaly_score(tests), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "name",
    ["knn", "knn of 3", "standardised", "whitened", "ratio", "ratio of all", "sum", "difference", "variance",
     "z-scores", "medians", "smote", "kmeans", "means at unit length", "lof", "mahalanobis", "iforest",
     "bands", "largest band", "coupled"],
)  # fmt: skip
@FEW
@given(seed=st.integers(0, 10**6), factor=st.sampled_from([2**-9, 0.3, 7.0, 2**12]))
def test_the_scale_of_all_embeddings_changes_nothing(name, seed, factor):
    x, domains, tests = usual(name, seed)
    found = scores(name, factor * x, domains, factor * tests)
    np.testing.assert_allclose(found, scores(name, x, domains, tests), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["knn", "knn of 3", "euclid", "bands", "side by side"])
@FEW
@given(seed=st.integers(0, 10**6))
def test_a_further_training_clip_raises_no_score(name, seed):
    x, domains, tests = usual(name, seed)
    config = config_of(name).model_copy(update={"smote": None})
    more = np.concatenate([x, 100 * x[:1]])
    before, after = (
        PerDomain(config).fit(clips, [*domains, "source"][: len(clips)]).anomaly_score(tests) for clips in (x, more)
    )
    assert (after <= before + 1e-12).all()


@pytest.mark.parametrize("name", ["smote", "side by side"])
@FEW
@given(seed=st.integers(0, 10**6))
def test_a_training_clip_meets_neither_itself_nor_what_was_made_of_it(name, seed):
    x, domains, _ = usual(name, seed, target=4)
    detector = PerDomain(config_of(name)).fit(x, domains)
    own = detector.self_scores()[1]
    for row in range(len(x)):
        nearest = []
        for found in detector.detectors.values():
            bank = found.banks[0]
            free = (bank.recordings != detector.recordings[row]).all(axis=1)
            nearest.append(
                type(bank)(bank.x[free], bank.distance).nearest(found.bands(x[row : row + 1])[0], 1)[0][0, 0]
            )
        assert own[row] == pytest.approx(min(nearest), rel=1e-9)
    made = detector.detectors["target"].banks[0].recordings
    assert made.shape == (12, 2) and set(made[:4].ravel()) == set(detector.recordings[24:]) >= set(made[4:].ravel())


@every
def test_two_threads_give_the_bits_of_one(name):
    random = np.random.default_rng(0)
    x, tests = (random.normal(1, 1, shape(name, count, 96)).astype(np.float32) for count in (300, 40))
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            detector = PerDomain(config_of(name)).fit(x, ["source"] * 280 + ["target"] * 20)
            found.append(np.concatenate([detector.anomaly_score(tests), detector.self_scores()[1]]))
    assert np.array_equal(*found)


class Asked(Chosen):
    """All rows of a table; `sizes`: how many were asked for each time."""

    def __init__(self, table):
        super().__init__(table, range(len(table)))
        self.sizes = []

    def __getitem__(self, part):
        self.sizes.append(len(found := super().__getitem__(part)))
        return found


@every
def test_blocks_of_test_clips_give_what_they_give_together(name, monkeypatch):
    """Whether they come as a table or are read some at a time; scores of the whole test set are scaled over all."""
    random = np.random.default_rng(0)
    x, tests = (random.normal(1, 1, shape(name, count, 4)).astype(np.float32) for count in (12, 11))
    config = (DETECTORS | BANDS)[name]
    for normalise in {config.normalise, "test_zscore"}:
        detector = PerDomain(config.model_copy(update={"normalise": normalise}))
        detector.fit(x, ["source", "target"] * 6)
        together = detector.anomaly_score(tests)
        monkeypatch.setattr(domains, "BLOCK", 4)
        asked = Asked(tests)
        np.testing.assert_allclose(detector.anomaly_score(asked), together, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(detector.anomaly_score(tests), together, rtol=1e-9, atol=1e-12)
        assert asked.sizes == [4, 4, 3]
        monkeypatch.undo()
