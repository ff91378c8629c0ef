"""A run folder belongs to one process at a time."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from striate.errors import UsageError

LOCK = ".lock"


@contextlib.contextmanager
def hold(folder: Path, wanted: bool = True) -> Iterator[None]:
    """Keep other processes off `folder`; raises UsageError where one is at work in it.

    The system lets go of the lock of a process that died. Temporary files that one left behind are removed.
    """
    if not wanted:
        yield
        return
    with (folder / LOCK).open("a+", encoding="utf-8") as lock:
        _lock(lock.fileno(), folder)
        for place in (folder, folder / "last"):
            for left in place.glob(".*.*.*"):
                left.unlink()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.unlink(lock.name)


def _lock(handle: int, folder: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise UsageError(f"{folder} is in use by another process", "wait until it ends, or end it") from None
