"""Is it the machine, or what records it? What a recording's samples say of its sensor, before any score is believed.

Each check wants a fault that is plain to see and that the machine's training clips do not have: a sensor that has
always clipped is what the score has learnt. Samples are looked at as they were recorded: before another rate, level
or a second microphone changes them.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

BANDS = 24  # between LOWEST and HIGHEST of the Nyquist frequency, each the same number of octaves wide
LOWEST, HIGHEST = 0.01, 0.95
FRAME = 1024  # samples of a spectrum
FLOOR = -140.0  # dB, below what any format holds
STEPS = {"PCM_S8": 2.0**-7, "PCM_U8": 2.0**-7, "PCM_16": 2.0**-15, "PCM_24": 2.0**-23, "PCM_32": 2.0**-31}
RAILS = {"FLOAT": 1.0, "DOUBLE": 1.0, "ULAW": 32124 / 32768, "ALAW": 32256 / 32768}  # highest value, of both signs
NAMES = ("rate", "channels", "level", "offset", "clipped", "rail", "dropouts", "held", "longest", "edge", "cut")
BAND_NAMES = tuple(f"band{number}" for number in range(BANDS))

DROPOUT = 0.004  # seconds of one value: shorter than the 5 ms that it stands for, as a resampler may cut its ends
GAP = 0.05  # seconds of one value that need no sound around them to be none
AROUND = 0.025  # seconds of sound on either side of a dropout
# A top that was cut off: samples on the highest value for each within 2 % of it; on the next four values, where there
# are few; on the next one, where the highest is the format's. A sine has 0.6, 0.8 and 2.4.
PILE, PILE_COARSE, PILE_RAIL = 1.2, 1.25, 3.0
FEWEST = 12  # steps up to the highest value, below which it is a step like the others
TOPS = 8  # samples in runs on the highest value, below which nothing is said
DROP = 25.0  # dB by which a spectrum falls that was cut
WIDTH, TRANSITION = 0.06, 0.03  # of the Nyquist frequency: what lies below a cut, and where it falls
DEEPEST = 0.19  # of the Nyquist frequency: what ends below is rumble over a floor
LOUDER, FAR = 6.0, 30.0  # dB beyond the training clips: with their spectrum, and whatever the spectrum
ALIKE = 2.0  # dB, deviation over bands: a spectrum is that of a training clip but for its level; or what these have
COMPARED = 200  # training clips that tell what they have


class Verdict(NamedTuple):
    """A fault of the sensor: its kind and what was seen, in a sentence."""

    kind: str
    text: str


def measure(samples: np.ndarray, rate: int, subtype: str = "", channels: int = 1) -> dict[str, float]:
    """Statistics of one channel's samples [T], full scale 1, as they were recorded: NAMES and BAND_NAMES, all finite.

    subtype: as libsndfile names it (PCM_16, FLOAT, ...); channels: of the recording. Levels are in dB re full scale
    (a sine of it has -3), times in seconds, frequencies in Hz. Raises ValueError for no samples, NaN and infinity.
    """
    x = np.asarray(samples, np.float64)
    if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
        raise ValueError(f"expected finite samples of one channel, got {x.shape}")
    mean = x.mean()
    found = {"rate": float(rate), "channels": float(channels), "level": _decibel(np.mean((x - mean) ** 2))}
    found |= {"offset": mean, **_tops(x, subtype), **_constant(x, rate)}
    spectrum = _spectrum(x - mean)
    found |= _edge(spectrum, rate)
    edges = np.geomspace(LOWEST, HIGHEST, BANDS + 1) * (len(spectrum) - 1)
    for name, low, high in zip(BAND_NAMES, edges[:-1], edges[1:], strict=True):
        found[name] = _decibel(spectrum[round(low) : max(round(high), round(low) + 1)].mean())
    return {name: float(found[name]) for name in (*NAMES, *BAND_NAMES)}


class Sensor:
    """What is normal for a machine's sensor: statistics of its training clips, `names` [K] of the columns of `values`.

    values [N, K]. Raises ValueError for other names than `measure` gives.
    """

    def __init__(self, names: Sequence[str], values: np.ndarray) -> None:
        if tuple(names) != (*NAMES, *BAND_NAMES) or np.shape(values)[1:] != (len(names),) or not len(values):
            raise ValueError(f"statistics of sensors: expected {', '.join((*NAMES, BAND_NAMES[0]))}, ...")
        self.normal = dict(zip(names, np.asarray(values, np.float64).T, strict=True))
        self.bands = np.stack([self.normal[name] for name in BAND_NAMES], axis=1)  # [N, BANDS]
        some = self.bands[np.linspace(0, len(self.bands) - 1, min(len(self.bands), COMPARED)).round().astype(int)]
        apart = np.std(some[:, None] - some, axis=2) + np.diag(np.full(len(some), np.inf))
        self.alike = max(ALIKE, float(np.percentile(apart.min(axis=1), 95)) if len(some) > 1 else 0.0)

    def verdicts(self, found: Mapping[str, float]) -> list[Verdict]:
        """What is wrong with the sensor of a clip that `measure` found this of; empty: nothing."""
        checks = (self._format(found), self._silence(found), self._clipping(found), self._dropouts(found))
        return [verdict for verdict in (*checks, self._offset(found), self._gain(found), self._cut(found)) if verdict]

    def _format(self, found: Mapping[str, float]) -> Verdict | None:
        for name, unit in (("rate", "Hz"), ("channels", "channels")):
            known = np.unique(self.normal[name])
            if found[name] not in known:
                told = ", ".join(f"{value:g}" for value in known)
                return Verdict(name, f"recorded with {found[name]:g} {unit}, the training clips with {told}")
        return None

    def _silence(self, found: Mapping[str, float]) -> Verdict | None:
        if found["held"] > 0.5 and found["held"] > self.normal["held"].max() + 0.1:
            return Verdict("silence", f"{100 * found['held']:.0f} % of the clip is one and the same value: no signal")
        return None

    def _clipping(self, found: Mapping[str, float]) -> Verdict | None:
        if found["clipped"] <= 2 * self.normal["clipped"].max():
            return None
        where = "the highest value that samples can have" if found["rail"] else "one value, as an amplifier cuts them"
        return Verdict("clipping", f"{100 * found['clipped']:.2g} % of the samples stand at {where}")

    def _dropouts(self, found: Mapping[str, float]) -> Verdict | None:
        if found["dropouts"] > 2 * self.normal["dropouts"].max():
            count = f"{found['dropouts']:.0f} dropout" + "s" * (found["dropouts"] > 1)
            return Verdict("dropouts", f"{count}: samples keep one value, for {1000 * found['longest']:.0f} ms at most")
        if found["held"] <= 0.5 and found["longest"] >= max(GAP, 2 * self.normal["longest"].max()):
            return Verdict("dropouts", f"samples keep one value for {found['longest']:.2f} s: a part without a signal")
        return None

    def _offset(self, found: Mapping[str, float]) -> Verdict | None:
        known = self.normal["offset"]
        away = max(found["offset"] - known.max(), known.min() - found["offset"])
        loud = 10 ** (max(found["level"], float(np.median(self.normal["level"]))) / 20)
        if away > max(0.005, 0.5 * loud, 2 * np.ptp(known)):
            return Verdict(
                "offset", f"a constant of {found['offset']:+.3f} of full scale, {np.median(known):+.3f} in training"
            )
        return None

    def _gain(self, found: Mapping[str, float]) -> Verdict | None:
        known = self.normal["level"]
        away = max(found["level"] - known.max(), known.min() - found["level"], 0.0)
        if away <= LOUDER or found["held"] > 0.5:
            return None
        side = "louder" if found["level"] > known.max() else "quieter"
        heard = f"{found['level']:.0f} dB re full scale, {away:.0f} dB {side} than any training clip"
        difference = np.array([found[name] for name in BAND_NAMES]) - self.bands
        apart = np.std(difference, axis=1).min()
        if apart <= self.alike:
            return Verdict("gain", f"{heard}, with the spectrum of one: the gain was changed")
        if away > FAR:
            return Verdict("gain", f"{heard}: the sensor, its cable or its gain, or the machine is off")
        return None

    def _cut(self, found: Mapping[str, float]) -> Verdict | None:
        # Where training clips end lower or as sharply, that is how this machine is recorded.
        if found["cut"] < DROP or found["edge"] > 0.9 * self.normal["edge"].min():
            return None
        return Verdict(
            "spectrum",
            f"the spectrum ends at {found['edge']:.0f} Hz, {found['cut']:.0f} dB within a few hundred Hz: resampled "
            f"from {2 * found['edge'] / 1000:.0f} kHz or so, or filtered",
        )


def _decibel(power: float | np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.maximum(power, 10 ** (FLOOR / 10)))


def _tops(x: np.ndarray, subtype: str) -> dict[str, float]:
    """Share of samples on a top that was cut off, and whether that is where the format ends."""
    step = STEPS.get(subtype, 0.0)
    share, rail = 0.0, False
    for side in (x, -x):
        top = side.max()
        on = side == top
        ends = RAILS.get(subtype, 1.0 - step if side is x else 1.0)
        at_rail = subtype in {**STEPS, **RAILS} and bool(top >= ends - step / 2)
        lone = (on[1:] & on[:-1]).sum() < TOPS  # a single sample is a peak, but many of them at a rail are not
        if top <= 0 or on.mean() > 0.5 or (lone and not (at_rail and on.sum() >= 4 * TOPS)):
            continue
        values, counts = np.unique(side[side > 0.8 * top], return_counts=True)
        near, pile = counts[values >= 0.98 * top][:-1].sum(), PILE
        if values[-5:][0] < 0.98 * top:  # few values that samples can have: the next four
            near, pile = counts[-5:-1].sum(), PILE_COARSE
        if len(values) < 2 or top < FEWEST * (values[-1] - values[-2]):
            continue
        if at_rail:
            near, pile = counts[-2:-1].sum(), PILE_RAIL * (1 + lone)
        if on.sum() > pile * near:
            share, rail = share + on.mean(), rail or at_rail
    return {"clipped": share, "rail": float(rail)}


def _constant(x: np.ndarray, rate: int) -> dict[str, float]:
    """Where samples keep one value: number of dropouts amid sound, share in long runs, the longest in seconds."""
    step = np.abs(np.diff(x))
    ends = np.concatenate([[-1], np.flatnonzero(step), [len(x) - 1]])  # the last sample of each value
    long = np.flatnonzero(np.diff(ends) >= max(DROPOUT * rate, 3))
    if not len(long):
        return {"dropouts": 0.0, "held": 0.0, "longest": 0.0}
    starts, stops = ends[long] + 1, ends[long + 1] + 1
    lengths = stops - starts
    smallest = step[step > 0].min(initial=1.0)
    ways = np.concatenate([[0.0], np.cumsum(step)])  # of the samples up to each
    side = max(round(AROUND * rate), 1)
    dropouts = 0
    for start, stop in zip(starts, stops, strict=True):
        before, after = max(start - side, 0), min(stop - 1 + side, len(x) - 1)
        if start - before < side or after - (stop - 1) < side:
            continue
        # A quiet recording of few bits keeps its value too: amid sound, samples move by more than a step.
        moved = min(ways[start - 1] - ways[before], ways[after] - ways[stop])
        dropouts += moved > smallest * side
    return {
        "dropouts": float(dropouts),
        "held": float(lengths[lengths >= GAP * rate].sum() / len(x)),
        "longest": float(lengths.max() / rate),
    }


def _spectrum(x: np.ndarray) -> np.ndarray:
    """Mean power spectrum [FRAME // 2 + 1] of x [T]; white noise of power 1 has 1 everywhere."""
    window = np.hanning(FRAME + 1)[:-1]
    if len(x) < FRAME:
        x = np.pad(x, (0, FRAME - len(x)))
    frames = np.lib.stride_tricks.sliding_window_view(x, FRAME)[:: FRAME // 2]
    power = np.zeros(FRAME // 2 + 1)
    for start in range(0, len(frames), 256):
        power += (np.abs(np.fft.rfft(frames[start : start + 256] * window)) ** 2).sum(axis=0)
    return power / len(frames) / (window**2).sum()


def _edge(spectrum: np.ndarray, rate: int) -> dict[str, float]:
    """Frequency above which a spectrum is empty, Nyquist's if none, and by how many dB it falls there."""
    bins, nyquist = len(spectrum), rate / 2
    width, gap, last = round(WIDTH * bins), round(TRANSITION * bins), round(0.98 * bins)
    smooth = np.lib.stride_tricks.sliding_window_view(np.pad(_decibel(spectrum), 2, mode="edge"), 5).mean(axis=1)
    highest = np.maximum.accumulate(smooth[:last][::-1])[::-1]  # at this bin or above it
    places = np.arange(round(DEEPEST * bins), round(0.9 * bins))
    usual = np.median(np.lib.stride_tricks.sliding_window_view(smooth, width), axis=1)  # of the bins from this one on
    falls = usual[places - width] - highest[places + gap]
    best = int(falls.argmax())
    fall = max(float(falls[best]), 0.0)
    return {"edge": places[best] / (bins - 1) * nyquist if fall >= DROP else nyquist, "cut": fall}
