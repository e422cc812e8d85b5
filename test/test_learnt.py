"""What detectors learnt scores as they do, without scikit-learn."""

import numpy as np
import pytest

from asdkit.config import Config
from asdkit.detectors.domains import PerDomain
from asdkit.export.learnt import learnt
from asdkit.monitor.learnt import Learnt
from asdkit.utils.typed_yaml import validate

RANDOM = np.random.default_rng(0)
SETTINGS = [
    {},
    {"k": 3, "per_domain": False},
    {"distance": "euclid", "k": 2, "normalise": "zscore"},
    {"distance": "standardised", "normalise": "median"},
    {"distance": "whitened", "per_domain": False, "normalise": "zscore"},
    {"smote": {"amount": 0.5}},
    *({"rescale": {"kind": kind, "k": 2}} for kind in ("ratio", "difference", "variance", "log_variance")),
    {"distance": "euclid", "rescale": {"kind": "ratio", "rank": 0.8, "total": True, "k_target": 1}},
    {"detector": "kmeans", "n_clusters": 4},
    {"detector": "kmeans", "n_clusters": 4, "renormalise": True, "per_domain": False},
    {"detector": "kmeans", "n_clusters": 3, "distance": "euclid"},
    {"detector": "mahalanobis"},
    {"detector": "lof"},
    {"detector": "lof", "n_neighbors": 2, "per_domain": True, "normalise": "zscore"},
    *(
        {"detector": "gmm", "n_components": 2, "covariance_type": kind, "reg_covar": 1e-3}
        for kind in ("full", "tied", "diag", "spherical")
    ),
    {"detector": "iforest", "n_estimators": 20},
    {"detector": "iforest", "n_estimators": 7, "max_samples": 16, "per_domain": True},
    {"detector": "given", "array": "score.mse"},
]
BANDS = [
    {},
    {"join": "max", "rescale": {"kind": "ratio"}},
    {"join": "coupled"},
    {"join": "coupled", "distance": "standardised", "k": 2},
    {"distance": "standardised", "rescale": {"kind": "variance", "k": 2}},
    {"distance": "whitened", "k": 2},
    {"distance": "whitened", "join": "coupled"},
]


def configured(settings):
    return validate(Config, {"score": {"one": {"detector": "knn", **settings}}}, "test").score["one"]


def restored(detector, domain):
    settings, arrays = learnt(detector, domain)
    return Learnt(detector.config.detector, settings, {name: x.copy() for name, x in arrays.items()})


def check(settings, shape):
    train, new = (RANDOM.normal(1, 1, (count, *shape)).astype(np.float32) for count in (40, 30))
    if len(shape) == 2:
        train[33, 1] = new[2, 0] = 0  # a silent band
    detector = PerDomain(configured(settings)).fit(train, ["target" if i % 4 == 0 else "source" for i in range(40)])
    scores = {}
    for domain, fitted in detector.detectors.items():
        found = restored(detector, domain)
        scores[domain] = found.score(new)
        np.testing.assert_allclose(scores[domain], fitted.anomaly_score(new), rtol=1e-9, atol=1e-9)
        low, width = detector.scale.get(domain, (0.0, 1.0))
        scores[domain] = (scores[domain] - low) / width
        if near := found.nearest(train[:8]):
            inside = np.isin(np.arange(8), detector.members(domain))
            assert (near[1][inside] == np.arange(8)[inside]).all() and near[0][inside].max(initial=0) < 1e-6
            assert set(near[1]) <= set(detector.members(domain))
    np.testing.assert_allclose(np.min(list(scores.values()), axis=0), detector.anomaly_score(new), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_scores_are_those_of_the_detector(settings):
    check(settings, (6,))


@pytest.mark.parametrize("settings", BANDS, ids=str)
def test_scores_of_bands_are_those_of_the_detector(settings):
    check(settings, (3, 5))


def test_clips_of_one_recording_are_left_out_together():
    """Nearest neighbours lie in the same recording: without it they are farther; others' scores stay."""
    middle = np.repeat(RANDOM.normal(0, 1, (10, 1, 6)), 4, axis=1)
    train = (middle + RANDOM.normal(0, 0.01, middle.shape)).reshape(40, 6).astype(np.float32)
    groups, new = np.repeat(np.arange(10), 4), RANDOM.normal(0, 1, (5, 6)).astype(np.float32)
    for settings in ({}, {"rescale": {"kind": "ratio"}}, {"smote": {}}, {"detector": "mahalanobis"}):
        domains = ["target" if i % 4 == 0 else "source" for i in range(40)]
        detector = PerDomain(configured({"per_domain": False, **settings})).fit(train, domains)
        alone, before = detector.self_scores()[1], detector.anomaly_score(new)
        detector.count_as(groups)
        together = detector.self_scores(30)
        assert len(together[0]) == 30
        np.testing.assert_array_equal(detector.anomaly_score(new), before)
        if settings.get("detector") is None:
            assert (together[1] > 20 * alone[together[0]]).mean() > 0.9


def test_trees_without_an_end_are_refused():
    detector = PerDomain(configured({"detector": "iforest"})).fit(RANDOM.normal(size=(20, 3)), ["source"] * 20)
    settings, arrays = learnt(detector, "all")
    arrays["left"][arrays["left"] > 0] = 1
    with pytest.raises(ValueError, match="no end"):
        Learnt("iforest", settings, arrays)
