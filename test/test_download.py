"""Stage 0 against a server that breaks off, lies and sends wrong bytes: whole archives or one clear error."""

import hashlib
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from download_server import (
    COMMIT,
    COMPLETE,
    FILES,
    RECORD,
    TRUTH,
    Fault,
    Handler,
    Server,
    announces,
    breaks_off,
    everything,
    ignores_ranges,
    ignores_ranges_and_breaks_off,
    never_ends,
    noise,
    says,
    serves,
    wrong_range,
    zipped,
)

from asdkit.fetch import download, https
from asdkit.utils import files

pytest_plugins = ["download_server"]  # its fixtures


def test_a_whole_year(run: Callable[..., None], out: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    run()
    assert everything(out) == COMPLETE
    assert (out / "dev_data/fan/train/a.wav").read_bytes() == noise(1, 300_000)
    assert not [
        path for path in out.rglob("*") if path.name.endswith((".part", ".tmp")) or "unpack." in path.parent.name
    ]
    printed = capsys.readouterr().out
    assert "CC BY-NC-SA 4.0" in printed and "as the organisers say" in printed


def test_twice_skips_without_a_request(run: Callable[..., None], out: Path, server: Server) -> None:
    run()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != ".lock"}
    server.requests.clear()
    run()
    assert server.requests == []
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != ".lock"} == before


def test_archives_may_be_deleted_when_unpacked(run: Callable[..., None], out: Path, server: Server) -> None:
    run()
    for path in (out / "archives").glob("*.zip"):
        path.unlink()
    server.requests.clear()
    run()
    assert server.requests == []


@pytest.mark.parametrize("removed", ["dev_data", "dev_data/fan", "ground_truth"])
def test_what_was_removed_is_unpacked_again(run: Callable[..., None], out: Path, server: Server, removed: str) -> None:
    run()
    shutil.rmtree(out / removed)
    server.requests.clear()
    run()
    assert everything(out) == COMPLETE
    assert removed == "ground_truth" or server.requests == []  # the archives are there


def test_force_checks_again_without_fetching_again(run: Callable[..., None], out: Path, server: Server) -> None:
    run()
    (out / "dev_data/fan/train/a.wav").unlink()
    server.requests.clear()
    run("--force", "true")
    assert everything(out) == COMPLETE
    assert {name for _, name, _ in server.requests} == {str(RECORD), COMMIT}


def test_only_some_machines(run: Callable[..., None], out: Path, server: Server) -> None:
    run("--machines", "fan")
    assert everything(out) == {name for name in COMPLETE if not name.startswith("eval_data")}
    assert server.count("eval_data_pump_test.zip") == 0
    with pytest.raises(ValueError, match="no machine 'pomp'.*fan, pump"):
        run("--machines", "fan,pomp")


def test_ground_truth_alone(run: Callable[..., None], out: Path, server: Server) -> None:
    run("--recordings", "false")
    assert everything(out) == {f"ground_truth/{name}" for name in TRUTH}
    assert {name for _, name, _ in server.requests} == {COMMIT}


def test_archives_left_packed(run: Callable[..., None], out: Path, server: Server) -> None:
    run("--unpack", "false")
    assert everything(out) == {f"ground_truth/{name}" for name in TRUTH}
    assert {path.name for path in (out / "archives").glob("*.zip")} == set(FILES)
    server.requests.clear()
    run()
    assert everything(out) == COMPLETE and server.requests == []


def test_dry_run_asks_no_server(
    run: Callable[..., None], out: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--dry-run", "true")
    assert server.requests == [] and not out.exists()
    printed = capsys.readouterr().out
    assert all(f"{server.url}/api/records/{RECORD}/files/{name}/content -> " in printed for name in FILES)
    assert f"{server.url}/someone/evaluator/zip/{COMMIT}: ground_truth_data" in printed


def test_parallel(run: Callable[..., None], out: Path, server: Server) -> None:
    together, meeting = [], threading.Barrier(3, timeout=5)

    def meet(handler: Handler, name: str, content: bytes) -> None:
        meeting.wait()  # passes only when all three are being fetched
        together.append(name)
        handler.send(name, content)

    server.faults = {name: [meet] for name in FILES}
    run("--jobs", "3")
    assert sorted(together) == sorted(FILES) and everything(out) == COMPLETE


@pytest.mark.parametrize(
    "faults",
    [
        [breaks_off(100_000)],
        [breaks_off(100_000), breaks_off(100_000), breaks_off(0)],
        [breaks_off(100_000), ignores_ranges],
        [ignores_ranges_and_breaks_off, ignores_ranges_and_breaks_off, ignores_ranges],
        [says(500), says(503, {"Retry-After": "0"}), says(429)],
        [breaks_off(100_000), says(416)],
        [announces(-5), announces(5)],
        [serves(b"<html>busy</html>")],
        [breaks_off(100_000), wrong_range],
        [never_ends],
    ],
    ids=lambda faults: "+".join(fault.__qualname__.partition(".")[0] for fault in faults),  # the same in every process
)
def test_passing_faults(run: Callable[..., None], out: Path, server: Server, faults: list[Fault]) -> None:
    server.faults = {"dev_fan.zip": list(faults)}
    run()
    assert everything(out) == COMPLETE
    assert server.count("dev_fan.zip") == len(faults) + 1 - (ignores_ranges in faults)


def test_continues_where_it_broke_off(run: Callable[..., None], out: Path, server: Server) -> None:
    server.faults = {"dev_fan.zip": [breaks_off(100_000), breaks_off(50_000)]}
    run()
    spans = [span for _, name, span in server.requests if name == "dev_fan.zip"]
    assert spans == [None, "bytes=100000-", "bytes=150000-"]


def test_a_later_run_continues(run: Callable[..., None], out: Path, server: Server) -> None:
    server.faults = {"dev_fan.zip": [breaks_off(100_000)] + [says(500)] * https.ATTEMPTS}
    with pytest.raises(ValueError, match="HTTP 500.*run again to go on"):
        run("--jobs", "1")
    assert (out / "archives/dev_fan.zip.part").stat().st_size == 100_000
    assert not (out / "archives/dev_fan.zip").exists() and not everything(out)
    server.requests.clear()
    run()
    assert [span for _, name, span in server.requests if name == "dev_fan.zip"] == ["bytes=100000-"]
    assert everything(out) == COMPLETE


def test_many_breaks_are_no_reason_to_give_up(run: Callable[..., None], out: Path, server: Server) -> None:
    server.faults = {"dev_fan.zip": [breaks_off(20_000)] * (3 * https.ATTEMPTS)}
    run()
    assert everything(out) == COMPLETE


@pytest.mark.parametrize(
    "fault, message",
    [
        (says(404), "HTTP 404"),
        (says(500), "HTTP 500"),
        (serves(b"<html>moved</html>"), "announces 18 bytes"),
        (announces(7), "announces"),
        (never_ends, "sends more than"),
        (ignores_ranges_and_breaks_off, "broke off at 100000 of"),
        (serves(noise(9, len(FILES["dev_fan.zip"]))), "its MD5 is [0-9a-f]{32}, expected"),
        (says(302, {"Location": "http://example.org/dev_fan.zip"}), "only https"),
        (says(302, {"Location": "file:///etc/passwd"}), "HTTP 302 .*not allowed"),
    ],
)
def test_lasting_faults(run: Callable[..., None], out: Path, server: Server, fault: Fault, message: str) -> None:
    """One clear error; nothing of the archive is unpacked, what is right stays, and a later run completes it."""
    server.faults = {"dev_fan.zip": [fault] * 100}
    with pytest.raises(ValueError, match=message) as error:
        run()
    assert "\n" not in str(error.value) and "dev_fan.zip" in str(error.value)
    assert not (out / "archives/dev_fan.zip").exists() and not (out / "dev_data").exists()
    assert not list((out / "archives").glob("dev_fan.zip.done*"))
    assert everything(out) <= COMPLETE
    server.faults = {}
    run()
    assert everything(out) == COMPLETE
    assert (out / "dev_data/fan/train/a.wav").read_bytes() == noise(1, 300_000)


def test_wrong_part_of_an_earlier_run(run: Callable[..., None], out: Path, server: Server) -> None:
    (out / "archives").mkdir(parents=True)
    (out / "archives/dev_fan.zip.part").write_bytes(b"other bytes" * 100)
    run()
    assert (out / "archives/dev_fan.zip").read_bytes() == FILES["dev_fan.zip"] and everything(out) == COMPLETE


def test_part_longer_than_the_file(run: Callable[..., None], out: Path, server: Server) -> None:
    (out / "archives").mkdir(parents=True)
    (out / "archives/dev_fan.zip.part").write_bytes(bytes(1_000_000))
    run()
    assert (out / "archives/dev_fan.zip").read_bytes() == FILES["dev_fan.zip"]


def test_archive_brought_by_hand(run: Callable[..., None], out: Path, server: Server) -> None:
    (out / "archives").mkdir(parents=True)
    (out / "archives/dev_fan.zip").write_bytes(FILES["dev_fan.zip"])
    (out / "archives/eval_data_pump_train.zip").write_bytes(b"something else")
    with pytest.raises(ValueError, match="eval_data_pump_train.zip: its MD5 is .*Move it away"):
        run()
    assert (out / "archives/eval_data_pump_train.zip").read_bytes() == b"something else"
    (out / "archives/eval_data_pump_train.zip").unlink()
    run()
    assert server.count("dev_fan.zip") == 0 and everything(out) == COMPLETE


def evil(name: str) -> bytes:
    return zipped({"fan/train/a.wav": b"x", name: b"evil"})


@pytest.mark.parametrize(
    "content, message",
    [(evil("../../evil.wav"), "unsafe"), (evil("/evil.wav"), "unsafe"), (evil("pump/a.wav"), "below fan/")]
    + [(b"no zip at all", "not readable")],
)
def test_right_bytes_of_a_wrong_archive(
    run: Callable[..., None], out: Path, server: Server, content: bytes, message: str
) -> None:
    server.files["dev_fan.zip"] = content
    server.answer(dev_fan={"size": len(content), "checksum": "md5:" + hashlib.md5(content).hexdigest()})
    with pytest.raises(ValueError, match=message):
        run("--jobs", "1")
    assert not everything(out) and not list(out.parent.rglob("evil*"))
    assert not (out / "archives/dev_fan.zip.done.unpack").exists()


def test_no_room(run: Callable[..., None], out: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    total = sum(map(len, FILES.values()))
    usage = type("Usage", (), {"free": int(2.2 * total)})
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ValueError, match=r"needs \d\.\d MB for archives.*, \d\.\d MB are free.*--machines"):
        run()
    assert not any(server.count(name) for name in FILES)
    usage.free = int(2.4 * total)
    run()
    assert everything(out) == COMPLETE


def test_two_at_once(run: Callable[..., None], out: Path) -> None:
    with download._locked(out / "archives"), pytest.raises(ValueError, match="another download is writing"):
        run()
    run()
    assert everything(out) == COMPLETE
