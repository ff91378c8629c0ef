"""The IDX format of MNIST: magic 0 0 type dims, big-endian sizes, then bytes (LeCun's MNIST page)."""

import re
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.data.arrays import array_part
from striate.data.source import Part, Source
from striate.data.tree import Tree
from striate.errors import DataError

NAME = re.compile(r"(?:^|/)(train|t10k|test)-(images|labels)[.-]idx[13]-ubyte(\.gz)?$")
MAX_INFLATED = 1 << 32


def is_idx(paths: list[str]) -> bool:
    """Do these names look like the files of MNIST?"""
    return any(NAME.search(p) for p in paths)


def from_tree(tree: Tree, name: str, classes: tuple[str, ...] | None = None) -> Source:
    """`train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, and `t10k-` or `test-` likewise; plain or .gz."""
    files: dict[tuple[str, str], str] = {}
    for path in tree.files():
        if m := NAME.search(path):
            key = ("train" if m[1] == "train" else "test", m[2])
            if key in files:
                raise DataError(f"{tree.root!r}: both {files[key]!r} and {path!r} hold the {key[0]} {key[1]}")
            files[key] = path
    parts = {}
    for split in ("train", "test"):
        pair = [files.get((split, kind)) for kind in ("images", "labels")]
        if any(pair) != all(pair):
            raise DataError(
                f"{tree.root!r}: {pair[0] or pair[1]!r} has no counterpart with {split} images and labels"
            )
        if pair[0] and pair[1]:
            parts[split] = _part(tree, split, pair[0], pair[1], len(classes) if classes else None)
    if not parts:
        raise DataError(f"{tree.root!r}: no train-images-idx3-ubyte")
    return Source(name, parts, classes)


def _part(tree: Tree, split: str, images: str, labels: str, k: int | None) -> Part:
    x = parse(inflate(tree.read(images), images), images, 3)
    y = parse(inflate(tree.read(labels), labels), labels, 1)
    if len(x) != len(y):
        raise DataError(f"{images!r} has {len(x)} images, but {labels!r} has {len(y)} labels")
    limit = k or len(np.unique(y)) + 1  # labels may count from 1
    if (wrong := np.flatnonzero(y >= limit)).size:
        offset = 8 + int(wrong[0])
        raise DataError(f"{labels!r}: label {y[wrong[0]]} at byte {offset}; expected 0 to {limit - 1}")
    return array_part(f"{split}/", x, y)


def parse(data: bytes, name: str, dims: int) -> npt.NDArray[Any]:
    """IDX bytes -> uint8 array of `dims` dimensions; DataError says at which byte it's wrong."""
    head = 4 + 4 * dims
    if len(data) < head:
        raise DataError(f"{name!r}: ends at byte {len(data)}, inside the header of {head} bytes")
    if data[:3] != b"\0\0\x08" or data[3] != dims:
        found = data[:4].hex(" ")
        raise DataError(
            f"{name!r}: magic number {found} at byte 0; expected 00 00 08 {dims:02x}, unsigned bytes"
        )
    shape = tuple(int(s) for s in np.frombuffer(data, ">u4", dims, 4))
    expected = head + int(np.prod(shape, dtype=object))
    if len(data) != expected:
        sizes = " x ".join(map(str, shape))
        raise DataError(
            f"{name!r}: {sizes} stated at byte 4 needs {expected:,} bytes, but there are {len(data):,}"
        )
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)


def inflate(data: bytes, name: str) -> bytes:
    """gzip -> bytes, all of it and nothing behind it; anything else stays."""
    if not data.startswith(b"\x1f\x8b"):
        return data
    stream = zlib.decompressobj(31)
    try:
        out = stream.decompress(data, MAX_INFLATED)
    except zlib.error as e:
        raise DataError(f"{name!r}: broken gzip: {e}") from e
    if stream.unconsumed_tail:
        raise DataError(f"{name!r}: inflates to more than {MAX_INFLATED:,} bytes")
    if not stream.eof:
        raise DataError(f"{name!r}: the gzip is cut short at byte {len(data)}")
    if stream.unused_data:
        at = len(data) - len(stream.unused_data)
        raise DataError(
            f"{name!r}: {len(stream.unused_data)} bytes of something else after the gzip, at byte {at}"
        )
    return out
