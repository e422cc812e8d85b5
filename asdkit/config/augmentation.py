"""What a training does to its chunks, at random: to their features, to their recordings."""

from typing import Literal

from pydantic import Field, model_validator

from asdkit.utils.typed_yaml import Section

RECORDINGS = ("speed", "mixup", "noise", "gain")  # what is done to recordings, in this order


class SpecAugmentConfig(Section):
    """SpecAugment (paper Sec. IV-D) on the features of each chunk, for encoders of spectrograms alone."""

    time_masks: int = Field(2, ge=0, description="masks over frames")
    time_width: int = Field(20, ge=0, description="largest width of a time mask, frames")
    freq_masks: int = Field(2, ge=0, description="masks over mel bands")
    freq_width: int = Field(16, ge=0, description="largest width of a frequency mask, mel bands")
    warp: int = Field(5, ge=0, description="largest shift of the time warp's centre, frames; 0: no warp")


class NoiseConfig(Section):
    """Noise mixed into the recordings of training chunks."""

    source: str = Field(
        "machines",
        min_length=1,
        description="machines: training clips of other machines; supplemental: noise clips of the corpus, as stage 1 "
        "listed them; or a folder of recordings",
    )
    probability: float = Field(0.5, gt=0, le=1, description="of a chunk to get some (Zheng et al., 2025: 0.5)")
    snr_low: float = Field(5.0, description="dB, drawn evenly from snr_low to snr_high (Zheng et al., 2025: 5 to 20)")
    snr_high: float = Field(20.0, description="dB")

    @model_validator(mode="after")
    def _in_order(self) -> "NoiseConfig":
        if self.snr_low > self.snr_high:
            raise ValueError(f"snr_low {self.snr_low:g} lies above snr_high {self.snr_high:g}")
        return self


class MixupConfig(Section):
    """Mixup (Zhang et al., 2018): sums of two chunks of a batch, of both classes at once."""

    probability: float = Field(0.5, gt=0, le=1, description="of a chunk to be mixed (Wilkinghoff, 2024: 0.5)")
    alpha: float = Field(
        1.0, gt=0, description="the chunk's share follows Beta(alpha, alpha); 1: drawn evenly (Wilkinghoff, 2024)"
    )


class ExchangeConfig(Section):
    """Clips that have taken something from another of the batch, as classes of their own (Wilkinghoff, 2024).

    Of N classes become 3 N: clips as they are; those that have taken something, by their own class; by the other's.
    """

    kind: Literal["featex", "statex"] = Field(
        "featex",
        description="featex: the second half of the embedding; statex: mean and deviation over time of each band of "
        "the features, for encoders of spectrograms alone",
    )
    probability: float = Field(0.5, gt=0, le=1, description="of a clip to take something (Wilkinghoff, 2024: 0.5)")
    weight: float = Field(1.0, gt=0, description="of the loss of these classes (Wilkinghoff, 2024: 1)")


class SpeedConfig(Section):
    """Recordings of some machines played faster or slower, as if they ran so; the class stays."""

    machines: list[str] = Field(min_length=1, description="machines that rotate, and whose speed says nothing")
    factors: list[float] = Field(
        [0.9, 1.0, 1.1],
        min_length=1,
        description="of speed, one of them drawn for each chunk; hundredths, 0.5 to 2 (Ko et al., 2015: 0.9, 1, 1.1)",
    )

    @model_validator(mode="after")
    def _of_a_machine(self) -> "SpeedConfig":
        if wrong := [factor for factor in self.factors if not 0.5 <= factor <= 2]:
            raise ValueError(f"factors: {wrong[0]:g} lies outside 0.5 to 2")
        return self


class GainConfig(Section):
    """Training chunks louder or quieter, as if the microphone stood elsewhere."""

    probability: float = Field(0.5, gt=0, le=1, description="of a chunk to be changed")
    low: float = Field(-6.0, description="dB, drawn evenly from low to high")
    high: float = Field(6.0, description="dB")

    @model_validator(mode="after")
    def _in_order(self) -> "GainConfig":
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} lies above high {self.high:g}")
        return self
