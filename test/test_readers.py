"""The same signal in every kind of file: the same samples, in the declared unit; broken files name themselves."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from asdkit.signals.audio import AudioReader
from asdkit.signals.content import measure
from asdkit.signals.formats import FORMATS
from asdkit.signals.recording import Signal

RATE = 51200
SIGNAL = 40 * np.random.default_rng(0).standard_normal(3000)  # m/s^2, far beyond [-1, 1]


def reader(**declared: object) -> AudioReader:
    """For one channel of acceleration."""
    declared = {"unit": "m/s^2", "rate": RATE} | declared
    return AudioReader(declared.pop("sample_rate", RATE), signal=Signal(**declared))


def write_npy(path: Path, signal: np.ndarray) -> dict[str, object]:
    np.save(path, signal)
    return {"scale": 1.0}


def write_npz(path: Path, signal: np.ndarray) -> dict[str, object]:
    np.savez_compressed(path, acc=signal[None], other=signal[:7], name=np.array("x"))
    return {"scale": 1.0, "variable": "acc"}


# Ending -> what writes the signal in m/s^2, and returns what has to be declared beside unit and rate.
WRITERS: dict[str, Callable[[Path, np.ndarray], dict[str, object]]] = {".npy": write_npy, ".npz": write_npz}


def test_every_kind_of_file_is_tested() -> None:
    assert WRITERS.keys() == FORMATS.keys()


@pytest.mark.parametrize("ending", FORMATS)
def test_the_same_samples_from_every_kind_of_file(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    own = reader(**WRITERS[ending](path, SIGNAL))
    assert own.length(path) == own.length(path, content=True) == len(SIGNAL)
    found = own.read(path)
    assert found.dtype == np.float32 and np.allclose(found, SIGNAL, rtol=1e-5, atol=1e-4)
    assert np.array_equal(own.read(path, 1000, 500), found[1000:1500])
    content = measure(path, own.signal)
    assert content.peak == pytest.approx(np.abs(SIGNAL).max(), rel=1e-5) and content.rate == RATE
    assert content.rms[0] == pytest.approx(SIGNAL.std(), rel=1e-5)
    half = reader(**vars(own.signal) | {"full_scale": 200.0})
    assert np.allclose(half.read(path), SIGNAL / 200, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ending", FORMATS)
def test_broken_files_name_themselves(tmp_path: Path, ending: str) -> None:
    whole, cut = tmp_path / f"a{ending}", tmp_path / f"cut{ending}"
    own = reader(**WRITERS[ending](whole, SIGNAL))
    held = whole.read_bytes()
    for content in (b"", b"no such file", held[: len(held) // 3], held[: len(held) * 9 // 10]):
        cut.write_bytes(content)
        with pytest.raises(ValueError, match=f"^{cut}: "):
            own.length(cut, content=True)
            own.read(cut, length=len(SIGNAL))
    with pytest.raises(ValueError, match=f"^{tmp_path}/none{ending}: "):
        own.length(tmp_path / f"none{ending}")
    for bad in (np.nan, np.inf):
        WRITERS[ending](whole, np.where(np.arange(3000) == 2500, bad, SIGNAL))
        with pytest.raises(ValueError, match=f"^{whole}: .*(NaN|finite|empty)"):
            own.length(whole, content=True)


def test_nothing_is_guessed(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, SIGNAL)
    with pytest.raises(
        ValueError, match=r"a.npy: samples are asked for in m/s\^2, and the file tells no unit.*'scale'"
    ):
        reader().read(path)
    with pytest.raises(ValueError, match="a.npy: the file tells no sample rate"):
        AudioReader(RATE).read(path)
    with pytest.raises(ValueError, match=f"a.npy: {RATE} Hz, expected 16000 Hz"):
        reader(scale=1.0, sample_rate=16000).read(path)
    with pytest.raises(ValueError, match="a.npy: floating-point samples up to .* where full scale is 1"):
        reader(unit=None).read(path)
    np.savez(tmp_path / "b.npz", one=SIGNAL, two=SIGNAL)
    with pytest.raises(ValueError, match="b.npz: 2 arrays, there: one, two: name one"):
        reader(scale=1.0).read(tmp_path / "b.npz")
    with pytest.raises(ValueError, match="b.npz: no array 'three'; there: one, two"):
        reader(scale=1.0, variable="three").read(tmp_path / "b.npz")
    assert np.allclose(reader(scale=1.0, variable="t*").read(tmp_path / "b.npz"), SIGNAL)
    for shape in ((100, 30, 2), (30, 30)):
        np.save(path, np.zeros(shape))
        with pytest.raises(ValueError, match="a.npy: an array of .* a recording is"):
            reader(scale=1.0).read(path)
    np.save(path, np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"^[^ ]*a.npy: broken.*objects"):
        reader(scale=1.0).read(path)


def test_integers_by_their_full_scale_or_the_declared_one(tmp_path: Path) -> None:
    path, steps = tmp_path / "a.npy", np.arange(-2000, 2000, 2, dtype=np.int16)
    np.save(path, np.stack([steps, -steps]))
    sound = AudioReader(RATE, 1, signal=Signal(rate=RATE))
    assert np.array_equal(sound.read(path), (-steps / 2**15).astype("float32"))
    found = AudioReader(RATE, 0, signal=Signal(rate=RATE, unit="A", scale=0.25)).read(path)
    assert np.array_equal(found, (steps / 4).astype("float32"))
    np.save(path, steps.astype(np.uint16))
    with pytest.raises(ValueError, match="a.npy: unsigned integers"):
        sound.read(path)


def test_a_sound_file_in_a_unit(tmp_path: Path) -> None:
    import soundfile

    path = tmp_path / "a.wav"
    soundfile.write(path, SIGNAL, RATE, subtype="FLOAT")
    with pytest.raises(ValueError, match="a.wav: floating-point samples up to .*'channels' of the dataset description"):
        AudioReader(RATE).read(path)
    with pytest.raises(ValueError, match=r"a.wav: samples are asked for in m/s\^2, and a sound file tells no unit"):
        reader().read(path)
    with pytest.raises(ValueError, match="a.wav: a sound file has no names"):
        reader(variable="x", scale=1.0).read(path)
    assert np.allclose(reader(scale=1.0).read(path), SIGNAL, atol=1e-5)
    soundfile.write(path, SIGNAL / 400, RATE, subtype="PCM_16")
    assert np.allclose(reader(scale=400.0).read(path), SIGNAL, atol=0.02)
    assert measure(path, Signal(unit="m/s^2", scale=400.0)).peak == pytest.approx(np.abs(SIGNAL).max(), abs=0.02)
