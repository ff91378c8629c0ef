"""IDX files of MNIST: written from the definition, read back, and refused at the right byte."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from striate.data import load
from striate.data.idx import inflate, parse
from striate.errors import DataError


def idx(array: np.ndarray) -> bytes:
    """`0 0 8 dims`, sizes big-endian, bytes."""
    return (
        struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        + array.astype(np.uint8).tobytes()
    )


X = np.random.default_rng(0).integers(0, 256, (50, 6, 4), np.uint8)
Y = np.arange(50) % 10


def folder(root: Path, pack: bool, y: np.ndarray = Y) -> Path:
    ending, wrap = (".gz", gzip.compress) if pack else ("", bytes)
    for prefix in ("train", "t10k"):
        (root / f"{prefix}-images-idx3-ubyte{ending}").write_bytes(wrap(idx(X)))
        (root / f"{prefix}-labels-idx1-ubyte{ending}").write_bytes(wrap(idx(y)))
    return root


@pytest.mark.parametrize("pack", [False, True])
def test_a_folder_of_idx_files(tmp_path: Path, pack: bool) -> None:
    data = load(folder(tmp_path, pack))
    assert data.shape == (1, 6, 4)
    assert (data.test.read(range(50))[:, 0].numpy() == X).all()
    assert (data.test.labels == Y).all()
    assert [len(p) for p in data.parts().values()] == [45, 5, 50]


@pytest.mark.parametrize(
    ("data", "dims", "says"),
    [
        (idx(Y)[:6], 1, "ends at byte 6, inside the header of 8"),
        (idx(X), 1, "magic number 00 00 08 03 at byte 0; expected 00 00 08 01"),
        (b"\0\0\x0d\3" + idx(X)[4:], 3, "magic number 00 00 0d 03"),
        (idx(X)[:-1], 3, r"50 x 6 x 4 stated at byte 4 needs 1,216 bytes, but there are 1,215"),
        (idx(X) + b"!", 3, "there are 1,217"),
        (struct.pack(">BBBBIII", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), 3, "needs 79,"),
    ],
)
def test_wrong_bytes_are_named_by_their_place(data: bytes, dims: int, says: str) -> None:
    with pytest.raises(DataError, match=says):
        parse(data, "x", dims)


def test_gzip_with_something_behind_it_or_cut() -> None:
    packed = gzip.compress(idx(X))
    assert inflate(packed, "x") == idx(X)
    with pytest.raises(DataError, match=f"4 bytes of something else after the gzip, at byte {len(packed)}"):
        inflate(packed + b"junk", "x")
    with pytest.raises(DataError, match=f"cut short at byte {len(packed) - 5}"):
        inflate(packed[:-5], "x")
    with pytest.raises(DataError, match="broken gzip"):
        inflate(packed[:10] + b"\xff" * 40, "x")


def test_label_out_of_range_is_named_by_its_byte(tmp_path: Path) -> None:
    y = Y.copy()
    y[7] = 255
    with pytest.raises(DataError, match="label 255 at byte 15; expected 0 to 11"):
        load(folder(tmp_path, False, y))


def test_missing_counterpart(tmp_path: Path) -> None:
    folder(tmp_path, False)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="'t10k-images-idx3-ubyte' has no counterpart"):
        load(tmp_path)
