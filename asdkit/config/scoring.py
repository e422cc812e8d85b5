"""Embeddings, and how they are scored: a section for each detector."""

from typing import Annotated, Any, Literal

from pydantic import Field

from asdkit.utils.typed_yaml import Section, one_of

NAME = r"^[A-Za-z0-9][A-Za-z0-9_+-]{0,99}$"  # of a folder, and without dots: --set score.NAME.k=3
ARRAY = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$"


class EmbedConfig(Section):
    """One embedding per clip (stage 4)."""

    checkpoint: str = Field("final", pattern=r"^(final|step\d+)$", description="final, or step<N> of train.save_steps")
    segment: Literal["clip", "chunk"] = Field("clip", description="whole clips, or the mean over chunks of one")
    hop_seconds: float = Field(1.0, ge=0.01, description="distance of the chunks, seconds")
    chunks: bool = Field(False, description="also write an archive with a row for each chunk of a clip")
    batch_size: int = Field(8, ge=1, description="clips of equal length that go through the encoder together")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="bfloat16: autocast")


class DetectorConfig(Section):
    """What all detectors are told; each has a section of its own below."""

    array: str = Field(
        "embedding", pattern=ARRAY, description="which of stage 4's arrays it reads: embed/<set>/<array>.ark"
    )
    per_section: bool = Field(False, description="one detector per section (machine id) instead of per machine")
    per_domain: bool = Field(True, description="one detector per domain and the smaller score (paper Eq. 13)")
    normalise: Literal["none", "test_zscore"] = Field(
        "none",
        description="test_zscore: each detector's scores at mean 0, deviation 1 before the smaller is taken; "
        "transductive: uses the statistics of all test clips of the machine; not for official results",
    )
    threshold_percentile: float = Field(
        90.0,
        gt=0,
        lt=100,
        description="decision threshold: percentile of the training clips' own scores (of a gamma distribution fitted "
        "to them, where a detector's scores cannot be negative)",
    )


class KnnConfig(DetectorConfig):
    """Cosine distance to the nearest training embeddings (paper Sec. IV-E)."""

    detector: Literal["knn"] = Field("knn", description="knn: cosine distance to the nearest training embeddings")
    k: int = Field(1, ge=1, description="neighbours; the score is their mean cosine distance")


class GivenConfig(DetectorConfig):
    """Scores that the network gives itself: the smallest value of each clip's array."""

    detector: Literal["given"] = Field("given", description="given: the network's own scores, passed on")
    array: str = Field(
        pattern=r"^score\.[A-Za-z0-9._+-]{1,90}$", description="array of scores: embed/<set>/score.*.ark"
    )
    per_domain: Literal[False] = Field(False, description="nothing is fitted")


class LofConfig(DetectorConfig):
    """Local outlier factor."""

    detector: Literal["lof"] = Field("lof", description="lof: local outlier factor")
    n_neighbors: int = Field(4, ge=1, description="neighbours whose density a clip's is compared with")
    per_domain: bool = Field(False, description="one detector per domain; a domain needs more than n_neighbors clips")


class GmmConfig(DetectorConfig):
    """Negative log-likelihood under a Gaussian mixture."""

    detector: Literal["gmm"] = Field("gmm", description="gmm: Gaussian mixture")
    n_components: int = Field(1, ge=1, description="Gaussians")
    covariance_type: Literal["full", "tied", "diag", "spherical"] = Field("full", description="of each Gaussian")
    reg_covar: float = Field(1e-6, ge=0, description="added to the covariances' diagonal")
    random_state: int = Field(0, ge=0, description="seed of the first guess")
    per_domain: bool = Field(False, description="one detector per domain; a domain needs n_components clips")


class MahalanobisConfig(DetectorConfig):
    """Mahalanobis distance, the covariance shrunk as by Ledoit and Wolf."""

    detector: Literal["mahalanobis"] = Field("mahalanobis", description="mahalanobis: distance by a shrunk covariance")
    per_domain: bool = Field(False, description="one detector per domain; a domain needs two clips")


class IforestConfig(DetectorConfig):
    """Isolation forest."""

    detector: Literal["iforest"] = Field("iforest", description="iforest: isolation forest")
    n_estimators: int = Field(100, ge=1, description="trees")
    max_samples: int = Field(256, ge=2, description="training clips of a tree, at most")
    random_state: int = Field(0, ge=0, description="seed of the splits")
    per_domain: bool = Field(False, description="one detector per domain; a domain needs two clips")


DETECTOR_CONFIGS = (KnnConfig, GivenConfig, LofConfig, GmmConfig, MahalanobisConfig, IforestConfig)
ScoreConfig = one_of("detector", *DETECTOR_CONFIGS)
Scores = dict[Annotated[str, Field(pattern=NAME)], ScoreConfig]


def by_name(score: Any) -> Any:
    """A raw `score:` as name -> settings: plain values directly below `score` are settings of the score `knn`."""
    if not isinstance(score, dict):
        return score
    named = {name: value or {} for name, value in score.items() if value is None or isinstance(value, dict)}
    plain = {key: value for key, value in score.items() if key not in named}
    return {"knn": {**named.pop("knn", {}), **plain}, **named} if plain or not named else named
