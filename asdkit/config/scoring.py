"""Embeddings, and how they are scored: a section for each detector."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from asdkit.config.arrays import Arrays
from asdkit.utils.typed_yaml import NO_RESULT, Section, one_of

NAME = r"^[A-Za-z0-9][A-Za-z0-9_+-]{0,99}$"  # of a folder, and without dots: --set score.NAME.k=3
ARRAY = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$"
Array = Annotated[str, Field(pattern=ARRAY)]


class EmbedConfig(Section):
    """One embedding per clip (stage 4)."""

    checkpoint: str = Field(
        "final",
        pattern=r"^(final|best|average|step\d+)$",
        description="final, step<N> of train.save_steps, or best: the one of these with the highest Pseudo AUC on "
        "data.held_out, chosen without labels; average: the mean of all of them",
    )
    segment: Literal["clip", "chunk"] = Field("clip", description="whole clips, or the mean over chunks of one")
    chunks: bool = Field(
        False, description="also write an archive with a row for each chunk of a clip (of arrays without bands)"
    )
    hop_seconds: float = Field(1.0, ge=0.01, description="distance of the chunks, seconds")
    arrays: Arrays = Field({}, description="more arrays, pooled from the encoder's tokens without training: by name")
    batch_size: int = Field(8, ge=1, description="clips of equal length that go through the encoder together")
    precision: Literal["float32", "tf32", "bfloat16", "int8", "auto"] = Field(
        "float32",
        description="bfloat16: autocast; tf32: float32 whose products GPUs make in TF32; int8: linear layers of the "
        "blocks in 8 bits, on CPUs; auto: chosen before stage 4, the quickest there whose embeddings of some training "
        "clips all have a cosine of 0.999 to float32's",
    )
    memory_gb: float | None = Field(
        None,
        gt=0,
        json_schema_extra=NO_RESULT,
        description="memory, GB, that a clip must not need more of in stage 4; null: what the machine has",
    )


class SmoteConfig(Section):
    """Target clips made between neighbours (SMOTE, Chawla et al. 2002)."""

    amount: float = Field(0.2, gt=0, le=1, description="target clips there are then, as a part of the source clips")
    k: int = Field(2, ge=1, description="nearest target clips that a clip is joined with")
    seed: int = Field(0, ge=0, description="of the places between")


class DetectorConfig(Section):
    """What all detectors are told; each has a section of its own below."""

    def of_domain(self, domain: str) -> "DetectorConfig":
        """The same with what holds for one domain."""
        return self

    @property
    def arrays(self) -> list[str]:
        """The arrays that it reads, by name."""
        return [self.array] if isinstance(self.array, str) else self.array

    @property
    def zeros(self) -> bool:
        """Whether a clip may have an array of zeros, as silence has in some: not where it alone gives a direction."""
        return getattr(self, "distance", None) != "cosine" or len(self.arrays) > 1

    array: Array = Field("embedding", description="which of stage 4's arrays it reads: embed/<set>/<array>.ark")
    per_section: bool = Field(False, description="one detector per section (machine id) instead of per machine")
    per_domain: bool = Field(True, description="one detector per domain and the smaller score (paper Eq. 13)")
    normalise: Literal["none", "zscore", "median", "test_zscore"] = Field(
        "none",
        description="each domain's scores before the smaller is taken. zscore: less the mean of its training clips' "
        "own scores, over the target domain's deviation of them; median: over their median; test_zscore: at mean 0, "
        "deviation 1 over all test clips of the machine, which is transductive: not for official results",
    )
    smote: SmoteConfig | None = Field(None, description="more target clips, made between those there are; null: none")
    threshold_percentile: float = Field(
        90.0,
        gt=0,
        lt=100,
        description="decision threshold: percentile of the training clips' own scores (of a gamma distribution fitted "
        "to them, where a detector's scores cannot be negative)",
    )


class RescaleConfig(Section):
    """Distances on one scale, by how densely training clips lie around each training clip."""

    kind: Literal["ratio", "difference", "variance", "log_variance"] = Field(
        description="distance / density, distance - density, or distance - alpha density with the alpha for which "
        "training clips' values vary least, also of logarithms"
    )
    k: int = Field(1, ge=1, description="neighbours of a training clip, whose mean distance is the density")
    k_target: int | None = Field(None, ge=1, description="the same in the target domain (with per_domain; null: k)")
    rank: float | None = Field(None, gt=0, le=1, description="instead of k: all others, weighted rank^0, rank^1, ...")
    total: bool = Field(False, description="the sum over the neighbours instead of their mean")


class KnnConfig(DetectorConfig):
    """Distance to the nearest training embeddings (paper Sec. IV-E)."""

    detector: Literal["knn"] = Field("knn", description="knn: distance to the nearest training embeddings")
    k: int = Field(1, ge=1, description="neighbours; the score is their mean distance")
    array: Array | Annotated[list[Array], Field(min_length=2)] = Field(
        "embedding",
        description="which of stage 4's arrays it reads: embed/<set>/<array>.ark; several: as if they were bands",
    )
    distance: Literal["cosine", "euclid", "standardised", "whitened"] = Field(
        "cosine",
        description="cosine: 1 - cosine, from 0 to 2; standardised: euclid, each dimension over its deviation among "
        "the training clips, bands of any size weighing alike; whitened: the same, where directions in which these "
        "clips vary together count less",
    )
    join: Literal["mean", "max", "coupled"] = Field(
        "mean",
        description="one score of those of frequency bands; coupled: the nearest by one distance of all bands, cosine: "
        "the mean of theirs, otherwise of the bands side by side",
    )
    rescale: RescaleConfig | None = Field(None, description="distances on one scale; null: as they are")

    @model_validator(mode="after")
    def _fits(self) -> "KnnConfig":
        if self.rescale and self.rescale.k_target is not None and not self.per_domain:
            raise ValueError("rescale.k_target is for per_domain: true")
        if self.rescale and self.distance == "whitened":
            raise ValueError(
                "rescale: a whitening makes training clips lie nearer together than new ones: take "
                "rescale: null, or distance: standardised"
            )
        return self

    def of_domain(self, domain: str) -> "KnnConfig":
        """The same with what holds for one domain."""
        if domain != "target" or not self.rescale or self.rescale.k_target is None:
            return self
        return self.model_copy(update={"rescale": self.rescale.model_copy(update={"k": self.rescale.k_target})})


class GivenConfig(DetectorConfig):
    """Scores that the network gives itself: the smallest value of each clip's array."""

    detector: Literal["given"] = Field("given", description="given: the network's own scores, passed on")
    array: str = Field(
        pattern=r"^score\.[A-Za-z0-9._+-]{1,90}$", description="array of scores: embed/<set>/score.*.ark"
    )
    non_negative: bool = Field(
        False, description="they are never below 0: their threshold comes from a gamma distribution"
    )
    per_domain: Literal[False] = Field(False, description="nothing is fitted")
    smote: None = Field(None, description="nothing is fitted")


class KmeansConfig(DetectorConfig):
    """Distance to the means of clusters of training embeddings."""

    detector: Literal["kmeans"] = Field("kmeans", description="kmeans: distance to the nearest mean of a cluster")
    n_clusters: int = Field(16, ge=1, description="means of a domain; a domain with no more clips keeps all of them")
    distance: Literal["cosine", "euclid"] = Field("cosine", description="cosine: 1 - the product of unit vectors")
    renormalise: bool = Field(False, description="means at unit length again")
    random_state: int = Field(0, ge=0, description="seed of the first guesses")


class LofConfig(DetectorConfig):
    """Local outlier factor."""

    detector: Literal["lof"] = Field("lof", description="lof: local outlier factor")
    n_neighbors: int = Field(4, ge=1, description="neighbours whose density a clip's is compared with")
    per_domain: bool = Field(
        False,
        description="one detector per domain; a domain needs more than n_neighbors clips without a fifth of them, "
        "which thresholds leave out",
    )


class GmmConfig(DetectorConfig):
    """Negative log-likelihood under a Gaussian mixture."""

    detector: Literal["gmm"] = Field("gmm", description="gmm: Gaussian mixture")
    n_components: int = Field(1, ge=1, description="Gaussians")
    covariance_type: Literal["full", "tied", "diag", "spherical"] = Field("full", description="of each Gaussian")
    reg_covar: float = Field(1e-6, ge=0, description="added to the covariances' diagonal")
    random_state: int = Field(0, ge=0, description="seed of the first guess")
    per_domain: bool = Field(
        False,
        description="one detector per domain; a domain needs n_components clips, two at least, without a fifth of "
        "them, which thresholds leave out",
    )


class MahalanobisConfig(DetectorConfig):
    """Mahalanobis distance, the covariance shrunk as by Ledoit and Wolf."""

    detector: Literal["mahalanobis"] = Field("mahalanobis", description="mahalanobis: distance by a shrunk covariance")
    per_domain: bool = Field(
        False, description="one detector per domain; a domain needs three clips: thresholds leave one out"
    )


class IforestConfig(DetectorConfig):
    """Isolation forest."""

    detector: Literal["iforest"] = Field("iforest", description="iforest: isolation forest")
    n_estimators: int = Field(100, ge=1, description="trees")
    max_samples: int = Field(256, ge=2, description="training clips of a tree, at most")
    random_state: int = Field(0, ge=0, description="seed of the splits")
    per_domain: bool = Field(
        False, description="one detector per domain; a domain needs three clips: thresholds leave one out"
    )


DETECTOR_CONFIGS = (KnnConfig, GivenConfig, KmeansConfig, LofConfig, GmmConfig, MahalanobisConfig, IforestConfig)
ScoreConfig = one_of("detector", *DETECTOR_CONFIGS)
Scores = dict[Annotated[str, Field(pattern=NAME)], ScoreConfig]


def another_name(name: str) -> str:
    """What to use instead, in messages, where a score of this name was made with other settings."""
    return (
        f"another name: in the file, or --set score.NEW.KEY=VALUE in place of score.{name}.KEY=VALUE (a new name "
        "starts from the defaults: give all of its settings); --stage 5 makes it beside the old one, nothing is trained"
    )


def by_name(score: Any) -> Any:
    """A raw `score:` as name -> settings: plain values directly below `score` are settings of the score `knn`.

    A score with the name of a detector, and no other word on it, is that detector's.
    """
    if not isinstance(score, dict):
        return score
    kinds = [config.model_fields["detector"].default for config in DETECTOR_CONFIGS]
    named = {name: value or {} for name, value in score.items() if value is None or isinstance(value, dict)}
    plain = {key: value for key, value in score.items() if key not in named}
    named = {"knn": {**named.pop("knn", {}), **plain}, **named} if plain or not named else named
    own = {name for name, value in named.items() if name in kinds and not value.keys() & {"detector", "backend"}}
    return {name: {"detector": name, **value} if name in own else value for name, value in named.items()}
