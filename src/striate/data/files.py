"""Files that strangers, power cuts and other processes may disturb: bounded reads, whole writes, locks."""

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from striate.errors import DataError

try:
    import fcntl
except ImportError:  # Windows: no lock, and the loser of a race repeats the work
    fcntl = None  # type: ignore[assignment]

MAX_BYTES = 1 << 29  # of one encoded image
_seek = threading.Lock()


def home() -> Path:
    """Where downloads and caches live: `STRIATE_HOME`, or `~/.cache/striate`."""
    return Path(os.environ.get("STRIATE_HOME") or Path.home() / ".cache" / "striate").expanduser()


def read_file(path: str | Path, limit: int = MAX_BYTES) -> bytes:
    """The bytes of a regular file; never blocks on a pipe, a device or an endless file."""
    name = os.fspath(path)
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as e:
        raise DataError(f"{name!r}: {getattr(e, 'strerror', None) or e}") from e
    with os.fdopen(fd, "rb", buffering=0) as f:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise DataError(f"{name!r}: not a regular file")
        if info.st_size > limit:
            raise DataError(f"{name!r}: {info.st_size:,} bytes, over the limit of {limit:,}")
        return f.readall() or b""


def read_at(fd: int, n: int, offset: int) -> bytes:
    """Up to n bytes from an offset, from any thread."""
    if hasattr(os, "pread"):
        return os.pread(fd, n, offset)
    with _seek:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, n)


def write_whole(path: Path, data: bytes) -> None:
    """All of the file or none of it, also after a power cut."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        part.replace(path)
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Makes a rename in the folder last; where folders can't be synced (Windows) it's left to the system."""
    if os.name == "posix":
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Holds the lock file until the block or the process ends; False if it's taken and `wait` is off."""
    with open(path, "a") as f:
        try:
            if fcntl is not None:
                fcntl.flock(f, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
