"""What samples say of their sensor: nothing of healthy recordings, the right word of damaged ones."""

import io
import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asdkit.monitor.sensors import BAND_NAMES, NAMES, Sensor, measure
from asdkit.signals.resample import resample, resampled_length

REAL = Path(os.environ.get("ASDKIT_TEST_DATA", "/nowhere")) / "data"
RATE = 16000
FORMATS = [("WAV", name) for name in ("PCM_16", "PCM_24", "PCM_32", "PCM_U8", "FLOAT", "ULAW", "ALAW")]
FORMATS += [("FLAC", name) for name in ("PCM_S8", "PCM_16", "PCM_24")]


@lru_cache
def machine(number: int, seconds: float = 2.0) -> np.ndarray:
    """A hum with harmonics in noise whose spectrum falls, peaks well below full scale."""
    random, t = np.random.default_rng(number), np.arange(int(RATE * seconds)) / RATE
    hum = sum(np.sin(2 * np.pi * 97.3 * k * t + random.uniform(0, 6)) / k for k in range(1, 9))
    white = np.fft.rfft(random.normal(size=len(t)))
    fallen = np.fft.irfft(white / np.maximum(np.fft.rfftfreq(len(t), 1 / RATE) / 800, 1), len(t))
    return 0.08 * (hum / 2 + fallen) * random.uniform(0.8, 1.2)


def recorded(x: np.ndarray, form: str = "WAV", subtype: str = "PCM_16", rate: int = RATE) -> dict[str, float]:
    file = io.BytesIO()
    soundfile.write(file, x, rate, format=form, subtype=subtype)
    file.seek(0)
    samples, _ = soundfile.read(file, always_2d=True)
    return measure(samples[:, 0], rate, subtype, samples.shape[1])


def sensor(*found: dict[str, float]) -> Sensor:
    return Sensor((*NAMES, *BAND_NAMES), np.array([list(one.values()) for one in found]))


def kinds(told: Sensor, found: dict[str, float]) -> list[str]:
    return [verdict.kind for verdict in told.verdicts(found)]


def parts(x: np.ndarray, count: int, seconds: float, held: bool = False) -> np.ndarray:
    """So many parts of a recording without a signal, or with the last value before them."""
    x, length = x.copy(), int(seconds * RATE)
    for start in np.linspace(0.1, 0.8, count) * len(x):
        x[int(start) : int(start) + length] = x[int(start) - 1] if held else 0
    return x


def cut_off(x: np.ndarray, share: float, at: float) -> np.ndarray:
    """The loudest share of samples cut off, the rest scaled so that this is at `at`."""
    top = np.quantile(np.abs(x), 1 - share)
    return np.clip(x / top, -1, 1) * at


def of_rate(x: np.ndarray, rate: int) -> np.ndarray:
    """What is left of a recording after another rate."""
    for old, new in ((RATE, rate), (rate, RATE)):
        common, x = np.gcd(old, new), x.astype("float32")
        total, read = resampled_length(len(x), old, new), x.__getitem__
        x = resample(lambda a, b, read=read: read(slice(a, b)), len(x), 0, total, old // common, new // common)
    return x


DAMAGE = {
    "silence": [lambda x: 0 * x, lambda x: 0 * x + 0.01],
    "clipping": [lambda x: cut_off(x, 0.01, 1), lambda x: cut_off(x, 0.05, 1)],
    "dropouts": [
        lambda x: parts(x, 1, 0.005),
        lambda x: parts(x, 9, 0.005),
        lambda x: parts(x, 3, 0.005, held=True),
        lambda x: parts(x, 1, 0.5),
    ],
    "offset": [lambda x: x + 0.1, lambda x: x - 0.2],
    "gain": [lambda x: x * 0.1, lambda x: x * 3],
    "spectrum": [lambda x: of_rate(x, 8000), lambda x: of_rate(x, 11025)],
}


@pytest.mark.parametrize(("form", "subtype"), FORMATS)
def test_each_damage_is_named_in_each_format(form, subtype):
    told = sensor(*(recorded(machine(number), form, subtype) for number in range(8)))
    assert all(not kinds(told, recorded(machine(number), form, subtype)) for number in range(100, 104))
    for kind, ways in DAMAGE.items():
        if kind == "spectrum" and subtype in ("PCM_U8", "PCM_S8", "ULAW", "ALAW"):
            continue  # their own noise fills what was cut
        for number, way in enumerate(ways):
            found = kinds(told, recorded(way(machine(100 + number)), form, subtype))
            assert kind in found, (kind, number, found)


def test_tops_that_an_amplifier_cut_lie_inside_the_format():
    told = sensor(*(recorded(machine(number)) for number in range(8)))
    for at, words in ((0.3, "as an amplifier cuts them"), (1, "the highest value that samples can have")):
        found = told.verdicts(recorded(cut_off(machine(9), 0.01, at)))
        assert words in next(one.text for one in found if one.kind == "clipping")


def test_single_samples_at_the_rail_are_clipped_where_they_are_many():
    """Noise whose peaks last a sample each."""
    white = [np.random.default_rng(number).normal(size=2 * RATE) for number in range(5)]
    told = sensor(*(recorded(0.02 * x) for x in white))
    assert not recorded(white[0] / np.abs(white[0]).max())["clipped"]
    assert "clipping" in kinds(told, recorded(cut_off(white[4], 0.003, 1)))


@pytest.mark.parametrize("amplitude", [1.0, 0.3, 0.01])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_U8", "FLOAT"])
def test_a_sine_is_not_clipped_and_has_no_dropouts(amplitude, subtype):
    for hz in (31.7, 97.3, 441.3):
        found = recorded(amplitude * np.sin(2 * np.pi * hz * np.arange(RATE * 2) / RATE), subtype=subtype)
        assert not found["clipped"] and (not found["dropouts"] or amplitude == 0.01)


def test_what_training_clips_have_is_normal():
    """A machine that has always been recorded so."""
    for way in (DAMAGE["clipping"][0], DAMAGE["dropouts"][1], DAMAGE["offset"][0], DAMAGE["spectrum"][0]):
        told = sensor(*(recorded(way(machine(number))) for number in range(8)))
        assert not kinds(told, recorded(way(machine(50))))


def test_rate_and_channels():
    told = sensor(*(recorded(machine(number)) for number in range(4)))
    found = recorded(machine(5), rate=44100)
    assert "rate" in kinds(told, found)
    assert "44100 Hz, the training clips with 16000" in told.verdicts(found)[0].text
    both = recorded(np.stack([machine(5)] * 2, axis=1))
    assert kinds(told, both) == ["channels"]


def test_a_machine_that_is_louder_in_a_part_of_the_spectrum_has_no_changed_gain():
    told = sensor(*(recorded(machine(number)) for number in range(8)))
    white = np.random.default_rng(0).normal(size=2 * RATE)
    assert kinds(told, recorded(machine(9) + 0.3 * white / 4)) == []


def test_samples_and_statistics_that_are_none_are_refused():
    for wrong in (np.empty(0), np.zeros((4, 2)), np.array([0.0, np.nan])):
        with pytest.raises(ValueError, match="finite samples of one channel"):
            measure(wrong, RATE)
    with pytest.raises(ValueError, match="statistics of sensors"):
        Sensor(("level",), np.zeros((3, 1)))
    short = measure(np.array([0.5]), RATE, "FLOAT")
    assert list(short) == [*NAMES, *BAND_NAMES] and np.isfinite(list(short.values())).all()


@pytest.mark.skipif(not REAL.exists(), reason="ASDKIT_TEST_DATA is not set")
@pytest.mark.parametrize("pattern", ["real/dcase2020/dev_data/slider/*/*id_00*", "real/bldc/dev_data/*/*/*"])
def test_real_machines_raise_nothing(pattern):
    """Each clip against the others, faulty ones too; two of the motors' have hundreds of samples at the rail."""
    paths = sorted(REAL.glob(f"{pattern}.flac"))[::4]
    found = [recorded(soundfile.read(path)[0]) for path in paths]
    values = np.array([list(one.values()) for one in found])
    for number, (one, path) in enumerate(zip(found, paths, strict=True)):
        told = kinds(Sensor((*NAMES, *BAND_NAMES), np.delete(values, number, axis=0)), one)
        assert told == (["clipping"] if any(f"_anomaly_{clip}_" in path.name for clip in ("0024", "0025")) else []), (
            path
        )
