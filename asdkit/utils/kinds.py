"""What a file is that was to be something else: the usual fates of a download."""

import zipfile
from pathlib import Path

HEAD = 512
POINTER = b"version https://git-lfs"
# What a file begins with -> what it is, and what to do.
NOTHING = "an empty file: download it again"
PAGE = "a web page, not a checkpoint: the address leads to a page or has expired. Download it again"
MESSAGE = "a server's message, not a checkpoint: download it again"
LFS = "a Git LFS pointer, which only names the file: fetch it with 'git lfs pull', or download it"
CUT_ZIP = "a torch or zip file cut short: download it again"
TENSORS = "a safetensors file"
UNPACK = "a packed file: unpack it and name the file inside"


def strays(path: str | Path) -> str | None:
    """What a file is, and what to do, when no network can be in it: no content, a page, a message, a pointer.

    Of a folder, its files are looked at, and the first such one is named. None for anything else, also for a file that
    cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        found = ((file, strays(file)) for file in sorted(path.iterdir()) if file.is_file() and file.name[0] != ".")
        return next((f"{file.name} in it is {kind}" for file, kind in found if kind not in (None, NOTHING)), None)
    head = _head(path)
    start = (head or b"?").removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head is None:
        return None
    if not head:
        return NOTHING
    if start.startswith(POINTER):
        return LFS
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script")):
        return PAGE
    if start.startswith(b"<?xml") or (start.startswith(b"<") and b"</" in start and b"\0" not in start):
        return PAGE if b"<html" in start else MESSAGE
    if start.startswith((b'{"error', b'{"message', b'{"detail', b"not found", b"404", b"access denied", b"forbidden")):
        return MESSAGE
    return None


def kind(path: str | Path) -> str | None:
    """What a file is, and what to do, when it is no torch file; None when it may be one."""
    if stray := strays(path):
        return stray
    head = _head(Path(path)) or b""
    if head.startswith(b"PK\3\4"):
        return _of_zip(Path(path))
    if len(head) > 9 and 2 <= int.from_bytes(head[:8], "little") < 1 << 40 and head[8:9] == b"{":
        return TENSORS
    # A tar whose first member is pickle, storages or tensors is torch's own format of before 2018.
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"\x28\xb5\x2f\xfd")):
        return UNPACK
    if head[257:262] == b"ustar" and head.split(b"\0")[0] not in (b"pickle", b"storages", b"tensors", b"sys_info"):
        return UNPACK
    if head.startswith((b"RIFF", b"fLaC")):
        return "a recording, not a checkpoint"
    return None


def _of_zip(path: Path) -> str | None:
    if not zipfile.is_zipfile(path):
        return CUT_ZIP
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return CUT_ZIP
    return None if any(name.endswith("data.pkl") for name in names) else UNPACK


def _head(path: Path) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(HEAD)
    except OSError:
        return None
