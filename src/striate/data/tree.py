"""Files under one root, named by relative paths with `/`: a folder, or an archive that is never unpacked.

One rule says what is looked at: everything but hidden names and what systems leave behind; and of that, what is an
image by its bytes or promises to be one by its name. All else is passed over, and known by its kind.
"""

import os
import re
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property

from striate.data.files import read_file, read_head
from striate.data.kinds import HEAD, is_picture, kind
from striate.errors import DataError

JUNK = {
    "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "$recycle.bin", "system volume information",
    "lost+found", "network trash folder", "temporary items", "__pycache__",
    "@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@__thumb", "@tmp", "@sharebin",
}  # fmt: skip
IMAGES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".heic", ".heif", ".hif", ".jxl",
}  # fmt: skip
Passed = Mapping[str, tuple[str, ...]]  # kind -> files that are passed over


class Tree(ABC):
    """Files under one root, in a folder or in an archive."""

    root: str

    @abstractmethod
    def files(self) -> list[str]:
        """Every file that its name doesn't hide, sorted by code point."""

    @abstractmethod
    def hidden(self) -> list[str]:
        """Those that their name, or that of a folder around them, hides."""

    @abstractmethod
    def folders(self) -> list[str]: ...

    @abstractmethod
    def has(self, path: str) -> bool: ...

    @abstractmethod
    def read(self, path: str) -> bytes: ...

    @abstractmethod
    def head(self, path: str) -> bytes:
        """The first bytes of a file."""

    def images(self) -> list[str]:
        """The files that are images by their bytes, or should be by their name."""
        return self._sorted_out[0]

    def passed(self) -> Passed:
        """All other files by kind: hidden, system, text, video, PDF, unknown and so on."""
        return self._sorted_out[1]

    @cached_property
    def _sorted_out(self) -> tuple[list[str], Passed]:
        images: list[str] = []
        passed: dict[str, list[str]] = defaultdict(list)
        for path in self.files():
            if is_image(path) or is_picture(found := self._kind(path)):
                images.append(path)
            else:
                passed[found].append(path)
        for path in self.hidden():
            passed[hides(path)].append(path)
        return images, {name: tuple(files) for name, files in passed.items()}

    def _kind(self, path: str) -> str:
        try:
            return kind(self.head(path))
        except DataError:
            return "unreadable"


def natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key by which `img2` comes before `img10`, the same in every locale and file system."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [(0, int(p), "") if i % 2 else (1, 0, p) for i, p in enumerate(parts)], name


def hides(path: str) -> str:
    """`hidden` where a part of the path begins with a dot, `system` for what systems leave behind; else nothing."""
    parts = path.split("/")
    if any(part.lower() in JUNK for part in parts):
        return "system"
    return "hidden" * any(part.startswith(".") for part in parts)


def is_image(path: str) -> bool:
    """Does the extension say so?"""
    return os.path.splitext(path)[1].lower() in IMAGES


def told(passed: Passed, most: int = 3) -> list[str]:
    """A line for each kind of file that is passed over: how many, and the first few."""
    lines = []
    for name, files in passed.items():
        more = f" and {len(files) - most:,} more" if len(files) > most else ""
        shown = ", ".join(map(repr, files[:most])) + more
        noun = name if name.endswith(("image", "array")) else f"{name} file"
        lines.append(f"passed over: {len(files):,} {noun}{'s' * (len(files) > 1)}: {shown}")
    return lines


class Folder(Tree):
    """A directory. Links to folders are followed wherever they lead, but never in a circle."""

    def __init__(self, root: str, follow_links: bool = True) -> None:
        self.root, self.follow_links = root, follow_links

    @cached_property
    def _found(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {"file": [], "folder": [], "hidden": []}
        for path, what in _walk(self.root, "", (), self.follow_links):
            found[what].append(path)
        return {what: sorted(paths) for what, paths in found.items()}

    def files(self) -> list[str]:
        return self._found["file"]

    def hidden(self) -> list[str]:
        return self._found["hidden"]

    def folders(self) -> list[str]:
        return self._found["folder"]

    def has(self, path: str) -> bool:
        return os.path.isfile(os.path.join(self.root, path))

    def read(self, path: str) -> bytes:
        return read_file(os.path.join(self.root, path))

    def head(self, path: str) -> bytes:
        return read_head(os.path.join(self.root, path), HEAD)


def _walk(
    folder: str, prefix: str, above: tuple[tuple[int, int], ...], follow: bool, hidden: bool = False
) -> Iterator[tuple[str, str]]:
    """Every path below with what it is: a file, a folder, or a hidden file."""
    try:
        info = os.stat(folder)
        entries = list(os.scandir(folder))
    except OSError as e:
        if hidden:  # `lost+found` is root's
            return
        raise DataError(f"{folder!r}: {e.strerror}") from e
    here = (info.st_dev, info.st_ino)
    if here in above:
        return
    for entry in entries:
        path, hides_it = prefix + entry.name, hidden or bool(hides(entry.name))
        if entry.is_dir(follow_symlinks=follow):
            if not hides_it:
                yield path, "folder"
            yield from _walk(entry.path, path + "/", (*above, here), follow, hides_it)
        elif not entry.is_dir():
            yield path, "hidden" if hides_it else "file"
