"""What files hold against what comes out, judged by Pillow and arithmetic: orientation, modes, damage, bombs."""

import contextlib
import io
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from striate.data.decode import decode
from striate.data.header import MAX_PIXELS, header, sniff
from striate.errors import DataError

RNG = np.random.default_rng(0)
SMOOTH = np.linspace(0, 255, 40 * 60 * 3).reshape(40, 60, 3).astype(np.uint8)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    head = struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", head), *extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "WEBP"])
def test_lossless_formats_come_back_exactly(kind: str) -> None:
    image = Image.fromarray(SMOOTH)
    options = {"lossless": True} if kind == "WEBP" else {}
    if kind == "GIF":
        image = image.quantize(64)
    assert (decode(encode(image, kind, **options)) == np.array(image.convert("RGB"))).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_what_pillow_makes_of_it(channels: int) -> None:
    data = encode(Image.fromarray(SMOOTH), "JPEG", quality=90)
    expected = np.array(Image.open(io.BytesIO(data)).convert("RGB" if channels == 3 else "L"))
    assert np.abs(decode(data, channels).reshape(expected.shape).astype(int) - expected).max() <= 2


ORIENTATION = {  # EXIF 2.3, 4.6.4: what the stored picture is of the upright one
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 3),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [0, *ORIENTATION])
def test_every_orientation_comes_out_upright(kind: str, orientation: int) -> None:
    upright = np.repeat(np.repeat(RNG.integers(0, 256, (4, 6, 3), np.uint8), 16, 0), 16, 1)
    stored = Image.fromarray(np.ascontiguousarray(ORIENTATION[orientation or 1](upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = (
        {"quality": 100, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    )
    data = encode(stored, kind, exif=exif, **options)
    assert np.abs(decode(data).astype(int) - upright).max() <= (6 if kind == "JPEG" else 0)
    assert np.abs(decode(data, 1)[..., 0] - upright @ [0.299, 0.587, 0.114]).max() <= 6


def test_reduced_jpeg_is_upright_too() -> None:
    upright = np.repeat(np.repeat(RNG.integers(0, 256, (4, 6, 3), np.uint8), 64, 0), 64, 1)
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(np.ascontiguousarray(ORIENTATION[6](upright)))
    data = encode(stored, "JPEG", exif=exif, quality=100, subsampling=0)
    for channels in (1, 3):
        small = decode(data, channels, at_least=(64, 64))
        assert small.shape == (64, 96, channels)
        colours = small[8::16, 8::16].astype(int)
        expected = (
            upright[32::64, 32::64]
            if channels == 3
            else upright[32::64, 32::64] @ [[0.299], [0.587], [0.114]]
        )
        assert np.abs(colours - expected).max() <= 8


def test_reduced_jpeg_never_falls_below_the_size_asked_for() -> None:
    data = encode(Image.new("RGB", (450, 230)), "JPEG")
    assert decode(data, at_least=(112, 112)).shape == (115, 225, 3)
    assert decode(data, at_least=(116, 116)).shape == (230, 450, 3)
    assert decode(data, at_least=(50, 230)).shape == (230, 450, 3)
    assert decode(data, at_least=(28, 28)).shape == (29, 57, 3)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 100, (100, 100, 100)),
        ("LA", (100, 255), (100, 100, 100)),
        ("LA", (100, 0), (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("RGBA", (0, 100, 200, 128), (127, 177, 227)),
        ("I;16", 25700, (100, 100, 100)),
        ("P", 3, None),
    ],
)
def test_modes_of_png(mode: str, colour: Any, expected: tuple[int, ...] | None) -> None:
    image = Image.new(mode, (7, 5), colour)
    if mode == "P":
        image.putpalette([v for i in range(256) for v in (i, 2 * i % 256, 200)])
        expected = (3, 6, 200)
    assert np.abs(decode(encode(image, "PNG")).astype(int) - np.array(expected)).max() <= 1


def test_palette_with_transparency_lies_over_white() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 9, 9, 9])
    image.putpixel((0, 0), 0)
    pixels = decode(encode(image, "PNG", transparency=1))
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert (pixels[1:] == 255).all()


def test_cmyk_jpeg_is_not_inverted() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert np.abs(decode(encode(red, "JPEG", quality=95)).astype(int) - [255, 0, 0]).max() <= 8


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [("I;16", 65535, 255), ("F", 0.5, 128), ("F", 200.0, 200), ("I", 257 * 7, 7)],
)
def test_tiff_of_other_numbers(mode: str, value: float, expected: int) -> None:
    image = Image.new(mode, (3, 2), value)
    assert (decode(encode(image, "TIFF")) == expected).all()
    assert header(encode(image, "TIFF")).channels == 1


def test_16_bits_have_one_scale_however_dark() -> None:
    dark, light = (Image.new("I;16", (3, 2), value) for value in (250, 5000))
    assert [int(decode(encode(image, "TIFF")).max()) for image in (dark, light)] == [1, 19]  # of 65,535


def test_tiff_with_nan_is_refused() -> None:
    with pytest.raises(DataError, match="NaN"):
        decode(encode(Image.fromarray(np.array([[0.0, np.nan]], np.float32)), "TIFF"))


def test_16_bit_colour_png() -> None:
    values = np.arange(256, dtype=np.uint16) * 257
    rows = b"\0" + np.stack([values, values[::-1], values], 1).astype(">u2").tobytes()
    pixels = decode(png(256, 1, 16, 2, rows))
    assert (pixels[0, :, 0] == np.arange(256)).all()
    assert (pixels[0, :, 1] == np.arange(256)[::-1]).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
@pytest.mark.parametrize("keep", [0.01, 0.5, 0.99, -2])
def test_cut_files_are_errors_twice_in_a_row(kind: str, keep: float) -> None:
    noise = Image.fromarray(RNG.integers(0, 256, (80, 90, 3), np.uint8))
    data = encode(noise, kind)
    cut = data[:-2] if keep < 0 else data[: int(len(data) * keep)]
    if kind in ("GIF", "BMP") and keep < 0:
        return  # the end mark of an animation and the padding of the last row: every pixel is there
    for _ in range(2):
        with pytest.raises(DataError):
            decode(cut)
    decode(data)


def test_cut_jpeg_is_not_saved_by_the_end_mark_of_its_thumbnail() -> None:
    thumb = encode(Image.new("RGB", (16, 16)), "JPEG")
    data = encode(Image.fromarray(SMOOTH), "JPEG")
    app1 = b"\xff\xe1" + struct.pack(">H", len(thumb) + 2) + thumb
    whole = data[:2] + app1 + data[2:]
    decode(whole)
    with pytest.raises(DataError, match="no end marker"):
        decode(whole[:-100])


def test_broken_data_stream_and_checksum_of_a_png() -> None:
    data = bytearray(encode(Image.fromarray(SMOOTH), "PNG"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(DataError, match="wrong checksum"):
        decode(bytes(data))
    with pytest.raises(DataError, match="broken PNG"):
        decode(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">LLBBBBB", 9, 9, 8, 2, 0, 0, 0))
               + chunk(b"IDAT", b"x" * 50) + chunk(b"IEND", b""))  # fmt: skip


@pytest.mark.parametrize("side", [(20000, 20000), (9460, 9460), (13378, 13378), (1 << 31, 1)])
def test_bombs_are_refused_from_the_header(side: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    monkeypatch.setattr(cv2, "imdecode", None)  # whatever decodes fails
    rows = zlib.compress(bytes(1000))
    head = chunk(b"IHDR", struct.pack(">LLBBBBB", *side, 1, 0, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    with pytest.raises(DataError, match=f"over the limit of {MAX_PIXELS:,}"):
        decode(data)


@pytest.mark.parametrize(
    "data",
    [
        b"GIF89a" + struct.pack("<HH", 60000, 60000) + b"\x80\0\0" + bytes(6) +
        b",\0\0\0\0\1\0\1\0\0\2\2D\1\0;", b"BM" + struct.pack("<LHHL", 100, 0, 0, 54) +
        struct.pack("<LllHHLLllLL", 40, 50000, 50000, 1, 24, 0, 0, 0, 0, 0, 0), encode(Image.new("1", (10,
        10)), "TIFF").replace(struct.pack("<HHLL", 256, 4, 1, 10), struct.pack("<HHLL", 256, 4, 1, 1 <<
        24)),
    ],
    ids=["gif", "bmp", "tiff"],
)  # fmt: skip
def test_bombs_of_other_formats(data: bytes) -> None:
    with pytest.raises(DataError):
        decode(data)


def test_zero_width() -> None:
    with pytest.raises(DataError, match="0x7 pixels"):
        decode(png(0, 7, 8, 2, b""))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
        (b"%PDF-1.7", "PDF"),
        (b"SIMPLE  =", "FITS"),
        (b"8BPS\0\1", "PSD"),
        (b"\xd7\xcd\xc6\x9a\0", "WMF"),
        (b"<!doctype html><html>", "HTML"),
        (b"\n <svg xmlns=", "SVG"),
        (b"PK\3\4rest", "ZIP"),
        (b"P7\nWIDTH 1\n", "no image of a known format"),
        (b"hello world", "no image of a known format"),
    ],
)
def test_anything_else_is_refused_by_its_real_name(data: bytes, says: str) -> None:
    with pytest.raises(DataError, match=says) as e:
        decode(data)
    assert not data or "JPEG, PNG, WebP, BMP, GIF, TIFF" in e.value.hint


def test_no_program_is_started_for_postscript(tmp_path: Path) -> None:
    code = (
        "import subprocess, os, sys; from striate.data.decode import decode\n"
        "def refuse(*a, **k): sys.exit('a program was started')\n"
        "subprocess.Popen = subprocess.run = subprocess.check_call = os.system = refuse\n"
        "try: decode(b'%!PS-Adobe-3.0 EPSF-3.0\\n%%BoundingBox: 0 0 10 10\\nshowpage')\n"
        "except ValueError as e: print(e)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "PostScript" in done.stdout


def test_the_bytes_decide_not_the_name() -> None:
    assert sniff(encode(Image.new("RGB", (2, 2)), "TIFF")) == "TIFF"
    polyglot = io.BytesIO(encode(Image.new("RGB", (8, 8)), "JPEG"))
    with zipfile.ZipFile(polyglot, "a") as z:
        z.writestr("x", "y")
    assert decode(polyglot.getvalue()).shape == (8, 8, 3)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"nonsense"]
)
def test_broken_exif_is_ignored(exif: bytes) -> None:
    data = encode(Image.fromarray(SMOOTH), "JPEG", quality=95)
    app1 = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    assert (decode(data[:2] + app1 + data[2:]) == decode(data)).all()


def test_broken_colour_profile_is_ignored() -> None:
    for kind in ("JPEG", "PNG"):
        data = encode(Image.fromarray(SMOOTH), kind, icc_profile=b"no profile at all" * 10)
        assert (decode(data) == decode(encode(Image.fromarray(SMOOTH), kind))).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), (i, i, i)) for i in (10, 200, 250)]
    data = encode(
        frames[0],
        kind,
        save_all=True,
        append_images=frames[1:],
        **({"lossless": True} if kind == "WEBP" else {}),
    )
    assert (decode(data) == 10).all()


def test_thousands_of_frames_cost_no_time() -> None:
    frames = [Image.new("L", (2, 2), i % 256) for i in range(3000)]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    start = time.perf_counter()
    decode(data)
    assert time.perf_counter() - start < 1


def test_thousands_of_directories_in_a_tiff() -> None:
    frames = [Image.new("L", (2, 2), i % 256) for i in range(1500)]
    data = encode(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    start = time.perf_counter()
    assert (decode(data) == 0).all()
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_random_damage_ends_in_pixels_or_in_our_error(kind: str) -> None:
    whole = encode(Image.fromarray(SMOOTH), kind)
    rng = np.random.default_rng(1)
    for _ in range(150):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), rng.integers(1, 6)):
            data[at] = rng.integers(0, 256)
        with contextlib.suppress(DataError):
            assert decode(bytes(data[: rng.integers(len(data) // 2, len(data) + 1)])).dtype == np.uint8


def test_text_chunks_that_inflate_without_end() -> None:
    bomb = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1 << 20), 9))
    data = png(4, 4, 8, 0, bytes(20), *[bomb] * 200)
    code = (
        "import resource, sys; from striate.data.decode import decode; import cv2, PIL.Image\n"
        "data = sys.stdin.buffer.read(); before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: print(decode(data).shape)\n"
        "except ValueError as e: print(e)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)
    assert int(done.stdout.split()[-1]) < 64  # MiB; 200 MiB would be all of the text


def test_grey_photographs_have_equal_channels(shared_data: Path) -> None:
    with zipfile.ZipFile(shared_data / "imagenet-samples-250.zip") as z:
        grey = 0
        for name in z.namelist():
            data = z.read(name)
            head = header(data)
            pixels = decode(data)
            assert pixels.shape == (head.height, head.width, 3)
            if head.channels == 1:
                grey += 1
                assert (pixels[..., 0] == pixels[..., 1]).all()
                assert (pixels[..., 0] == pixels[..., 2]).all()
    assert grey > 0
