"""Brings published weights to a folder of their own: fetched, or put there by hand; checked, their SHA-256 noted."""

import json
import logging
import queue
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asdkit.fetch.https import PAGE, RemoteFile, TransferError, announced, fetch, read_url
from asdkit.fetch.published import HUB, LICENCES, Published
from asdkit.fetch.records import Archive, ask_record, file_url
from asdkit.utils import cli, kinds
from asdkit.utils.files import locked, needs_space, read_json, read_text, readable, sha256_file, write_json, write_text
from asdkit.utils.hub import OTHERS, WEIGHTS

DONE = ".done"


@dataclass(frozen=True)
class Servers:
    """Where records and hubs answer."""

    records: str = "https://zenodo.org/api"
    hub: str = HUB


def describe(entry: Published) -> list[str]:
    """What is said before anything is fetched: what it is, from where, and what its licence asks for."""
    note = f" ({entry.note})" if entry.note else ""
    size = f", about {readable(entry.megabytes * 1e6)}" if entry.megabytes else ""
    return [
        f"{entry.name}: weights for encoder.name={entry.encoder}, from {entry.source()}{size}",
        f"licence: {entry.licence}{note}: {LICENCES[entry.licence]}. Its own words count: {entry.page}",
    ]


def get(entry: Published, folder: Path, servers: Servers) -> Path:
    """Bring weights to `folder`; returns what `encoder.checkpoint` is to name: the file, or the folder of a hub's.

    What is there is checked and not fetched again; a killed transfer goes on. `<file>.sha256` of the weights is written
    on the first use and compared afterwards. Raises ValueError where a browser is needed, a page came in the place of
    weights, a checksum differs, or room or an answer is lacking.
    """
    try:
        with _alone(folder):
            if (folder / DONE).exists():
                _check(folder)
            else:
                _note(entry, folder, _by_hand(entry, folder) if entry.browser else _fetch(entry, folder, servers))
    except TransferError as error:
        raise ValueError(f"{error}. Try again later: the same command goes on") from None
    except OSError as error:
        raise ValueError(f"{error.filename or folder}: {error.strerror or error}") from None
    return folder / entry.file if entry.file else folder


def state(folder: Path) -> str:
    """Whether weights are in their folder, in a word."""
    if (folder / DONE).exists():
        return "there"
    return "begun" if folder.is_dir() and any(folder.glob("*.part")) else "-"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder / ".lock", wait=False):
            yield
    except BlockingIOError:
        raise ValueError(f"{folder}: another one is getting them. Wait for it, or stop it") from None


def _check(folder: Path) -> None:
    """Raise ValueError for a file that is gone, or has changed since it came."""
    for name, expected in read_json(folder / DONE)["sha256"].items():
        path = folder / name
        if not path.exists():
            raise ValueError(f"{path} is gone: put it back, or remove {folder} to get it again")
        if (found := sha256_file(path)) != expected:
            raise ValueError(f"{path}: SHA-256 is {found}, it was {expected}: remove {folder} to get it again")


def _note(entry: Published, folder: Path, names: list[str]) -> None:
    digests = {name: sha256_file(folder / name) for name in names}
    weights = entry.file or next(name for name in WEIGHTS if name in digests)
    beside = folder / f"{weights}.sha256"
    if not beside.exists():
        write_text(beside, f"{digests[weights]}  {weights}\n")
        logging.info("SHA-256 %s, kept in %s", digests[weights], beside)
    if entry.sha256 and not digests[weights].startswith(entry.sha256):
        logging.warning("WARNING: SHA-256 of %s as others tell it begins with %s", weights, entry.sha256)
    write_json(folder / DONE, {"name": entry.name, "source": entry.source(), "sha256": digests})


def _by_hand(entry: Published, folder: Path) -> list[str]:
    path = folder / entry.file
    if not path.exists():
        raise ValueError(
            f"{entry.name} has to be fetched with a browser: open {entry.browser}, download {entry.file}, put it to "
            f"{path.absolute()}, and give the same command again, which checks it"
        )
    _check_kind(path, f"open {entry.browser} in a browser and download {entry.file} there", keep=True)
    return [entry.file]


def _check_kind(path: Path, advice: str, keep: bool = False) -> None:
    """Raise ValueError for what is no file of weights; it is removed, unless `keep`."""
    if (found := kinds.kind(path)) and found != kinds.TENSORS:
        if not keep:
            path.unlink()
        raise ValueError(f"{path}: {found}{'' if keep else ' (removed)'}. If it stays so: {advice}")
    beside = path.with_name(path.name + ".sha256")
    if beside.exists() and (expected := read_text(beside).split()[:1]) != [got := sha256_file(path)]:
        raise ValueError(f"{path}: SHA-256 is {got}, {beside.name} says {' '.join(expected)}: remove the wrong one")


def _fetch(entry: Published, folder: Path, servers: Servers) -> list[str]:
    remotes, missing = _remotes(entry, servers), {}
    for name, remote in remotes.items():
        if not (folder / name).exists():
            missing[name] = remote
        elif fault := remote.fault(folder / name):
            raise ValueError(f"{folder / name}: {fault}. Move it away and run again")
    have = sum(path.stat().st_size for name in missing if (path := folder / f"{name}.part").exists())
    needs_space(folder, sum(remote.size for remote in missing.values()) - have, "the weights")
    for name, remote in missing.items():
        _with_progress(remote, folder / name)
    advice = f"open {entry.page} in a browser and look for another address"
    for name in remotes:
        if name not in OTHERS:
            _check_kind(folder / name, advice)
    return list(remotes)


def _with_progress(remote: RemoteFile, path: Path) -> None:
    stop, received = threading.Event(), queue.SimpleQueue()
    faults: list[BaseException] = []

    def transfer() -> None:
        try:
            fetch(remote, path, received.put, stop)
        except BaseException as error:  # of another thread: raised below
            faults.append(error)
        received.put(None)

    def mebibytes() -> Iterator[None]:
        rest = 0
        while (size := received.get()) is not None:
            rest += size
            yield from [None] * (rest >> 20)
            rest %= 1 << 20

    thread = threading.Thread(target=transfer, daemon=True)
    thread.start()
    try:
        for _ in cli.progress(mebibytes(), path.name, remote.size >> 20, "MiB"):
            pass
    finally:
        stop.set()
        thread.join()
    if faults:
        raise faults[0]


def _remotes(entry: Published, servers: Servers) -> dict[str, RemoteFile]:
    """Address, size and checksum of each file, by the name that it gets."""
    if entry.record:
        archive, answer = Archive(entry.record, entry.file), ask_record(servers.records, entry.record)
        if entry.file not in answer.files:
            raise ValueError(f"record {entry.record} has no {entry.file}. It has: {', '.join(sorted(answer.files))}")
        logging.info("record %d: licence %s", entry.record, answer.licence)
        return {entry.file: RemoteFile(file_url(servers.records, archive), *answer.files[entry.file])}
    if entry.hub:
        return _of_hub(entry.hub, servers.hub)
    try:
        size, kind = announced(entry.url)
    except ValueError as error:
        raise ValueError(f"{error}. Open {entry.page} in a browser and look for another address") from None
    if kind == PAGE:
        raise ValueError(
            f"{entry.url}: a web page, not weights: the address is out of date or asks for a login. Open {entry.page} "
            "in a browser and look for another one"
        )
    return {entry.file: RemoteFile(entry.url, size)}


def _of_hub(repository: str, hub: str) -> dict[str, RemoteFile]:
    """The weights in a hub's repository and what is read with them, of the commit that it has now."""
    url = f"{hub}/api/models/{repository}?blobs=true"
    content = read_url(url, limit=10 << 20, attempts=3)
    try:
        answer = json.loads(content)
        commit, licence = str(answer["sha"]), (answer.get("cardData") or {}).get("license")
        files = {file["rfilename"]: _size_and_sha256(file) for file in answer["siblings"]}
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError(f"{url}: not the answer of a hub: {content[:80]!r}") from None
    weights = [name for name in WEIGHTS if name in files][:1]
    if not re.fullmatch("[0-9a-f]{40}", commit) or not weights or "config.json" not in files:
        raise ValueError(
            f"{hub}/{repository}: has no {' or '.join(WEIGHTS)} with config.json in one commit; it has "
            f"{', '.join(sorted(files)[:9])}. Weights in several parts are not read"
        )
    logging.info("%s/%s: licence %s, commit %s", hub, repository, licence or "not stated", commit)
    wanted = [name for name in OTHERS if name in files] + weights
    return {
        name: RemoteFile(f"{hub}/{repository}/resolve/{commit}/{name}", files[name][0], "", files[name][1])
        for name in wanted
    }


def _size_and_sha256(file: dict[str, Any]) -> tuple[int, str]:
    large = file.get("lfs") or {}
    size, digest = file["size"], large.get("sha256", "")
    if type(size) is not int or size < 0 or not re.fullmatch("([0-9a-f]{64})?", digest):
        raise ValueError("neither a size nor a digest")
    return size, digest
