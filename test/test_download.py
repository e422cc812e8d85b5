"""Stage 0 against a server on this machine that fails in every way that we could think of."""

import hashlib
import io
import json
import logging
import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from asdkit.bin import download as program
from asdkit.data import download, fetch
from asdkit.data.fetch import check_url
from asdkit.data.repository import git_id

RECORD, LABELS, COMMIT = 123, 456, "0123456789abcdef0123456789abcdef01234567"
DATASET = """
name: test
name_style: dcase2022
protocol: dcase2022
sets:
  dev: {path: dev_data, machines: [fan]}
  eval: {path: eval_data, machines: [pump]}
ground_truth: ground_truth
"""
PLAN = {
    "licence": "CC BY-NC-SA 4.0",
    "dev": {"record": RECORD, "name": "dev_{machine}.zip"},
    "eval_train": {"record": RECORD, "name": "eval_data_{machine}_train.zip"},
    "eval_test": {"record": RECORD, "name": "eval_data_{machine}_test.zip"},
    "ground_truth": {
        "licence": "as the organisers say",
        "repository": "someone/evaluator",
        "commit": COMMIT,
        "paths": {"ground_truth_data": None, "ground_truth_domain": None},
    },
}
TRUTH = {
    "ground_truth_data/ground_truth_pump_section_00_test.csv": b"section_00_0000.wav,1\n",
    "ground_truth_domain/ground_truth_pump_section_00_test.csv": b"section_00_0000.wav,0\n",
}


def noise(seed: int, size: int) -> bytes:
    """Bytes that do not shrink in a zip."""
    block = b"".join(hashlib.sha256(b"%d %d" % (seed, n)).digest() for n in range(size // 32 + 1))
    return block[:size]


def zipped(members: dict[str, bytes], comment: str = "") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = comment.encode()
    return buffer.getvalue()


FILES = {
    "dev_fan.zip": zipped({"fan/train/a.wav": noise(1, 300_000), "fan/test/b.wav": noise(2, 300_000)}),
    "eval_data_pump_train.zip": zipped({"pump/train/c.wav": noise(3, 200_000), "pump/attributes_00.csv": b"x"}),
    "eval_data_pump_test.zip": zipped({"pump/test/section_00_0000.wav": noise(4, 200_000)}),
}
COMPLETE = {
    *["dev_data/fan/train/a.wav", "dev_data/fan/test/b.wav", "eval_data/pump/train/c.wav"],
    *["eval_data/pump/attributes_00.csv", "eval_data/pump/test/section_00_0000.wav"],
    *[f"ground_truth/{name}" for name in TRUTH],
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        name = self.path.removesuffix("/content").rpartition("/")[2]
        span = self.headers.get("Range")
        self.server.requests.append((self.command, name, span))
        faults = self.server.faults.get(name, [])
        fault = faults.pop(0) if faults else None
        if fault is None:
            self.send(name, self.server.files.get(name))
        else:
            fault(self, name, self.server.files.get(name, b""))

    def send(self, name: str, content: bytes | None) -> None:
        """What an honest server does."""
        if content is None:
            self.status(404)
            return
        start = 0
        if span := self.headers.get("Range"):
            start = int(re.fullmatch(r"bytes=(\d+)-", span)[1])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[start:])

    def status(self, code: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for key, value in {"Content-Length": "0", **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()

    def plain(self, content: bytes, announced: int | None = None, sent: int | None = None) -> None:
        """Status 200, whatever range was asked for."""
        self.send_response(200)
        if announced is not None:
            self.send_header("Content-Length", str(announced))
        self.end_headers()
        self.wfile.write(content[:sent])
        self.close_connection = True


Fault = Callable[[Handler, str, bytes], None]


def breaks_off(at: int) -> Fault:
    def fault(handler: Handler, name: str, content: bytes) -> None:
        span = handler.headers.get("Range")
        start = int(span[6:-1]) if span else 0
        handler.send_response(206 if span else 200)
        if span:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        handler.wfile.write(content[start : start + at])
        handler.close_connection = True

    return fault


def ignores_ranges(handler: Handler, name: str, content: bytes) -> None:
    handler.plain(content, len(content))


def ignores_ranges_and_breaks_off(handler: Handler, name: str, content: bytes) -> None:
    handler.plain(content, len(content), sent=100_000)


def says(code: int, headers: dict[str, str] | None = None) -> Fault:
    return lambda handler, name, content: handler.status(code, headers)


def announces(difference: int) -> Fault:
    return lambda handler, name, content: handler.plain(content, len(content) + difference)


def serves(other: bytes) -> Fault:
    return lambda handler, name, content: handler.plain(other, len(other))


def never_ends(handler: Handler, name: str, content: bytes) -> None:
    """No length announced, and more bytes than there should be."""
    handler.plain(content + content)


def wrong_range(handler: Handler, name: str, content: bytes) -> None:
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes 0-{len(content) - 1}/{len(content)}")
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = dict(FILES)
        self.faults: dict[str, list[Fault]] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files[COMMIT] = zipped(
            {f"evaluator-{COMMIT}/{name}": text for name, text in {**TRUTH, "LICENSE": b"no", "run.py": b"no"}.items()},
            COMMIT,
        )
        self.answer()

    def answer(self, **changes: Any) -> None:
        """The REST answer of the record; `changes` replace an entry of a file or, not being one, of the answer."""
        entries = [
            {"key": name, "size": len(content), "checksum": "md5:" + hashlib.md5(content).hexdigest()}
            | changes.pop(name.removesuffix(".zip"), {})
            for name, content in FILES.items()
        ]
        answer = {"id": RECORD, "files": entries, "metadata": {"license": {"id": "cc-by-nc-sa-4.0"}}} | changes
        self.files[str(RECORD)] = json.dumps(answer).encode()

    def count(self, name: str) -> int:
        return sum(request[1] == name for request in self.requests)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(fetch, "WAIT", 0.0)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with Server() as one:
        threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield one
        one.shutdown()


@pytest.fixture
def run(server: Server, tmp_path: Path) -> Callable[..., None]:
    def call(*options: str, plan: dict[str, Any] | None = None, dataset: str = DATASET) -> None:
        (tmp_path / "dataset.yaml").write_text(dataset)
        (tmp_path / "download.yaml").write_text(json.dumps(plan or PLAN))  # JSON is YAML
        files = ["--download", f"{tmp_path}/download.yaml", "--dataset", f"{tmp_path}/dataset.yaml"]
        servers = ["--api", f"{server.url}/api", "--codeload", server.url]
        program.main([*files, "--out", f"{tmp_path}/out", *servers, *options])

    return call


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def everything(folder: Path) -> set[str]:
    """All files but the archives."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith("archives/")}


def changed(**changes: Any) -> dict[str, Any]:
    return {**PLAN, **changes}


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
    ids=str,
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
    server.faults = {"dev_fan.zip": [breaks_off(100_000)] + [says(500)] * fetch.ATTEMPTS}
    with pytest.raises(ValueError, match="HTTP 500.*run again to go on"):
        run("--jobs", "1")
    assert (out / "archives/dev_fan.zip.part").stat().st_size == 100_000
    assert not (out / "archives/dev_fan.zip").exists() and not everything(out)
    server.requests.clear()
    run()
    assert [span for _, name, span in server.requests if name == "dev_fan.zip"] == ["bytes=100000-"]
    assert everything(out) == COMPLETE


def test_many_breaks_are_no_reason_to_give_up(run: Callable[..., None], out: Path, server: Server) -> None:
    server.faults = {"dev_fan.zip": [breaks_off(20_000)] * (3 * fetch.ATTEMPTS)}
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


@pytest.mark.parametrize(
    "change, message",
    [
        ({"dev_fan": {"key": "../dev_fan.zip"}}, "no plain file name"),
        ({"dev_fan": {"key": "/etc/passwd"}}, "no plain file name"),
        ({"dev_fan": {"key": "a\\b.zip"}}, "no plain file name"),
        ({"dev_fan": {"key": 5}}, "no plain file name"),
        ({"dev_fan": {"key": "dev_fan_v2.zip"}}, "has no dev_fan.zip. It has: dev_fan_v2.zip"),
        ({"dev_fan": {"key": "eval_data_pump_test.zip"}}, "occurs twice"),
        ({"dev_fan": {"size": "600000"}}, "size '600000'"),
        ({"dev_fan": {"size": -1}}, "size -1"),
        ({"dev_fan": {"checksum": "sha1:00"}}, "checksum is 'sha1:00'"),
        ({"dev_fan": {"checksum": "md5:../../x"}}, "checksum is"),
        ({"id": 999}, "about record 999"),
        ({"files": {"a": 1}}, "not the answer of a record"),
        ({"files": None}, "not the answer of a record"),
    ],
)
def test_strange_answers(
    run: Callable[..., None], out: Path, server: Server, change: dict[str, Any], message: str
) -> None:
    server.answer(**change)
    with pytest.raises(ValueError, match=re.escape(message)):
        run()
    assert not everything(out) and all(name == str(RECORD) for _, name, _ in server.requests)


def test_record_that_does_not_exist(run: Callable[..., None], server: Server) -> None:
    del server.files[str(RECORD)]
    with pytest.raises(ValueError, match="records/123: HTTP 404"):
        run()


def test_answer_that_is_no_json(run: Callable[..., None], server: Server) -> None:
    server.files[str(RECORD)] = b"<html>maintenance</html>"
    with pytest.raises(ValueError, match="not the answer of a record"):
        run()


def test_md5s_of_the_recipe_when_the_record_does_not_answer(
    run: Callable[..., None], out: Path, server: Server
) -> None:
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in FILES.items()}
    server.faults = {str(RECORD): [says(503)] * 100}
    with pytest.raises(ValueError, match="eval_data_pump_test.zip: record 123 does not answer.*under 'md5:'"):
        run(plan=changed(md5={name: md5[name] for name in list(md5)[:2]}))
    assert not everything(out)
    run(plan=changed(md5=md5))
    assert everything(out) == COMPLETE
    assert ("HEAD", "dev_fan.zip", None) in server.requests


def test_recipe_and_record_disagree(run: Callable[..., None], out: Path, server: Server) -> None:
    with pytest.raises(ValueError, match=f"record 123 says MD5 .* {'0' * 32}"):
        run(plan=changed(md5={"dev_fan.zip": "0" * 32}))
    assert not everything(out)


def test_replaced_archive(
    run: Callable[..., None], out: Path, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.files["dev_fan_r2.zip"] = FILES["dev_fan.zip"]
    server.answer(dev_fan={"key": "dev_fan_r2.zip"})
    run(plan=changed(dev={**PLAN["dev"], "replaced": {"fan": "dev_fan_r2.zip"}}))
    assert everything(out) == COMPLETE and server.count("dev_fan.zip") == 0

    answer = json.loads(server.files[str(RECORD)])
    answer["files"].append({**answer["files"][0], "key": "eval_data_pump_test_r3.zip"})
    server.files[str(RECORD)] = json.dumps(answer).encode()
    (out / "archives/eval_data_pump_test.zip.done").unlink()
    (out / "archives/eval_data_pump_test.zip.done.unpack").unlink()
    with caplog.at_level(logging.WARNING):
        run(plan=changed(dev={**PLAN["dev"], "replaced": {"fan": "dev_fan_r2.zip"}}))
    assert "eval_data_pump_test_r3.zip: does it replace eval_data_pump_test.zip?" in caplog.text


def test_another_record_than_before(run: Callable[..., None], server: Server) -> None:
    run()
    with pytest.raises(ValueError, match="record = 123, now 124"):
        run(plan=changed(dev={"record": 124, "name": "dev_{machine}.zip"}))


def test_no_room(run: Callable[..., None], out: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    total = sum(map(len, FILES.values()))
    usage = type("Usage", (), {"free": int(2.2 * total)})
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ValueError, match=r"needs 0\.0 GB.*--machines"):
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


def test_ground_truth_is_checked_by_gits_ids(run: Callable[..., None], out: Path, server: Server) -> None:
    run()
    ids = {path: git_id(out / "ground_truth" / path) for path in PLAN["ground_truth"]["paths"]}
    server.files[COMMIT] = server.files[COMMIT][: -len(COMMIT)] + COMMIT[::-1].encode()
    (out / "archives/ground_truth.done").unlink()
    run(plan=changed(ground_truth={**PLAN["ground_truth"], "paths": ids}))

    ids["ground_truth_data"] = "0" * 40
    with pytest.raises(ValueError, match="git's id of ground_truth_data"):
        run("--force", "true", plan=changed(ground_truth={**PLAN["ground_truth"], "paths": ids}))


def test_git_ids(tmp_path: Path) -> None:
    """The ids that git itself gives to an empty file, to `hello`, and to a folder of the two."""
    (tmp_path / "b").write_bytes(b"")
    (tmp_path / "a.csv").write_bytes(b"hello\n")
    assert git_id(tmp_path / "b") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert git_id(tmp_path / "a.csv") == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert git_id(tmp_path) == "9e6ecc691e3627b07709f46071543eb2d926e0f3"


@pytest.mark.parametrize(
    "members, comment, message",
    [
        (TRUTH, "f" * 40, "not made from the commit"),
        (dict(list(TRUTH.items())[:1]), COMMIT, "holds no ground_truth_domain"),
        ({"README.md": b"moved"}, COMMIT, "holds nothing"),
        ({**TRUTH, "../evil.csv": b"evil"}, COMMIT, "unsafe"),
    ],
)
def test_wrong_ground_truth(
    run: Callable[..., None], out: Path, server: Server, members: dict[str, bytes], comment: str, message: str
) -> None:
    server.files[COMMIT] = zipped({f"top/{name}": content for name, content in members.items()}, comment)
    with pytest.raises(ValueError, match=message):
        run()
    assert not (out / "ground_truth").exists() and not (out / "archives/ground_truth.done").exists()


def test_ground_truth_that_breaks_off(run: Callable[..., None], out: Path, server: Server) -> None:
    server.faults = {COMMIT: [breaks_off(200), says(502)]}
    run()
    assert everything(out) == COMPLETE


def test_one_file_of_a_repository(run: Callable[..., None], out: Path, server: Server) -> None:
    server.files[COMMIT] = zipped({"top/datasets/list.csv": b"pump\n", "top/datasets/other.csv": b"no"}, COMMIT)
    truth = {**PLAN["ground_truth"], "paths": {"datasets/list.csv": None}}
    run(plan=changed(ground_truth=truth), dataset=DATASET.replace(": ground_truth", ": ground_truth/list.csv"))
    assert {path.name for path in (out / "ground_truth").iterdir()} == {"list.csv"}
    assert (out / "ground_truth/list.csv").read_bytes() == b"pump\n"


def test_list_of_labels_from_a_record(run: Callable[..., None], out: Path, server: Server) -> None:
    labels = b"pump\nid_00_00000000.wav,normal_id_00_00000000.wav,0\n"
    server.files["list.csv"] = labels
    entry = {"key": "list.csv", "size": len(labels), "checksum": "md5:" + hashlib.md5(labels).hexdigest()}
    server.files[str(LABELS)] = json.dumps({"id": LABELS, "files": [entry]}).encode()
    truth = {"licence": "x", "record": LABELS, "file": "list.csv"}
    dataset = DATASET.replace(": ground_truth", ": ground_truth/list.csv")
    run(plan=changed(ground_truth=truth), dataset=dataset)
    assert (out / "ground_truth/list.csv").read_bytes() == labels
    server.requests.clear()
    run(plan=changed(ground_truth=truth), dataset=dataset)
    assert server.requests == []


@pytest.mark.parametrize(
    "change, message",
    [
        ({"md5": {"dev_fan.zip": "abc"}}, "md5.dev_fan.zip"),
        ({"md5": {"dev_fam.zip": "0" * 32}}, "'dev_fam.zip' is no archive"),
        ({"dev": {"record": 1, "name": "dev_fan.zip"}}, "dev.name"),
        ({"dev": {"record": 1, "name": "../{machine}.zip"}}, "dev.name"),
        ({"dev": {"record": 1, "name": "dev_{machine}.zip", "replaced": {"fan": "../x.zip"}}}, "dev.replaced.fan"),
        ({"dev": {"record": 1, "name": "dev_{machine}.zip", "replaced": {"fam": "x.zip"}}}, "no machine 'fam'"),
        ({"dev": {"record": 1, "nmae": "dev_{machine}.zip"}}, "unknown key 'dev.nmae'. Did you mean 'name'"),
        ({"eval_test": {"record": 1, "name": "eval_data_{machine}_train.zip"}}, "two archives have one name"),
        ({"ground_truth": None}, "in neither"),
        ({"ground_truth": {"licence": "x"}}, "either 'record' and 'file'"),
        ({"ground_truth": {**PLAN["ground_truth"], "paths": {"../x": None}}}, "below the repository"),
        ({"ground_truth": {**PLAN["ground_truth"], "commit": "main"}}, "ground_truth.commit"),
    ],
)
def test_faults_of_the_plan(run: Callable[..., None], server: Server, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        run(plan=changed(**change))
    assert server.requests == []


def test_jobs_below_one(run: Callable[..., None]) -> None:
    with pytest.raises(ValueError, match="--jobs is a number from 1"):
        run("--jobs", "0")


@pytest.mark.parametrize(
    "url",
    ["http://zenodo.org/a", "ftp://zenodo.org/a", "file:///etc/passwd", "zenodo.org/a", "https:///a", "data:,x"]
    + ["http://127.0.0.1.example.org/a", "http://localhost@example.org/a"],
)
def test_only_https(url: str) -> None:
    with pytest.raises(ValueError, match="only https"):
        check_url(url)


def test_https_and_this_machine() -> None:
    for url in ("https://zenodo.org/api", "http://127.0.0.1:8000/a", "http://localhost/a", "http://[::1]:1/a"):
        check_url(url)
