"""Watching a folder: every recording once, every alarm once, whatever happens in between."""

import contextlib
import json
import os
import random
import re
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import datetime

import pytest
from detecting import Levels, bundle, sound, write
from firefox import FOUND as FIREFOX
from firefox import Firefox
from watching import ROOT, RULE, Monitor, ask, check_whole

from asdkit.bin import detect
from asdkit.monitor import database, folder, heartbeat, watching
from asdkit.monitor.database import Database
from asdkit.monitor.detector import Detector
from asdkit.monitor.heartbeat import Heart
from asdkit.monitor.pruning import prune
from asdkit.monitor.recorder import Recorder
from asdkit.monitor.status import status
from asdkit.monitor.tries import MOST, Tries
from asdkit.monitor.verdict import Judge, Wanted
from asdkit.page import watched

CLIPS = "SELECT count(*) FROM clips"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A bundle of a press and an empty folder `in`; what cannot be read is broken after half a second."""
    monkeypatch.setattr(Detector, "network", Levels())
    monkeypatch.setattr(folder, "PATIENCE", 0.5)
    monkeypatch.setattr(watching, "PATIENCE", 0.5)
    bundle(tmp_path / "press.asdkit")
    (tmp_path / "in").mkdir()
    return tmp_path


def watch(place, until, name="m.db", wanted=None, seconds=20, **options):
    """Watch in this process until the answer to a question is so; what was said of clips."""
    end, said = time.monotonic() + seconds, []
    asked = (lambda: ask(place / name, until[0]) == until[1]) if isinstance(until, tuple) else until
    judge = Judge(Detector.open(place / "press.asdkit"), wanted or Wanted())
    made = Database(place / name, lambda: time.monotonic() > end or asked())
    try:
        recorder = Recorder(made, judge)
        heart = Heart(made, options.pop("blind_after", 1e9))
        how = watching.Watching(str(place / "in"), 0.02, **options)
        watching.Watcher(recorder, heart, how, made.stopped, said.append).run()
    finally:
        made.close()
    assert time.monotonic() < end, ask(place / name, "SELECT path, state FROM files")
    return said


def rows(place, name="m.db"):
    return ask(place / name, "SELECT recording, verdict, coalesce(why, '') FROM clips ORDER BY id")


def names(place):
    return [row[0].rpartition("/")[2] for row in rows(place)]


def test_new_files_once_each_also_after_a_restart(place):
    for number in range(3):
        write(place / f"in/day/{number}.wav", sound("press", 50 + number))
    said = watch(place, (CLIPS, 3))
    assert [one.verdict for one in said] == ["normal"] * 3 and names(place) == ["0.wav", "1.wav", "2.wav"]
    write(place / "in/day/3.wav", sound("press", 60, fault=True))
    os.rename(place / "in/day/0.wav", place / "in/day/zero.wav")  # while nobody watched
    os.link(place / "in/day/1.wav", place / "in/day/other.wav")
    (said,) = [watch(place, (CLIPS, 5))]
    assert sorted(names(place)[3:]) == ["3.wav", "other.wav"]
    assert ask(place / "m.db", "SELECT count(*) FROM files WHERE path LIKE '%zero.wav' AND state = 'done'") == 1
    waited = ask(place / "m.db", "SELECT waited FROM clips")
    assert all(0 <= one < 20 for one in waited) and ask(place / "m.db", "SELECT * FROM heartbeat")


def test_files_that_come_in_pieces_are_judged_when_they_are_whole(place):
    whole = write(place / "a.wav", sound("press", 50)).read_bytes()
    (place / "in/half.wav").write_bytes(whole[:9000])
    (place / "in/part.wav.part").write_bytes(whole[:9000])
    (place / "in/.hidden.wav").write_bytes(whole)
    (place / "in/broken.wav").write_bytes(whole[:5000])
    (place / "in/empty.wav").write_bytes(b"")
    (place / "in/song.mp3").write_bytes(b"ID3")

    def more():
        time.sleep(0.3)
        with open(place / "in/half.wav", "ab") as file:
            file.write(whole[9000:])
        (place / "in/part.wav.part").write_bytes(whole)
        os.rename(place / "in/part.wav.part", place / "in/part.wav")

    thread = threading.Thread(target=more)
    thread.start()
    watch(place, (CLIPS, 5))
    thread.join()
    found = {row[0].rpartition("/")[2]: row[1:] for row in rows(place)}
    assert found.pop("half.wav")[0] == "normal" and found.pop("part.wav")[0] == "normal"
    assert {name: one[0] for name, one in found.items()} == dict.fromkeys(found, "not read") and len(found) == 3
    assert found["broken.wav"][1].startswith("truncated") and "is not read" not in found["broken.wav"][1]
    assert "in a format that is not read" in found["song.mp3"][1]
    with open(place / "in/broken.wav", "ab") as file:  # whoever copied it goes on at last: it is another recording
        file.write(whole[5000:])
    watch(place, (CLIPS, 6))
    assert rows(place)[-1][1] == "normal"


def test_what_changes_between_two_looks_is_not_whole(place):
    looks, path = folder.Folder(str(place / "in"), (".wav",)), place / "in/a.wav"
    for size in (1, 2, 3):
        path.write_bytes(b"x" * size)
        assert not looks.look(float(size)).whole
    (file,) = looks.look(4.0).whole
    assert file.path == str(path) and file.changed == 3.0 and not looks.look(5.0).whole


def test_what_is_named_otherwise_or_away_is_told(place):
    looks = folder.Folder(str(place / "in"), (".wav",))
    first = write(place / "in/a.wav", sound("press", 50))
    assert not looks.look(0.0).whole
    os.rename(first, place / "in/b.wav")
    news = looks.look(1.0)
    assert [file.path for file in news.whole] == [str(place / "in/b.wav")] and len(news.moved) == 1
    os.rename(place / "in/b.wav", place / "b.wav")
    assert not looks.look(2.0).gone and not looks.look(2.4).gone  # a mount may be away for a while
    (gone,) = looks.look(2.5).gone
    assert gone.path == str(place / "in/b.wav") and not looks.files
    os.rmdir(place / "in")
    assert looks.look(3.0).closed == [f"{place}/in: No such file or directory"]


def test_what_waited_and_is_away_is_a_row_and_judged_when_it_is_back(place):
    path = write(place / "in/a.wav", sound("press", 50))
    judge, held = Judge(Detector.open(place / "press.asdkit"), Wanted()), Database(place / "m.db")
    watcher = watching.Watcher(
        Recorder(held, judge), Heart(held, 1e9), watching.Watching(str(place / "in")), bool, print
    )
    for _ in range(2):
        watcher.next = 0.0
        watcher._look()
    held.close()  # killed before it was judged
    assert ask(place / "m.db", "SELECT state FROM files") == "waiting"
    os.rename(path, place / "a.wav")
    (found,) = watch(place, (CLIPS, 1))
    assert (found.verdict, found.why) == ("not read", watching.GONE)
    os.rename(place / "a.wav", path)
    (found,) = watch(place, (CLIPS, 2))
    assert found.verdict == "normal" and ask(place / "m.db", "SELECT state FROM files") == "done"


def test_long_recordings_are_taken_up_where_a_kill_left_them(place):
    wav = write(place / "in/a.wav", sound("press", 50, seconds=10))
    os.utime(wav, (1000, 1000))
    watch(place, (CLIPS, 2), clip_seconds=2.0)
    assert ask(place / "m.db", "SELECT state FROM files") == "waiting"
    watch(place, (CLIPS, 5), clip_seconds=2.0)
    assert ask(place / "m.db", "SELECT start, time FROM clips") == [(2.0 * n, 990.0 + 2 * n) for n in range(5)]
    assert ask(place / "m.db", "SELECT state FROM files") == "done"


@pytest.mark.parametrize("kills", [3, pytest.param(30, marks=pytest.mark.long)])
def test_killed_at_any_moment_nothing_is_lost_or_doubled(place, kills):
    draw, paths, over = random.Random(kills), [], threading.Event()
    contents = [write(place / f"{n}.wav", sound("press", 50 + n, fault=n == 3)).read_bytes() for n in range(4)]
    script = [draw.choice((0, 1, 2, 3, 3, 3)) for _ in range(100)]

    def arrive():
        while not over.is_set():
            path = place / f"in/{len(paths):04d}.wav"
            content, how = contents[script[len(paths) % 100]], draw.random()
            paths.append(path)
            with open(path if how < 0.7 else f"{path}.part", "wb") as file:
                file.write(content[:20000])
                file.flush()
                time.sleep(draw.random() * 0.05)
                file.write(content[20000:])
            if how >= 0.7:
                os.rename(f"{path}.part", path)
            time.sleep(draw.random() * 0.2)

    thread = threading.Thread(target=arrive)
    thread.start()
    monitor = Monitor(place / "press.asdkit", place / "in", place / "m.db", "--alarm-after", "2/3", patience=5)
    try:
        for _ in range(kills):
            monitor.start()
            before = ask(place / "m.db", CLIPS) or 0
            if draw.random() < 0.8:  # else in the middle of the start
                monitor.wait(CLIPS, lambda got, before=before: (got or 0) > before)
            time.sleep(draw.random() * 0.5)
            monitor.kill()
    finally:
        over.set()
        thread.join()
    monitor.start()
    done = "SELECT count(*) FROM files WHERE state = 'done'"
    while (ask(place / "m.db", done) or 0) < len(paths):  # as long as it goes on, however slow the computer is
        before = ask(place / "m.db", done) or 0
        monitor.wait(done, lambda got, before=before: (got or 0) > before, 60)
    monitor.wait("SELECT pid FROM heartbeat", monitor.process.pid)  # it can be asked to end
    code, out, err = monitor.end()
    assert code == 0, err
    check_whole(
        place / "m.db", paths, Judge(Detector.open(place / "press.asdkit"), Wanted(k=2, n=3)).known["press", "-"].rule
    )
    assert ask(place / "m.db", "SELECT state, why FROM heartbeat") == [("ended", "SIGTERM")]
    assert len({one[0] for one in rows(place)}) == len(paths) >= kills


def test_a_clock_that_is_set_back_changes_neither_order_nor_alarms(place, monkeypatch):
    real, shift = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + shift[0])
    for number, fault in enumerate((False, True, True, True, False, False, False)):
        path = write(place / f"in/{9 - number}.wav", sound("press", 50 + number, fault))
        shift[0] = -3600.0 * number
        os.utime(path, (real() + shift[0],) * 2)
        watch(place, (CLIPS, number + 1), wanted=Wanted(k=2, n=3))
    assert names(place) == [f"{9 - number}.wav" for number in range(7)]
    check_whole(place / "m.db", [place / f"in/{9 - n}.wav" for n in range(7)], RULE)
    assert ask(place / "m.db", "SELECT over, open FROM episodes") == [(3, 0)]
    assert any("the clock was set back in between" in line for line in status(place / "m.db"))


def test_a_database_that_another_holds_is_waited_for(place, caplog):
    write(place / "in/a.wav", sound("press", 50))
    watch(place, (CLIPS, 1))
    other = sqlite3.connect(place / "m.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    write(place / "in/b.wav", sound("press", 51))
    timer = threading.Timer(2.0, lambda: other.execute("ROLLBACK"))
    timer.start()
    watch(place, (CLIPS, 2))
    assert (
        "locked by another program. Waiting; nothing is lost" in caplog.text and "can be written again" in caplog.text
    )
    assert names(place) == ["a.wav", "b.wav"]
    other.execute("BEGIN")  # who reads holds nobody up
    assert other.execute(CLIPS).fetchone() == (2,)
    write(place / "in/c.wav", sound("press", 52))
    watch(place, (CLIPS, 3))
    assert other.execute(CLIPS).fetchone() == (2,)
    other.close()


def test_a_full_disk_is_waited_for(place, caplog, monkeypatch):
    for number in range(40):
        write(place / f"in/{number:02d}.wav", sound("press", 50 + number % 3))
    real = Database._prepare

    def small(held):
        found = real(held)
        pages = held.connection.execute("PRAGMA page_count").fetchone()[0]
        held.connection.execute(f"PRAGMA max_page_count = {pages}")
        return found

    monkeypatch.setattr(Database, "_prepare", small)
    monkeypatch.setattr(database, "TELL", 0.0)
    watch(place, lambda: caplog.text.count("the disk is full") > 3)
    before = ask(place / "m.db", CLIPS)
    assert before < 40 and "Waiting; nothing is lost" in caplog.text
    monkeypatch.setattr(Database, "_prepare", real)
    watch(place, (CLIPS, 40))
    assert sorted(names(place)) == [f"{number:02d}.wav" for number in range(40)]
    assert ask(place / "m.db", "PRAGMA integrity_check") == "ok"


def test_sensors_have_alarms_of_their_own(place):
    for number in range(5):
        write(place / f"in/{number}.wav", (number not in (1, 2)) * sound("press", 50 + number))
    watch(place, (CLIPS, 5), wanted=Wanted(k=2, n=2))
    assert ask(place / "m.db", "SELECT kind, first, last, over, open FROM episodes") == [("sensor", 2, 3, 2, 0)]
    assert any(
        line.startswith("  SENSOR  press  ") and "look at the microphone" in line for line in status(place / "m.db")
    )


def test_the_page_of_a_database_tells_of_alarms_and_their_sounds(place, capsys):
    order = [sound("press", 50), 0 * sound("press", 51), *(sound("press", 60 + n, fault=True) for n in range(2))]
    for number, wav in enumerate(order):
        write(place / f"in/<b>{number}.wav", wav)
    watch(place, (CLIPS, 4))
    with pytest.raises(SystemExit) as ended:
        detect.main(["status", str(place / "m.db"), "--page", str(place / "m.html")])
    text = (place / "m.html").read_text()
    assert ended.value.code == 0 and "m.html: written" in capsys.readouterr().out
    assert text.count('class="dot') >= 3 and text.count('class="bar') == 2 and text.count("data:audio/wav;base64,") == 2
    assert "press: sensor, 1 clip (silence)" in text and "press: alarm, 2 clips" in text and "normal_" in text
    assert "<b>" not in text and "&lt;b&gt;" in text and "<script" not in text
    os.remove(next((place / "in").glob("*1.wav")))
    watched.write_report(place / "m.db", place / "again.html")
    assert "not there any more" in (place / "again.html").read_text()


def test_scores_of_a_broken_sensor_do_not_hide_the_others(place):
    order = [*(sound("press", 50 + n) for n in range(3)), sound("press", 60, fault=True), 0 * sound("press", 70)]
    for number, wav in enumerate(order):
        write(place / f"in/{number}.wav", wav)
    watch(place, (CLIPS, 5))
    with sqlite3.connect(place / "m.db") as held:
        held.execute("UPDATE clips SET score = 9999.0 WHERE verdict = 'doubtful'")
    watched.write_report(place / "m.db", place / "m.html")
    dots = re.findall(r'class="dot (.)" d="M[^ ]+ ([^h]+)h', (place / "m.html").read_text())
    heights = {kind: float(height) for kind, height in dots}
    assert heights["s"] <= heights["a"] < watched.HIGH / 4 and heights["n"] > watched.HIGH / 2


@pytest.mark.skipif(not FIREFOX, reason="needs Firefox (Debian: apt-get install firefox-esr)")
def test_firefox_shows_the_page_on_a_desk_and_on_a_phone_by_night(place):
    for number in range(4):
        path = "a_recording_of_the_north_hall_with_a_long_name_" * 3
        write(place / f"in/{path}{number}.wav", (number != 3) * sound("press", 60 + number, fault=number == 2))
    watch(place, (CLIPS, 4))
    watched.write_report(place / "m.db", place / "m.html")
    with Firefox(1440, 900, **{"layout.css.prefers-color-scheme.content-override": 0}) as browser:
        for width in (None, 390):
            browser.open(place / "m.html", width)
            assert browser.run("document.documentElement.scrollWidth <= innerWidth"), width
            assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
            dots = browser.run("[...document.querySelectorAll('.dot')].map(e => getComputedStyle(e).stroke)")
            assert len(dots) == 4 and len(set(dots)) == 3
            assert browser.run("document.querySelector('svg').getBoundingClientRect().height") == 176
            browser.until("[...document.querySelectorAll('audio')].every(e => e.getBoundingClientRect().width > 150)")


def test_the_heart_tells_of_being_alive_behind_and_blind(place, monkeypatch):
    held, beats = Database(place / "m.db"), []
    heart = Heart(held, 5.0)
    heart.others.append(beats.append)
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    heart.beat(0, 0.0)
    now[0] += 4
    heart.beat(3, 3.0)
    now[0] += 2
    heart.beat(0, 0.0)
    heart.came(now[0])
    heart.beat(2, 61.0)
    heart.closed = "in: no such folder"
    heart.beat(0, 0.0)
    now[0] += heartbeat.BEAT
    heart.beat(0, 0.0)
    assert [beat.state for beat in beats] == ["alive", "blind", "behind", "blind", "blind"]
    assert beats[1].why == "no new recording for 6 s" and beats[2].why == "2 recordings wait, the first one for 61 s"
    assert "no such folder" in beats[3].why
    assert "The monitor is BLIND: cannot be read: in: no such folder" in next(status(place / "m.db"))
    held.close()
    assert "did not end by itself" in next(status(place / "m.db"))


def test_the_program_says_what_it_keeps(place):
    monitor = Monitor(place / "press.asdkit", place / "in", place / "m.db", "--json").start()
    write(place / "in/a.wav", sound("press", 60, fault=True))
    monitor.wait(CLIPS, 1)
    with pytest.raises(ValueError, match="another asdkit-detect writes to it"):
        Database(place / "m.db")
    assert "The monitor is alive" in next(status(place / "m.db"))
    code, out, err = monitor.end()
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [line["type"] for line in lines] == ["about", "clip", "alarm", "end"] and not err
    done = subprocess.run([sys.executable, "-m", "asdkit.bin.detect", "status", place / "m.db"], cwd=ROOT,
                          capture_output=True, text=True)  # fmt: skip
    today = datetime.now().strftime("%Y-%m-%d")
    assert done.returncode == 0 and f"  ALARM  press  {today}" in done.stdout and "(SIGTERM)" in done.stdout


def test_a_bundle_that_changes_ends_the_monitor_before_a_wrong_row(place):
    write(place / "in/a.wav", sound("press", 50))
    judge, held = Judge(Detector.open(place / "press.asdkit"), Wanted()), Database(place / "m.db")
    with open(place / "press.asdkit", "r+b") as file:
        file.write(b"x")
    how = watching.Watching(str(place / "in"), 0.02)
    with contextlib.closing(held), pytest.raises(ValueError, match="has changed since it was opened"):
        watching.Watcher(Recorder(held, judge), Heart(held, 1e9), how, lambda: False, print).run()
    assert ask(place / "m.db", CLIPS) == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--watch", "in"], "--watch FOLDER needs --db FILE"),
        (["a.wav", "--db", "m.db"], "--db needs --watch"),
        (["a.wav", "--hop", "1"], "--hop needs --clip-seconds"),
        (["a.wav", "--hop", "2", "--clip-seconds", "1"], "and is not longer"),
        (["--watch", "in", "--db", "m.db", "a.wav"], "takes no other recordings"),
        (["--watch", "in", "--db", "m.db", "--poll", "0"], "is not 0.05 to 3600 seconds"),
    ],
)
def test_what_is_typed_wrong_is_told(options, told, capsys):
    with pytest.raises(SystemExit) as ended:
        detect.main(["a.asdkit", *options])
    assert ended.value.code == 2 and told in capsys.readouterr().err


def test_what_is_no_database_is_refused(place):
    (place / "x.db").write_bytes(b"no database at all, but long enough to look at" * 100)
    for name, told in (("x.db", "not a database"), ("nix/m.db", "there is no folder")):
        with pytest.raises(ValueError, match=told):
            Database(place / name)
    with pytest.raises(ValueError, match="not a database"):
        list(status(place / "x.db"))
    with pytest.raises(ValueError, match="no such file"):
        list(status(place / "y.db"))
    Database(place / "m.db").close()
    with sqlite3.connect(place / "m.db") as rows:
        rows.execute("UPDATE about SET value = '7' WHERE key = 'schema'")
    with pytest.raises(ValueError, match="a database of schema 7"):
        Database(place / "m.db")


def test_a_recording_that_ends_the_program_is_left_out_after_some_tries(place):
    for number in (1, 2, 4):
        write(place / f"in/{number}.wav", sound("press", 50 + number))
    write(place / "in/3.wav", 9 * sound("press", 53))
    monitor = Monitor(place / "press.asdkit", place / "in", place / "m.db", patience=0.3, network="Poisoned").start()
    assert monitor.process.wait(30) == 9 and monitor.process.communicate()
    key, count = database.tries_of(place / "m.db").read_text().split()
    assert count == "1" and "3.wav" not in names(place)
    database.tries_of(place / "m.db").write_text(f"{key} {MOST}")
    watch(place, (CLIPS, 4))
    write(place / "in/3.wav", sound("press", 53))  # it is mended
    watch(place, (CLIPS, 5))
    (left,) = [row for row in rows(place) if row[1] != "normal"]
    assert left[0].endswith("3.wav") and left[1] == "not read"
    assert left[2].startswith("the program ended 3 times while it was judged: it is left out until")


def test_tries_count_deaths_alone(tmp_path):
    path = tmp_path / "m.db.tries"
    for error in (KeyboardInterrupt, MemoryError, MemoryError, SystemExit, MemoryError):
        with pytest.raises(error), Tries(path).of(1, 0) as ended:
            raise error if ended is None else AssertionError(ended)
        with Tries(path).of(2, 0) as ended:  # others go on, and it is not forgotten for that
            assert ended is None
    tries = Tries(path)
    for _ in range(2):
        with tries.of(1, 0) as ended:
            assert ended.startswith("the program ended 3 times")
    path.write_bytes(b"\xff nonsense")
    with Tries(path).of(1, 0) as ended:
        assert ended is None
    with Tries(tmp_path / "nix/m.db.tries").of(1, 0) as ended:
        assert ended is None


def test_a_database_forgets_what_is_old_and_nothing_that_is_needed(place, monkeypatch, capsys):
    real, shift = time.time, [-400 * 86400.0]
    monkeypatch.setattr(time, "time", lambda: real() + shift[0])
    rule = Wanted(k=2, n=3)
    for number, fault in enumerate((1, 1, 0, 0, 0, 0, 1, 1)):  # an alarm that is over, and one that goes on
        path = write(place / f"in/{number}.wav", sound("press", 50 + number, fault))
        os.utime(path, (number + 1e9,) * 2)
    write(place / "in/9.wav", sound("press", 50, seconds=6))
    watch(place, (CLIPS, 9), wanted=rule, clip_seconds=2.0)  # in the midst of the last one
    shift[0] = 0.0
    for number in (0, 1, 2):
        os.remove(place / f"in/{number}.wav")
    os.rename(place / "in/3.wav", place / "in/three.wav")
    writes = Database(place / "m.db")
    found = prune(place / "m.db", 300)
    writes.close()
    assert found[:3] == (6, 1, 3) and "a monitor writes to it" in found.notes[0]
    assert ask(place / "m.db", "SELECT number FROM clips ORDER BY id") == [6, 7, 8]  # counted on, or of an alarm
    assert ask(place / "m.db", "SELECT ordinal, open, first, last, peak IN (7, 8) FROM episodes") == [(2, 1, 7, 8, 1)]
    write(place / "in/new.wav", sound("press", 70))
    watch(place, (CLIPS, 6), wanted=rule, clip_seconds=2.0)
    assert names(place) == ["6.wav", "7.wav", "9.wav", "9.wav", "9.wav", "new.wav"]
    assert ask(place / "m.db", "SELECT number FROM clips ORDER BY id") == [6, 7, 8, 9, 10, 11]
    assert ask(place / "m.db", "SELECT open, over FROM episodes") == [(0, 2)]
    for path in (place / "in").iterdir():
        path.rename(place / path.name)
    with pytest.raises(SystemExit):
        detect.main(["prune", str(place / "m.db"), "--keep-days", "300"])
    assert "names of recordings are kept" in capsys.readouterr().out
    assert ask(place / "m.db", "PRAGMA integrity_check") == "ok" and ask(place / "m.db", CLIPS) == 3
    for name in ("three.wav", "4.wav"):
        (place / name).rename(place / f"in/{name}")
    write(place / "in/last.wav", sound("press", 71))
    watch(place, (CLIPS, 4), wanted=rule)
    assert names(place)[-1] == "last.wav"  # those that came back were judged before


def test_a_clip_that_may_begin_an_alarm_is_not_forgotten(place, monkeypatch):
    real, shift, rule = time.time, [-400 * 86400.0], Wanted(k=2, n=3)
    monkeypatch.setattr(time, "time", lambda: real() + shift[0])
    for number, fault in enumerate((False, True, False)):
        path = write(place / f"in/{number}.wav", sound("press", 50 + number, fault))
        os.utime(path, (number + 1e9,) * 2)
    watch(place, (CLIPS, 3), wanted=rule)
    shift[0] = 0.0
    assert prune(place / "m.db", 300).clips == 0  # three of three are counted on
    write(place / "in/3.wav", sound("press", 60))
    write(place / "in/4.wav", sound("press", 61, fault=True))
    os.utime(place / "in/3.wav", (4e8,) * 2)
    watch(place, (CLIPS, 5), wanted=Wanted(k=2, n=4))
    assert prune(place / "m.db", 300).clips == 1
    assert ask(place / "m.db", "SELECT first, over FROM episodes") == [(2, 2)]


def test_what_cannot_be_pruned_is_told(place):
    (place / "x.db").write_bytes(b"no database at all, but long enough to look at" * 100)
    for name, told in (("x.db", "not a database"), ("y.db", "no such file")):
        with pytest.raises(ValueError, match=told):
            prune(place / name, 1)
    Database(place / "m.db").close()
    before = (place / "m.db").stat().st_size
    assert prune(place / "m.db", 1)[:4] == (0, 0, 0, before)
