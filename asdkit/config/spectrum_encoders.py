"""The sections of encoders without weights: spectra as they are."""

from typing import Literal

from pydantic import Field, model_validator

from asdkit.config.any_encoder import AnyEncoder


class SpectrumEncoder(AnyEncoder):
    """A spectrum of recordings of any rate; nothing in it is learned."""

    LINEARS = ()

    sample_rate: int = Field(
        16000, ge=1000, description="rate of the recordings, Hz, as dataset.yaml has it; nothing is resampled"
    )
    low: float = Field(20.0, ge=0, description="lower edge of what is heard, Hz")
    high: float | None = Field(None, gt=0, description="upper edge, Hz; null: half the rate")

    @property
    def top(self) -> float:
        """The upper edge in Hz."""
        return self.sample_rate / 2 if self.high is None else self.high

    @model_validator(mode="after")
    def _nothing_to_load(self) -> "SpectrumEncoder":
        if self.checkpoint or self.train or self.layers is not None:
            raise ValueError(f"{self.name!r} has no weights: it takes neither 'checkpoint' nor 'train' nor 'layers'")
        if not self.low < self.top <= self.sample_rate / 2:
            raise ValueError(
                f"'low' {self.low:g} and 'high' {self.top:g}: low < high <= {self.sample_rate / 2:g} Hz, half the "
                "sample_rate, is needed"
            )
        return self

    def folder(self, name: str) -> str:
        """The folder of dumped features: `name`, and every setting that is not the default."""
        common = AnyEncoder.model_fields
        own = {key: value for key, value in self.model_dump(exclude_defaults=True).items() if key not in common}
        return "_".join([name, *(f"{key}_{value}" for key, value in own.items())])


class LogmelEncoder(SpectrumEncoder):
    """The log-mel spectrogram itself: the baseline without a network."""

    name: Literal["logmel"] = Field("logmel", description="logmel")
    bands: int = Field(128, ge=1, description="frequency bands of a frame")
    scale: Literal["mel", "linear"] = Field("mel", description="mel: narrow bands below, wide above; linear: all alike")

    @property
    def frontend(self) -> str:
        """The folder of dumped features."""
        return self.folder("logmel")

    @model_validator(mode="before")
    @classmethod
    def _of_older_versions(cls, raw: object) -> object:
        # They wrote `arch: null` for every encoder.
        return {k: v for k, v in raw.items() if (k, v) != ("arch", None)} if isinstance(raw, dict) else raw

    @model_validator(mode="after")
    def _every_band_has_a_bin(self) -> "LogmelEncoder":
        apart = self.sample_rate / (1 << (25 * self.sample_rate // 1000 - 1).bit_length())
        most = int(2 * (self.top - self.low) / apart) - 1
        if self.scale == "linear" and self.bands > most:
            raise ValueError(
                f"'bands' {self.bands}: bins of the spectrum are {apart:g} Hz apart, so that from {self.low:g} to "
                f"{self.top:g} Hz there can be {most} linear bands at most"
            )
        return self


class EnvelopeEncoder(SpectrumEncoder):
    """The spectrum of the envelope of a band, as bearings are diagnosed with: the baseline for periodic impacts."""

    name: Literal["envelope"] = Field("envelope", description="envelope")
    low: float = Field(1000.0, ge=0, description="lower edge of the band whose envelope is taken, Hz")
    frame_seconds: float = Field(
        0.5,
        gt=0,
        le=60,
        description="length of a frame, every half of which one begins; bins are 1 / frame_seconds wide",
    )
    highest: float = Field(500.0, gt=0, description="of the envelope's spectrum, bins up to this many Hz are kept")

    @property
    def frontend(self) -> str:
        """The folder of dumped features."""
        return self.folder("envelope")

    @property
    def window(self) -> int:
        """Samples of a frame."""
        return round(self.frame_seconds * self.sample_rate)

    @property
    def bins(self) -> int:
        """Bins of the envelope's spectrum, from the first above 0 Hz."""
        return int(self.highest * self.window / self.sample_rate * (1 + 1e-12))

    @model_validator(mode="after")
    def _has_bins(self) -> "EnvelopeEncoder":
        if self.bins < 1 or self.highest > self.top - self.low:
            raise ValueError(
                f"'highest' {self.highest:g}: {1 / self.frame_seconds:g} Hz, one bin of frames of 'frame_seconds', to "
                f"{self.top - self.low:g} Hz, the width of the band 'low' to 'high', are possible"
            )
        return self
