"""A zip archive as a tree of files. Nothing is unpacked to disk; one bad member and all of it is refused.

Only the directory is read by `zipfile`; members are fetched with one positional read each, so threads don't
wait for each other, and every one is held against its stated length and checksum.
"""

import os
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from striate.data.files import MAX_BYTES, read_at
from striate.data.tree import is_junk
from striate.errors import DataError

MAX_DIRECTORY = 1 << 27  # bytes of the archive's own list: well over a million names
MAX_RATIO = 100  # of one member over a megabyte; deflate itself ends at about 1,000
LOCAL = struct.Struct("<4s22xHH")  # local header: magic, lengths of name and extra field
END_RECORD = struct.Struct("<4s8xL")  # end of central directory: magic, size of the directory


class Zip:
    def __init__(self, path: Path) -> None:
        self.root = str(path)
        try:
            self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            _bounded_directory(self._fd, self.root)
            with zipfile.ZipFile(path) as archive:
                members = archive.infolist()
        except (OSError, zipfile.BadZipFile, NotImplementedError, struct.error) as e:
            raise DataError(f"{self.root!r}: can't be read as .zip: {e}") from e
        for member in members:
            if cause := _refused(member):
                raise DataError(f"{self.root!r}: member {member.filename!r} {cause}; the archive is refused")
        self._check_overlap(members)
        named = sorted((m.filename.replace("\\", "/"), i) for i, m in enumerate(members))
        kept = [(name, members[i]) for name, i in named if not is_junk(name)]
        folders = {name.rstrip("/") for name, m in kept if m.is_dir()}
        kept = [(name, m) for name, m in kept if not m.is_dir()]
        for name, _ in kept:  # folders needn't be listed
            while "/" in name and (name := name.rpartition("/")[0]) not in folders:
                folders.add(name)
        self._folders = sorted(folders)
        self._at = {name: i for i, (name, _) in enumerate(kept)}
        if len(self._at) < len(kept) or len({n.casefold() for n in self._at}) < len(kept):
            raise DataError(
                f"{self.root!r}: two members have the same name but for case; the archive is refused"
            )
        infos = [(m.header_offset, m.compress_size, m.file_size, m.CRC, m.compress_type) for _, m in kept]
        self._infos = np.array(infos, np.int64).reshape(-1, 5)

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def files(self) -> list[str]:
        return list(self._at)

    def folders(self) -> list[str]:
        return self._folders

    def has(self, path: str) -> bool:
        return path in self._at

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
        if method == zipfile.ZIP_DEFLATED:
            try:
                data = zlib.decompressobj(-15).decompress(data, size + 1)
            except zlib.error as e:
                raise DataError(f"can't be inflated: {e}") from e
        if len(data) != size or zlib.crc32(data) != crc:
            raise DataError(f"length or checksum is not what {self.root!r} states")
        return data

    def _check_overlap(self, members: list[zipfile.ZipInfo]) -> None:
        """Members that share bytes are how a small archive states a size without end."""
        spans = np.array([(m.header_offset, m.compress_size) for m in members], np.int64).reshape(-1, 2)
        spans = spans[np.argsort(spans[:, 0])]
        if (spans[:-1].sum(1) + LOCAL.size > spans[1:, 0]).any():
            raise DataError(f"{self.root!r}: members overlap; the archive is refused")


def _bounded_directory(fd: int, name: str) -> None:
    tail = read_at(fd, 1 << 16, max(0, os.fstat(fd).st_size - (1 << 16)))
    at = tail.rfind(b"PK\5\6")
    if at >= 0 and END_RECORD.unpack_from(tail, at)[1] > MAX_DIRECTORY:
        raise DataError(
            f"{name!r}: the list of members is over {MAX_DIRECTORY:,} bytes; the archive is refused"
        )


def _refused(member: zipfile.ZipInfo) -> str:
    """Why a member makes the whole archive suspect; empty if it doesn't."""
    name, mode = member.orig_filename, member.external_attr >> 16
    parts = name.replace("\\", "/").split("/")
    if parts[0] in ("", "..") or parts[0][1:2] == ":" or ".." in parts or "\0" in name:
        return "points outside the archive"
    if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_IFMT(mode) == 0):
        return "is a link or a device"
    if member.flag_bits & 0x1:
        return "is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"is packed by method {member.compress_type} (only deflate is read)"
    if member.file_size > 1 << 20 and member.file_size > MAX_RATIO * max(1, member.compress_size):
        return f"states {member.file_size:,} bytes from {member.compress_size:,}: a decompression bomb"
    return ""
