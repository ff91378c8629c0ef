"""A zip archive as a tree of files. Nothing is unpacked to disk; one bad member and all of it is refused.

The list of members is read here and kept as five numbers a member: the objects of `zipfile` take ten times the room,
and with as many members as images that is the most an epoch would take. Members are fetched with one positional read
each, so that threads don't wait for each other, and every one is held against its stated length and checksum.
"""

import os
import stat
import struct
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from striate.data.files import MAX_BYTES, read_at
from striate.data.kinds import HEAD, kind
from striate.data.tree import Tree, hides
from striate.errors import DataError

MAX_DIRECTORY = 1 << 27  # bytes of the archive's own list: well over a million names
MAX_RATIO = 100  # of one member over a megabyte; deflate itself ends at about 1,000
STORED, DEFLATED = 0, 8
LOCAL = struct.Struct("<4s22xHH")  # a member's header: magic, lengths of name and extra field
CENTRAL = struct.Struct("<4s2xxxHH4xLLLHHH4xLL")
END = struct.Struct("<4s8xLLH")  # magic, size and offset of the directory, length of the comment
END_64 = struct.Struct("<4s36xQQ")


class Member(NamedTuple):
    """One entry of a zip directory; offsets and sizes in bytes."""

    name: str
    offset: int
    packed: int
    size: int
    crc: int
    method: int
    flags: int
    mode: int


class Zip(Tree):
    """A zip archive read in place, as a tree of files; one that is hostile or damaged is refused when it is opened."""

    def __init__(self, path: Path) -> None:
        self.root = str(path)
        try:
            self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as e:
            raise DataError(f"{self.root!r}: {e.strerror}") from e
        names: list[str] = []
        folders: set[str] = set()
        numbers = array("q")
        suspects: list[str] = []
        for member in self._members():
            name, cause = inner_path(member.name), _refused(member)
            if cause:
                raise DataError(f"{self.root!r}: member {member.name!r} {cause}; the archive is refused")
            if max(member.offset, member.packed, member.size) >= 1 << 62:
                raise DataError(f"{self.root!r}: can't be read as .zip: {name!r} states impossible numbers")
            numbers.extend((member.offset, member.packed, member.size, member.crc, member.method))
            names.append(name)
            if member.size > 1 << 20 and member.size > MAX_RATIO * max(1, member.packed):
                suspects.append(name)
            parent = name.rpartition("/")[0]  # folders needn't be listed
            while parent and parent not in folders and not hides(parent):
                folders.add(parent)
                parent = parent.rpartition("/")[0]
        self._infos = np.frombuffer(numbers, np.int64).reshape(-1, 5)
        self._check_places()
        self._folders = sorted(folders)
        kept = [i for i, name in enumerate(names) if name and not name.endswith("/")]
        kept.sort(key=names.__getitem__)
        self._at = {names[i]: i for i in kept}
        self._files = [name for name in self._at if not hides(name)]
        self._hidden = [name for name in self._at if hides(name)]
        self._check_names(len(kept))
        for name in suspects:  # blank scans and monotonous text shrink as much as a bomb
            if kind(self.head(name)) == "unknown":
                size = int(self._infos[self._at[name], 2])
                raise DataError(
                    f"{self.root!r}: member {name!r} states {size:,} bytes, over {MAX_RATIO} times what is packed, "
                    "of nothing known: a decompression bomb; the archive is refused"
                )

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def files(self) -> list[str]:
        return self._files

    def hidden(self) -> list[str]:
        return self._hidden

    def folders(self) -> list[str]:
        return self._folders

    def has(self, path: str) -> bool:
        return path in self._at

    def head(self, path: str) -> bytes:
        offset, packed, _, _, method = self._infos[self._at[path]].tolist()
        _, name, extra = LOCAL.unpack(read_at(self._fd, LOCAL.size, offset).ljust(LOCAL.size))
        data = read_at(self._fd, min(packed, 8 * HEAD), offset + LOCAL.size + name + extra)
        if method == STORED:
            return data[:HEAD]
        try:
            return zlib.decompressobj(-15).decompress(data, HEAD)
        except zlib.error as e:
            raise DataError(f"can't be inflated: {e}") from e

    def read(self, path: str) -> bytes:
        """The bytes of one member, as long as stated and with the right checksum; or DataError."""
        offset, packed, size, crc, method = self._infos[self._at[path]].tolist()
        if size > MAX_BYTES:
            raise DataError(f"{size:,} bytes, over the limit of {MAX_BYTES:,}")
        guess = read_at(self._fd, LOCAL.size + len(path) + 64 + packed, offset)  # one read, for most archives
        if len(guess) < LOCAL.size:
            raise DataError(f"cut short in {self.root!r}")
        magic, name, extra = LOCAL.unpack_from(guess)
        if magic != b"PK\3\4":
            raise DataError(f"no member at its place in {self.root!r}")
        start = LOCAL.size + name + extra
        data = guess[start : start + packed]
        if len(data) < packed:
            data = read_at(self._fd, packed, offset + start)
        if method == DEFLATED:
            try:
                data = zlib.decompressobj(-15).decompress(data, size + 1)
            except zlib.error as e:
                raise DataError(f"can't be inflated: {e}") from e
        if len(data) != size or zlib.crc32(data) != crc:
            raise DataError(f"length or checksum is not what {self.root!r} states")
        return data

    def _members(self) -> Iterator[Member]:
        """The central directory, entry by entry (APPNOTE 6.3.10, 4.3.12)."""
        directory, shift = self._directory()
        at = 0
        try:
            while at < len(directory):
                fields = CENTRAL.unpack_from(directory, at)
                magic, flags, method, crc, packed, size, n_name, n_extra, n_comment, mode, offset = fields
                if magic != b"PK\1\2":
                    raise DataError(f"{self.root!r}: can't be read as .zip: its list of members is broken")
                name_at = at + CENTRAL.size
                extra = directory[name_at + n_name : name_at + n_name + n_extra]
                size, packed, offset = _zip64(extra, size, packed, offset)
                name = _decoded(directory[name_at : name_at + n_name], flags)
                yield Member(name, offset + shift, packed, size, crc, method, flags, mode >> 16)
                at = name_at + n_name + n_extra + n_comment
        except (struct.error, UnicodeDecodeError) as e:
            raise DataError(f"{self.root!r}: can't be read as .zip: {e}") from e

    def _directory(self) -> tuple[bytes, int]:
        """The central directory, and by how much its offsets are off where something stands before the archive."""
        whole = os.fstat(self._fd).st_size
        tail_at = max(0, whole - (1 << 16) - END.size)
        tail = read_at(self._fd, whole - tail_at, tail_at)
        at = tail.rfind(b"PK\5\6")
        if at < 0 or len(tail) < at + END.size:
            raise DataError(f"{self.root!r}: can't be read as .zip: it has no list of members (cut short?)")
        _, size, offset, _ = END.unpack_from(tail, at)
        end = tail_at + at
        if 0xFFFFFFFF in (size, offset) or tail[at - 20 : at - 16] == b"PK\6\7":
            wide = read_at(self._fd, END_64.size, end - 20 - 56)  # the locator and the record stand before it
            if wide[:4] == b"PK\6\6":
                _, size, offset = END_64.unpack_from(wide)
                end -= 76
        if size > MAX_DIRECTORY:
            raise DataError(
                f"{self.root!r}: the list of members is over {MAX_DIRECTORY:,} bytes; the archive is refused"
            )
        if size > end:
            raise DataError(f"{self.root!r}: can't be read as .zip: its list of members is broken")
        return read_at(self._fd, size, end - size), end - size - offset

    def _check_names(self, members: int) -> None:
        """Two names for one place; folders that differ by case would be one class or two, as the system likes it."""
        folded = {f"{folder}/{file.casefold()}" for folder, _, file in (n.rpartition("/") for n in self._at)}
        if len(self._at) < members or len({n.casefold() for n in self._at}) < len(folded):
            raise DataError(
                f"{self.root!r}: two members have the same name but for case; the archive is refused"
            )

    def _check_places(self) -> None:
        """Members that share bytes are how a small archive states a size without end."""
        spans = self._infos[np.argsort(self._infos[:, 0], kind="stable"), :2]
        whole = os.fstat(self._fd).st_size
        if (spans < 0).any() or (spans > whole).any() or (spans.sum(1) > whole).any():
            raise DataError(f"{self.root!r}: can't be read as .zip: a member lies outside of it (cut short?)")
        if (spans[:-1].sum(1) + LOCAL.size > spans[1:, 0]).any():
            raise DataError(f"{self.root!r}: members overlap; the archive is refused")


def _zip64(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Numbers that don't fit in 32 bits stand in an extra field of kind 1, in this order."""
    numbers = [size, packed, offset]
    at = 0
    while 0xFFFFFFFF in numbers and at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            wide = [i for i, v in enumerate(numbers) if v == 0xFFFFFFFF]
            for i, value in zip(
                wide, struct.unpack_from(f"<{min(len(wide), length // 8)}Q", extra, at + 4), strict=False
            ):
                numbers[i] = value
            break
        at += 4 + length
    return numbers[0], numbers[1], numbers[2]


def _refused(member: Member) -> str:
    """Why a member makes the whole archive suspect; empty if it doesn't."""
    parts = member.name.replace("\\", "/").split("/")
    if parts[0] in ("", "..") or parts[0][1:2] == ":" or ".." in parts or "\0" in member.name:
        return "points outside the archive"
    if member.mode and not (
        stat.S_ISREG(member.mode) or stat.S_ISDIR(member.mode) or stat.S_IFMT(member.mode) == 0
    ):
        return "is a link or a device"
    if member.flags & 0x1:
        return "is encrypted"
    if member.method not in (STORED, DEFLATED):
        return f"is packed by method {member.method} (only deflate is read)"
    return ""


def inner_path(name: str) -> str:
    """A member's name with `/` only, and without what says nothing: `./a//b` is `a/b`."""
    parts = name.replace("\\", "/").split("/")
    folder = "/" * (parts[-1] in ("", "."))
    return "/".join(part for part in parts if part not in ("", ".")) + folder


def _decoded(name: bytes, flags: int) -> str:
    """UTF-8 where the member says so, and where a name can be nothing else: many tools forget to say it."""
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        if flags & 0x800:
            raise
        return name.decode("cp437")
