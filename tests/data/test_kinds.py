"""What a file is, by its bytes: formats that are read under any name, and others with the way out."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from striate.data import check, load
from striate.data.decode import decode
from striate.data.header import sniff
from striate.data.kinds import kind
from striate.data.scan import scan
from striate.errors import DataError

pillow_heif.register_heif_opener()
PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)).resize(
    (96, 64), Image.Resampling.BICUBIC
)


def encoded(kind: str, image: Image.Image = PHOTO, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("name", ["AVIF", "HEIC"])
def test_what_phones_write_is_what_pillow_makes_of_it(name: str) -> None:
    data = encoded("HEIF" if name == "HEIC" else name, quality=90)
    assert sniff(data) == name
    assert (decode(data) == np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))).all()
    assert np.abs(decode(data).astype(int) - np.asarray(PHOTO)).mean() < 6


@pytest.mark.parametrize("name", ["AVIF", "HEIC"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_what_phones_write_comes_upright(name: str, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    upright = decode(encoded("JPEG", quality=95, exif=exif)).astype(int)
    found = decode(encoded("HEIF" if name == "HEIC" else name, quality=90, exif=exif.tobytes()))
    assert found.shape == upright.shape
    assert np.abs(found - upright).mean() < 6


@pytest.mark.parametrize(("mode", "suffix"), [("RGB", "ppm"), ("L", "pgm"), ("1", "pbm")])
def test_portable_maps_come_back_exactly(mode: str, suffix: str) -> None:
    image = PHOTO.convert(mode)
    assert (decode(encoded("PPM", image)) == np.asarray(image.convert("RGB"))).all()


@pytest.mark.parametrize(("most", "value", "grey"), [(65535, 200, 1), (65535, 51400, 200), (1023, 1023, 255)])
def test_portable_maps_of_more_than_8_bits_have_the_range_that_they_state(
    most: int, value: int, grey: int
) -> None:
    data = b"P5 4 3 %d\n" % most + np.full(12, value, ">u2").tobytes()
    assert (decode(data, 1) == grey).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "I;16", "F"])
def test_tiff_with_long_offsets_is_a_tiff(mode: str) -> None:
    image = PHOTO.convert("L").convert(mode) if mode != "RGB" else PHOTO
    big = encoded("TIFF", image, big_tiff=True)
    assert big[:4] == b"II+\0"
    assert (decode(big) == decode(encoded("TIFF", image))).all()


@pytest.mark.parametrize("name", ["AVIF", "HEIF", "PPM"])
def test_what_is_cut_is_found(name: str) -> None:
    whole = encoded(name)
    cuts = [whole[:n] for n in (len(whole), len(whole) - 1, len(whole) // 2, 30, 13)]
    assert list(scan(len(cuts), cuts.__getitem__).bad) == [1, 2, 3, 4]


def box(brand: bytes) -> bytes:
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0" + brand + b"\0\0\0\0" + bytes(40)


OTHERS = [
    (bytes(128) + b"DICM" + bytes(20), "DICOM", "convert it"),
    (b"\xff\x0a" + bytes(20), "JPEG XL", "djxl"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL", "djxl"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000", "convert it"),
    (b"II*\0\x10\0\0\0CR\2\0", "camera raw", "develop it"),
    (box(b"crx "), "camera raw", "develop it"),
    (b"FUJIFILMCCD-RAW 0201", "camera raw", "develop it"),
    (encoded("TIFF", PHOTO, tiffinfo={254: 1}), "camera raw", "develop it"),  # a NEF's first page
]  # fmt: skip


@pytest.mark.parametrize(("data", "name", "way_out"), OTHERS)
def test_pictures_that_are_not_read_are_named_with_the_way_out(
    write_folder, data: bytes, name: str, way_out: str
) -> None:
    root = write_folder({"cat": 12, "dog": 12})
    for suffix in (".jpg", ".dat", ""):
        (root / "cat" / f"other{suffix}").write_bytes(data)
    with pytest.raises(DataError, match=rf"3 of 27 images can't be read: 'cat/other': this is a {name}") as e:
        load(root)
    assert way_out in str(e.value)
    unreadable = [p for p in check(root).problems if p.kind == "unreadable"]
    assert [p.files[0] for p in unreadable] == ["cat/other", "cat/other.dat", "cat/other.jpg"]


@pytest.mark.parametrize(
    ("data", "name", "way_out"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer", "git lfs pull"),
        (b"/annex/objects/SHA256E-s1--0.jpg\n", "git-annex pointer", "git annex get"),
    ],
)  # fmt: skip
def test_a_pointer_in_the_place_of_an_image_is_named(
    write_folder, data: bytes, name: str, way_out: str
) -> None:
    root = write_folder({"cat": 12, "dog": 12})
    for file in ("0.png", "weights.bin", "labels"):
        (root / "cat" / file).write_bytes(data)
    with pytest.raises(DataError, match=rf"1 of 24 .*'cat/0.png': this is a {name} file.*{way_out}"):
        load(root)
    assert check(root).passed == {name: ("cat/labels", "cat/weights.bin")}


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (box(b"qt  "), "video"),
        (box(b"isom"), "video"),
        (b"\x1aE\xdf\xa3", "video"),
        (b"RIFF\0\0\0\0AVI LIST", "video"),
        (b"%PDF-1.7", "PDF"),
        (b"PK\3\4", "ZIP"),
        (b"a line of text\n", "text"),
        (b"BMI,age,height\n22,30,170\n", "text"),
        (b"P1 is the first patient, P2 the second", "text"),
        (b"P5 12 patients", "text"),
        (b"P6 " + b"# " * 250, "text"),
        (b"IIRO and others", "text"),
        (b"P6\n# a comment\n96 64\n255\n", "PPM"),
        (b"P4 8\n# 9\n1\n\xff", "PPM"),
        ("ä".encode() * 256, "text"),  # the head may end inside a letter
        ("\ufeffa\tb".encode("utf-16-le"), "text"),
        (b" <!doctype html>", "HTML, XML or SVG"),
        (bytes(60), "unknown"),
        (b"", "empty"),
    ],
)
def test_other_kinds(head: bytes, name: str) -> None:
    assert kind(head[:511]) == name


def test_without_the_extra_a_heic_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(encoded("HEIF"))
    code = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from striate.data.decode import decode\n"
        "try: decode(open(sys.argv[1], 'rb').read())\n"
        "except ValueError as e: print(e)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "photo")], capture_output=True, text=True, check=False
    )
    assert done.stdout == "this is a HEIC file; to read it: pip install 'striate[heic]'\n", done.stderr
