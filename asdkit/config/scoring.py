"""Embeddings, and how they are scored."""

from typing import Literal

from pydantic import Field

from asdkit.utils.typed_yaml import Section


class EmbedConfig(Section):
    """One embedding per clip (stage 4)."""

    checkpoint: str = Field("final", pattern=r"^(final|step\d+)$", description="final, or step<N> of train.save_steps")
    segment: Literal["clip", "chunk"] = Field("clip", description="whole clips, or the mean over chunks of one")
    hop_seconds: float = Field(1.0, ge=0.01, description="distance of the chunks, seconds")
    batch_size: int = Field(8, ge=1, description="clips of equal length that go through the encoder together")
    amp: Literal["none", "bfloat16"] = Field("none", description="autocast")


class ScoreConfig(Section):
    """Anomaly detector (paper Sec. IV-E)."""

    backend: Literal["knn"] = Field("knn", description="knn: cosine distance to the nearest training embeddings")
    k: int = Field(1, ge=1, description="neighbours; the score is their mean cosine distance")
    per_section: bool = Field(False, description="one detector per section (machine id) instead of per machine")
    per_domain: bool = Field(True, description="one detector per domain and the smaller score (Eq. 13)")
    normalise: Literal["none", "test_zscore"] = Field(
        "none",
        description="test_zscore: each detector's scores at mean 0, deviation 1 before the smaller is taken; "
        "transductive: uses the statistics of all test clips of the machine; not for official results",
    )
    threshold_percentile: float = Field(
        90.0,
        gt=0,
        lt=100,
        description="decision threshold: percentile of a gamma distribution fitted to scores of training clips",
    )
