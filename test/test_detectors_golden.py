"""Distances, their rescaling, bands, domains, means: against the numbers of those who published them."""

import numpy as np
import pytest

from asdkit.config import KnnConfig
from asdkit.config.scoring import RescaleConfig
from asdkit.detectors.bank import Bank
from asdkit.detectors.domains import PerDomain
from asdkit.detectors.kmeans import KMeans
from asdkit.detectors.knn import KNN
from asdkit.detectors.rescale import Rescale, density, rescale


class Golden:
    """The stored inputs, and files of results by name."""

    def __init__(self, folder):
        self.folder = folder
        inputs = np.load(folder / "inputs.npz")
        self.source, self.target, self.test, self.inputs = (*(inputs[n] for n in ("source", "target", "test")), inputs)
        self.bank = np.concatenate([self.source, self.target])

    def file(self, name):
        return np.load(self.folder / f"{name}.npz")

    def domains(self, config, form=np.asarray):
        names = ["source"] * len(self.source) + ["target"] * len(self.target)
        names = names if config.per_domain else ["all"] * len(names)
        return PerDomain(config).fit(form(self.bank), names).anomaly_score(form(self.test))


@pytest.fixture(scope="module")
def golden(test_data):
    return Golden(test_data / "golden/detectors")


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def close(got, expected, limit=1e-10):
    return np.abs(got - expected).max() <= limit * np.abs(expected).max()


@pytest.mark.parametrize(("prefix", "distance", "factor"), [("cos", "cosine", 2), ("euc", "euclid", 4)])
def test_local_density(golden, prefix, distance, factor):
    stored = golden.file("local_density")

    def score(how=None):
        return KNN(1, distance, how=how).fit(golden.bank).anomaly_score(golden.test)

    assert close(score() / factor, stored[f"{prefix}_none"])
    for k in (1, 4, 16):
        assert close(score(Rescale("ratio", k)), stored[f"{prefix}_ratio_K{k}"])
        assert close(score(Rescale("difference", k)) / factor, stored[f"{prefix}_difference_K{k}"])
    assert close(score(Rescale("ratio", rank=0.9)), stored[f"{prefix}_ratio_r0.9"])
    assert close(score(Rescale("difference", rank=0.9)) / factor, stored[f"{prefix}_difference_r0.9"])


@pytest.mark.parametrize("name", ["main", "edge"])
def test_variance_minimisation_in_each_band(golden, name):
    stored, bank, test = golden.file("bands_varmin"), golden.inputs, golden.inputs
    bank, test = (
        bank["band_bank" if name == "main" else "edge_bank"],
        test["band_query" if name == "main" else "edge_query"],
    )
    memories = [Bank(bank[:, band], zeros=True) for band in range(8)]
    found = [rescale(memory, Rescale("variance", 4)) for memory in memories]
    densities = np.stack([density(memory, 4) for memory in memories], axis=1)
    assert np.abs(densities / 2 - stored[f"{name}_density64"]).max() < 1e-9  # of copies it is 1e-9, not 0
    assert np.abs([how.alpha for how in found] - stored[f"{name}_alpha64"]).max() < 1e-8
    bands = np.stack([how.score(m, test[:, i], 1) for i, (how, m) in enumerate(zip(found, memories, strict=True))], 1)
    assert np.abs(bands / 2 - stored[f"{name}_main_band64"]).max() < 1e-9
    for join, how, key, limit in (
        ("mean", Rescale("variance", 4), "main64", 1e-9),
        ("mean", None, "raw64", 1e-10),
        ("max", None, "max_band64", 1e-10),
        ("coupled", None, "coupled", 1e-6),  # stored in single precision
    ):
        score = KNN(1, "cosine", join, how).fit(bank).anomaly_score(test)
        assert np.abs(score / 2 - stored[f"{name}_{key}"]).max() < limit, key
    single = KNN(1, "cosine", "mean", Rescale("variance", 4)).fit(bank.astype(np.float32))
    assert np.abs(single.anomaly_score(test.astype(np.float32)) / 2 - stored[f"{name}_main"]).max() < 1e-6


def test_variance_minimisation_of_whole_clips_in_both_spaces_and_of_the_bank_itself(golden):
    stored, own = golden.file("bands_varmin"), np.arange(len(golden.bank))
    knn = KNN(how=Rescale("variance", 4)).fit(golden.bank)
    assert close(knn.anomaly_score(golden.test) / 2, stored["clip_main64"])
    assert knn.rescaled[0].alpha == pytest.approx(float(stored["clip_alpha64"]), abs=1e-10)
    for k in (1, 2):
        knn = KNN(1, "euclid", how=Rescale("log_variance", k)).fit(golden.bank)
        assert np.abs(knn.anomaly_score(golden.test) - stored[f"log_k{k}_score"]).max() < 1e-10
        assert knn.rescaled[0].alpha == pytest.approx(float(stored[f"log_k{k}_alpha"]), abs=1e-10)
        assert close(np.log(density(Bank(golden.bank, "euclid"), k)), stored[f"log_k{k}_density"])
    own, bands = np.arange(40), golden.inputs["band_bank"]
    for key, how in (("self_main", Rescale("variance", 4)), ("self_raw", None)):
        found = KNN(how=how).fit(bands).leave_one_out(bands, own) / 2
        assert np.abs(found - stored[key]).max() < 1e-6, key
    main = KNN(how=Rescale("variance", 4)).fit(bands).leave_one_out(bands, own) / 2
    assert np.quantile(main, 0.9) == pytest.approx(float(stored["self_q90"]), abs=1e-6)


FORMS = {"l2": ("euclid", np.asarray), "l2n": ("euclid", unit), "cos": ("cosine", np.asarray)}


@pytest.mark.parametrize("form", FORMS)
def test_domains(golden, form):
    stored, (distance, prepare) = golden.file("domain_ensemble"), FORMS[form]
    found = golden.domains(KnnConfig(distance=distance, normalise="zscore"), prepare)
    assert close(found, stored[f"zscore_k1_{form}"], 1e-6)
    for total in (True, False):
        name = "sum" if total else "mean"
        for k_target, key in ((4, 9), (3, 3)):  # of five clips there are four others
            how = RescaleConfig(kind="ratio", k=16, k_target=k_target, total=total)
            found = golden.domains(KnnConfig(distance=distance, rescale=how), prepare)
            assert close(found, stored[f"domain_ld_16_{key}_{name}_{form}"], 1e-6)
        how = RescaleConfig(kind="ratio", k=16, total=total)
        found = golden.domains(KnnConfig(distance=distance, rescale=how, per_domain=False), prepare)
        assert close(found, stored[f"ld_k16_{name}_{form}"], 1e-6)


def test_other_rules_of_domains(golden):
    stored, knn = golden.file("domain_ensemble"), golden.file("knn_kmeans")
    found = golden.domains(KnnConfig(distance="euclid", normalise="median"))
    assert close(found, stored["median_min"])
    for k in (1, 3):
        found = golden.domains(KnnConfig(k=k))
        assert close(found, knn[f"rmis_knn{k}_plain_min"])
        found = golden.domains(KnnConfig(k=k, normalise="test_zscore"))
        assert close(found, knn[f"rmis_knn{k}_z_min"], 1e-8)
        assert close(golden.domains(KnnConfig(k=k, distance="euclid")), knn[f"knn{k}_euclid"])
    assert close(golden.domains(KnnConfig(k=3, distance="euclid"), unit) / 2, knn["knn3_cosine"])
    for k in (1, 4):
        how = Rescale("ratio", k)
        found = KNN(1, "euclid", how=how).fit(unit(golden.bank)).anomaly_score(unit(golden.test))
        assert close(found, knn[f"rescale_k{k}"])
        found = KNN(1, "euclid", how=how).fit(golden.bank).anomaly_score(golden.test)
        assert close(found, knn[f"rescale_k{k}_euclid"])


def test_means_of_clusters(golden):
    stored, ratio = golden.file("knn_kmeans"), golden.file("local_density")

    def given(means, distance="cosine"):
        detector = KMeans(100, distance, False, 0)
        detector.means = means  # the fit depends on scikit-learn's version; the score does not
        return detector.anomaly_score(golden.test)

    assert close(given(stored["kmeans16_centers"]), stored["kmeans16_score"])
    target = KMeans(16, "cosine", False, 0).fit(golden.target).anomaly_score(golden.test)  # five clips: all of them
    assert close(np.minimum(given(stored["ssl4asd_centers"]), target), stored["ssl4asd_score"])
    assert close(given(stored["kmeans16_euclid_centers"], "euclid"), stored["kmeans16_euclid_score"])
    smote = KNN(1, "cosine").fit(stored["smote02_k2_target_bank"]).anomaly_score(golden.test)
    source = KNN(1, "cosine").fit(golden.source).anomaly_score(golden.test)
    assert close(np.sqrt(2 * np.minimum(smote, source)) / 2, stored["smote02_k2_score"])
    found = KNN(1, "euclid", how=Rescale("ratio", 1)).fit(ratio["euc_kmeans16_refs"]).anomaly_score(golden.test)
    assert close(found, ratio["euc_kmeans16_ratio_K1"])
    # Means are shorter than 1. Each with what it lacks on an axis of its own has the same products with all others.
    means = ratio["cos_kmeans16_refs"]
    lacking = np.sqrt(np.maximum(1 - (means**2).sum(axis=1), 0))
    bank = np.hstack([means, np.diag(lacking)])
    queries = np.hstack([unit(golden.test), np.zeros((len(golden.test), len(means)))])
    found = KNN().fit(bank).anomaly_score(queries) / 2  # (1 - cosine) / 2 there, and means in float32
    assert close(found, ratio["cos_kmeans16_ratio_K0"], 1e-6)
    found = KNN(how=Rescale("ratio", 1)).fit(bank).anomaly_score(queries)
    assert close(found, ratio["cos_kmeans16_ratio_K1"], 1e-6)


def test_few_clips_are_their_own_means_and_clusters_are_found():
    random = np.random.default_rng(0)
    middles = random.normal(size=(3, 6)) * 5
    x = np.concatenate([middle + 0.01 * random.normal(size=(20, 6)) for middle in middles])
    for distance in ("cosine", "euclid"):
        few = KMeans(16, distance, False, 0).fit(x[:5])
        np.testing.assert_allclose(few.anomaly_score(x[:5]), 0, atol=1e-12)
        clustered = KMeans(3, distance, True, 0).fit(x)
        assert clustered.anomaly_score(middles).max() < 0.01 < clustered.anomaly_score(-middles).min()
    with pytest.raises(ValueError, match="row 0 is a zero vector"):
        KMeans(2, "cosine", False, 0).fit(np.zeros((3, 4)))
