"""Clips that a person has judged go into a bundle: limits, what is normal, and faults by their names."""

import re
import time

import numpy as np
import pytest
import soundfile
from detecting import CLIPS, RATE, Levels, bundle, sound, write

from asdkit.bin import recalibrate as program
from asdkit.detectors.knn import KNN
from asdkit.monitor import recalibration
from asdkit.monitor.alarms import Alarms
from asdkit.monitor.bundle import Bundle, write_bundle
from asdkit.monitor.database import Database
from asdkit.monitor.detector import Detector
from asdkit.monitor.inputs import find
from asdkit.monitor.recorder import Recorder
from asdkit.monitor.status import status
from asdkit.monitor.verdict import Judge, Verdict, Wanted


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setattr(Detector, "network", Levels())


@pytest.fixture
def press(tmp_path):
    return bundle(tmp_path / "press.asdkit", threshold=3.0)


def tone(seed, hertz, size=0.03):
    """A press at another operating point."""
    at = np.arange(2 * RATE) / RATE
    return (sound("press", seed) + size * np.sin(2 * np.pi * hertz * at)).astype("float32")


def clips(tmp_path, name, *wavs):
    for number, wav in enumerate(wavs):
        write(tmp_path / name / f"{number}.wav", wav)
    return tmp_path / name


def judged(path, folder, **wanted):
    judge = Judge(Detector.open(path), Wanted(**wanted))
    return [judge.judge(clip) for clip in find([str(folder)], judge.ears, None)], judge


def test_clips_that_are_normal_join_and_limits_are_made_anew(press, tmp_path, capsys):
    new = clips(tmp_path, "new", *(tone(80 + number, 2500) for number in range(8)))
    others = clips(tmp_path, "others", *(tone(60 + number, 2500) for number in range(4)))
    old = press.read_bytes()
    assert {one.verdict for one in judged(press, others)[0]} == {"anomalous"}
    program.main([str(press), str(new), "--out", str(tmp_path / "new.asdkit")])
    told = capsys.readouterr().out
    assert press.read_bytes() == old and re.search(r"normal recordings +12 +20\n", told)
    assert re.search(r"of the 8 new ones above it +8 +[0-3]\n", told)
    found, judge = judged(tmp_path / "new.asdkit", others)
    assert sum(one.verdict == "normal" for one in found) >= 3 and all("new/" in one.nearest for one in found)
    machine = judge.detector.machines[0]
    assert len(machine.sensors[1]) == len(machine.spectra["mean"]) == CLIPS + 8
    assert found[0].of == CLIPS + 8
    x = machine.domains["all"][0].arrays["x"]  # scores of clips without themselves, by the definition
    apart = np.linalg.norm(x[:, None].astype(float) - x[None], axis=2) + np.diag(np.full(len(x), np.inf))
    np.testing.assert_allclose(machine.calibration[0], apart.min(axis=1), rtol=1e-6)
    bad = clips(tmp_path, "bad", sound("press", 90, fault=True))
    assert judged(tmp_path / "new.asdkit", bad)[0][0].verdict == "anomalous"
    note = judge.detector.header["card"]["recalibrated"][0]
    assert note["machines"]["press"]["clips"] == [12, 20] and note["of"] == "press.asdkit"


def whitened(path, out):
    """The same bundle with the whitened distance."""
    held = Bundle.open(path)
    arrays = {name: np.asarray(held.array(name)) for name in held.sections}
    header = {key: value for key, value in held.header.items() if key != "sections"}
    knn = KNN(1, "whitened").fit(arrays["press.-.x"])
    own = {"units": knn.units, **knn.whitening._asdict()}
    told = header["machines"][0]["detectors"]["all"]
    told["settings"] = told["settings"] | {"distance": "whitened"}
    told["arrays"] |= {name: f"press.-.{name}" for name in own}
    write_bundle(out, header, arrays | {f"press.-.{name}": array for name, array in own.items()})
    return out


def test_a_whitening_is_learnt_again_with_the_clips_that_join(press, tmp_path, capsys):
    old, out = whitened(press, tmp_path / "whitened.asdkit"), tmp_path / "new.asdkit"
    new = clips(tmp_path, "new", *(tone(80 + number, 2500) for number in range(8)))
    rattle = clips(tmp_path, "rattle", *(tone(40 + number, 5000, 0.1) for number in range(3)))
    program.main([str(old), str(new), "--fault", "rattle", str(rattle), "--out", str(out)])
    machine = judged(out, new)[1].detector.machines[0]
    held = machine.domains["all"][0]
    again = KNN(1, "whitened").fit(held.arrays["x"])
    for name, array in again.whitening._asdict().items():
        np.testing.assert_array_equal(held.arrays[name], array)
    wanted = again.leave_one_out(held.arrays["x"], np.arange(len(held.arrays["x"])))
    np.testing.assert_allclose(machine.calibration[0], wanted, rtol=1e-9)
    others = clips(tmp_path, "others", *(tone(60 + number, 2500) for number in range(4)))
    assert sum(one.verdict == "normal" for one in judged(out, others)[0]) >= 3
    plain = KNN(1, "standardised").fit(held.arrays["x"])
    np.testing.assert_allclose(machine.faults.radii, plain.anomaly_score(machine.faults.knn.x) / 2)
    faulty = clips(tmp_path, "faulty", tone(50, 5000, 0.1))
    assert judged(out, faulty)[0][0].fault[0] == "rattle"


def test_other_detectors_learn_limits_alone(press, tmp_path, monkeypatch):
    monkeypatch.setattr(recalibration, "_keeps", lambda learnt: False)
    detector = Detector.open(press)
    new = recalibration.hear(detector, [str(clips(tmp_path, "new", tone(80, 2500), tone(81, 2500)))], None, None)
    (side,) = recalibration.recalibrate(detector.bundle, new, {}, tmp_path / "b.asdkit")
    assert not side.joined and side.limit[1] > 3 and side.clips == (12, 14)
    after = Detector.open(tmp_path / "b.asdkit").machines[0]
    assert len(after.domains["all"][0].arrays["x"]) == 12
    assert after.calibration[0][-2:].tolist() == [clip.score for clip in new["press", "-"]]


def test_a_known_fault_alarms_by_its_name_whatever_the_score_says(press, tmp_path, capsys):
    rattle = clips(tmp_path, "rattle", *(tone(40 + number, 5000, 0.1) for number in range(3)))
    out = tmp_path / "new.asdkit"
    program.main([str(press), "--fault", "rattle", str(rattle), "--out", str(out)])
    assert "known fault rattle: 3 recordings" in capsys.readouterr().out
    again = clips(tmp_path, "again", tone(50, 5000, 0.1), sound("press", 51), sound("press", 52, fault=True))
    found, judge = judged(out, again, limit=1e9, k=2, n=3)
    assert [one.verdict for one in found] == ["anomalous", "normal", "normal"] and not found[0].anomaly
    assert found[0].fault == ("rattle", str(rattle / found[0].fault[1].rpartition("/")[2]))
    alarms = Alarms(judge.known["press", "-"].rule, judge.detector.machines[0].faults.names)
    events = [alarms.add(one, 0.0, 2.0) for one in found]
    assert [(event.kind, event.what) for event in events[0]] == [("rattle", "begins")]
    held = Database(tmp_path / "m.db")
    recorder = Recorder(held, judge, "t")
    recorder.keep(found[0], time.time(), 0.1)
    assert held.connection.execute("SELECT kind, open FROM episodes").fetchall() == [("rattle", 1)]
    assert '"kind": "rattle"' in held.connection.execute("SELECT payload FROM outbox").fetchone()[0]
    held.close()
    assert any(line.startswith("  KNOWN FAULT rattle  press") for line in status(tmp_path / "m.db"))
    words = ["--fault", "rattle", str(rattle / "0.wav"), "--fault", "rattle", str(rattle / "2.wav")]
    program.main([str(press), *words, "--out", str(tmp_path / "both.asdkit")])
    assert judged(tmp_path / "both.asdkit", again)[1].detector.machines[0].faults.names == ["rattle"] * 2
    squeak = clips(tmp_path, "squeak", tone(45, 7000, 0.1))
    program.main([str(out), "--fault", "squeak", str(squeak), "--out", str(tmp_path / "two.asdkit")])
    assert judged(tmp_path / "two.asdkit", squeak)[0][0].fault[0] == "squeak"
    assert judged(tmp_path / "two.asdkit", again)[0][0].fault[0] == "rattle"


@pytest.mark.parametrize("distance", ["cosine", "whitened"])
def test_normal_clips_that_come_later_bound_a_known_fault(press, tmp_path, distance):
    """In either order a clip of a kind that was confirmed as normal is not taken for the fault beside it."""
    old = whitened(press, tmp_path / "whitened.asdkit") if distance == "whitened" else press
    rattle = clips(tmp_path, "rattle", *(tone(40 + number, 2600, 0.1) for number in range(3)))
    near = clips(tmp_path, "near", *(tone(80 + number, 2600, 0.07) for number in range(8)))
    again = clips(tmp_path, "again", *(tone(60 + number, 2600, 0.07) for number in range(4)))
    first, both = tmp_path / "first.asdkit", tmp_path / "both.asdkit"
    program.main([str(old), "--fault", "rattle", str(rattle), "--out", str(first)])
    assert any(one.fault for one in judged(first, again, limit=1e9)[0])
    program.main([str(first), str(near), "--out", str(both)])
    assert not any(one.fault for one in judged(both, again, limit=1e9)[0])
    program.main([str(old), str(near), "--fault", "rattle", str(rattle), "--out", str(tmp_path / "once.asdkit")])
    radii = [judged(path, again)[1].detector.machines[0].faults.radii for path in (both, tmp_path / "once.asdkit")]
    np.testing.assert_allclose(*radii)


def test_what_cannot_be_learnt_from_is_refused(press, tmp_path):
    new = clips(tmp_path, "new", sound("press", 80))
    known = clips(tmp_path, "known", np.rint(sound("press", 3) * 32768).astype("int16"))
    silent = clips(tmp_path, "silent", 0 * sound("press", 3))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/a.wav").write_bytes(b"RIFF")
    for folder, told in (
        (known, "the bundle knows it: normal_03.wav"),
        (silent, "no signal"),
        (clips(tmp_path, "twice", sound("press", 81), sound("press", 81)), "1.wav: the same sound as .*0.wav"),
        (tmp_path / "broken", "RIFF"),
    ):
        with pytest.raises(ValueError, match=told):
            program.main([str(press), str(folder), "--out", str(tmp_path / "x.asdkit")])
    with pytest.raises(ValueError, match="is there already; nothing is overwritten"):
        program.main([str(press), str(new), "--out", str(press)])
    for words in ([], ["--fault", "rattle"], ["--fault", "sensor", "a"]):
        with pytest.raises(SystemExit):
            program.main([str(press), *words, "--out", str(tmp_path / "x.asdkit")])
    assert not (tmp_path / "x.asdkit").exists()


def test_drift_is_told_from_quiet_clips(press, tmp_path):
    held = Database(tmp_path / "m.db")
    recorder = Recorder(held, Judge(Detector.open(press), Wanted(limit=5.0)))

    def keep(count, pvalue):
        for _ in range(count):
            recorder.keep(Verdict("a", "normal", 0.0, 2.0, "press", "-", 1.0, 5.0, pvalue), time.time(), 0.1)

    def drift():
        return [line for line in status(tmp_path / "m.db") if "DRIFT" in line]

    keep(49, 0.05)
    assert not drift()
    keep(1, 0.05)
    assert "half of 50 quiet clips of the last week score higher than 95 % of the normal ones" in drift()[0]
    keep(60, 0.5)
    assert not drift()
    keep(200, 1.0)
    assert not drift()  # of few clips none is as near to another one as a new clip is
    held.change(lambda rows: rows.execute("UPDATE about SET value = '{\"press -\": 50}' WHERE key = 'normal'"))
    assert "score no higher than any of the normal" in drift()[0]
    held.close()


@pytest.mark.long
def test_motors_that_were_never_heard_are_learnt_and_a_fault_gets_its_name(test_data, tmp_path):
    """Brushless motors: M2 and M3 drift away from what M1 taught, and do less once they are learnt."""
    motors = test_data / "data/real/bldc/dev_data/BLDCMotor"
    taught = [soundfile.read(path)[0] for path in sorted(motors.glob("train/*_M1_*"))]
    press = bundle(tmp_path / "m1.asdkit", threshold=1e9, wavs=taught)
    new = [str(path) for number in (2, 3) for path in sorted(motors.glob(f"train/*_M{number}_*"))]
    faulty = sorted(motors.glob("test/*anomaly*_M2_*propeller*"))  # two of each speed
    healthy = sorted(motors.glob("test/*normal*_M[23]_*"))[::2]
    words = ["--fault", "propeller", *map(str, faulty[:6:2]), "--out", str(tmp_path / "two.asdkit")]
    program.main([str(press), *new, *words])
    middle = []
    for name in ("m1", "two"):
        held = Database(tmp_path / f"{name}.db")
        judge = Judge(Detector.open(tmp_path / f"{name}.asdkit"), Wanted(k=3, n=5))
        recorder = Recorder(held, judge)
        found = [judge.judge(clip) for clip in find(map(str, healthy + faulty[1:6:2]), judge.ears, None)]
        quiet = found[: len(healthy)]
        for one in quiet * 7:
            recorder.keep(one, time.time(), 0.1)
        held.close()
        middle.append(np.median([one.score for one in quiet]))
        told = any("DRIFT" in line for line in status(tmp_path / f"{name}.db"))
        named = [one.fault and one.fault[0] for one in found]
        assert told == (name == "m1"), np.sort([one.pvalue for one in quiet])
    assert middle[1] < middle[0] and named[: len(healthy)] == [None] * len(healthy)
    assert named[len(healthy) :].count("propeller") >= 1, named
    print(named, middle)
