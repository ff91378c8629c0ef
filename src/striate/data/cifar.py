"""CIFAR-10 and CIFAR-100 in their binary version: a record an image, one or two label bytes and 3,072 pixels.

The Python version of the same archives is a pickle, which could run anything; it's never read.
"""

import tarfile
from io import BytesIO

import numpy as np

from striate.data.arrays import array_part
from striate.data.source import Part, Source
from striate.data.tree import Tree
from striate.errors import DataError

SIDE, PIXELS = 32, 3 * 32 * 32
TRAIN = ("data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin")
LAYOUTS = {  # train files, test file, class names, label bytes of a record; the last of them is the class
    "cifar10": (TRAIN, "test_batch.bin", "batches.meta.txt", 1),
    "cifar100": (("train.bin",), "test.bin", "fine_label_names.txt", 2),
}
WANTED = {f for train, test, names, _ in LAYOUTS.values() for f in (*train, test, names)}
MAX_MEMBER = 1 << 28


def which(paths: list[str]) -> str:
    """`cifar10`, `cifar100`, or `` when these files are neither."""
    names = {p.rpartition("/")[2] for p in paths}
    return next((k for k, (train, _, meta, _) in LAYOUTS.items() if {train[0], meta} <= names), "")


def from_tree(tree: Tree, name: str) -> Source:
    """A folder or zip with the files of the binary version."""
    files = {p.rpartition("/")[2]: p for p in tree.files()}
    return _source(name, {f: tree.read(files[f]) for f in WANTED & set(files)}, tree.root)


def from_tar(data: bytes, name: str, where: str) -> Source:
    """The publisher's `.tar.gz`; only plain files of known names are looked at, whatever else it holds."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=BytesIO(data), mode="r|gz") as archive:
            for member in archive:
                base = member.name.rpartition("/")[2]
                if base in WANTED and member.isreg() and member.size <= MAX_MEMBER:
                    file = archive.extractfile(member)
                    found[base] = file.read() if file else b""
    except (tarfile.TarError, OSError, EOFError, ValueError) as e:
        raise DataError(f"{where!r}: can't be read as .tar.gz: {e}") from e
    return _source(name, found, where)


def _source(name: str, files: dict[str, bytes], where: str) -> Source:
    layout = which(list(files))
    if not layout:
        raise DataError(f"{where!r}: not the binary version of CIFAR-10 or CIFAR-100")
    train, test, meta, label_bytes = LAYOUTS[layout]
    if missing := [f for f in (*train, test) if f not in files]:
        raise DataError(f"{where!r}: {missing[0]!r} is missing")
    classes = tuple(files[meta].decode("utf-8", "replace").split())
    parts = {
        "train": _part("train/", {f: files[f] for f in train}, classes, label_bytes),
        "test": _part("test/", {test: files[test]}, classes, label_bytes),
    }
    return Source(name, parts, classes)


def _part(prefix: str, files: dict[str, bytes], classes: tuple[str, ...], label_bytes: int) -> Part:
    record = label_bytes + PIXELS
    for file, data in files.items():
        if not data or len(data) % record:
            raise DataError(f"{file!r}: {len(data):,} bytes are not whole records of {record}")
    rows = np.frombuffer(b"".join(files.values()), np.uint8).reshape(-1, record)
    labels = rows[:, label_bytes - 1]
    if (wrong := np.flatnonzero(labels >= len(classes))).size:
        at = int(wrong[0])
        raise DataError(f"{prefix}{at}: label {labels[at]}; there are {len(classes)} classes")
    x = np.ascontiguousarray(rows[:, label_bytes:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))
    return array_part(prefix, x, np.asarray(classes)[labels])
