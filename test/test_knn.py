import numpy as np
import pytest

from asdkit.config import KnnConfig
from asdkit.detectors import DETECTORS, bank
from asdkit.detectors.bank import ROWS
from asdkit.detectors.knn import KNN
from asdkit.detectors.rescale import Rescale
from asdkit.detectors.scoring import PerDomain, score_sets


def embeddings(rows, dim=12, seed=0):
    return np.random.default_rng(seed).normal(0, 3, (rows, dim)).astype(np.float32)


def all_distances(test, train):
    unit = [x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True) for x in (test, train)]
    return 1 - unit[0] @ unit[1].T


@pytest.mark.parametrize("k", [1, 2, 7])
def test_mean_cosine_distance_to_the_k_nearest(k, monkeypatch):
    train, test = embeddings(300), embeddings(ROWS + 30, seed=1)  # two blocks of queries
    full = np.sort(all_distances(test, train), axis=1)[:, :k]
    for block_bytes in (4 * ROWS, 4 * ROWS * 50, 1 << 24):  # 1 (or k), 50 and all training rows per block
        monkeypatch.setattr(bank, "BLOCK_BYTES", block_bytes)
        knn = KNN(k).fit(train)
        distances, indices = knn.neighbours(test)
        np.testing.assert_allclose(distances, full, rtol=0, atol=1e-6)
        again = np.take_along_axis(all_distances(test, train), indices, axis=1)
        np.testing.assert_allclose(again, full, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(knn.anomaly_score(test), distances.mean(axis=1))


@pytest.mark.parametrize(("columns", "k"), [(4096, 5), (1000, 3), (331, 5), (40, 1)])
def test_the_largest_of_rows(columns, k):
    values = np.random.default_rng(columns).integers(0, 500, (50, columns)).astype(np.float32)  # many are equal
    values[3] = -np.inf
    values[:20, -1] = 600 + np.arange(20)  # in what is left over by groups
    place = bank._largest(values, k)
    assert all(len(set(row)) == k for row in place.tolist())
    found = np.sort(np.take_along_axis(values, place, axis=1), axis=1)
    np.testing.assert_array_equal(found, np.sort(values, axis=1)[:, -k:])


def test_neighbours_that_float32_confuses_are_told_apart():
    """Five references at nearly one distance: single precision orders them at random, the scores do not."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=64)
    train = base + rng.normal(size=(60, 64))
    train[:5] = base + 1e-5 * rng.normal(size=(5, 64))  # cosine distances of 1e-10
    detector = KNN(how=Rescale("difference", 2)).fit(train)
    distance = all_distances(train, train)
    np.fill_diagonal(distance, np.inf)
    density = np.maximum(np.sort(distance, axis=1)[:, :2].mean(axis=1), 1e-9)
    found = detector.leave_one_out(train, np.arange(60))
    np.testing.assert_allclose(found, (distance - density).min(axis=1), rtol=0, atol=1e-12)


def test_block_size_does_not_change_a_score(monkeypatch):
    train, test = embeddings(500, 64), embeddings(40, 64, seed=1)
    scores = []
    for columns in (3, 77, 500):
        monkeypatch.setattr(bank, "BLOCK_BYTES", 4 * ROWS * columns)
        scores.append(KNN().fit(train).anomaly_score(test))
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[0], scores[2])


def test_length_does_not_matter_and_near_duplicates_keep_their_digits():
    train = embeddings(50)
    knn = KNN().fit(train)
    np.testing.assert_array_equal(knn.anomaly_score(train), np.zeros(50))
    turned = train[:1].astype(np.float64)
    other = np.zeros_like(turned)
    other[0, :2] = -turned[0, 1], turned[0, 0]  # at a right angle
    turned += 1e-4 * other * np.linalg.norm(turned) / np.linalg.norm(other)
    assert knn.anomaly_score(turned)[0] == pytest.approx(0.5e-8, rel=0.01)  # float32 cosines would give 0 or 6e-8
    np.testing.assert_allclose(
        knn.anomaly_score(1000 * embeddings(5, seed=2)), knn.anomaly_score(embeddings(5, seed=2))
    )
    assert KNN().fit(np.array([[1.0, 0.0]])).anomaly_score(np.array([[-5.0, 0.0]]))[0] == pytest.approx(2)


def test_first_of_equal_neighbours(monkeypatch):
    train = np.tile(embeddings(1), (5, 1))
    monkeypatch.setattr(bank, "BLOCK_BYTES", 4 * ROWS * 2)
    assert KNN().fit(train).neighbours(train[:1])[1].tolist() == [[0]]


def spoil(x, row, value):
    x = x.copy()
    x[row] = value
    return x


@pytest.mark.parametrize(
    "x, words",
    [
        (spoil(embeddings(600), 555, 0), "row 555 holds a zero vector"),
        (spoil(embeddings(600), 3, np.nan), "row 3 holds NaN or infinity"),
        (spoil(embeddings(600), 3, np.inf), "row 3 holds NaN or infinity"),
        (embeddings(600)[0], r"expected a table \[clips, dimensions\] of floats, got \(12,\)"),
        (embeddings(600).astype(int), "of int64"),
    ],
)
def test_unusable_embeddings(x, words):
    with pytest.raises(ValueError, match=f"training embeddings: {words}" if "row" in words else words):
        KNN().fit(x)
    with pytest.raises(ValueError, match=words):
        KNN().fit(embeddings(5)).anomaly_score(x)


def test_other_misuse():
    with pytest.raises(ValueError, match="k = 4 neighbours of 3 training embeddings: lower k"):
        KNN(4).fit(embeddings(3))
    with pytest.raises(ValueError, match="11 dimensions, the training embeddings 12"):
        KNN().fit(embeddings(5)).anomaly_score(embeddings(5, 11))
    with pytest.raises(ValueError, match="call fit"):
        KNN().anomaly_score(embeddings(5))
    with pytest.raises(ValueError, match="k is 0"):
        KNN(0)


def test_smaller_distance_of_the_domains():
    source, target, test = embeddings(25), embeddings(20, seed=1), embeddings(30, seed=2)
    for k in (1, 3):
        config = KnnConfig(k=k)
        found = (
            PerDomain(config).fit(np.vstack([source, target]), ["source"] * 25 + ["target"] * 20).anomaly_score(test)
        )
        parts = [DETECTORS["knn"](config).fit(x).anomaly_score(test) for x in (source, target)]
        np.testing.assert_array_equal(found, np.minimum(*parts))
        assert 0 < (parts[1] < parts[0]).sum() < 30
    alone = PerDomain(KnnConfig(k=3)).fit(source, ["source"] * 25)  # no target clips: no detector for them
    np.testing.assert_array_equal(alone.anomaly_score(test), KNN(3).fit(source).anomaly_score(test))


def rows(machine, section, count, domain="-"):
    names = [f"{machine}-{section}-{domain}-{i}" for i in range(count)]
    return [{"utt": n, "machine": machine, "section": section, "domain": domain} for n in names]


def score_clips(config, train, train_x, test, test_x):
    return score_sets(config, {"dev_train": (train, train_x)}, {"dev_test": (test, test_x)}).scores["dev_test"]


def test_detectors_per_machine_section_and_domain():
    train = rows("fan", "00", 20, "source") + rows("fan", "01", 20, "target") + rows("pump", "00", 20, "source")
    test = rows("pump", "00", 5) + rows("fan", "01", 5)
    train_x, test_x = embeddings(60), embeddings(10, seed=1)

    def expect(config, parts):
        found = score_clips(config, train, train_x, test, test_x)
        distances = all_distances(test_x, train_x)
        sorted_parts = [[np.sort(distances[i, part])[: config.k].mean() for part in parts[i >= 5]] for i in range(10)]
        assert sorted(found) == sorted(row["utt"] for row in test)
        assert [found[row["utt"]] for row in test] == pytest.approx([min(part) for part in sorted_parts], abs=1e-6)

    fan, pump = [range(20), range(20, 40)], [range(40, 60)]
    expect(KnnConfig(k=2), [pump, fan])
    expect(KnnConfig(k=2, per_domain=False), [pump, [range(40)]])
    expect(KnnConfig(k=2, per_section=True), [pump, fan[1:]])


def test_machine_or_section_without_training_clips():
    train, test = rows("fan", "00", 4, "source"), rows("fan", "00", 2) + rows("pump", "01", 2)
    with pytest.raises(ValueError, match="dev_test: no training clips for the machine pump; there are some for fan$"):
        score_clips(KnnConfig(), train, embeddings(4), test, embeddings(4, seed=1))
    test = rows("fan", "01", 2)
    score_clips(KnnConfig(), train, embeddings(4), test, embeddings(2, seed=1))
    with pytest.raises(ValueError, match="machine and section fan 01; there are some for fan 00"):
        score_clips(KnnConfig(per_section=True), train, embeddings(4), test, embeddings(2, seed=1))
    with pytest.raises(ValueError, match="different dimensions: {'dev_train': 12, 'dev_test': 7}"):
        score_clips(KnnConfig(), train, embeddings(4), test, embeddings(2, 7))
    with pytest.raises(ValueError, match=r"fan: k = 5 neighbours of 4 .*\(domain source\)"):
        score_clips(KnnConfig(k=5), train, embeddings(4), test, embeddings(2, seed=1))


def test_coupled_bands_by_euclid_lie_side_by_side():
    bands = np.random.default_rng(0).normal(size=(2, 30, 3, 4))
    train, x = bands[0], bands[1][:7]
    found = KNN(2, "euclid", "coupled").fit(train).anomaly_score(x)
    every = np.sqrt(((x[:, None] - train[None]) ** 2).sum(axis=(2, 3)))
    np.testing.assert_allclose(found, np.sort(every, axis=1)[:, :2].mean(axis=1), rtol=1e-12)


@pytest.mark.parametrize("distance", ["cosine", "euclid"])
@pytest.mark.parametrize("step", [1, -1])
def test_what_is_left_out_has_no_one_in_its_place(distance, step, monkeypatch):
    """Where few are left, nobody is counted twice, however the sorting treats equal values."""
    # Of equal values the last ones are taken for the largest, or the first ones.
    monkeypatch.setattr(np, "argpartition", lambda a, k, axis: np.argsort(step * a, axis=1, kind="stable")[:, ::step])
    x, recordings = embeddings(30), np.repeat(np.arange(10), 3)
    for size in (4, 4 * ROWS * 5, 1 << 24):
        monkeypatch.setattr(bank, "BLOCK_BYTES", size)
        found = KNN(30, distance).fit(x, recordings).leave_one_out(x, recordings)
        for row, score in enumerate(found):
            others = x[recordings != recordings[row]]
            expected = KNN(len(others), distance).fit(others).anomaly_score(x[row : row + 1])[0]
            assert score == pytest.approx(expected, rel=1e-9)
