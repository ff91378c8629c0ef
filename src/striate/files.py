"""Files as striate keeps them: whole or absent, of a known format, known by their content."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from striate.errors import DataError, UsageError, shown

MODEL = "striate 1"  # the format of a model file, as its metadata states it


T = TypeVar("T")


def check_format(path: Path, found: str, known: str = MODEL) -> None:
    """Raises DataError for a file of another version of the format `known`."""
    if found != known:
        raise DataError(f"{path} has format {found!r}; this version reads {known!r}", "update striate")


def parse(kind: type[T], text: str | bytes, where: str, hint: str = "") -> T:
    """JSON as the type `kind` describes it; raises DataError that names the first field at fault, after `where`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: no JSON: {error}", hint) from None
    return check(kind, value, where, hint)


def check(kind: type[T], value: object, where: str, hint: str = "") -> T:
    """`value` as the type `kind` describes it; raises DataError that names the first field at fault, after `where`."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    cause = first["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    cause = "missing" if first["type"] == "missing" else cause
    got = "" if first["type"] in ("missing", "value_error") else f", got {shown(first['input'])}"
    raise DataError(": ".join(filter(None, (where, field, cause))) + got, hint)


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def write_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary file beside `path`, sync it, move it there; on failure `path` is untouched.

    Raises UsageError where `path` is a folder, or its folder isn't there.
    """
    if path.is_dir():
        raise UsageError(f"can't write {path}: it is a folder", "name a file")
    if not path.parent.is_dir():
        raise UsageError(f"can't write {path}: there is no folder {path.parent}")
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        with temporary.open("rb+") as f:
            os.fsync(f.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_text(path: Path, text: str) -> Path:
    """`write_whole` of a UTF-8 text; bytes of file names that aren't UTF-8 are spelled out, as `\\udcff`."""
    return write_whole(path, lambda p: p.write_text(text, "utf-8", "backslashreplace"))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError, AttributeError):  # Windows can't open folders
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
