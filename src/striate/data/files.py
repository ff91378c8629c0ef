"""Files that strangers, power cuts and other processes may disturb: bounded reads, locks."""

import os
import stat
import tempfile
import threading
from io import FileIO
from pathlib import Path

from striate.errors import DataError, UsageError

try:
    import fcntl
except ImportError:  # Windows: no lock, and the loser of a race repeats the work
    fcntl = None  # type: ignore[assignment]

MAX_BYTES = 1 << 29  # of one encoded image
_seek = threading.Lock()


def home() -> Path:
    """Where downloads and caches live: `STRIATE_HOME`, or `~/.cache/striate`."""
    if named := os.environ.get("STRIATE_HOME"):
        return Path(os.path.expanduser(named))
    return user_home() / ".cache" / "striate"


def user_home() -> Path:
    """The user's home folder; a folder among the temporary ones where there is none that can be written to.

    Containers run under numbers that no user has. Raises UsageError where that folder is somebody else's.
    """
    try:
        usual = Path.home()
    except RuntimeError:
        usual = Path()
    if usual.is_absolute() and os.access(usual, os.W_OK):
        return usual
    number = os.getuid()  # a system without it has no such users
    folder = Path(tempfile.gettempdir()) / f"striate-{number}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != number:
        raise UsageError(f"{folder} belongs to another user", "set STRIATE_HOME to a folder of yours")
    return folder


def read_file(path: str | Path, limit: int = MAX_BYTES) -> bytes:
    """The bytes of a regular file; never blocks on a pipe, a device or an endless file."""
    with _regular(path) as f:
        size = os.fstat(f.fileno()).st_size
        if size > limit:
            raise DataError(f"{os.fspath(path)!r}: {size:,} bytes, over the limit of {limit:,}")
        return f.readall() or b""


def read_head(path: str | Path, n: int) -> bytes:
    """The first n bytes of a regular file, of any size."""
    with _regular(path) as f:
        return f.read(n) or b""


def _regular(path: str | Path) -> FileIO:
    name = os.fspath(path)
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as e:
        raise DataError(f"{name!r}: {getattr(e, 'strerror', None) or e}") from e
    file = os.fdopen(fd, "rb", buffering=0)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        file.close()
        raise DataError(f"{name!r}: not a regular file")
    return file


def read_at(fd: int, n: int, offset: int) -> bytes:
    """Up to n bytes from an offset, from any thread."""
    if hasattr(os, "pread"):
        return os.pread(fd, n, offset)
    with _seek:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, n)


def sync_folder(folder: Path) -> None:
    """Makes a rename in the folder last; where folders can't be synced (Windows) it's left to the system."""
    if os.name == "posix":
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def hold(path: Path, shared: bool = False, wait: bool = True) -> int | None:
    """Locks the file until the descriptor is closed or the process ends; None if `wait` is off and it's taken."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if fcntl is not None:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(fd, kind | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(fd)
        return None
    return fd
