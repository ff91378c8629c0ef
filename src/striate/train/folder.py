"""The folder of a run: where it is made, whether it may begin there, and that it belongs to one process at a time."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from striate.errors import UsageError
from striate.plan import plan
from striate.train import checkpoint
from striate.train.recipe import Recipe

LOCK = ".lock"
RUNS = Path("runs")


def make_folder(recipe: Recipe, output: Path | str | None) -> Path:
    """Make `output`, or `runs/<number>-<network>-<data>`; raises UsageError where `output` holds other things."""
    if output is not None:
        folder = Path(output)
        if folder.exists() and any(folder.iterdir()) and not came_to_nothing(folder):
            raise UsageError(
                f"{folder} is not empty", f"go on with --resume {folder}, or name another folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    RUNS.mkdir(exist_ok=True)
    taken = [int(m[1]) for p in RUNS.iterdir() if (m := re.match(r"(\d+)-", p.name))]
    for number in range(max(taken, default=0) + 1, sys.maxsize):
        folder = RUNS / f"{number}-{_plain(plan(recipe.model).name)}-{_plain(Path(recipe.data).stem)}"
        try:
            folder.mkdir()
        except FileExistsError:  # another run took the number
            continue
        return folder
    raise UsageError(f"no free number in {RUNS}")


def came_to_nothing(folder: Path) -> bool:
    """Whether a run ended there before it had a state or weights: it begins anew."""
    kept = (folder / "model.safetensors").exists() or checkpoint.states(folder / "last")
    return (folder / "recipe.yaml").is_file() and not kept


def _plain(name: str) -> str:
    return re.sub(r"[^\w.]+", "_", name)[:40] or "net"


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
