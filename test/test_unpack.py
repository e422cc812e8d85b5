"""Zip archives that want to leave their folder, to grow without bound, or are broken."""

import io
import stat
import zipfile
from pathlib import Path

import pytest

from asdkit.fetch import unpack
from asdkit.fetch.unpack import machine_files, move_in, unpacked
from asdkit.utils import files

WAV = b"RIFF" + bytes(range(256)) * 8


def write_zip(path: Path, members: list[tuple[str | zipfile.ZipInfo, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def bring(archive: Path, into: Path, machine: str = "fan") -> list[str]:
    with unpacked(archive, str(archive), into, machine_files(machine, str(archive))) as (folder, left_out):
        move_in(folder, into)
    return left_out


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} if folder.exists() else set()


def refused(archive: Path, tmp_path: Path, message: str) -> None:
    """The archive is refused, and neither its harmless member nor anything else is left anywhere."""
    before = everything(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        bring(archive, tmp_path / "deep" / "out")
    assert "\n" not in str(error.value)
    assert everything(tmp_path) == before
    assert not list((tmp_path / "deep" / "out").glob("*")), "an empty folder was left"


def test_train_and_test_archives_merge_into_one_machine(tmp_path: Path) -> None:
    out = tmp_path / "eval_data"
    train = [("fan/", b""), ("fan/train/a.wav", WAV), ("fan/attributes_00.csv", b"x")]
    bring(write_zip(tmp_path / "train.zip", train), out)
    bring(write_zip(tmp_path / "test.zip", [("fan/test/b.wav", WAV), ("fan/attributes_00.csv", b"x")]), out)
    assert everything(out) == {"fan/train/a.wav", "fan/test/b.wav", "fan/attributes_00.csv"}
    assert (out / "fan/train/a.wav").read_bytes() == WAV
    assert not list(out.glob(".*")), "temporary folders are left"


def test_again_after_an_interrupted_merge(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", [("fan/train/a.wav", WAV), ("fan/train/b.wav", WAV[::-1])])
    (tmp_path / "out/fan/train").mkdir(parents=True)
    (tmp_path / "out/fan/train/a.wav").write_bytes(WAV)
    (tmp_path / "out/.unpack.a.zip/fan").mkdir(parents=True)
    (tmp_path / "out/.unpack.a.zip/fan/stale.wav").write_bytes(b"stale")
    bring(archive, tmp_path / "out")
    assert everything(tmp_path / "out") == {"fan/train/a.wav", "fan/train/b.wav"}


def test_other_content_there_already_is_kept_and_nothing_is_moved(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", [("fan/train/a.wav", WAV), ("fan/train/b.wav", WAV)])
    (tmp_path / "out/fan/train").mkdir(parents=True)
    (tmp_path / "out/fan/train/b.wav").write_bytes(b"mine")
    with pytest.raises(ValueError, match="b.wav: there already"):
        bring(archive, tmp_path / "out")
    assert everything(tmp_path / "out") == {"fan/train/b.wav"}
    assert (tmp_path / "out/fan/train/b.wav").read_bytes() == b"mine"


def test_other_kinds_of_files_are_left_out_and_named(tmp_path: Path) -> None:
    names = ["fan/train/a.wav", "fan/run.sh", "__MACOSX/fan/._a.wav", "fan/.DS_Store"]
    left_out = bring(write_zip(tmp_path / "a.zip", [(name, WAV) for name in names]), tmp_path / "out")
    assert everything(tmp_path / "out") == {"fan/train/a.wav"}
    assert sorted(left_out) == sorted(names[1:])


@pytest.mark.parametrize(
    "name",
    ["../evil.wav", "fan/../../evil.wav", "/tmp/evil.wav", "fan//a.wav", "fan/./a.wav", "C:/evil.wav", "fan\\..\\e.wav"]
    + ["fan/a\nb.wav", "fan/" + "x" * 300 + ".wav"],
)
def test_unsafe_names(tmp_path: Path, name: str) -> None:
    refused(write_zip(tmp_path / "a.zip", [("fan/train/good.wav", WAV), (name, WAV)]), tmp_path, "unsafe name")


def test_name_cut_short_by_a_null_byte(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", [("fan/train/good.wav", WAV), ("fan/train/a.wavXevil", WAV)])
    archive.write_bytes(archive.read_bytes().replace(b"a.wavXevil", b"a.wav\0evil"))
    refused(archive, tmp_path, "unsafe name")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices(tmp_path: Path, kind: int) -> None:
    link = zipfile.ZipInfo("fan/train/link.wav")
    link.create_system, link.external_attr = 3, (kind | 0o777) << 16
    refused(write_zip(tmp_path / "a.zip", [("fan/train/good.wav", WAV), (link, b"/etc/passwd")]), tmp_path, "link")


def test_member_given_twice(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        archive = write_zip(tmp_path / "a.zip", [("fan/train/a.wav", WAV), ("fan/train/a.wav", WAV[::-1])])
    refused(archive, tmp_path, "twice")


def test_member_that_is_a_file_and_a_folder(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", [("fan/a.wav", WAV), ("fan/a.wav/b.wav", WAV)])
    refused(archive, tmp_path, "a file and a folder")


def test_encrypted_member(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", [("fan/train/a.wav", WAV)])
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    refused(archive, tmp_path, "encrypted")


def test_bomb_by_declared_size(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", [(f"fan/train/{n}.wav", bytes(8 << 20)) for n in range(10)])
    assert archive.stat().st_size < 200_000
    refused(archive, tmp_path, "too many to be recordings")


def test_bomb_that_declares_a_small_size(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", [("fan/train/good.wav", WAV), ("fan/train/bomb.wav", bytes(8 << 20))])
    content = archive.read_bytes()
    size = (8 << 20).to_bytes(4, "little")
    assert content.count(size) == 2  # local and central header
    archive.write_bytes(content.replace(size, (4096).to_bytes(4, "little")))
    refused(archive, tmp_path, "not readable")


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "MEMBERS", 3)
    refused(write_zip(tmp_path / "a.zip", [(f"fan/{n}.wav", WAV) for n in range(4)]), tmp_path, "4 members")


def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 100}))
    refused(
        write_zip(tmp_path / "a.zip", [("fan/train/a.wav", WAV)]),
        tmp_path,
        "unpacks to, 0.0 MB are free. Make room",
    )


@pytest.mark.parametrize("damage", ["cut", "flip", "text", "empty"])
def test_broken_archives(tmp_path: Path, damage: str) -> None:
    archive = write_zip(tmp_path / "a.zip", [("fan/train/good.wav", WAV), ("fan/train/a.wav", WAV[::-1])])
    content = bytearray(archive.read_bytes())
    if damage == "flip":
        content[content.index(b"PK\x01\x02") - 20] ^= 0xFF  # in the packed bytes of the second member
    broken = {"cut": content[:-30], "flip": content, "text": b"<html>not found</html>", "empty": b""}
    archive.write_bytes(broken[damage])
    refused(archive, tmp_path, "not readable")


@pytest.mark.parametrize("name", ["pump/train/a.wav", "a.wav", "fan.wav"])
def test_another_machine_inside(tmp_path: Path, name: str) -> None:
    archive = write_zip(tmp_path / "a.zip", [("fan/train/good.wav", WAV), (name, WAV)])
    refused(archive, tmp_path, "expected everything below fan/")


def test_nothing_of_use_inside(tmp_path: Path) -> None:
    refused(write_zip(tmp_path / "a.zip", [("fan/readme.pdf", b"x")]), tmp_path, "holds nothing")


def test_archive_in_memory(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", [("fan/train/a.wav", WAV)])
    content = io.BytesIO((tmp_path / "a.zip").read_bytes())
    with unpacked(content, "memory", tmp_path / "out", machine_files("fan", "memory")) as (folder, _):
        assert (folder / "fan/train/a.wav").read_bytes() == WAV
        assert folder.is_relative_to(tmp_path / "out")
    assert everything(tmp_path / "out") == set()
