"""Embeddings, and how they are scored: a section for each detector."""

from typing import Annotated, Any, Literal

from pydantic import Field

from asdkit.utils.typed_yaml import NO_RESULT, Section, one_of

NAME = r"^[A-Za-z0-9][A-Za-z0-9_+-]{0,99}$"  # of a folder, and without dots: --set score.NAME.k=3
ARRAY = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$"


class EmbedConfig(Section):
    """One embedding per clip (stage 4)."""

    checkpoint: str = Field("final", pattern=r"^(final|step\d+)$", description="final, or step<N> of train.save_steps")
    segment: Literal["clip", "chunk"] = Field("clip", description="whole clips, or the mean over chunks of one")
    hop_seconds: float = Field(1.0, ge=0.01, description="distance of the chunks, seconds")
    chunks: bool = Field(False, description="also write an archive with a row for each chunk of a clip")
    batch_size: int = Field(8, ge=1, description="clips of equal length that go through the encoder together")
    precision: Literal["float32", "tf32", "bfloat16"] = Field(
        "float32", description="bfloat16: autocast; tf32: float32 whose products GPUs make in TF32"
    )
    memory_gb: float | None = Field(
        None,
        gt=0,
        json_schema_extra=NO_RESULT,
        description="memory, GB, that a clip must not need more of in stage 4; null: what the machine has",
    )


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


DETECTOR_CONFIGS = (KnnConfig, GivenConfig)
ScoreConfig = one_of("detector", *DETECTOR_CONFIGS)
Scores = dict[Annotated[str, Field(pattern=NAME)], ScoreConfig]


def another_name(name: str) -> str:
    """What to use instead, in messages, where a score of this name was made with other settings."""
    return (
        f"another name: in the file, or --set score.NEW.KEY=VALUE in place of score.{name}.KEY=VALUE; --stage 5 makes "
        "it beside the old one, nothing is trained"
    )


def by_name(score: Any) -> Any:
    """A raw `score:` as name -> settings: plain values directly below `score` are settings of the score `knn`."""
    if not isinstance(score, dict):
        return score
    named = {name: value or {} for name, value in score.items() if value is None or isinstance(value, dict)}
    plain = {key: value for key, value in score.items() if key not in named}
    return {"knn": {**named.pop("knn", {}), **plain}, **named} if plain or not named else named
