"""Published weights, found where the peers keep theirs or fetched there, and verified in either case."""

import os
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from striate.data.fetch import TIMEOUT, Progress, RemoteFile, fetch
from striate.data.files import home
from striate.errors import DataError, UsageError, nearest
from striate.transfer.published import Published, published

HUB = "https://huggingface.co/"


def find_weights(
    network: str, word: str | None = None, *, offline: bool = False, progress: Progress | None = None
) -> Path:
    """The file that `word` means: a path, or the tag of published weights of `network`; None is its default.

    Published files are downloaded once, to where torch, Keras and timm look for them (TORCH_HOME, KERAS_HOME,
    HF_HOME), and verified at each use. `offline`, or STRIATE_OFFLINE=1, forbids the network.
    """
    if word is not None and Path(word).is_file():
        return Path(word)
    rows = published(network)
    if not rows:
        raise UsageError(
            f"no published weights of {network} are known"
            if word is None
            else f"no file of weights at {word}",
            "give a file: --weights FILE",
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
        if path.is_file():
            return path
        if offline:
            raise DataError(f"offline, and {str(path)!r} is missing", f"put {row.url} there, or go online")
        fetch(stated_by_server(row.url), path, progress=progress)
    else:
        fetch(RemoteFile(row.url, None, row.digest), path, offline=offline, progress=progress)
    return path


def place(row: Published) -> Path:
    """Where the file belongs: the cache of the library that publishes it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    if row.layout == "keras":
        return (
            Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras").expanduser()
            / "models"
            / row.filename
        )
    if row.digest is not None:
        torch_home = Path(os.environ.get("TORCH_HOME") or cache / "torch").expanduser()
        return torch_home / "hub" / "checkpoints" / row.filename
    repository = row.url.removeprefix(HUB).split("/resolve/")[0]
    hub = Path(os.environ.get("HF_HOME") or cache / "huggingface").expanduser() / "hub"
    kept = sorted((hub / f"models--{repository.replace('/', '--')}" / "snapshots").glob(f"*/{row.filename}"))
    return kept[-1] if kept else home() / "weights" / repository / row.filename


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
