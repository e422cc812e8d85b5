"""Nearest neighbours over several arrays, each number over its deviation among the training clips."""

import numpy as np
import pytest
import yaml
from corpora import ROOT, write_clip
from stages import LOGMEL, Stages

from asdkit.config import KnnConfig, load_config
from asdkit.detectors import DETECTORS
from asdkit.detectors.knn import KNN, SHARED
from asdkit.detectors.tables import side_by_side
from asdkit.infer.experiment import Experiment
from asdkit.utils.ark import read_ark
from asdkit.utils.files import read_json
from asdkit.utils.typed_yaml import validate

RNG = np.random.default_rng(0)
SMALL, LARGE = RNG.normal(5, 2, (9, 3)), 100 * RNG.normal(1, [1, 2, 3, 4, 5], (9, 5))
NEW = RNG.normal(5, 2, (4, 3)), 100 * RNG.normal(1, 3, (4, 5))


def fitted(*arrays, join="coupled", k=1):
    return KNN(k, "standardised", join).fit(side_by_side(arrays))


def over_deviation(x, train):
    variance = train.var(axis=0)
    return x / np.sqrt((1 - SHARED) * variance + SHARED * variance.mean())


def expected(new, train):
    """Mean square over the dimensions of each array, the sum over arrays."""
    parts = [
        ((over_deviation(x, y)[:, None] - over_deviation(y, y)[None]) ** 2).mean(axis=2)
        for x, y in zip(new, train, strict=True)
    ]
    return np.sqrt(np.array(parts))  # [arrays, M, N]


def test_arrays_of_any_size_and_scale_weigh_alike():
    distances = expected(NEW, (SMALL, LARGE))
    found = fitted(SMALL, LARGE).anomaly_score(side_by_side(NEW))
    np.testing.assert_allclose(found, np.sqrt((distances**2).sum(axis=0)).min(axis=1), rtol=1e-9)
    apart = fitted(SMALL, LARGE, join="mean").anomaly_score(side_by_side(NEW))
    np.testing.assert_allclose(apart, distances.min(axis=2).mean(axis=0), rtol=1e-9)
    alone = fitted(LARGE).anomaly_score(NEW[1])
    np.testing.assert_allclose(alone, distances[1].min(axis=1), rtol=1e-9)


def test_training_clips_meet_the_others_alone():
    found = fitted(SMALL, LARGE).leave_one_out(side_by_side((SMALL, LARGE)), np.arange(9))
    distances = np.sqrt((expected((SMALL, LARGE), (SMALL, LARGE)) ** 2).sum(axis=0))
    np.fill_diagonal(distances, np.inf)
    np.testing.assert_allclose(found, distances.min(axis=1), rtol=1e-9)


def test_scale_and_origin_of_a_number_do_not_count():
    found = fitted(SMALL, LARGE).anomaly_score(side_by_side(NEW))
    again = fitted(3 * SMALL - 7, LARGE).anomaly_score(side_by_side((3 * NEW[0] - 7, NEW[1])))
    np.testing.assert_allclose(again, found, rtol=1e-9)


def test_what_never_varied_counts_when_it_does_and_is_finite():
    still = np.hstack([SMALL, np.full((9, 1), 4.0)])
    detector = fitted(still)
    same, other = np.hstack([NEW[0], np.full((4, 1), 4.0)]), np.hstack([NEW[0], np.full((4, 1), 4.1)])
    assert (detector.anomaly_score(other) > detector.anomaly_score(same)).all()
    np.testing.assert_allclose(detector.anomaly_score(other), expected([other], [still])[0].min(axis=1), rtol=1e-9)
    silent = np.stack([SMALL, np.zeros((9, 3))], axis=1)  # one band of zeros
    np.testing.assert_allclose(fitted(silent).anomaly_score(silent), np.zeros(9), atol=1e-6)


def test_clips_that_are_all_alike_are_refused():
    with pytest.raises(ValueError, match="standardised needs training clips that differ, got 1 that do not"):
        fitted(SMALL[:1])
    with pytest.raises(ValueError, match="dimensions"):
        fitted(SMALL).anomaly_score(NEW[1])


def test_one_array_stays_as_it_is():
    assert side_by_side([SMALL]) is SMALL
    bands = RNG.normal(size=(9, 2, 4))
    joined = side_by_side([SMALL, bands])
    assert joined.shape == (9, 2, 8)
    np.testing.assert_array_equal(joined[:, 0, :3], SMALL)
    np.testing.assert_array_equal(joined[:, 1], bands.reshape(9, 8))
    assert not joined[:, 0, 3:].any()


@pytest.mark.parametrize("array", [["a"], ["a", "b/c"], []])
def test_names_of_arrays(array):
    with pytest.raises(ValueError, match="array"):
        validate(KnnConfig, {"array": array}, "test")


def test_egs_custom_trains_nothing_and_scores_what_it_embeds():
    config = load_config(ROOT / "egs/custom/conf/default.yaml")
    assert config.train.steps == 0 and not config.encoder.train and list(config.score) == ["knn"]
    arrays = {"embedding": ("mean", None)}
    arrays |= {name: (how.pooling, how.layers) for name, how in config.embed.arrays.items()}
    assert [arrays[name] for name in config.score["knn"].array] == [
        ("mean", None),
        ("std", None),
        ("mean", 0),
        ("std", 0),
    ]
    assert (config.score["knn"].distance, config.score["knn"].per_domain) == ("whitened", False)
    assert load_config(ROOT / "egs/custom/conf/lora_ga.yaml").train.steps == 100


ARRAYS = "embed: {arrays: {deviation: {pooling: std}}}\n"
SCORE = "score: {knn: {array: [embedding, deviation], distance: standardised, join: coupled, per_domain: false}}\n"


def test_stages_5_and_6_and_new_recordings_read_several_arrays(tmp_path):
    for split, seeds in (("train", range(6)), ("test", range(6, 10))):
        for seed in seeds:
            name = f"{'anomaly' if seed % 2 and split == 'test' else 'normal'}_{seed}"
            write_clip(tmp_path / f"corpus/press/{split}/{name}.wav", 0.6, seed=seed)
    stages = Stages(tmp_path, LOGMEL + ARRAYS + SCORE)
    stages.run(1)
    folder = stages.exp / "seed0/embed"
    tables = {}
    for name in ("dev_train", "dev_test"):
        own = [read_ark(folder / name / f"{array}.ark") for array in ("embedding", "deviation")]
        tables[name] = side_by_side([np.stack([one[utt] for utt in sorted(one)]) for one in own])
    config = validate(KnnConfig, yaml.safe_load(SCORE)["score"]["knn"], "test")
    wanted = DETECTORS["knn"](config).fit(tables["dev_train"]).anomaly_score(tables["dev_test"])
    lines = (stages.exp / "seed0/score/knn/dev_test.tsv").read_text().splitlines()
    np.testing.assert_allclose([float(line.split()[1]) for line in lines], wanted, rtol=1e-6)
    made = read_json(stages.exp / "seed0/score/knn/.done")
    assert {"dev_train.embedding", "dev_train.deviation", "dev_test.deviation"} <= made.keys()
    recordings = sorted((tmp_path / "corpus/press/test").glob("*.wav"))
    heard = Experiment.open(stages.exp, device="cpu").score(recordings)
    np.testing.assert_allclose(heard, wanted, rtol=1e-4)
    assert Experiment.open(stages.exp, device="cpu").score([]).shape == (0,)
    before = stages.made()
    stages.run(2)
    assert stages.made() == before
    (folder / "dev_test/deviation.scp").unlink()
    with pytest.raises(ValueError, match=r"score.knn: .*dev_test/deviation.scp does not exist: run stage 4"):
        stages.run(5, 5)
