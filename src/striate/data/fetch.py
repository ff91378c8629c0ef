"""One file from a server, once, and only as published.

A file has its name when its length and SHA-256 are right, never before; until then it's a `.part`, and a
transfer that was cut goes on from there. What is kept is checked again at each use.
"""

import hashlib
import http.client
import ipaddress
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from striate.data.files import hold, sync_folder
from striate.errors import DataError

Progress = Callable[[str, int, int], None]  # file name, bytes so far, bytes in all
TIMEOUT = 30.0  # seconds without a byte
SLOWEST = 1024  # bytes a second, on average since the start of a transfer that lasts over TIMEOUT
TRIES = 3
PAUSE = 1.0  # seconds before the second try, twice that before the third
CHUNK = 1 << 16
LARGEST = 8 << 30  # bytes of one file


@dataclass(frozen=True)
class RemoteFile:
    """A published file: where it is, its size in bytes, and its SHA-256.

    Some publishers say only how their checksum begins, give an MD5 (32 digits) in its place, or no size.
    """

    url: str
    size: int | None
    sha256: str

    @property
    def name(self) -> str:
        return urlsplit(self.url).path.rpartition("/")[2]


def fetch(file: RemoteFile, path: Path, *, offline: bool = False, progress: Progress | None = None) -> None:
    """The file lies at `path`, whole and right; of two processes one transfers, the other waits."""
    if _right(file, path):
        return
    if offline:
        hint = f"put {file.url} there, or go online"
        raise DataError(f"offline, and {str(path)!r} is missing (or isn't the published file)", hint)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = hold(path.with_name(path.name + ".lock"))
        try:
            if not _right(file, path):
                _transfer(file, part, progress)
                part.replace(path)
                sync_folder(path.parent)
        finally:
            if lock is not None:
                os.close(lock)
    except OSError as e:
        raise DataError(f"{str(path)!r}: can't be written: {e.strerror or e}") from e


def _right(file: RemoteFile, path: Path) -> bool:
    return path.is_file() and file.size in (None, path.stat().st_size) and _digest(file, path) == file.sha256


def _digest(file: RemoteFile, path: Path) -> str:
    """As many digits of the checksum as are published."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, _kind(file)).hexdigest()[: len(file.sha256)]


def _kind(file: RemoteFile) -> str:
    return "md5" if len(file.sha256) == 32 else "sha256"


def _transfer(file: RemoteFile, part: Path, progress: Progress | None) -> None:
    """Fills the part file and verifies it; a cut transfer is resumed, a wrong file is removed."""
    cause = ""
    for attempt in range(TRIES):
        time.sleep(attempt * PAUSE)
        try:
            if not _right(file, part):
                _receive(file, part, progress)
        except (urllib.error.URLError, http.client.HTTPException, OSError) as e:
            cause = str(getattr(e, "reason", "") or e)
            if isinstance(e, urllib.error.HTTPError) and 400 <= e.code < 500:
                if e.code == 416 and part.exists():  # what is here is longer than the file
                    part.unlink()
                    continue
                break
            continue
        if (found := _digest(file, part)) != file.sha256:
            part.unlink()
            kind = {"md5": "MD5", "sha256": "SHA-256"}[_kind(file)]
            raise DataError(f"{file.url} isn't the published file: {kind} {found}, expected {file.sha256}")
        return
    done = part.stat().st_size if part.exists() else 0
    hint = f"the next try goes on from there; or put the file at {str(part.with_suffix(''))!r} yourself"
    of = f" of {file.size:,}" if file.size is not None else ""
    raise DataError(f"{file.url}: {cause} ({done:,}{of} bytes are here)", hint)


def _receive(file: RemoteFile, part: Path, progress: Progress | None) -> None:
    """One connection: appends from where the part file ends; OSError where it's cut, too slow or lies."""
    done = part.stat().st_size if part.exists() else 0
    if file.size is not None and done >= file.size:
        part.unlink()
        done = 0
    request = urllib.request.Request(
        file.url, headers={"User-Agent": "striate", "Accept-Encoding": "identity"}
    )
    if done:
        request.add_header("Range", f"bytes={done}-")
    opener = urllib.request.build_opener(_Redirects(file.url), urllib.request.ProxyHandler())
    with opener.open(request, timeout=TIMEOUT) as answer:
        done, size = _check_answer(file, answer, done)
        began = time.monotonic()
        with open(part, "ab" if done else "wb") as f:
            received = 0
            while chunk := answer.read1(CHUNK):
                done, received = done + len(chunk), received + len(chunk)
                if done > size:
                    f.close()
                    part.unlink()
                    raise DataError(f"{file.url}: more than the published {size:,} bytes")
                f.write(chunk)
                if progress:
                    progress(file.name, done, size)
                lasted = time.monotonic() - began
                if lasted > TIMEOUT and received < SLOWEST * lasted:
                    raise OSError(f"slower than {SLOWEST} bytes a second")
    if done < size:
        raise OSError("the connection was cut")


def _check_answer(file: RemoteFile, answer: Any, done: int) -> tuple[int, int]:
    """Where the body begins and the file ends; DataError where it can't be the file."""
    length = answer.headers.get("Content-Length")
    kind = answer.headers.get_content_type()
    if kind == "text/html":
        raise DataError(
            f"{file.url}: the server sent a web page instead of the file (a login or an error page?)"
        )
    begin = 0
    if answer.status == 206:
        place = answer.headers.get("Content-Range", "")
        if not done or not place.startswith(f"bytes {done}-"):
            raise DataError(f"{file.url}: the server sent another part than asked for ({place or 'unnamed'})")
        begin = done
    stated = begin + int(length) if length is not None and length.isdigit() else None
    size = stated if file.size is None else file.size
    if size is None or size > LARGEST:
        raise DataError(f"{file.url}: the server states {size or 'no'} bytes; at most {LARGEST:,} are taken")
    if stated not in (None, size):
        raise DataError(f"{file.url}: the server states {stated:,} bytes; published are {size:,}")
    return begin, size


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, never to a weaker scheme, to a file, or into the local network."""

    max_redirections = 5
    max_repeats = 2

    def __init__(self, url: str) -> None:
        self._first = urlsplit(url)

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        to = urlsplit(newurl)
        if to.scheme not in ("http", "https") or (self._first.scheme == "https" and to.scheme != "https"):
            raise DataError(f"{self._first.geturl()}: redirected to {newurl!r}, which is refused")
        if to.hostname != self._first.hostname and _is_local(to.hostname or ""):
            raise DataError(
                f"{self._first.geturl()}: redirected into the local network ({newurl!r}), which is refused"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _is_local(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None)
    except OSError:
        return False
    return any(not ipaddress.ip_address(info[4][0]).is_global for info in found)
