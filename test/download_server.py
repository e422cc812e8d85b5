"""A server on this machine that fails in every way that we could think of, and stage 0 run against it."""

import hashlib
import io
import json
import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from asdkit.bin import download as program
from asdkit.fetch import https

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
        start, version = 0, self.server.versions.get(name)
        if (span := self.headers.get("Range")) and self.headers.get("If-Range") in (None, version):
            start, stop = re.fullmatch(r"bytes=(\d+)-(\d*)", span).groups()
            start, content = int(start), content[: int(stop) + 1] if stop else content
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(self.server.files[name])}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        if version:
            self.send_header("ETag", version)
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
        self.versions: dict[str, str] = {}  # what the server calls a file's bytes: ETag
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
    monkeypatch.setattr(https, "WAIT", 0.0)
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
