"""Files under one root, named by relative paths with `/`: a folder, or an archive that is never unpacked."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from striate.data.files import read_file
from striate.errors import DataError

JUNK = {"thumbs.db", "desktop.ini", "__macosx", "$recycle.bin", "lost+found"}
IMAGES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


class Tree(Protocol):
    """Files under one root, in a folder or in an archive."""

    root: str

    def files(self) -> list[str]:
        """Every file but hidden ones and junk, sorted by code point."""
        ...

    def folders(self) -> list[str]: ...

    def has(self, path: str) -> bool: ...

    def read(self, path: str) -> bytes: ...


def natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key by which `img2` comes before `img10`, the same in every locale and file system."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [(0, int(p), "") if i % 2 else (1, 0, p) for i, p in enumerate(parts)], name


def is_junk(path: str) -> bool:
    """Whether a part of the path is hidden, or what operating systems leave behind."""
    return any(part.startswith(".") or part.lower() in JUNK for part in path.split("/"))


def is_image(path: str) -> bool:
    """Does the extension say so?"""
    return os.path.splitext(path)[1].lower() in IMAGES


@dataclass
class Folder:
    """A directory. Links to folders are followed wherever they lead, but never in a circle."""

    root: str
    follow_links: bool = True

    @cached_property
    def _found(self) -> tuple[list[str], list[str]]:
        files: list[str] = []
        folders: list[str] = []
        for path, is_folder in _walk(self.root, "", (), self.follow_links):
            (folders if is_folder else files).append(path)
        return sorted(files), sorted(folders)

    def files(self) -> list[str]:
        return self._found[0]

    def folders(self) -> list[str]:
        return self._found[1]

    def has(self, path: str) -> bool:
        return os.path.isfile(os.path.join(self.root, path))

    def read(self, path: str) -> bytes:
        return read_file(os.path.join(self.root, path))


def _walk(
    folder: str, prefix: str, above: tuple[tuple[int, int], ...], follow: bool
) -> Iterator[tuple[str, bool]]:
    try:
        info = os.stat(folder)
        entries = list(os.scandir(folder))
    except OSError as e:
        raise DataError(f"{folder!r}: {e.strerror}") from e
    here = (info.st_dev, info.st_ino)
    if here in above:
        return
    for entry in entries:
        if is_junk(entry.name):
            continue
        path = prefix + entry.name
        if entry.is_dir(follow_symlinks=follow):
            yield path, True
            yield from _walk(entry.path, path + "/", (*above, here), follow)
        elif not entry.is_dir():
            yield path, False
