"""What is put around an encoder."""

from typing import Literal

from pydantic import Field

from asdkit.utils.typed_yaml import Section


class LoraConfig(Section):
    """Fully-connected multi-branch LoRA (paper Sec. III-B, Eq. 3)."""

    branches: int = Field(8, ge=1, description="n_l")
    rank: int = Field(32, ge=1, description="r")
    fully_connected: bool = Field(True, description="connect every A_j to every B_i")
    targets: list[str] | None = Field(None, description="linear layers of each transformer block; null: all of them")


class GroupAdapterConfig(Section):
    """Machine-aware group adapter (paper Sec. III-C)."""

    groups: int = Field(32, ge=1, description="n_g")
    position: Literal["mha", "ffn", "transformer"] = Field("mha", description="module whose output it is added to")
    hidden: int = Field(128, ge=1, description="hidden units of the group decision MLP")
    temperature: float = Field(0.1, gt=0, description="tau_1")


class ModelConfig(Section):
    """From tokens to one embedding per clip."""

    lora: LoraConfig | None = Field(None, description="low-rank adaptation; null: off")
    group_adapter: GroupAdapterConfig | None = Field(None, description="group adapter; null: off")
    pooling: Literal["attentive", "mean", "mean_std", "cls"] = Field(
        "attentive", description="tokens to one vector; cls: of those that stand for the clip, if any"
    )
    layers_dim: int = Field(
        256, ge=1, description="hidden units of the network behind encoder.layers: concatenated; Kim et al. name none"
    )
    attention_dim: int = Field(128, ge=1, description="hidden units of the attentive pooling")
    embedding_dim: int | None = Field(256, ge=1, description="size of the projection; null: the pooled vector itself")
