"""Streams in windows that overlap: scores of files, constant memory, alarms in the order of time."""

import csv
import io
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from detecting import RATE, Levels, bundle, sound, write
from watching import PROGRAM, ROOT, ask

from asdkit.bin import detect
from asdkit.monitor import stream
from asdkit.monitor.detector import Detector
from asdkit.monitor.episodes import Timed, find_episodes
from asdkit.monitor.inputs import find
from asdkit.monitor.verdict import Judge, Wanted

RAW = ["-", "--raw", "s16le", "--rate", str(RATE), "--channels", "1"]


def samples(*faults, seconds=2.0):
    """A stream of a press, a part of so many seconds for each flag: int16."""
    wavs = [sound("press", 50 + number, fault, seconds) for number, fault in enumerate(faults)]
    return np.rint(np.concatenate(wavs) * 32768).astype("<i2")


@pytest.fixture
def rows(tmp_path, monkeypatch, capsys):
    """The table that the program prints."""
    monkeypatch.setattr(Detector, "network", Levels())
    press = bundle(tmp_path / "press.asdkit")

    def made(*words, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit):
            detect.main([str(press), *map(str, words), "--tsv"])
        return list(csv.DictReader(io.StringIO(capsys.readouterr().out), delimiter="\t"))

    return made


def test_windows_of_a_stream_and_of_a_file_score_as_files_of_their_samples(rows, tmp_path):
    wave = samples(False, True, False, False, seconds=2.6)
    cut = ["--clip-seconds", 2, "--hop", 0.75]
    heard = rows(*RAW, *cut, stdin=wave.tobytes())
    starts = [0.75 * number for number in range(12)]  # the last one ends at 10.25 of 10.4 s
    assert [float(row["start"]) for row in heard] == starts and {row["seconds"] for row in heard} == {"2.0"}
    whole = write(tmp_path / "whole.wav", wave)
    read = rows(whole, *cut)
    pieces = [write(tmp_path / f"p/{n:02d}.wav", wave[int(at * RATE) :][: 2 * RATE]) for n, at in enumerate(starts)]
    alone = rows(*pieces)
    for column in ("score", "p_value", "verdict", "nearest", "louder_db", "sensor"):
        wanted = [row[column] for row in alone]
        assert [row[column] for row in heard] == wanted == [row[column] for row in read]
    assert {"normal", "anomalous"} == {row["verdict"] for row in heard}


def test_streams_of_wav_files_overlap_too_and_short_ones_are_a_clip(rows, tmp_path):
    wave = samples(False, False)
    content = write(tmp_path / "a.wav", wave).read_bytes()
    cut = ["--clip-seconds", 2, "--hop", 1]
    assert [float(row["start"]) for row in rows("-", *cut, stdin=2 * content)] == [0, 1, 2, 0, 1, 2]
    assert len(rows("-", *cut, stdin=write(tmp_path / "b.wav", wave[:9000]).read_bytes())) == 1
    judge = Judge(Detector.open(tmp_path / "press.asdkit"), Wanted())
    clips = list(find([str(tmp_path / "a.wav")], judge.ears, 2.0, 1.0))
    assert [clip.seconds for clip in clips] == [0, 1, 2] and [clip.count for clip in clips] == [2 * RATE] * 3


def test_a_day_of_sound_takes_no_more_memory_than_a_minute(tmp_path):
    class Endless:
        def __init__(self, seconds):
            self.left = 2 * 8000 * seconds
            self.largest = 0

        def read(self, count):
            found = min(count, self.left)
            self.left -= found
            self.largest = max(self.largest, found)
            return bytes(found)

    source = Endless(24 * 3600)
    before = len(os.listdir("/proc/self/fd"))
    for count, clip in enumerate(stream.clips(source, stream.Raw(2, 1, 8000, 1), stream.Cut(60.0, 30.0, 10.0))):
        assert os.stat(clip.path).st_size == 44 + 2 * 8000 * 60
        assert clip.seconds == 30.0 * count
    assert count == 2 * 24 * 60 - 2 and source.largest == 2 * 8000 * 60
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_stream_is_kept_in_a_database_with_alarms_in_real_time(tmp_path):
    wave = samples(False, True, True, False, False, False)
    words = [bundle(tmp_path / "press.asdkit"), *RAW, "--clip-seconds", "2", "--hop", "1", "--db", tmp_path / "m.db"]
    words += ["--alarm-after", "2/2"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT}/test", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM.format(patience=1, network="Levels"), *map(str, words)]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    before = time.time()
    process.stdin.write(wave[: 4 * RATE].tobytes())
    process.stdin.flush()
    end = time.monotonic() + 30
    while ask(tmp_path / "m.db", "SELECT count(*) FROM clips") != 3:  # it judges what has come
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.05)
    out, _ = process.communicate(wave[4 * RATE :].tobytes(), timeout=60)
    assert process.returncode == 0 and b"ALARM" in out
    clips = ask(tmp_path / "m.db", "SELECT score, time, time + seconds, start FROM clips ORDER BY id")
    assert [clip[3] for clip in clips] == list(range(11)) and before - 1 <= clips[0][1] <= time.time()
    rule = Judge(Detector.open(tmp_path / "press.asdkit"), Wanted(k=2, n=2)).known["press", "-"].rule
    (wanted,) = find_episodes(rule, [Timed(*clip[:3]) for clip in clips])
    kept = ask(tmp_path / "m.db", "SELECT start, raised, end, peak_score, over FROM episodes")
    assert kept == [(wanted.start, wanted.raised, wanted.end, wanted.peak_score, wanted.over)]
    assert ask(tmp_path / "m.db", "SELECT state, why FROM heartbeat") == [("ended", "the stream ended")]
