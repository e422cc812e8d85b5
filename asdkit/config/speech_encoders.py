"""The sections of the speech encoders: wav2vec 2.0, UniSpeech, HuBERT and WavLM."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from asdkit.config.any_encoder import SizedEncoder
from asdkit.utils.typed_yaml import Section

CONV_KERNEL, CONV_STRIDE = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)  # of all published ones: a token every 20 ms


class SpeechArch(Section):
    """Size of a speech encoder with random weights, in the words of its `config.json`; the defaults are the base size.

    The large ones have 24 layers, 16 heads, 1024 and 4096 units; wav2vec 2.0 LV-60, HuBERT and WavLM large also
    feat_extract_norm layer and do_stable_layer_norm, and the first two conv_bias.
    """

    hidden_size: int = Field(768, ge=8, description="size of a token; heads and groups of the convolution divide it")
    num_hidden_layers: int = Field(12, ge=1, description="transformer layers")
    num_attention_heads: int = Field(12, ge=1, description="attention heads of a layer")
    intermediate_size: int = Field(3072, ge=8, description="hidden units of a layer's feed-forward part")
    conv_dim: list[int] = Field(
        [512] * len(CONV_KERNEL),
        min_length=len(CONV_KERNEL),
        max_length=len(CONV_KERNEL),
        description="channels of each of the seven convolutions over samples",
    )
    conv_bias: bool = Field(False, description="a bias in these convolutions")
    feat_extract_norm: Literal["group", "layer"] = Field(
        "group", description="group: the first convolution is normalised over the clip; layer: each, at each frame"
    )
    do_stable_layer_norm: bool = Field(False, description="normalise what goes into a layer instead of what comes out")
    num_conv_pos_embeddings: int = Field(128, ge=1, description="width of the position convolution, tokens")
    num_conv_pos_embedding_groups: int = Field(16, ge=1, description="groups of the position convolution")

    @model_validator(mode="after")
    def _fits(self) -> "SpeechArch":
        for name in ("num_attention_heads", "num_conv_pos_embedding_groups"):
            if self.hidden_size % getattr(self, name):
                raise ValueError(f"hidden_size {self.hidden_size} is no multiple of {name}")
        if min(self.conv_dim) < 1:
            raise ValueError(f"conv_dim {self.conv_dim}: each is 1 or more")
        return self


class SpeechEncoder(SizedEncoder):
    """What the sections of the speech encoders have in common.

    `checkpoint` is a folder that transformers wrote, for wav2vec2 and wavlm also the authors' file, or hub:ID, such as
    hub:facebook/wav2vec2-base: fetched once from the Hugging Face hub; hub:ID@REVISION holds on to a revision.
    They take samples, so that `train.specaugment` does not act on them; masks over time and layer drop, which the
    published networks were pre-trained with, are off unless the fields here say otherwise. Dropout is as the
    checkpoint's own configuration says (0.1 in the published ones).
    """

    LINEARS = ("q_proj", "k_proj", "v_proj", "out_proj", "intermediate_dense", "output_dense")
    spectrogram: ClassVar[bool] = False
    on_hub: ClassVar[bool] = True

    arch: SpeechArch | None = Field(None, description="size of the network with random weights (default: base)")
    mask_time_prob: float = Field(
        0.0, ge=0, lt=1, description="share of a clip's tokens that training masks, before overlaps; 0: none"
    )
    mask_time_length: int = Field(10, ge=1, description="tokens of a mask; clips that are shorter are not masked")
    layerdrop: float = Field(0.0, ge=0, lt=1, description="probability of leaving out a layer in training")

    def resolved(self) -> "SpeechEncoder":
        """The base size where neither a checkpoint nor a size is given; no length of masks where there are none."""
        default = type(self).model_fields["mask_time_length"].default
        length = self.mask_time_length if self.mask_time_prob else default
        return super().resolved().model_copy(update={"mask_time_length": length})


class Wav2Vec2Encoder(SpeechEncoder):
    """wav2vec 2.0 (Baevski et al., 2020)."""

    name: Literal["wav2vec2"] = Field("wav2vec2", description="wav2vec2")


class UniSpeechEncoder(SpeechEncoder):
    """UniSpeech (Wang et al., 2021)."""

    name: Literal["unispeech"] = Field("unispeech", description="unispeech")


class HubertEncoder(SpeechEncoder):
    """HuBERT (Hsu et al., 2021)."""

    name: Literal["hubert"] = Field("hubert", description="hubert")


class WavlmEncoder(SpeechEncoder):
    """WavLM (Chen et al., 2022)."""

    name: Literal["wavlm"] = Field("wavlm", description="wavlm")
