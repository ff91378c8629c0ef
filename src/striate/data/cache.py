"""Decoded, resized images kept for the next epoch and the next run, on disk or in memory.

The disk cache is two files in `STRIATE_HOME/cache/<key>/`: the pixels, a row an image, and a CRC-32 for
each row, zero while the row is empty. The key is made of the contents of the images and of everything that
changes a pixel. A row's CRC is written after its pixels and held against them when another process wrote
them, so a kill -9 or a power cut can lose rows but never falsify one; two runs write the same bytes to the
same place and don't disturb each other.

Rows are read and written by position and not through a memory map: they lie in the system's page cache just
the same, but a full disk is an error that can be handled, where a map would end the process, and what is
cached isn't counted as memory of the process.
"""

import os
import shutil
import zlib
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import numpy as np

from striate.data.files import hold, home
from striate.data.preprocess import Preprocess
from striate.data.source import Digests, Pixels

LIMIT = 20 << 30  # bytes of all disk caches together
FORMAT = 2


class Cache(Protocol):
    """Decoded pixels by row, wherever they are kept."""

    nbytes: int  # what it takes up when every row is filled
    note: str  # where it is and how large, for people

    def get(self, row: int, out: Pixels) -> bool:
        """Fills `out` (c, h, w) if the row is there."""
        ...

    def put(self, row: int, pixels: Pixels) -> None: ...


class RamCache:
    """The first rows that fit; memory is taken as they are filled."""

    def __init__(self, n: int, shape: tuple[int, int, int], limit: int) -> None:
        rows = min(n, limit // int(np.prod(shape)))
        self._pixels = np.empty((rows, *shape), np.uint8)
        self._filled = np.zeros(rows, bool)
        self.nbytes = self._pixels.nbytes
        self.note = f"up to {self.nbytes / 1e6:,.1f} MB in memory"

    def get(self, row: int, out: Pixels) -> bool:
        if row >= len(self._filled) or not self._filled[row]:
            return False
        out[:] = self._pixels[row]
        return True

    def put(self, row: int, pixels: Pixels) -> None:
        if row < len(self._filled):
            self._pixels[row] = pixels
            self._filled[row] = True


class DiskCache:
    """The first rows that fit, in files that outlive the process."""

    def __init__(self, key: str, n: int, shape: tuple[int, int, int], limit: int = LIMIT) -> None:
        self.folder = home() / "cache" / key
        self._size = int(np.prod(shape))
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = hold(self.folder / "lock", shared=True)  # keeps eviction away while this object lives
        os.utime(self.folder)
        free = shutil.disk_usage(self.folder).free + self._held()
        room = min(limit - _evict(self.folder, limit - n * self._size), free // 2)
        self._rows = max(0, min(n, room // self._size))
        self.nbytes = self._rows * self._size
        self.note = f"up to {self.nbytes / 1e6:,.1f} MB in {self.folder}"
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        self._pixels = os.open(self.folder / "pixels", flags, 0o644)
        self._sums = os.open(self.folder / "sums", flags, 0o644)
        known = np.frombuffer(os.pread(self._sums, 4 * self._rows, 0), np.uint32)
        self._known = np.zeros(self._rows, np.uint32)
        self._known[: len(known)] = known
        self._checked = np.zeros(self._rows, bool)
        self._full = False

    def _held(self) -> int:
        """Bytes that an earlier use took."""
        with suppress(OSError):
            return 512 * getattr((self.folder / "pixels").stat(), "st_blocks", 0)
        return 0

    def __del__(self) -> None:
        for fd in ("_pixels", "_sums", "_lock"):
            if hasattr(self, fd):
                os.close(getattr(self, fd))

    def get(self, row: int, out: Pixels) -> bool:
        if row >= self._rows:
            return False
        if not self._known[row]:  # another run may have filled it since
            self._known[row] = int.from_bytes(os.pread(self._sums, 4, 4 * row), "little")
        if not self._known[row] or os.preadv(self._pixels, [out.data], row * self._size) != self._size:
            return False
        if not self._checked[row]:
            self._checked[row] = _sum(out) == self._known[row]
        return bool(self._checked[row])

    def put(self, row: int, pixels: Pixels) -> None:
        if row >= self._rows or self._full:
            return
        pixels = np.ascontiguousarray(pixels)
        try:
            whole = os.pwrite(self._pixels, pixels.data, row * self._size) == self._size
            if whole and os.pwrite(self._sums, _sum(pixels).to_bytes(4, "little"), 4 * row) == 4:
                self._known[row], self._checked[row] = _sum(pixels), True
        except OSError:  # the disk is full: what is there stays useful, the rest is decoded each time
            self._full = True


def _sum(pixels: Pixels) -> int:
    return zlib.crc32(pixels.data) or 1


def cache_key(digests: Digests, preprocess: Preprocess) -> str:
    """Contents in order, settings that change pixels, and the libraries that make them."""
    import cv2
    import PIL
    import torch

    what = preprocess
    settings = (FORMAT, what.size, what.resize, what.channels, what.crop_pct, what.interpolation, what.white)
    versions = (cv2.__version__, PIL.__version__, torch.__version__)
    return blake2b(
        repr((settings, versions)).encode() + digests.astype("<u8").tobytes(), digest_size=16
    ).hexdigest()


def open_cache(kind: str, digests: Digests, preprocess: Preprocess, limit: int | None) -> Cache | None:
    """`off`, `ram` or `disk`; None as well where the disk doesn't take it."""
    n = len(digests)
    if kind == "ram":
        return RamCache(n, preprocess.shape, memory() // 2 if limit is None else limit)
    if kind == "disk" and hasattr(os, "preadv"):
        with suppress(OSError):
            return DiskCache(
                cache_key(digests, preprocess), n, preprocess.shape, LIMIT if limit is None else limit
            )
    return None


def memory() -> int:
    """Bytes of memory that this machine has."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 4 << 30


def _evict(keep: Path, limit: int) -> int:
    """Removes other caches, longest unused first, to the `limit`; what they take then."""
    others = [f for f in keep.parent.iterdir() if f.is_dir() and f != keep]
    others.sort(key=lambda f: f.stat().st_mtime, reverse=True)
    total = 0
    for folder in others:
        size = sum(f.stat().st_size for f in folder.iterdir())
        if total + size <= limit:
            total += size
            continue
        lock = hold(folder / "lock", wait=False)
        if lock is None:  # in use
            total += size
        else:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
    return total
