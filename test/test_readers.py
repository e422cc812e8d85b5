"""The same signal in every kind of file: the same samples, in the declared unit; broken files name themselves."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from asdkit.signals.audio import AudioReader
from asdkit.signals.content import measure
from asdkit.signals.formats import FORMATS
from asdkit.signals.recording import Signal

SETUP = (Path(__file__).parents[1] / "setup.py").read_text()
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


def write_csv(path: Path, signal: np.ndarray) -> dict[str, object]:
    rows = zip(np.arange(len(signal)) / RATE, signal, strict=True)
    path.write_text("time,speed,acc [m/s²]\n" + "".join(f"{t:.6f},7,{x:.7g}\n" for t, x in rows), encoding="utf-8")
    return {"variable": "acc"}


def write_mat(path: Path, signal: np.ndarray) -> dict[str, object]:
    from scipy.io import savemat

    held = {"more": {"a": signal}, "X097RPM": 1796, "name": "x", "X097_DE_time": signal[:, None]}
    savemat(path, held, do_compression=True)
    return {"scale": 1.0, "variable": "*_DE_time"}


def write_h5(path: Path, signal: np.ndarray) -> dict[str, object]:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file["run1/acc"] = np.stack([signal, -signal]).astype("float32")[:1]
        file["run1/acc"].attrs.update({"units": "m/s^2", "sample_rate": float(RATE)})
        file["run1/name"] = "x"
    return {}


def write_tdms(path: Path, signal: np.ndarray) -> dict[str, object]:
    nptdms = pytest.importorskip("nptdms")
    scale = {"NI_Scaling_Status": "unscaled", "NI_Number_Of_Scales": 1, "NI_Scale[0]_Scale_Type": "Linear"}
    scale |= {"NI_Scale[0]_Linear_Slope": 1.0, "NI_Scale[0]_Linear_Y_Intercept": 5.0}
    scale |= {"NI_Scale[0]_Linear_Input_Source": 0xFFFFFFFF, "wf_increment": 1 / RATE, "Sensitivity": 0.01}
    with nptdms.TdmsWriter(path) as file:
        for part in (signal[:1000], signal[1000:]):
            raw = nptdms.ChannelObject("g", "raw", np.rint(np.nan_to_num(part, posinf=0)).astype("int16"))
            file.write_segment([nptdms.ChannelObject("g", "acc", part - 5, properties=scale), raw])
    return {"variable": "g/acc"}


def write_uff(path: Path, signal: np.ndarray) -> dict[str, object]:
    pyuff = pytest.importorskip("pyuff")
    path.unlink(missing_ok=True)
    told = {"ordinate_axis_units_lab": "m/s^2", "abscissa_inc": 1 / RATE, "abscissa_min": 0.0, "num_pts": len(signal)}
    told |= {"abscissa_spacing": 1, "abscissa_spec_data_type": 17, "ordinate_spec_data_type": 12, "ord_data_type": 4}
    told |= {"orddenom_spec_data_type": 0, "z_axis_spec_data_type": 0, "func_type": 1, "ref_node": 1, "ref_dir": 1}
    for node in (1, 2):
        one = {"id1": "acc", "rsp_node": node, "rsp_dir": 3, "data": signal * node, "x": np.arange(len(signal)) / RATE}
        one |= {"rsp_ent_name": "a", "ref_ent_name": "b", "binary": int(path.suffix == ".unv")}
        pyuff.UFF(str(path)).write_sets(pyuff.prepare_58(**told, **one), "add")
    return {"variable": "acc/1/*"}


def write_parquet(path: Path, signal: np.ndarray) -> dict[str, object]:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    fields = [
        pyarrow.field("t", pyarrow.float64()),
        pyarrow.field("acc", pyarrow.float32(), metadata={"unit": "m/s^2"}),
    ]
    table = pyarrow.table([np.arange(len(signal)) / RATE, signal.astype("float32")], schema=pyarrow.schema(fields))
    parquet.write_table(table, path, row_group_size=700)
    return {}


# Ending -> what writes the signal in m/s^2, and returns what has to be declared beside unit and rate.
WRITERS: dict[str, Callable[[Path, np.ndarray], dict[str, object]]] = {
    ".npy": write_npy,
    ".npz": write_npz,
    ".csv": write_csv,
    ".mat": write_mat,
    ".h5": write_h5,
    ".hdf5": write_h5,
    ".tdms": write_tdms,
    ".uff": write_uff,
    ".unv": write_uff,
    ".parquet": write_parquet,
}


def test_every_kind_of_file_is_tested() -> None:
    assert WRITERS.keys() == FORMATS.keys()
    extras = {extra for _, _, extra, _ in FORMATS.values() if extra}
    assert extras == {"hdf5", "tdms", "uff", "parquet"} and all(f'"{extra}"' in SETUP for extra in extras)


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
    for bad in (np.nan, np.inf) if ending not in (".uff", ".unv") else ():  # pyuff writes numbers instead
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


def test_what_the_file_tells_is_compared_with_what_was_declared(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    declared = write_csv(path, SIGNAL)
    with pytest.raises(ValueError, match=r"a.csv: samples are asked for in g, the file holds m/s²: declare"):
        reader(**declared, unit="g").read(path)
    assert np.allclose(reader(**declared, unit="g", scale=1 / 9.80665).read(path), SIGNAL / 9.80665, atol=1e-4)
    with pytest.raises(ValueError, match="a.csv: 51200 Hz, expected 48000 Hz"):
        reader(**declared, rate=48000, sample_rate=48000).read(path)
    with pytest.raises(ValueError, match=r"a.csv: 2 arrays, there: speed, acc: name one"):
        reader().read(path)


@pytest.mark.parametrize(
    ("text", "rate", "variable"),
    [
        ("1,4\n2,5\n3,6\n", 100, "0"),
        ("t;x\n0,00;1,0\n0,01;2\n0,02;3\n", 100, None),
        ("time (ms)\tx\n0\t1\n4\t2\n8\t3", 250, "x"),
    ],
)
def test_text_tables(tmp_path: Path, text: str, rate: int, variable: str | None) -> None:
    (tmp_path / "a.csv").write_text(text)
    own = AudioReader(rate, signal=Signal(variable, rate, "V", 2.0))
    assert own.read(tmp_path / "a.csv").tolist() == [2, 4, 6]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("t,x\n0,1\n1,2\n2.6,3\n3,4\n", "times are not even: sample 2"),
        ("t,x\n0,1\n0,2\n", "times do not rise"),
        ("time [h],x\n0,1\n1,2\n", "none of s, ms, us"),
        ("a,x\n0,1\n0,one\n", "no table of numbers, after row 1: .*'one'"),
        ("a,x\n0,1\n0\n", "no table of numbers, after row 1"),
        ("a,x\n", "holds no samples"),
    ],
)
def test_text_that_is_no_table(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=f"^{tmp_path}/a.csv: .*{told}"):
        AudioReader(1, signal=Signal("x", 1, "V", 1.0)).read(tmp_path / "a.csv")


def test_integers_of_tdms_tell_no_unit(tmp_path: Path) -> None:
    write_tdms(tmp_path / "a.tdms", SIGNAL)
    with pytest.raises(ValueError, match="a.tdms: samples are asked for in .*tells no unit"):
        reader(variable="g/raw").read(tmp_path / "a.tdms")
    found = reader(variable="g/raw", scale=0.5).read(tmp_path / "a.tdms")
    assert np.array_equal(found, (np.rint(SIGNAL) / 2).astype("float32"))


def test_a_rate_of_six_digits_is_the_declared_one(tmp_path: Path) -> None:
    declared = write_uff(tmp_path / "a.uff", SIGNAL)
    assert "1.95313e-05" in (tmp_path / "a.uff").read_text()  # 51,199.87 Hz
    assert len(reader(**declared).read(tmp_path / "a.uff")) == len(SIGNAL)
    with pytest.raises(ValueError, match="51200 Hz, expected 51201 Hz"):
        reader(**declared, rate=51201, sample_rate=51201).read(tmp_path / "a.uff")


def test_a_rate_of_six_digits_that_no_rounding_mends(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("t,x\n" + "".join(f"{n * 2.44141e-06:.12f},{n}\n" for n in range(50)))
    assert len(AudioReader(409600, signal=Signal("x", 409600, "V", 1.0)).read(tmp_path / "a.csv")) == 50
    with pytest.raises(ValueError, match="409599 Hz, expected 96000"):
        AudioReader(96000, signal=Signal("x", 96000, "V", 1.0)).read(tmp_path / "a.csv")


def test_matlab_files_of_version_7_3(tmp_path: Path) -> None:
    h5py, path = pytest.importorskip("h5py"), tmp_path / "a.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["acc"] = np.stack([SIGNAL, 2 * SIGNAL])  # as MATLAB writes N x 2
        file["text"] = np.array([[104], [105]], "uint16")
        for name, kind in (("acc", b"double"), ("text", b"char")):
            file[name].attrs["MATLAB_class"] = np.bytes_(kind)
    with open(path, "r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")
    own = AudioReader(RATE, 1, signal=Signal(None, RATE, "m/s^2", 1.0))
    assert np.allclose(own.read(path), 2 * SIGNAL, atol=1e-4)


def test_a_missing_package_is_named_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for ending, (_, _, extra, package) in FORMATS.items():
        if extra and ending != ".mat":
            (tmp_path / f"a{ending}").write_bytes(b"MATLAB 7.3" * 50 + b"\n    -1\n")
            monkeypatch.setitem(__import__("sys").modules, package, None)
            with pytest.raises(
                ValueError, match=f"a{ending}: .*{package}, which is not installed: tools/setup_env.sh {extra}"
            ):
                reader().read(tmp_path / f"a{ending}")
