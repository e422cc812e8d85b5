"""Ground truth from the organisers' repositories: chosen folders at one commit, checked by git's own ids."""

import hashlib
import io
import os
import zipfile
from pathlib import Path, PurePosixPath

from asdkit.fetch.https import TransferError, read_url
from asdkit.fetch.records import GroundTruth
from asdkit.fetch.unpack import Select, move_in, unpacked
from asdkit.utils.done import Done

CODELOAD = "https://codeload.github.com"
LARGEST = 200 << 20  # bytes of a repository's zip


def marker(archives: Path) -> Path:
    """The done marker of `fetch_repository`."""
    return archives / "ground_truth.done"


def fetch_repository(truth: GroundTruth, target: Path, archives: Path, codeload: str = CODELOAD) -> None:
    """Put the folders truth.paths of a repository at its pinned commit below `target`; a single file becomes `target`.

    Skipped when done; `archives` is a folder for the marker and temporary files. Raises ValueError, with nothing
    put in place, when the repository cannot be had or the content is not what was pinned.
    """
    done = Done(marker(archives), truth.model_dump(mode="json", exclude={"licence"}))
    if done.is_done() and all(_place(target, path).exists() for path in truth.paths):
        return
    url = f"{codeload}/{truth.repository}/zip/{truth.commit}"
    try:
        content = io.BytesIO(read_url(url, LARGEST))
    except TransferError as error:
        raise ValueError(f"{error}. Try again later") from None
    with unpacked(content, url, archives, _below_top(list(truth.paths))) as (folder, _):
        if None in truth.paths.values() and _commit(content) != truth.commit:
            raise ValueError(f"{url}: not made from the commit {truth.commit}; nothing is kept")
        for path, expected in truth.paths.items():
            if not (folder / path).exists():
                raise ValueError(f"{url}: holds no {path}; nothing is kept")
            if expected not in (None, got := git_id(folder / path)):
                raise ValueError(f"{url}: git's id of {path} is {got}, expected {expected}; nothing is kept")
        for path in truth.paths:
            place = _place(target, path)
            place.parent.mkdir(parents=True, exist_ok=True)
            move_in(folder / path, place)
    done.finish()


def _place(target: Path, path: str) -> Path:
    return target if path.endswith(".csv") else target / Path(path).name


def git_id(path: Path) -> str:
    """Git's id of a file, or of a folder that holds plain files alone: SHA-1 over names and contents, hex."""
    return _tree(path).hex() if path.is_dir() else _blob(path).hex()


def _blob(path: Path) -> bytes:
    return _sha1(b"blob", path.read_bytes())


def _tree(folder: Path) -> bytes:
    entries = sorted((os.fsencode(path.name), path) for path in folder.iterdir())
    return _sha1(b"tree", b"".join(b"100644 %s\0%s" % (name, _blob(path)) for name, path in entries))


def _sha1(kind: bytes, content: bytes) -> bytes:
    return hashlib.sha1(b"%s %d\0%s" % (kind, len(content), content), usedforsecurity=False).digest()


def _commit(content: io.BytesIO) -> str:
    """`git archive` writes the commit as the zip's comment."""
    with zipfile.ZipFile(content) as archive:
        return archive.comment.decode("ascii", "replace")


def _below_top(paths: list[str]) -> Select:
    def select(path: PurePosixPath) -> PurePosixPath | None:
        inner = PurePosixPath(*path.parts[1:])  # the top folder is <name>-<commit>
        return inner if any(inner.is_relative_to(wanted) for wanted in paths) else None

    return select
