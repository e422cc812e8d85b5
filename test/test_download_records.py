"""Stage 0: answers of records, ground truth of repositories, and faults of conf/download.yaml."""

import hashlib
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from download_server import (
    COMMIT,
    COMPLETE,
    DATASET,
    FILES,
    LABELS,
    PLAN,
    RECORD,
    TRUTH,
    Server,
    breaks_off,
    changed,
    everything,
    says,
    zipped,
)

from asdkit.fetch.https import check_url
from asdkit.fetch.repository import git_id

pytest_plugins = ["download_server"]  # its fixtures


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
