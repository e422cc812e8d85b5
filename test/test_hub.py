"""Weights on a hub: a server of the test's own stands for it."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from asdkit.config import Config
from asdkit.utils.files import sha256_path, sha256_text
from asdkit.utils.hub import weights_path
from asdkit.utils.typed_yaml import validate

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")

ROOT = Path(__file__).parents[1]
COMMIT, OLDER = "c" * 40, "0" * 40
REPOSITORY = {"config.json": b"{}", "preprocessor_config.json": b"{}", "pytorch_model.bin": b"weights"}
PROGRAM = """
import sys
from asdkit.utils.hub import sha256_weights, weights_path
try:
    print(weights_path(sys.argv[1]), sha256_weights(sys.argv[1]))
except ValueError as error:
    print("error:", error)
"""


@pytest.fixture
def hub(tmp_path):
    """What programs with `HF_ENDPOINT` and `HF_HOME` of this test say of an id, and what the server was asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):  # noqa: N802 - its name in the standard library
            self.answer(False)

        def do_GET(self):  # noqa: N802
            self.answer(True)

        def answer(self, whole):
            *name, _, revision, file = self.path.removeprefix("/").split("/")
            asked.append((self.command, revision, file))
            known = "/".join(name) == "who/what"
            content = REPOSITORY.get(file) if known else None
            self.send_response(404 if content is None else 200)
            if content is None:
                self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
            else:
                self.send_header("ETag", f'"{sha256_text(file)}"')
                self.send_header("X-Repo-Commit", OLDER if revision == OLDER else COMMIT)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            if whole and content:
                self.wfile.write(content)

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    env = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "home")}
    env |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "no_proxy": "127.0.0.1"}

    def say(checkpoint, **more):
        words = [sys.executable, "-c", PROGRAM, checkpoint]
        done = subprocess.run(words, env=env | more, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip(), asked

    yield say
    server.shutdown()


def test_fetched_once_and_then_taken_from_the_cache(hub, tmp_path):
    said, asked = hub("hub:who/what")
    folder, digest = said.split()
    assert Path(folder).name == COMMIT and {file for _, _, file in asked} == {*REPOSITORY, "model.safetensors"}
    assert {revision for _, revision, _ in asked} == {"main", COMMIT}
    (tmp_path / "copy").mkdir()
    for name, content in REPOSITORY.items():
        (tmp_path / "copy" / name).write_bytes(content)
    assert sha256_path(tmp_path / "copy") == digest  # the same weights in a folder of one's own
    (Path(folder) / "README.md").write_text("what others fetch into this folder does not count")
    asked.clear()
    assert hub("hub:who/what") == (said, [])
    assert hub("hub:who/what", HF_HUB_OFFLINE="1") == (said, [])
    assert Path(hub(f"hub:who/what@{OLDER}")[0].split()[0]).name == OLDER


def test_what_cannot_be_had_is_told(hub):
    said, asked = hub("hub:who/what", HF_HUB_OFFLINE="1")
    assert said.startswith("error: hub:who/what: not in the hub's cache, and it cannot be fetched (") and not asked
    for name in ("hub:who/else", "hub:no name at all"):
        said, _ = hub(name)
        assert said.startswith(f"error: {name}: not in the hub's cache, and it cannot be fetched (")


def test_only_where_it_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert weights_path("facebook/wav2vec2-base") == Path("facebook/wav2vec2-base")
    with pytest.raises(ValueError, match="hub:a/b: the package huggingface_hub cannot be used .*setup_env.sh hf"):
        weights_path("hub:a/b")
    assert validate(Config, {"encoder": {"name": "hubert", "checkpoint": "hub:a/b"}}, "x")
    for name in ("beats", "logmel"):
        with pytest.raises(ValueError, match="is a file or folder, got 'hub:a/b'|has no weights"):
            validate(Config, json.loads(json.dumps({"encoder": {"name": name, "checkpoint": "hub:a/b"}})), "x")
