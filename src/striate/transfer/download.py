"""Published weights, found where the peers keep theirs or fetched there, and verified in either case."""

import os
import re
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from striate.data.fetch import TIMEOUT, Progress, RemoteFile, fetch
from striate.data.files import home, user_home
from striate.errors import DataError, UsageError, nearest
from striate.files import sha256
from striate.transfer.published import Published, published

HUB = "https://huggingface.co/"


def find_weights(
    network: str, word: str | None = None, *, offline: bool = False, progress: Progress | None = None
) -> Path:
    """What `word` means: a file, a run's folder, or the tag of published weights of `network`; None is its default.

    Published files are downloaded once, to where torch, Keras and timm look for them (TORCH_HOME, KERAS_HOME,
    HF_HOME), and verified at each use. `offline`, or STRIATE_OFFLINE=1, forbids the network.
    """
    if word is not None and Path(word).exists():
        return Path(word)
    rows = published(network)
    if not rows:
        raise UsageError(
            f"no published weights of {network} are known"
            if word is None
            else f"no file of weights at {word}",
            "give a file or a run: --weights FILE",
        )
    tags = [row.tag for row in rows]
    if word is not None and word not in tags:
        hint = nearest(word, tags) or f"published: {', '.join(tags)}"
        raise UsageError(f"{word!r} is neither a file nor a tag of published weights of {network}", hint)
    row = rows[0] if word is None else rows[tags.index(word)]
    offline = offline or os.environ.get("STRIATE_OFFLINE", os.environ.get("HF_HUB_OFFLINE", "0")) not in (
        "",
        "0",
    )
    return _here(row, offline, progress)


def _here(row: Published, offline: bool, progress: Progress | None) -> Path:
    path = place(row)
    if row.digest is None:
        return _from_hub(row, path, offline, progress)
    fetch(RemoteFile(row.url, None, row.digest), path, offline=offline, progress=progress)
    return path


def _from_hub(row: Published, path: Path, offline: bool, progress: Progress | None) -> Path:
    """The hub states a checksum when asked: it's kept beside the file, and its own client names its files by it."""
    for kept in snapshots(row):
        if kept.resolve().name == sha256(kept):
            return kept
    note = path.with_name(f"{path.name}.sha256")
    if path.is_file() and note.is_file() and note.read_text("utf-8", "replace") == sha256(path):
        return path
    if offline:
        raise DataError(
            f"offline, and {str(path)!r} is missing (or not known to be the published file)",
            f"go online once, or get {row.url} and name the file: --weights FILE",
        )
    file = stated_by_server(row.url)
    fetch(file, path, progress=progress)
    with suppress(OSError):  # a folder for reading only: the server is asked again next time
        note.write_text(file.sha256, "utf-8")
    return path


def place(row: Published) -> Path:
    """Where the file belongs: the cache of the library that publishes it, ours for what the hub's client hasn't."""
    if row.layout == "keras":
        return (
            Path(os.environ.get("KERAS_HOME") or user_home() / ".keras").expanduser()
            / "models"
            / row.filename
        )
    if row.digest is not None:
        return _cache("TORCH_HOME", "torch") / "hub" / "checkpoints" / row.filename
    return home() / "weights" / _repository(row) / row.filename


def snapshots(row: Published) -> list[Path]:
    """The file in the cache of the hub's own client, as often as it's there, the newest first."""
    folder = _cache("HF_HOME", "huggingface") / "hub" / f"models--{_repository(row).replace('/', '--')}"
    found = [path for path in (folder / "snapshots").glob(f"*/{row.filename}") if path.is_file()]
    return sorted(found, key=lambda path: path.lstat().st_mtime, reverse=True)


def _repository(row: Published) -> str:
    return row.url.removeprefix(HUB).split("/resolve/")[0]


def _cache(variable: str, library: str) -> Path:
    usual = Path(os.environ.get("XDG_CACHE_HOME") or user_home() / ".cache") / library
    return Path(os.environ.get(variable) or usual).expanduser()


def stated_by_server(url: str) -> RemoteFile:
    """Size and SHA-256 as the Hugging Face hub states them in the headers of its answer."""
    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "striate"})
    try:
        with urllib.request.build_opener(_Stay()).open(request, timeout=TIMEOUT) as answer:
            headers = answer.headers
    except urllib.error.HTTPError as error:
        if not 300 <= error.code < 400:
            raise DataError(f"{url}: the server says {error.code} {error.reason}") from None
        headers = error.headers
    except OSError as error:
        raise DataError(f"{url}: {getattr(error, 'reason', '') or error}") from None
    digest, size = headers.get("X-Linked-Etag", "").strip('"'), headers.get("X-Linked-Size", "")
    if not re.fullmatch("[0-9a-f]{64}", digest) or not size.isdigit():
        raise DataError(f"{url}: the server states no checksum: refused", "give a file: --weights FILE")
    return RemoteFile(url, int(size), digest)


class _Stay(urllib.request.HTTPRedirectHandler):
    """Doesn't follow: the headers of the first answer are wanted."""

    def redirect_request(self, *_: Any) -> None:
        return None
