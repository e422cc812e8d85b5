import errno
import hashlib
import os
import shlex
import sys
import time
from pathlib import Path

import pytest

from asdkit.utils import files
from asdkit.utils.files import needs_space, read_scp, read_table, sha256_file, sha256_path, write_table
from asdkit.utils.provenance import environment
from asdkit.utils.typed_yaml import Section, dump_yaml, load

ODD = "a\x0bb\x85c\u2028d e"  # characters at which str.splitlines cuts


def test_tables_hold_every_character_but_tab_and_line_break(tmp_path):
    rows = [{"utt": "a", "wav": f"{ODD}.wav"}, {"utt": "b", "wav": "x.wav"}]
    write_table(tmp_path / "x.tsv", ("utt", "wav"), rows)
    assert read_table(tmp_path / "x.tsv", ("utt", "wav")) == rows
    for bad in ("a\tb", "a\nb", "a\rb"):
        with pytest.raises(ValueError, match="a field holds a tab or line break"):
            write_table(tmp_path / "y.tsv", ("utt",), [{"utt": bad}])


def test_lists_hold_every_character_but_a_line_break(tmp_path):
    (tmp_path / "wav.scp").write_text(f"a /x/{ODD}.wav\nb /y.wav\n")
    assert read_scp(tmp_path / "wav.scp") == {"a": f"/x/{ODD}.wav", "b": "/y.wav"}


@pytest.mark.parametrize("end", ["", "\n"])
def test_the_last_line_may_lack_its_end_and_empty_lines_are_named(tmp_path, end):
    (tmp_path / "x.tsv").write_text(f"utt\twav\na\tb{end}")
    assert read_table(tmp_path / "x.tsv", ("utt", "wav")) == [{"utt": "a", "wav": "b"}]
    (tmp_path / "x.tsv").write_text(f"utt\twav\n\na\tb{end}")
    with pytest.raises(ValueError, match="x.tsv:2: 1 fields"):
        read_table(tmp_path / "x.tsv", ("utt", "wav"))
    (tmp_path / "x.scp").write_text("")
    assert read_scp(tmp_path / "x.scp") == {}
    (tmp_path / "x.tsv").write_text("")
    with pytest.raises(ValueError, match="header is 'an empty file'"):
        read_table(tmp_path / "x.tsv", ("utt",))


def test_the_command_in_env_txt_can_be_given_again(monkeypatch):
    words = ["/a b/configure.py", "--set", "data.sets=[dev_train, eval_train]", "it's"]
    monkeypatch.setattr(sys, "argv", words)
    assert shlex.split(environment()["command"]) == words


class Names(Section):
    names: list[str]
    numbers: list[float]


def test_yaml_that_is_written_is_read_back_with_its_types(tmp_path):
    words = ["1e5", "2E-3", ".5", "00", "0x10", "1_0", "1:30", "no", "null", "~", "true", "2024-05-01", "<<", "=", "#"]
    written = Names(names=[*words, "a: b", "a\nb", " x ", "", "ü"], numbers=[1e5, 1e-5, 1e300, -0.0, 3.0])
    (tmp_path / "x.yaml").write_text(dump_yaml(written), encoding="utf-8")
    assert load(Names, tmp_path / "x.yaml") == written


@pytest.fixture
def reads(monkeypatch):
    """Names of the files that are read to be hashed."""
    seen = []
    digest = files._digest
    monkeypatch.setattr(files, "_digest", lambda file: (seen.append(Path(file.name).name), digest(file))[1])
    return seen


def age(path, seconds=60):
    os.utime(path, times=(time.time() - seconds,) * 2)


def test_writing_a_file_leaves_the_umask_of_the_process_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("other threads make files meanwhile"))
    files.write_text(tmp_path / "a", "text")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~files.UMASK


def test_a_file_is_hashed_once_and_again_when_it_changed(tmp_path, monkeypatch, reads):
    path = tmp_path / "final.pt"
    path.write_bytes(b"abc")
    assert sha256_file(path) == sha256_file(path) == hashlib.sha256(b"abc").hexdigest()
    assert len(reads) == 2  # just written: its time may stay the same
    age(path)
    monkeypatch.chdir(tmp_path)
    assert sha256_file(path) == sha256_file("final.pt") == sha256_path(path) == hashlib.sha256(b"abc").hexdigest()
    assert len(reads) == 3
    path.write_bytes(b"abd")
    age(path, 30)
    assert sha256_file(path) == hashlib.sha256(b"abd").hexdigest()


def test_the_hash_of_a_folder_covers_names_and_contents(tmp_path, reads):
    folder = tmp_path / "library"
    (folder / "sub").mkdir(parents=True)
    for name in ("config.json", "sub/weights.bin"):
        (folder / name).write_text(name)
        age(folder / name)
    first = sha256_path(folder)
    assert sha256_path(folder) == first and reads == ["config.json", "weights.bin"]
    (folder / ".cache").mkdir()
    (folder / ".cache/x").write_text("left out")
    (folder / ".lock").write_text("left out")
    assert sha256_path(folder) == first
    (folder / "sub/weights.bin").rename(folder / "weights.bin")
    moved = sha256_path(folder)
    (folder / "weights.bin").write_text("others")
    assert len({first, moved, sha256_path(folder)}) == 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: a folder without files"):
        sha256_path(tmp_path / "empty")
    with pytest.raises(ValueError, match="cannot read .*none: No such file"):
        sha256_path(tmp_path / "none")


def test_too_little_space_names_place_need_and_what_is_free(tmp_path, monkeypatch):
    asked = []

    def disk_usage(path):
        asked.append(path)
        return type("Usage", (), {"free": 2_500_000_000})

    monkeypatch.setattr(files.shutil, "disk_usage", disk_usage)
    needs_space(tmp_path / "not/there/yet", 2.5e9, "features")
    assert asked == [tmp_path]
    with pytest.raises(ValueError, match=r"yet: needs 2\.6 GB for features, 2\.5 GB are free\. Make room, or"):
        needs_space(tmp_path / "not/there/yet", 2.6e9, "features")
    with pytest.raises(ValueError, match=r"needs 3\.0 GB for x, 2\.5 GB are free\. Wait$"):
        needs_space(tmp_path, 3e9, "x", "Wait")


def test_a_file_system_may_refuse_modes(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    files.write_text(tmp_path / "x", "whole")
    assert (tmp_path / "x").read_text() == "whole" and [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_files_cannot_be_locked_that_is_said(tmp_path, monkeypatch, caplog, error):
    def refuse(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    for wait in (True, False):
        with files.locked(tmp_path / ".lock", wait):
            pass
    assert [record.message for record in caplog.records] == [
        f"{tmp_path}/.lock: this file system has no locks ({os.strerror(error)}): "
        f"start nothing else that writes to {tmp_path} before this has ended"
    ] * 2


def test_a_lock_that_another_has_is_no_missing_lock(tmp_path, caplog):
    with files.locked(tmp_path / ".lock"), pytest.raises(BlockingIOError), files.locked(tmp_path / ".lock", wait=False):
        pass
    assert not caplog.records
