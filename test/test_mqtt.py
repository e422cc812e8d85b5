"""Alarms to a real broker, which goes away and comes back; and numbers for Prometheus."""

import os
import re
import shutil
import subprocess

import pytest
from brokers import Mosquitto, Receiver
from detecting import Levels, bundle, sound, write
from watching import Monitor

from asdkit.bin import detect
from asdkit.monitor import measured
from asdkit.monitor.database import Database
from asdkit.monitor.detector import Detector
from asdkit.monitor.heartbeat import Beat
from asdkit.monitor.mqtt import broker
from asdkit.monitor.recorder import Recorder
from asdkit.monitor.verdict import Judge, Verdict, Wanted

CLIPS = "SELECT count(*) FROM clips"
WAITING = "SELECT count(*) FROM outbox"


@pytest.fixture
def ends():
    """What is stopped at the end, whatever happens."""
    made = []
    yield lambda thing, how: (made.append(how), thing)[1]
    for how in reversed(made):
        how()


def arrive(place, name, fault):
    write(place / f"{name}.wav", sound("press", 50, fault))
    (place / "in").mkdir(exist_ok=True)
    os.rename(place / f"{name}.wav", place / f"in/{name}.wav")


def told(alarms):
    """What alarms tell, each once, in the order in which they came first."""
    return list(dict.fromkeys((one["alarm"], one["what"]) for one in alarms))


def test_alarms_come_at_least_once_while_broker_and_monitor_die(tmp_path, ends):
    pytest.importorskip("paho.mqtt.client")
    server = Mosquitto(tmp_path)
    ends(server, server.stop)
    receiver = Receiver(server.port, "factory/press")
    ends(receiver, receiver.client.loop_stop)
    receiver.listens(1)
    words = ["--mqtt", f"127.0.0.1:{server.port}", "--topic", "factory/press"]
    (tmp_path / "in").mkdir()
    monitor = Monitor(bundle(tmp_path / "press.asdkit"), tmp_path / "in", tmp_path / "m.db", *words).start()
    ends(monitor, lambda: monitor.process.kill())
    for number, fault in enumerate((True, False)):
        arrive(tmp_path, f"a{number}", fault)
    receiver.wait(2)
    monitor.wait(WAITING, 0)
    assert told(receiver.alarms()) == [(1, "begins"), (1, "over")]
    first = receiver.alarms()[0]
    assert (
        first["type"] == "alarm" and first["machine"] == "press" and first["kind"] == "anomaly" and first["over"] == 1
    )
    server.stop()
    for number, fault in enumerate((True, False, True)):
        arrive(tmp_path, f"b{number}", fault)
    monitor.wait(CLIPS, 5)
    monitor.wait(WAITING, 3)
    _, errors = monitor.kill()  # what waits is on the disk
    assert "Alarms wait; nothing is lost" in errors
    server.start()
    receiver.listens(2)
    monitor.start()
    arrive(tmp_path, "c0", False)
    receiver.wait(6)
    monitor.wait(WAITING, 0)
    assert told(receiver.alarms()) == [(n, what) for n in (1, 2, 3) for what in ("begins", "over")]
    assert monitor.end()[0] == 0
    receiver.wait(6)
    states = [one["state"] for topic, one, _ in receiver.messages if topic == "factory/press/state"]
    assert states[0] == "alive" and states[-1] == "ended"


def test_tls_and_credentials_from_a_file(tmp_path, ends):
    pytest.importorskip("paho.mqtt.client")
    made = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out ca.pem -days 2 -subj /CN=localhost"
    if not shutil.which("openssl") or not shutil.which("mosquitto_passwd"):
        pytest.skip("openssl and mosquitto_passwd are not installed")
    subprocess.run(
        [*made.split(), "-addext", "subjectAltName=DNS:localhost"], cwd=tmp_path, check=True, capture_output=True
    )
    subprocess.run(["mosquitto_passwd", "-b", "-c", tmp_path / "users", "press", "secret"], check=True)
    lines = (f"certfile {tmp_path}/ca.pem", f"keyfile {tmp_path}/key.pem", f"password_file {tmp_path}/users")
    server = Mosquitto(tmp_path, *lines, "allow_anonymous false")
    ends(server, server.stop)

    def prepare(client):
        client.tls_set(str(tmp_path / "ca.pem"))
        client.tls_insecure_set(True)
        client.username_pw_set("press", "secret")

    receiver = Receiver(server.port, "t", prepare)
    ends(receiver, receiver.client.loop_stop)
    access = tmp_path / "access"
    access.write_text("# of the broker\nuser = press\npassword = wrong\nca = ca.pem\n")
    access.chmod(0o600)
    (tmp_path / "in").mkdir()
    receiver.listens(1)
    words = ["--mqtt", f"localhost:{server.port}", "--topic", "t", "--mqtt-access", access]
    monitor = Monitor(bundle(tmp_path / "press.asdkit"), tmp_path / "in", tmp_path / "m.db", *words).start()
    ends(monitor, lambda: monitor.process.kill())
    arrive(tmp_path, "a", True)
    monitor.wait(WAITING, 1)
    _, _, errors = monitor.end()
    assert re.search(r"the broker localhost:\d+ refuses: Not authorized. Alarms wait; nothing is lost", errors)
    assert "secret" not in errors and "wrong" not in errors
    access.write_text("user = press\npassword = secret\nca = ca.pem\n")
    monitor.start()
    receiver.wait(1)
    monitor.wait(WAITING, 0)
    assert monitor.end()[0] == 0


def test_what_is_wrong_about_a_broker_is_told(tmp_path, capsys):
    access = tmp_path / "access"
    for place in ("", ":1883", "host:x", "host:0", "host:70000"):
        with pytest.raises(ValueError, match="expected HOST or HOST:PORT"):
            broker(place, "t", None)
    for topic in ("", "a/#", "+/a", "/a", "a/"):
        with pytest.raises(ValueError, match="expected a topic such as"):
            broker("host", topic, None)
    assert broker("host", "t", None).port == 1883 and broker("[::1]:99", "t", None)[:2] == ("::1", 99)
    access.write_text("tls = true\n")
    access.chmod(0o644)
    with pytest.raises(ValueError, match="others may read it, .* chmod 600"):
        broker("host", "t", access)
    access.chmod(0o600)
    assert broker("host", "t", access).port == 8883 and broker("host", "t", access).tls
    for text in ("user\n", "name = x\n", "user = a\nuser = b\n", "tls = yes\n", "cert = a\n"):
        access.write_text(text)
        with pytest.raises(ValueError, match="--mqtt-access .*(expected KEY = VALUE|together)"):
            broker("host", "t", access)
    for words in (["--mqtt", "h"], ["--topic", "t"], ["--mqtt", "h", "--topic", "t"], ["--metrics", "m"]):
        with pytest.raises(SystemExit):
            detect.main(["a.asdkit", "a.wav", *words])
        assert "--mqtt" in capsys.readouterr().err


def test_numbers_for_prometheus(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(Detector, "network", Levels())
    held = Database(tmp_path / "m.db")
    recorder = Recorder(held, Judge(Detector.open(bundle(tmp_path / "press.asdkit")), Wanted()))
    metrics = measured.Metrics(held, tmp_path / "press.prom")
    beat = Beat(100.5, 1.0, 7, "behind", "", 3, 61.5, None)
    for number, score in enumerate((1.0, 20.0, 30.0)):
        found = Verdict("a", "anomalous" if score > 10 else "normal", 0.0, 2.0, "press", "-", score, 10.0)
        recorder.keep(found, 10.0 * number, 0.1)
        if number < 2:
            metrics.beat(beat)
    recorder.keep(Verdict('b"\n', "not read", why="broken"), 0.0, None)
    metrics.beat(beat)
    text = (tmp_path / "press.prom").read_text()
    assert 'asdkit_clips_total{machine="press",section="-",verdict="anomalous"} 2\n' in text
    assert 'asdkit_clips_total{machine="",section="-",verdict="not read"} 1\n' in text
    assert 'asdkit_alarms_total{machine="press",section="-",kind="anomaly"} 1\n' in text
    assert 'asdkit_alarm{machine="press",section="-",kind="anomaly"} 1\n' in text
    assert 'asdkit_score{machine="press",section="-"} 30.0\n' in text and "asdkit_waiting_recordings 3\n" in text
    assert 'asdkit_state{state="behind"} 1\n' in text and 'asdkit_state{state="alive"} 0\n' in text
    label = r'[a-z_]+="(?:[^"\\\n]|\\["\\n])*"'
    assert all(
        re.fullmatch(rf"# (HELP|TYPE) .+|[a-z_]+(\{{{label}(,{label})*\}})? [-+.e\d]+", one)
        for one in text.splitlines()
    )
    monkeypatch.setattr(measured, "write_text", lambda path, text: (_ for _ in ()).throw(OSError("full")))
    metrics.beat(beat)
    assert "--metrics: full" in caplog.text  # and goes on
    held.close()
    with pytest.raises(ValueError, match="--metrics .*: there is no folder"):
        measured.Metrics(held, tmp_path / "nix/press.prom")
