"""tools/get_checkpoint.py against a server on this machine: whole weights with their SHA-256, or one clear error."""

import hashlib
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from download_server import breaks_off, ignores_ranges, says, serves
from pydantic import TypeAdapter

from asdkit.config import EncoderConfig
from asdkit.encoders import ENCODERS, build_encoder
from asdkit.encoders.checkpoints import check_file
from asdkit.fetch import https, weights
from asdkit.fetch.published import LICENCES, PUBLISHED, Published
from asdkit.utils import files

pytest_plugins = ["download_server"]  # its fixtures

ROOT = Path(__file__).parents[1]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
PAGE = b"<!DOCTYPE html><html><body>Sign in to continue</body></html>"


def torch_file(seed: int = 0, size: int = 100_000) -> bytes:
    buffer = io.BytesIO()
    torch.save({"w": torch.randn(size, generator=torch.Generator().manual_seed(seed))}, buffer)
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("get_checkpoint", ROOT / "tools/get_checkpoint.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WEIGHTS = torch_file()


@pytest.fixture
def get(tool, server, tmp_path, monkeypatch, caplog):
    """Run the tool on made-up entries: a direct address, a record, a hub, one for a browser."""
    made = [
        Published("direct", "ast", "CC BY-NC-SA 4.0", "https://a.page", "w.pth", url=f"{server.url}/w.pth", note="x"),
        Published("record", "ced", "not stated", "https://b.page", "dev_fan.zip", record=123),
        Published("hub", "hubert", "Apache-2.0", "https://c.page", hub="someone/model"),
        Published("browser", "beats", "MIT", "https://d.page", "b.pt", browser="https://drive.example/b"),
    ]
    monkeypatch.setattr(tool, "PUBLISHED", {one.name: one for one in made})
    server.files["w.pth"] = WEIGHTS
    caplog.set_level("INFO")

    def run(*words: str) -> None:
        servers = ["--records", f"{server.url}/api", "--hub", server.url]
        tool.main([*words, "--out", str(tmp_path / "out"), *servers])

    return run


def hub_answer(server, content: dict[str, bytes], **changes) -> None:
    listed = []
    for name, data in content.items():
        server.files[name] = data
        lfs = {"lfs": {"sha256": sha256(data), "size": len(data)}} if len(data) > 1000 else {}
        listed.append({"rfilename": name, "size": len(data), **lfs})
    answer = {"sha": COMMIT, "siblings": listed, "cardData": {"license": "apache-2.0"}} | changes
    server.files["model?blobs=true"] = json.dumps(answer).encode()


def test_licence_first_then_the_file_then_its_sha256(get, server, tmp_path, capsys):
    get("direct")
    path = tmp_path / "out/direct/w.pth"
    assert path.read_bytes() == WEIGHTS
    assert path.with_name("w.pth.sha256").read_text() == f"{sha256(WEIGHTS)}  w.pth\n"
    check_file(path)  # what an encoder compares
    printed = capsys.readouterr().out
    assert "licence: CC BY-NC-SA 4.0 (x): FORBIDS COMMERCIAL USE" in printed and "https://a.page" in printed
    assert printed.index("FORBIDS") < printed.index(f"--set encoder.name=ast --set encoder.checkpoint={path}")
    server.requests.clear()
    get("direct")  # again: no request, but a look at the file
    assert server.requests == [] and "complete" in capsys.readouterr().out
    path.write_bytes(WEIGHTS[:-1] + b"x")
    with pytest.raises(ValueError, match=r"w.pth: SHA-256 is \w+, it was \w+: remove .*out/direct to get it again"):
        get("direct")
    path.unlink()
    with pytest.raises(ValueError, match="w.pth is gone"):
        get("direct")


def test_the_licence_is_told_before_the_first_request(get, server, capsys):
    server.faults["w.pth"] = [says(404), says(404)]
    with pytest.raises(ValueError, match="HTTP 404.* Open https://a.page in a browser"):
        get("direct")
    assert "FORBIDS COMMERCIAL USE" in capsys.readouterr().out


def test_a_broken_transfer_goes_on_where_it_was_if_it_is_the_same_file(get, server, tmp_path, monkeypatch):
    monkeypatch.setattr(https, "ATTEMPTS", 1)
    other = torch_file(1)
    server.versions["w.pth"] = '"one"'
    part = tmp_path / "out/direct/w.pth.part"

    def begin():
        server.faults["w.pth"] = [says(405), None, breaks_off(150_000)]  # HEAD, the first byte, the file

        def with_version(handler, name, content):
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(content)))
            handler.send_header("ETag", server.versions["w.pth"])
            handler.end_headers()
            handler.wfile.write(content[:150_000])
            handler.close_connection = True

        server.faults["w.pth"][2] = with_version
        with pytest.raises(ValueError, match="broke off at 150000 of .*run again to go on"):
            get("direct")
        assert part.stat().st_size == 150_000

    begin()
    server.requests.clear()
    get("direct")
    assert [span for command, name, span in server.requests if command == "GET"] == ["bytes=150000-"]
    assert (tmp_path / "out/direct/w.pth").read_bytes() == WEIGHTS
    assert {path.name for path in part.parent.iterdir()} == {".done", ".lock", "w.pth", "w.pth.sha256"}
    for path in part.parent.iterdir():
        path.unlink()
    begin()
    server.files["w.pth"], server.versions["w.pth"] = other, '"two"'  # of the same length
    get("direct")
    assert (tmp_path / "out/direct/w.pth").read_bytes() == other


def test_without_a_checksum_or_a_version_nothing_is_continued(get, server, tmp_path):
    part = tmp_path / "out/direct/w.pth.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1000)
    get("direct")
    assert (part.parent / "w.pth").read_bytes() == WEIGHTS


def test_a_killed_tool_goes_on(get, server, tmp_path):
    """As a process of its own, killed in the middle."""
    hub_answer(server, {"config.json": b"{}", "model.safetensors": b"\x02\0\0\0\0\0\0\0{}" + bytes(3_000_000)})

    def slow(handler, name, content):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:2_000_000])
        handler.wfile.flush()
        time.sleep(20)

    server.faults["model.safetensors"] = [slow]
    code = (
        "from pathlib import Path; from asdkit.fetch import published, weights\n"
        "entry = published.Published('hub', 'hubert', 'MIT', 'p', hub='someone/model')\n"
        f"weights.get(entry, Path({str(tmp_path / 'out/hub')!r}), weights.Servers(hub={server.url!r}))"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", code], env=env)
    part = tmp_path / "out/hub/model.safetensors.part"
    for _ in range(600):
        if part.exists() and part.stat().st_size >= 1_000_000:
            break
        time.sleep(0.05)
    process.kill()
    process.wait()
    have = part.stat().st_size
    assert have >= 1_000_000 and weights.state(part.parent) == "begun"
    server.requests.clear()
    get("hub")
    assert ("GET", "model.safetensors", f"bytes={have}-") in server.requests
    assert weights.state(part.parent) == "there" and not part.exists()


def test_of_a_record_the_md5_counts(get, server, tmp_path):
    server.faults["dev_fan.zip"] = [serves(b"x" * len(server.files["dev_fan.zip"]))]
    with pytest.raises(ValueError, match="its MD5 is .*, expected .*; deleted"):
        get("record")
    with pytest.raises(ValueError, match="dev_fan.zip: a packed file: unpack it"):  # a zip of recordings, no weights
        get("record")
    assert not list(tmp_path.glob("out/record/dev_fan*"))


def test_a_hub_gives_its_weights_and_what_is_read_with_them(get, server, tmp_path, caplog, capsys):
    safe = b"\x02\0\0\0\0\0\0\0{}" + bytes(5000)
    there = {"README.md": b"x", "config.json": b"{}", "preprocessor_config.json": b"{}", "pytorch_model.bin": WEIGHTS}
    hub_answer(server, there | {"model.safetensors": safe})
    get("hub")
    folder = tmp_path / "out/hub"
    assert {path.name for path in folder.iterdir() if path.name[0] != "."} == {
        "config.json", "preprocessor_config.json", "model.safetensors", "model.safetensors.sha256",
    }  # fmt: skip
    assert f"--set encoder.name=hubert --set encoder.checkpoint={folder}" in capsys.readouterr().out
    assert f"licence apache-2.0, commit {COMMIT}" in caplog.text
    digest = files.sha256_path(folder)  # as of the same files from the hub's own cache
    (folder / "model.safetensors.sha256").unlink()
    assert files.sha256_path(folder) == digest
    other = Published("other", "hubert", "MIT", "p", hub="someone/model")
    hub_answer(server, there)
    weights.get(other, tmp_path / "o", weights.Servers(hub=server.url))
    assert (tmp_path / "o/pytorch_model.bin").read_bytes() == WEIGHTS
    for answer, told in (
        ({"config.json": b"{}", "model-00001-of-2.safetensors": safe}, "has no model.safetensors or .*several parts"),
        ({"model.safetensors": safe}, "has no model.safetensors or pytorch_model.bin with config.json"),
    ):
        hub_answer(server, answer)
        with pytest.raises(ValueError, match=told):
            weights.get(other, tmp_path / "p", weights.Servers(hub=server.url))
    server.files["model?blobs=true"] = PAGE
    with pytest.raises(ValueError, match="not the answer of a hub: b'<!DOCTYPE"):
        weights.get(other, tmp_path / "p", weights.Servers(hub=server.url))


def test_a_page_in_the_place_of_weights_is_told(get, server, tmp_path, monkeypatch):
    def page(handler, name, content):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html; charset=utf-8")
        handler.send_header("Content-Length", str(len(PAGE)))
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(PAGE)

    server.faults["w.pth"] = [page]
    with pytest.raises(
        ValueError, match="w.pth: a web page, not weights: .*asks for a login. Open https://a.page in a"
    ):
        get("direct")
    monkeypatch.setattr(https, "ATTEMPTS", 1)
    server.faults["w.pth"] = [None, page]
    with pytest.raises(ValueError, match="a web page came in the place of the file"):
        get("direct")
    server.files["w.pth"] = PAGE  # without saying so
    with pytest.raises(
        ValueError, match=r"w.pth: a web page, not a checkpoint: .* \(removed\). If it stays so: open https"
    ):
        get("direct")
    assert {path.name for path in tmp_path.glob("out/direct/*")} <= {".lock"}


def test_what_a_browser_has_to_fetch_is_told_and_then_checked(get, server, tmp_path, capsys, caplog, monkeypatch):
    path = tmp_path / "out/browser/b.pt"
    with pytest.raises(
        ValueError, match=f"has to be fetched with a browser: open https://drive.*put it to {path}, and g"
    ):
        get("browser")
    assert "licence: MIT" in capsys.readouterr().out
    path.write_bytes(PAGE)
    with pytest.raises(ValueError, match="b.pt: a web page, not a checkpoint"):
        get("browser")
    assert path.exists()  # it is the user's
    path.write_bytes(WEIGHTS)
    path.with_name("b.pt.sha256").write_text("0" * 64)
    with pytest.raises(ValueError, match=f"SHA-256 is {sha256(WEIGHTS)}, b.pt.sha256 says 0000"):
        get("browser")
    path.with_name("b.pt.sha256").unlink()
    get("browser")
    assert path.with_name("b.pt.sha256").read_text().split()[0] == sha256(WEIGHTS) and server.requests == []
    known = Published("known", "beats", "MIT", "p", "b.pt", browser="https://x", sha256="8d1b2340")
    (tmp_path / "k").mkdir()
    (tmp_path / "k/b.pt").write_bytes(WEIGHTS)
    weights.get(known, tmp_path / "k", weights.Servers())
    assert "WARNING: SHA-256 of b.pt as others tell it begins with 8d1b2340" in caplog.text


def test_servers_that_answer_neither_head_nor_ranges(get, server, tmp_path):
    server.faults["w.pth"] = [says(405), ignores_ranges]
    get("direct")
    assert (tmp_path / "out/direct/w.pth").read_bytes() == WEIGHTS


def test_room_and_one_at_a_time(get, server, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_free", lambda path: 1000)
    with pytest.raises(ValueError, match=r"needs 0\.4 MB for the weights, 0\.0 MB are free"):
        get("direct")
    assert server.requests == [("HEAD", "w.pth", None)]
    with files.locked(tmp_path / "out/direct/.lock"), pytest.raises(ValueError, match="another one is getting them"):
        get("direct")


def test_a_server_that_does_not_answer(get, server, monkeypatch):
    monkeypatch.setattr(https, "ATTEMPTS", 1)
    server.faults["model?blobs=true"] = [says(503)] * 3
    with pytest.raises(ValueError, match="HTTP 503.* Try again later"):
        get("hub")


def test_names_and_the_list(tool, capsys, tmp_path):
    tool.main(["--list", "--out", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "encoder", "about", "licence", "got", "from"]
    assert [line.split()[0] for line in lines[1:]] == list(PUBLISHED)
    for words, told in (([], "name what to get"), (["beat"], "no weights 'beat'. There are: beats_iter3, ")):
        with pytest.raises(ValueError, match=told):
            tool.main([*words, "--out", str(tmp_path)])
    done = subprocess.run(
        [sys.executable, ROOT / "tools/get_checkpoint.py", "beats_iter3", "--out", tmp_path],
        capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "licence: MIT" in done.stdout
    assert re.search(f"error: beats_iter3 has to be fetched with a browser: .* put it to {tmp_path}/", done.stderr)


def test_every_entry_has_one_source_a_licence_and_an_encoder_of_ours():
    for one in PUBLISHED.values():
        assert sum(map(bool, (one.url, one.record, one.hub, one.browser))) == 1, one.name
        assert bool(one.file) != bool(one.hub) and one.licence in LICENCES and one.encoder in ENCODERS, one.name
        for url in filter(None, (one.url, one.browser, one.page)):
            https.check_url(url)
            assert url.startswith("https://")


def test_a_hubs_folder_is_what_its_encoder_reads(tmp_path):
    named = {one.encoder for one in PUBLISHED.values() if one.hub}
    sections = [TypeAdapter(EncoderConfig).validate_python({"name": n, "checkpoint": str(tmp_path)}) for n in named]
    assert {"ast", "ced", "clap", "dasheng", "eat"} == {one.name for one in sections if not one.on_hub}
    for section in sections:
        if not section.on_hub:  # the others are read by the library transformers
            with pytest.raises(ValueError, match="no config.json in it; a folder of weights has it"):
                build_encoder(section)
