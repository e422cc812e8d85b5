"""Files over https: continued where a transfer broke off, checked by size and checksum, whole or absent."""

import hashlib
import http.client
import logging
import os
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asdkit.utils.files import disk_full_told, sha256_file, write_text

ATTEMPTS = 6
WAIT = 1.0  # seconds before the second attempt, doubled before each further one
LONGEST_WAIT = 300.0  # seconds, whatever the server asks for
TIMEOUT = 60.0  # seconds without a byte
PAGE = "text/html"
BLOCK = 1 << 20


class TransferError(Exception):
    """A transfer failed in a way that may pass; `wait`: seconds that the server asks for."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = min(wait, LONGEST_WAIT)


class Stopped(Exception):
    """The transfer was told to stop, because another one failed."""


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server. size: bytes; md5, sha256: hex, empty where not known."""

    url: str
    size: int
    md5: str = ""
    sha256: str = ""

    @property
    def known(self) -> bool:
        """Whether there is a checksum to compare with."""
        return bool(self.md5 or self.sha256)

    def fault(self, path: Path) -> str | None:
        """Which checksum of the file `path` is wrong, in words; None: none."""
        for name, expected, found in (("MD5", self.md5, md5_file), ("SHA-256", self.sha256, sha256_file)):
            if expected and (got := found(path)) != expected:
                return f"its {name} is {got}, expected {expected}"
        return None


def check_url(url: str) -> None:
    """Raise ValueError unless the URL is https, or http on this machine."""
    parts = urllib.parse.urlsplit(url)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not parts.hostname or parts.scheme not in ("https", *(["http"] if local else [])):
        raise ValueError(f"{url!r}: only https:// is fetched (http:// from this machine alone)")


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_Redirects)


def open_url(url: str, headers: dict[str, str] | None = None, method: str = "GET") -> Any:
    """Open a URL; raises TransferError where another attempt may help, ValueError where not."""
    check_url(url)
    headers = {"User-Agent": "asdkit", "Accept-Encoding": "identity", **(headers or {})}
    try:
        return _OPENER.open(urllib.request.Request(url, headers=headers, method=method), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        message = " ".join(f"{url}: HTTP {error.code} {error.reason}".split())
        wait = error.headers.get("Retry-After", "")
        error.close()
        if error.code in (408, 416, 425, 429) or error.code >= 500:
            raise TransferError(message, float(wait) if wait.isdecimal() else 0.0) from None
        raise ValueError(message) from None
    except (OSError, http.client.HTTPException) as error:
        raise TransferError(f"{url}: {getattr(error, 'reason', error) or type(error).__name__}") from None


def read_url(url: str, limit: int, attempts: int = ATTEMPTS, stop: threading.Event | None = None) -> bytes:
    """A small answer, at most `limit` bytes; raises TransferError after the last attempt, ValueError as open_url."""
    for attempt in range(1, attempts + 1):
        try:
            with open_url(url) as answer:
                content = _read(answer.read, limit + 1, url)
                short = answer.length  # bytes announced and not sent; None or 0: all are there
            if short and len(content) <= limit:
                raise TransferError(f"{url}: broke off after {len(content)} bytes")
            break
        except TransferError as error:
            if attempt == attempts:
                raise
            _pause(attempt, error, stop)
    if len(content) > limit:
        raise ValueError(f"{url}: more than {limit} bytes")
    return content


def remote_size(url: str) -> int:
    """Bytes of a file, as the server announces them; raises TransferError or ValueError."""
    with open_url(url, method="HEAD") as answer:
        size = answer.headers.get("Content-Length", "")
    if not size.isdecimal():
        raise ValueError(f"{url}: the server does not tell its size")
    return int(size)


def announced(url: str) -> tuple[int, str]:
    """Bytes and type of a file, as the server announces them to HEAD or to who asks for its first byte.

    Raises TransferError or ValueError.
    """
    try:
        with open_url(url, method="HEAD") as answer:
            size, kind = answer.headers.get("Content-Length", ""), answer.headers.get_content_type()
    except ValueError:  # some servers answer GET alone
        size, kind = "", ""
    if not size.isdecimal() and kind != PAGE:
        with open_url(url, {"Range": "bytes=0-0"}) as answer:
            whole = answer.headers.get("Content-Range", "").rpartition("/")[2]
            size = whole if answer.status == 206 else answer.headers.get("Content-Length", "")
            kind = answer.headers.get_content_type()
    if not size.isdecimal() and kind != PAGE:
        raise ValueError(f"{url}: the server does not tell its size")
    return int(size or 0), kind


def fetch(remote: RemoteFile, path: Path, tick: Callable[[int], None], stop: threading.Event) -> None:
    """Bring a file to `path`, through `path`.part, which a later call continues.

    `tick` is told the bytes of each block. Raises ValueError when the attempts are used up or the checksum is wrong
    (the part is deleted then), Stopped when `stop` is set.
    """
    part = path.with_name(path.name + ".part")
    continued = part.exists()
    _fetch_part(remote, part, tick, stop)
    if continued and remote.fault(part):
        logging.info("%s: what an earlier run left was wrong; from the start again", part)
        part.unlink()
        _fetch_part(remote, part, tick, stop)
    if fault := remote.fault(part):
        part.unlink()
        raise ValueError(f"{remote.url}: {fault}; deleted. Run again to fetch it anew")
    os.replace(part, path)
    _version(part).unlink(missing_ok=True)


def md5_file(path: Path) -> str:
    """MD5 of a file's bytes as hex."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _fetch_part(remote: RemoteFile, part: Path, tick: Callable[[int], None], stop: threading.Event) -> None:
    failed, most = 0, -1
    while (have := part.stat().st_size if part.exists() else 0) != remote.size:
        if have > remote.size:
            part.unlink()
            continue
        # A server that starts over on each attempt must not keep us here for ever: only new ground counts.
        failed, most = (0, have) if have > most else (failed, most)
        try:
            _transfer(remote, part, have, tick, stop)
        except TransferError as error:
            failed += 1
            if failed == ATTEMPTS:
                raise ValueError(f"{error}. Gave up after {failed} attempts; run again to go on") from None
            _pause(failed, error, stop)


def _transfer(remote: RemoteFile, part: Path, have: int, tick: Callable[[int], None], stop: threading.Event) -> None:
    headers = {}
    if not remote.known:  # then only the server's word tells that the rest is of the same file
        version = _version(part).read_text() if have and _version(part).exists() else ""
        have, headers = (have, {"If-Range": version}) if version else (0, {})
    if have:
        headers["Range"] = f"bytes={have}-"
    with open_url(remote.url, headers) as answer:
        if answer.headers.get_content_type() == PAGE:
            raise TransferError(f"{remote.url}: a web page came in the place of the file")
        if answer.status == 206:
            expected = f"bytes {have}-{remote.size - 1}/{remote.size}"
            if (got := answer.headers.get("Content-Range")) != expected:
                raise TransferError(f"{remote.url}: asked for {expected!r}, the server offers {got!r}")
        else:
            have = 0  # the server ignores ranges
            _begin(part, "" if remote.known else answer.headers.get("ETag", ""))
        length = answer.headers.get("Content-Length")
        if length not in (None, str(remote.size - have)):
            raise TransferError(f"{remote.url}: the server announces {length} bytes, expected {remote.size - have}")
        with disk_full_told(part), open(part, "ab" if have else "wb") as file:
            while block := _read(answer.read1, BLOCK, remote.url):  # read1: notices `stop` soon
                if stop.is_set():
                    raise Stopped
                have += len(block)
                if have > remote.size:
                    raise TransferError(f"{remote.url}: the server sends more than {remote.size} bytes")
                file.write(block)
                tick(len(block))
    if have != remote.size:
        raise TransferError(f"{remote.url}: broke off at {have} of {remote.size} bytes")


def _begin(part: Path, version: str) -> None:
    """From the start, and which version of the file that is, where the server tells one that stands for its bytes."""
    for old in (part, _version(part)):
        old.unlink(missing_ok=True)
    if version.startswith('"'):
        write_text(_version(part), version)


def _version(part: Path) -> Path:
    return part.with_name(part.name + ".version")


def _read(read: Callable[[int], bytes], count: int, url: str) -> bytes:
    try:
        return read(count)
    except (OSError, http.client.HTTPException) as error:
        raise TransferError(f"{url}: {error or type(error).__name__}") from None


def _pause(failed: int, error: TransferError, stop: threading.Event | None) -> None:
    seconds = max(WAIT * 2 ** (failed - 1), error.wait)
    logging.info("%s; again in %.0f s", error, seconds)
    if (stop or threading.Event()).wait(seconds):
        raise Stopped
