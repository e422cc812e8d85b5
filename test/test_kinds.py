"""A web page, a pointer, a packed file, ... in place of a checkpoint: said before anything is made of it."""

import gzip
import hashlib
import io
import tarfile
import zipfile

import pytest
from beats_networks import GOLDEN

from asdkit.bin import configure
from asdkit.encoders.beats_checkpoint import load_beats
from asdkit.models.checkpoint import read_checkpoint
from asdkit.utils.kinds import kind, strays

PAGES = [b"<!DOCTYPE html>\n<html>", b"\xef\xbb\xbf\n <HTML lang=en>", b"<?xml version='1.0'?>\n<html xmlns='x'>"]


def packed(kind):
    """Bytes of an archive that holds a file."""
    made = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(made, "w") as archive:
            archive.writestr("BEATs/BEATs.pt", b"0" * 100)
    else:
        with tarfile.open(fileobj=made, mode="w") as archive:
            archive.addfile(member := tarfile.TarInfo("BEATs.pt"), io.BytesIO(b""))
            assert member.size == 0
    return gzip.compress(made.getvalue(), mtime=0) if kind == "tar.gz" else made.getvalue()


STRAYS = [
    *(
        (page, "a web page, not a checkpoint: the address leads to a page or has expired. Download it again")
        for page in PAGES
    ),
    (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 360000\n",
        "a Git LFS pointer, .*'git lfs pull'",
    ),
    (b'{"error":"RepositoryNotFound"}', "a server's message, not a checkpoint: download it again"),
    (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a server's message, not a checkpoint"),
    (b"Not Found", "a server's message"),
    (b"", "an empty file"),
]
OTHERS = [
    (
        (40).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[1]}}' + bytes(50),
        "a safetensors file: a BEATs file is",
    ),
    (packed("zip"), "a packed file: unpack it and name the file inside"),
    (packed("tar"), "a packed file: unpack it"),
    (packed("tar.gz"), "a packed file: unpack it"),
    (b"RIFF\0\0\0\0WAVEfmt ", "a recording, not a checkpoint"),
    (bytes(range(256)) * 4, "not a torch file, damaged or cut short"),
]


@pytest.mark.parametrize(("content", "words"), [*STRAYS, *OTHERS], ids=range(len(STRAYS + OTHERS)))
def test_what_came_instead_of_a_checkpoint_is_named(tmp_path, content, words):
    path = tmp_path / "beats.pt"
    path.write_bytes(content)
    (tmp_path / "beats.pt.sha256").write_text(hashlib.sha256(content).hexdigest())
    with pytest.raises(ValueError, match=f"beats.pt: {words}") as error:
        load_beats(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("content", "words"), STRAYS, ids=range(len(STRAYS)))
def test_what_came_instead_of_a_checkpoint_is_named_before_the_first_stage(tmp_path, content, words):
    (tmp_path / "x.yaml").write_text(f"encoder: {{checkpoint: {tmp_path}/beats.pt}}\n")
    (tmp_path / "beats.pt").write_bytes(content)
    with pytest.raises(ValueError, match=f"x.yaml: encoder.checkpoint: .*beats.pt: {words}"):
        configure.main(["--config", str(tmp_path / "x.yaml"), "--exp", str(tmp_path / "exp/x")])


def test_a_pointer_in_a_folder_of_weights_is_named(tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "empty").write_text("")
    assert strays(folder) is None and strays(tmp_path / "none.pt") is None
    (folder / "model.safetensors").write_bytes(STRAYS[3][0])
    assert strays(folder).startswith("model.safetensors in it is a Git LFS pointer")
    assert kind(GOLDEN / "beats_tiny.pt") is None


def test_a_checkpoint_of_a_training_that_is_a_pointer_is_named(tmp_path):
    (tmp_path / "final.pt").write_bytes(STRAYS[3][0])
    with pytest.raises(ValueError, match="final.pt: a Git LFS pointer"):
        read_checkpoint(tmp_path / "final.pt")
