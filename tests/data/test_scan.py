"""The look before the first epoch finds what would stop it, in every format."""

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from striate.data import load
from striate.data.scan import content, scan
from striate.errors import DataError

SMOOTH = Image.fromarray(np.linspace(0, 255, 40 * 60 * 3).reshape(40, 60, 3).astype(np.uint8))


def encode(kind: str, image: Image.Image = SMOOTH) -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_what_is_cut_is_found_and_what_is_whole_is_measured(kind: str) -> None:
    whole = encode(kind)
    files = [whole, whole[: len(whole) * 9 // 10], b"", encode(kind, SMOOTH.convert("L"))]
    found = scan(4, files.__getitem__)
    assert list(found.bad) == [1, 2]
    assert found.sizes[[0, 3]].tolist() == [[40, 60], [40, 60]]
    assert found.channels[0] == 3
    if kind not in ("WEBP", "GIF"):  # which know no grey pictures: a palette is colour
        assert found.channels[3] == 1
    assert found.digests[0] == content(whole)


def test_order_of_what_is_bad_is_that_of_the_rows() -> None:
    found = scan(1000, lambda row: b"" if row % 7 == 3 else encode("PNG", Image.new("L", (2, 2))))
    assert list(found.bad) == list(range(3, 1000, 7))


def test_large_files_are_told_apart_by_their_ends_and_length() -> None:
    a = bytearray(300_000)
    b = bytearray(a)
    b[10] = 1
    c = bytearray(a)
    c[-10] = 1
    assert len({content(bytes(x)) for x in (a, b, c, a + b"\0")}) == 4


def test_a_picture_that_is_not_packed_is_looked_at_whole() -> None:
    pixels = np.zeros((400, 400, 3), np.uint8)
    edited = pixels.copy()
    edited[190:210, 190:210] = 255
    files = [encode("BMP", Image.fromarray(x)) for x in (pixels, edited)]
    assert content(files[0]) == content(files[1])  # the ends are the same
    first, second = scan(2, files.__getitem__).digests
    assert first != second


def test_broken_pixels_under_a_good_header_are_skipped_too(write_folder) -> None:
    root = write_folder({"a": 10, "b": 10})
    data = bytearray((root / "a/0.png").read_bytes())
    at = data.find(b"IDAT")
    length = int.from_bytes(data[at - 4 : at])
    data[at + 6 : at + 4 + length] = b"\xff" * (length - 2)  # no zlib stream, but with the right checksum
    data[at + 4 + length : at + 8 + length] = zlib.crc32(data[at : at + 4 + length]).to_bytes(4)
    (root / "a/0.png").write_bytes(data)
    assert set(load(root, on_bad_image="skip").skipped) == {"a/0.png"}
    with pytest.raises(DataError, match=r"a/0\.png"):
        _read_all(root)


def _read_all(root: Path) -> None:
    for part in load(root, cache="off").parts().values():
        part.read(range(len(part)))
