"""asdkit-detect: what goes in, what comes out, how it ends; bundles and networks have tests of their own."""

import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from detecting import CLIPS, RATE, Levels, bundle, sound, write

from asdkit.bin import detect
from asdkit.monitor import verdict
from asdkit.monitor.detector import Detector
from asdkit.monitor.inputs import Unread, belongs, find
from asdkit.monitor.learnt import Learnt
from asdkit.monitor.output import COLUMNS
from asdkit.signals.audio import AudioReader
from asdkit.signals.reference import TreatedReader


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setattr(Detector, "network", Levels())


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the program; its exit code and what it printed."""

    def made(*args, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            detect.main([str(arg) for arg in args])
        return ended.value.code, capsys.readouterr().out

    return made


def table(text):
    lines = text.splitlines()
    assert lines[0].split("\t") == list(COLUMNS)
    return [dict(zip(COLUMNS, line.split("\t"), strict=True)) for line in lines[1:]]


def column(text, name="verdict"):
    return [row[name] for row in table(text)]


@pytest.fixture
def press(tmp_path):
    return bundle(tmp_path / "press.asdkit")


def test_a_folder_in_plain_words(run, press, tmp_path):
    for number in range(3):
        write(tmp_path / f"new/day/{number}.wav", sound("press", 50 + number))
    code, text = run(press, tmp_path / "new")
    assert code == 0 and text.endswith("\n3 recordings: 3 normal\n") and text.count("normal     ") == 3
    write(tmp_path / "new/day/x.wav", sound("press", 60, fault=True))
    code, text = run(press, tmp_path / "new")
    assert code == 1 and text.endswith("\n4 recordings: 3 normal, 1 anomalous\n")
    found = re.search(r"ANOMALOUS  .*x\.wav  score [\d.]+, limit 10: higher than all 12 normal recordings\n(.*)", text)
    assert re.search(
        r"most of all \d\d dB louder between [\d.]+ and 3(\.\d)? kHz, all the time, than normal_", found[1]
    )
    for word in ("p-value", "embedding", "percentile", "array", "knn", "threshold"):
        assert word not in text


def test_one_bad_file_of_many_is_named_and_the_rest_judged(run, press, tmp_path):
    for number in range(5):
        write(tmp_path / f"new/{number}.wav", sound("press", 50 + number))
    (tmp_path / "new/2.wav").write_bytes((tmp_path / "new/3.wav").read_bytes()[:5000])
    code, text = run(press, tmp_path / "new", "--tsv")
    assert code == 2 and column(text) == ["normal"] * 2 + ["not read"] + ["normal"] * 2
    assert table(text)[2]["why"].startswith("truncated: the header promises") and table(text)[2]["score"] == ""
    code, text = run(press, tmp_path / "new", tmp_path / "nix.wav", tmp_path / "new/3.wav")
    assert code == 2 and "NOT READ   " in text and "7 recordings: 5 normal, 2 not read" in text
    (tmp_path / "empty").mkdir()
    code, text = run(press, tmp_path / "empty")
    assert code == 2 and "a folder without recordings (wav and flac)" in text


def test_lines_of_json_say_what_was_compared_with_what(run, press, tmp_path):
    clip = write(tmp_path / "a.wav", sound("press", 60, fault=True))
    code, text = run(press, clip, "--json")
    about, found, end = map(json.loads, text.splitlines())
    assert (code, end["exit"], end["clips"], end["anomalous"]) == (1, 1, 1, 1)
    assert about["machines"][0]["clips"] == CLIPS and about["score"]["detector"] == "knn"
    assert found["recording"] == str(clip) and found["anomaly"] is True and found["score"] > found["limit"] == 10
    assert found["p_value"] == pytest.approx(1 / (CLIPS + 1)) and found["nearest"].startswith("normal_")
    assert found["low_hz"] <= 3000 <= found["high_hz"] and found["louder_db"] > 10 and found["nearest_by"] == "score"
    assert (found["from_s"], found["to_s"]) == (0, 2)


def test_a_score_that_names_no_neighbour_is_compared_by_its_spectrum(press, tmp_path, monkeypatch):
    monkeypatch.setattr(Learnt, "nearest", lambda learnt, x: None)
    judge = verdict.Judge(Detector.open(press), verdict.Wanted())
    clip = write(tmp_path / "a.wav", sound("press", 3))
    found = [judge.judge(clip) for clip in find([str(clip)], judge.ears, None)]
    assert (found[0].nearest, found[0].by, found[0].verdict) == ("normal_03.wav", "spectrum", "normal")


def test_standard_input_is_judged_as_files_are(run, press, tmp_path):
    wavs = [sound("press", 50), sound("press", 60, fault=True), sound("press", 51)]
    files = [write(tmp_path / f"{number}.wav", wav) for number, wav in enumerate(wavs)]
    _, text = run(press, *files, "--tsv")
    wanted = column(text, "score")
    code, text = run(press, "-", "--tsv", stdin=b"".join(file.read_bytes() for file in files))
    assert (
        code == 1 and column(text, "score") == wanted and table(text)[2]["recording"] == "standard input, recording 3"
    )
    samples = b"".join(file.read_bytes()[44:] for file in files)
    code, text = run(press, "-", "--raw", "s16le", "--rate", RATE, "--channels", 1, "--tsv", stdin=samples)
    assert code == 1 and column(text, "score") == wanted and column(text, "start") == ["0.0", "2.0", "4.0"]
    head = files[0].read_bytes()[:44]
    endless = head[:4] + b"\xff" * 4 + head[8:40] + b"\xff" * 4 + samples
    code, text = run(press, "-", "--tsv", stdin=endless)
    assert column(text, "score") == wanted
    flac = write(tmp_path / "0.flac", soundfile.read(files[0], dtype="int16")[0])
    assert column(run(press, "-", "--tsv", stdin=flac.read_bytes())[1], "score") == wanted[:1]


def test_raw_samples_of_every_format(run, press, tmp_path):
    wav, scores = sound("press", 50), {}
    for form, subtype in (("u8", "PCM_U8"), ("s24le", "PCM_24"), ("s32le", "PCM_32"), ("f32le", "FLOAT")):
        file = write(tmp_path / f"{form}.wav", wav, subtype=subtype)
        content = file.read_bytes()
        at = content.index(b"data") + 8
        raw = content[at : at + len(wav) * int(re.sub(r"\D", "", form)) // 8]
        args = ("-", "--raw", form, "--rate", RATE, "--channels", 1, "--tsv")
        scores[form] = column(run(press, *args, stdin=raw)[1], "score")
        assert scores[form] == column(run(press, file, "--tsv")[1], "score")
    assert float(scores["s24le"][0]) == pytest.approx(float(scores["f32le"][0]), abs=1e-3)


def test_streams_are_cut_and_what_is_odd_is_told(run, press):
    raw = ("-", "--raw", "s16le", "--rate", RATE, "--channels", 1, "--tsv")
    samples = np.rint(np.concatenate([sound("press", seed) for seed in range(50, 54)]) * 32768).astype("<i2").tobytes()
    code, text = run(press, *raw, "--clip-seconds", 3, stdin=samples)
    assert column(text, "seconds") == ["3.0", "3.0", "2.0"] and code == 0
    code, text = run(press, *raw, "--clip-seconds", 3.5, stdin=samples)
    assert column(text, "seconds") == ["3.5", "3.5"]  # a rest of one second is no clip
    code, text = run(press, *raw, stdin=samples[:-1])
    assert (
        code == 2 and "middle of a sample" in table(text)[-1]["why"] and column(text) == ["normal"] * 4 + ["not read"]
    )
    code, text = run(press, "-", "--tsv")
    assert code == 2 and table(text)[0]["why"] == "nothing came"
    for stdin in (b"RIFF", b"RIFF\0\0\0\0WAVE", b"RIFF\0\0\0\0WAVEdata\xff\xff\xff\xff123", b"hello, world, hello"):
        code, text = run(press, "-", "--tsv", stdin=stdin)
        assert code == 2 and column(text) == ["not read"], stdin


def test_long_recordings_are_cut_when_asked(run, press, tmp_path):
    wav = np.concatenate([sound("press", 50, seconds=2.5), sound("press", 60, fault=True, seconds=2.5)])
    clip = write(tmp_path / "a.wav", wav)
    code, text = run(press, clip, "--clip-seconds", 2.5, "--tsv")
    assert column(text) == ["normal", "anomalous"] and column(text, "start") == ["0.0", "2.5"] and code == 1
    assert len(column(run(press, clip, "--tsv")[1])) == 1


def test_lists_and_whose_a_recording_is(run, tmp_path):
    both = bundle(tmp_path / "both.asdkit", ("press", "pump"))
    here = write(tmp_path / "pump/test/a.wav", sound("pump", 50))
    named = write(tmp_path / "x/press_3.wav", sound("press", 50))
    untold = write(tmp_path / "x/pressure.wav", sound("press", 50))
    (tmp_path / "list.txt").write_text(f"{here}\n\n{named}\n{untold}\n")
    code, text = run(both, "--list", tmp_path / "list.txt", "--tsv")
    assert code == 2 and column(text, "machine") == ["pump", "press", ""]
    assert column(text) == ["normal", "normal", "not read"] and "--machine press or pump" in table(text)[2]["why"]
    code, text = run(both, untold, "--machine", "press", "--list", "-", stdin=f"{named}\n".encode())
    assert code == 0 and text.endswith("2 recordings: 2 normal\n")
    with pytest.raises(ValueError, match="got machine 'fan'; it holds press, pump"):
        verdict.Judge(Detector.open(both), verdict.Wanted(), "fan")


def test_sections_are_told_by_names_or_by_the_option(run, tmp_path):
    two = bundle(tmp_path / "two.asdkit", sections=("00", "01"))
    clip = write(tmp_path / "section_01_0003.wav", sound("press", 50))
    assert column(run(two, clip, "--machine", "press", "--tsv")[1], "section") == ["01"]
    code, text = run(two, write(tmp_path / "a.wav", sound("press", 50)), "--tsv")
    assert code == 2 and "--section 00 or 01" in table(text)[0]["why"]
    known = [("fan", "00"), ("fan", "01"), ("pump", "-")]
    assert belongs("fan/section_01_0003.wav", known, None, None) == ("fan", "01")
    assert belongs("fan/test/normal_id_00_00000001.wav", known, None, None) == ("fan", "00")
    assert belongs("pump/a.wav", known, None, None) == ("pump", "-")
    assert belongs("a.wav", known, "fan", "01") == ("fan", "01")
    with pytest.raises(ValueError, match="--section 00 or 01"):
        belongs("fan/a.wav", known, None, None)
    with pytest.raises(ValueError, match="no section '02'"):
        belongs("fan/a.wav", known, None, "02")


@pytest.mark.parametrize(
    ("rate", "channels", "message"),
    [(48000, 1, "48000 samples a second, .* 16000: record at"), (RATE, 2, "2 channels, .*: take one out")],
)
def test_recordings_of_another_kind_are_refused_by_name(run, press, tmp_path, rate, channels, message):
    wav = np.stack([sound("press", 50)] * channels, axis=1)
    code, text = run(press, write(tmp_path / "a.wav", wav, rate), "--tsv")
    assert code == 2 and re.match(message, table(text)[0]["why"])


def test_recordings_are_read_as_the_experiment_read_them(tmp_path):
    stereo = np.stack([sound("press", 50, seconds=4), 0.3 * sound("pump", 51, seconds=4)], axis=1)
    path = str(write(tmp_path / "a.wav", stereo, 44100))
    ears = verdict.Judge(Detector.open(bundle(tmp_path / "b", channel=1, resample=True)), verdict.Wanted()).ears
    heard = ears.hear(next(find([path], ears, None)))
    np.testing.assert_array_equal(heard.samples, AudioReader(RATE, 1, True).read(path))
    assert heard.rate == 44100 and len(heard.raw) == len(stereo) and (heard.form, heard.channels) == ("PCM_16", 2)
    treated = bundle(tmp_path / "b", channel=0, resample=True, reference="complex", reference_channel=1)
    ears = verdict.Judge(Detector.open(treated), verdict.Wanted()).ears
    heard = ears.hear(next(find([path], ears, None)))
    np.testing.assert_array_equal(heard.samples, TreatedReader(RATE, 0, True, 1, "complex").read(path))
    clip = list(find([path], ears, 0.5))[1]
    piece = ears.hear(clip)
    np.testing.assert_array_equal(piece.samples, heard.samples[8000:16000])
    assert abs(len(piece.raw) - 22050) <= 1 and clip.seconds == 0.5
    assert isinstance(next(find([str(write(tmp_path / "m.wav", stereo[:, 0], 44100))], ears, 0.5)), Unread)


def test_a_sensor_that_cannot_be_trusted_is_a_finding(run, press, tmp_path):
    wav = sound("press", 50)
    silent, clipped = write(tmp_path / "s.wav", 0 * wav), write(tmp_path / "c.wav", np.clip(40 * wav, -1, 1))
    code, text = run(press, silent, clipped)
    assert code == 1 and text.count("DOUBTFUL") == 2 and "the microphone gives no signal" in text
    assert "too loud for the microphone" in text and "2 recordings: 2 doubtful" in text
    rows = table(run(press, silent, clipped, "--tsv")[1])
    assert rows[0]["sensor"] == "silence" and "clipping" in rows[1]["sensor"] and float(rows[0]["score"]) > 10
    assert json.loads(run(press, silent, "--json")[1].splitlines()[1])["sensor"][0]["kind"] == "silence"


def test_several_clips_in_a_row_are_an_alarm(run, press):
    order = [False, True, False, False, True, True, True, False, False, False]
    wavs = [sound("press", 50 + number, fault) for number, fault in enumerate(order)]
    samples = np.rint(np.concatenate(wavs) * 32768).astype("<i2").tobytes()
    args = (press, "-", "--raw", "s16le", "--rate", RATE, "--channels", 1, "--alarm-after", "2/3")
    code, text = run(*args, stdin=samples)
    assert code == 1 and text.count("  ALARM ") == 1
    assert "alarm over: from 0:00:08 to 0:00:14, 3 clips above the limit" in text
    lines = [json.loads(line) for line in run(*args, "--json", stdin=samples)[1].splitlines()]
    assert [line["clips"] for line in lines if line["type"] == "alarm"] == [[4, 5, 6]]
    alarms = [line["alarm"] for line in lines if line["type"] == "clip"]
    assert alarms == [None] * 5 + ["begins", "goes on", "goes on", "goes on", "over"]
    code, text = run(*args, stdin=samples[: 4 * len(samples) // 10])
    assert code == 0 and "ANOMALOUS" in text  # one clip alone is no alarm
    code, text = run(*args, "--every", 60, stdin=samples[: 7 * len(samples) // 10])
    assert code == 1 and "alarm goes on: press: from 0:04:00 to 0:06:02" in text and "at 0:06:00" in text


def test_limits_that_are_asked_for(run, press, tmp_path):
    clip = write(tmp_path / "a.wav", sound("press", 50))
    assert run(press, clip, "--limit", 0)[0] == 1 and run(press, clip, "--limit", 1e9)[0] == 0
    code, text = run(press, clip, "--false-alarms-per-day", 10, "--every", 3600)
    assert code == 0 and "at most 10 false alarms a day" in text
    wanted = verdict.Wanted(per_day=1)
    with pytest.raises(ValueError, match="press: 1 false alarms a day of 43200 clips.* support .*--every"):
        verdict.Judge(Detector.open(press), wanted)
    none = bundle(tmp_path / "none.asdkit", threshold=None)
    with pytest.raises(ValueError, match="holds no limit: --limit, or --false-alarms-per-day"):
        verdict.Judge(Detector.open(none), verdict.Wanted())


@pytest.mark.parametrize(
    "wrong",
    [
        ["a.asdkit"],
        ["a.asdkit", "a.wav", "--raw", "s16le"],
        ["a.asdkit", "-", "--rate", "16000"],
        ["a.asdkit", "a.wav", "--alarm-after", "3/2"],
        ["a.asdkit", "a.wav", "--every", "0"],
        ["a.asdkit", "a.wav", "--json", "--tsv"],
    ],
)
def test_what_is_typed_wrong_ends_with_2(wrong, capsys):
    with pytest.raises(SystemExit) as ended:
        detect.main(wrong)
    assert ended.value.code == 2 and "error: " in capsys.readouterr().err


def test_a_bundle_that_cannot_be_opened_is_one_line_and_ends_with_2(press, tmp_path, monkeypatch, capsys):
    press.write_bytes(press.read_bytes()[:-1])
    for path, message in ((press, "cut short or damaged"), (tmp_path / "nix", "cannot be read: No such file")):
        monkeypatch.setattr(sys, "argv", ["asdkit-detect", str(path), "a.wav"])
        with pytest.raises(SystemExit) as ended:
            detect.program()
        error = capsys.readouterr().err
        assert ended.value.code == 2 and error.startswith(f"error: {path}: ") and message in error
        assert error.count("\n") == 1


BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "pydantic", "sklearn", "tqdm", "kaldiio", "yaml", "scipy"):
            raise ImportError(name)
sys.meta_path.insert(0, Block())
import asdkit.bin.detect, asdkit.monitor.output, asdkit.monitor.stream, asdkit.signals.reference
import numpy as np
from asdkit.signals.resample import resample
assert len(resample(lambda a, b: np.zeros(b - a, "float32"), 441, 0, 160, 441, 160)) == 160
assert len(asdkit.signals.reference.treat(np.ones(4000, "f4"), np.ones(4000, "f4"), 16000, "complex")) == 4000
"""


def test_nothing_of_it_needs_torch():
    subprocess.run([sys.executable, "-c", BLOCKED], check=True)


def mutated(content, draw):
    """A file with a few bytes changed, cut, or with something put in."""
    content = bytearray(content)
    for _ in range(draw.integers(1, 4)):
        at, length = int(draw.integers(0, min(len(content), 200) if draw.random() < 0.7 else len(content))), 1
        how = draw.integers(0, 4)
        if how == 0:
            content[at] = int(draw.integers(0, 256))
        elif how == 1:
            length = int(draw.choice([2, 4, 8]))
            content[at : at + length] = draw.choice([b"\xff", b"\0", b"\x7f", b"\x80"]) * length
        elif how == 2:
            del content[at:]
        else:
            content[at:at] = draw.bytes(int(draw.integers(1, 100)))
        content = content or bytearray(b"\0")
    return bytes(content)


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.long)])
def test_damaged_recordings_have_a_verdict_or_one_clear_line(run, tmp_path, count):
    press = bundle(tmp_path / "press.asdkit", resample=True)
    draw, files = np.random.default_rng(count), []
    kinds = [("wav", "PCM_16"), ("wav", "FLOAT"), ("wav", "PCM_24"), ("flac", "PCM_16")]
    for number, (ending, subtype) in enumerate(kinds):
        files.append(write(tmp_path / f"{number}.{ending}", sound("press", 50, seconds=0.5), subtype=subtype))
    for number in range(count):
        source = files[number % len(files)]
        path = tmp_path / f"fuzz/{number:04d}{source.suffix}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(mutated(source.read_bytes(), draw))
    before = sorted(tmp_path.rglob("*"))
    code, text = run(press, tmp_path / "fuzz", "--tsv")
    rows = table(text)
    assert len(rows) == count and code == 2 and before == sorted(tmp_path.rglob("*"))
    unread = [row for row in rows if row["verdict"] == "not read"]
    assert count / 5 < len(unread) < count and all(row["why"] for row in unread)
    assert not [row["why"] for row in unread if re.match(r"\w+Error", row["why"])]
    for number in range(0, count, 10):  # the same on standard input
        code, text = run(press, "-", "--tsv", stdin=mutated(files[number % 4].read_bytes(), draw))
        assert code in (0, 1, 2) and table(text)


def test_options_and_recordings_stand_in_any_order(run, press, tmp_path):
    clips = [write(tmp_path / f"new/{name}.wav", sound("press", 50)) for name in ("a", "b")]
    code, text = run(press, "--machine", "press", clips[0], "--tsv", clips[1])
    assert code == 0 and column(text) == ["normal"] * 2
    code, text = run("--tsv", press, "--machine", "press", "-", stdin=clips[0].read_bytes())
    assert code == 0 and column(text) == ["normal"]


@pytest.mark.parametrize(
    "option",
    ["--limit=nan", "--limit=inf", "--limit=x", "--false-alarms-per-day=1e-320", "--every=nan", "--clip-seconds=1e-9"]
    + ["--clip-seconds=1e300"],
)
def test_numbers_that_make_no_sense_are_refused(option, capsys):
    with pytest.raises(SystemExit) as ended:
        detect.main(["a.asdkit", "a.wav", option])
    assert ended.value.code == 2 and f"argument {option.partition('=')[0]}: '" in capsys.readouterr().err


def test_what_is_odd_about_raw_samples_is_refused(run, press):
    for options in (["--rate", "0"], ["--rate", "-5"], ["--channels", "-1"], ["--channels", "70000"]):
        raw = {"--rate": "16000", "--channels": "1"} | dict([options])
        assert run(press, "-", "--raw", "s16le", *[word for pair in raw.items() for word in pair])[0] == 2
    rate, channels = 10_000_000, 1024
    code, text = run(press, "-", "--raw", "s32le", "--rate", rate, "--channels", channels, "--tsv", stdin=b"1234")
    assert code == 2 and "has more than 1024 MB" in table(text)[0]["why"]
    head = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0\xff\xff\xff\xff\0\0\0\0\x02\0\x10\0data\xff\xff\xff\xff"
    code, text = run(press, "-", "--tsv", stdin=head + b"12" * 4000)
    assert code == 2 and "has more than 1024 MB" in table(text)[0]["why"]
    assert run(press, "-", "--list", "-")[0] == 2


def test_closed_standard_input_and_output_are_told(press, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    for what in (["-"], ["--list", "-"]):
        with pytest.raises(ValueError, match="standard input is closed"):
            detect.main([str(press), *what])
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(ValueError, match="standard output is closed"):
        detect.main([str(press), "a.wav"])


def test_what_nobody_foresaw_is_no_finding(press, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["asdkit-detect", str(press), "a.wav"])
    for error in (MemoryError(), RuntimeError("new"), KeyError("x")):
        monkeypatch.setattr(verdict.Judge, "judge", lambda judge, clip, error=error: (_ for _ in ()).throw(error))
        with pytest.raises(SystemExit) as ended:
            detect.program()
        assert ended.value.code == 2 and type(error).__name__ in capsys.readouterr().err


def test_what_of_a_folder_cannot_be_judged_is_no_health(run, press, tmp_path, monkeypatch):
    new = tmp_path / "new"
    write(new / "a.wav", sound("press", 50))
    assert run(press, new)[0] == 0
    (new / "itself.wav").symlink_to("itself.wav")
    os.mkfifo(new / "pipe.wav")  # who opens it waits for a writer
    (new / "b.mp3").write_bytes(b"ID3")
    (new / "shut").mkdir()
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: real(path) if "shut" not in str(path) else real(tmp_path / "nix"))
    code, text = run(press, new, "--tsv")
    why = {row["recording"].rpartition("/")[2]: row["why"] for row in table(text)}
    assert code == 2 and column(text) == ["normal"] + ["not read"] * 4
    assert "in a format that is not read (wav and flac are): convert it" in why["b.mp3"]
    assert why["shut"].startswith("a folder that cannot be read: ") and "a pipe or a device" in why["pipe.wav"]
    assert "cannot be opened: Too many levels" in why["itself.wav"]


def test_names_that_are_no_utf8_are_judged(run, press, tmp_path):
    name = os.fsencode(tmp_path) + b"/b\xfcro.wav"
    os.rename(write(tmp_path / "a.wav", sound("press", 50)), name)
    (tmp_path / "list").write_bytes(b"\xef\xbb\xbf" + name + b"\r\n")
    for args in ([tmp_path], ["--list", tmp_path / "list"]):
        code, text = run(press, *args, "--tsv")
        assert code == 0 and table(text)[0]["recording"].endswith("b\\xfcro.wav")
    code, text = run(press, "--list", "-", stdin=name)
    assert code == 0 and "\\xfc" in text
    with pytest.raises(ValueError, match="--list .*nix: cannot be read: No such file"):
        detect.main([str(press), "--list", str(tmp_path / "nix")])
