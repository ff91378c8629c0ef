"""Faults as a user meets them: exit code 3, one line that names file and cause, and the next good command works.

What each kind of damage does to the decoder, the archive reader and the downloader is proven in tests/data.
"""

import io
import json
import os
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from striate.cli import main

RNG = np.random.default_rng(0)
PHOTO = Image.fromarray(RNG.integers(0, 256, (4, 6, 3), np.uint8)).resize((48, 32), Image.Resampling.BICUBIC)


def encoded(kind: str, image: Image.Image = PHOTO, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def png_of(width: int, height: int, pixels: bytes = b"", *extra: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, 1, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + b"".join(extra)
        + chunk(b"IDAT", zlib.compress(pixels))
        + chunk(b"IEND", b"")
    )


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs a verb in a folder of its own -> exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STRIATE_HOME", str(tmp_path / "home"))

    def verb(*argv: str) -> tuple[int, str, str]:
        code = main(list(argv))
        return code, *capsys.readouterr()

    return verb


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two classes of six different JPEGs."""
    for label in ("cat", "dog"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for i in range(6):
            pixels = RNG.integers(0, 256, (4, 6, 3), np.uint8)
            small = Image.fromarray(pixels).resize((48, 32), Image.Resampling.BICUBIC)
            small.save(tmp_path / "images" / label / f"{i}.jpg")
    return tmp_path / "images"


def look(run, data: object) -> tuple[int, str, str]:
    """What opens the data as training does, without training."""
    return run("data", "preview", str(data), "--first", "4")


def refused(run, data: object, *causes: str) -> None:
    code, out, err = look(run, data)
    assert (code, out) == (3, ""), err
    cause, *hint = err.splitlines()
    assert cause.startswith("error: ")
    assert len(hint) <= 1
    assert not hint or hint[0].startswith("hint: ")
    for text in causes:
        assert text in cause
    assert "Traceback" not in err


JPEG, PNG = encoded("JPEG"), encoded("PNG")
BAD: list[tuple[str, bytes, str]] = [
    ("I1", b"", "the file is empty"),
    *((f"I2-jpeg-{n}", JPEG[:n], "") for n in (len(JPEG) // 100, len(JPEG) // 2, len(JPEG) * 99 // 100, len(JPEG) - 2)),
    *((f"I2-png-{n}", PNG[:n], "") for n in (len(PNG) // 100, len(PNG) // 2, len(PNG) * 99 // 100, len(PNG) - 2)),
    ("I3-crc", PNG[:90] + bytes([PNG[90] ^ 1]) + PNG[91:], "wrong checksum"),
    ("I4", png_of(20000, 20000, bytes(2500)), "over the limit"),
    ("I5-warns-elsewhere", png_of(9460, 9460), "over the limit"),
    ("I5", png_of(13378, 13378), "over the limit"),
    ("I6-gif", b"GIF89a" + struct.pack("<HH", 60000, 60000) + b"\0\0\0;", "GIF"),
    ("I6-zero-width", png_of(0, 7), "0x7 pixels"),
    ("I6-ico", b"\0\0\1\0\1\0\0\0", "ICO"),
    ("I7-eps", b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
    ("I7-pdf", b"%PDF-1.7", "PDF"),
    ("I7-fits", b"SIMPLE  = T", "FITS"),
    ("I7-psd", b"8BPS\0\1", "PSD"),
    ("I7-wmf", b"\xd7\xcd\xc6\x9a\0\0", "WMF"),
    ("I8-html", b"<!doctype html><html>not found", "HTML"),
    ("I8-zip", b"PK\3\4" + bytes(30), "ZIP"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "cause"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_a_damaged_image_stops_with_its_name(run, images: Path, data: bytes, cause: str) -> None:
    (images / "cat" / "bad.jpg").write_bytes(data)
    refused(run, images, "'cat/bad.jpg'", cause, "1 of 13")
    refused(run, images, "'cat/bad.jpg'", cause)  # the same the second time
    assert run("data", "check", str(images))[0] == 3
    (images / "cat" / "bad.jpg").unlink()
    assert look(run, images)[0] == 0


def exif(content: bytes) -> bytes:
    return JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + JPEG[2:]


GOOD: list[tuple[str, bytes]] = [
    ("I8-tiff", encoded("TIFF")),
    ("I8-polyglot", JPEG + b"PK\5\6" + bytes(18)),
    ("I9", exif(b"Exif\0\0II*\0\xff\xff\xff\xff")),
    ("I9-nonsense", exif(b"Exif\0\0MM")),
    *((f"I11-{mode}", encoded("TIFF" if mode in "F CMYK" else "PNG", PHOTO.convert("L").convert(mode)))
      for mode in ("L", "LA", "P", "1", "RGBA", "F", "I;16", "CMYK")),
    *((f"I13-{w}x{h}", encoded("PNG", Image.new("RGB", (w, h)))) for w, h in ((1, 1), (1, 5000), (5000, 1), (75, 56))),
    ("I14-gif", encoded("GIF", save_all=True, append_images=[PHOTO.rotate(a) for a in range(5)])),
    ("I15", png_of(4, 4, bytes(8), *[chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1 << 20)))] * 64)),
    ("I16", encoded("JPEG", icc_profile=b"no profile" * 9)),
]  # fmt: skip


@pytest.mark.parametrize("data", [g[1] for g in GOOD], ids=[g[0] for g in GOOD])
def test_an_odd_image_is_taken(run, images: Path, data: bytes) -> None:
    (images / "cat" / "odd.jpg").write_bytes(data)
    assert look(run, images)[0] == 0
    code, out, _ = run("data", "check", str(images), "--json")
    kinds = {p["kind"] for p in json.loads(out)["problems"]}
    assert code == (3 if kinds else 0)
    assert kinds <= {"wrong-extension", "tiny", "constant"}


def test_i17_numbers_that_are_no_pixels(run, tmp_path: Path) -> None:
    x = RNG.random((20, 8, 8)).astype(np.float32)
    for name, value in (("nan", np.nan), ("inf", np.inf), ("negative", -1.0), ("large", 300.0)):
        x[3, 2, 1] = value
        np.savez(tmp_path / f"{name}.npz", x_train=x, y_train=np.arange(20) % 2)
        refused(run, f"{name}.npz", f"{name}.npz")
    with zipfile.ZipFile(tmp_path / "shape.npz", "w") as z:
        head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1125899906842624,), }"
        z.writestr("x_train.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head)
    refused(run, "shape.npz", "shape.npz", "can't be read as .npz")
    x[3, 2, 1] = 1.0
    np.savez(tmp_path / "good.npz", x_train=x, y_train=np.arange(20) % 2)
    assert look(run, "good.npz")[0] == 0


def test_i18_what_is_no_regular_file_is_not_waited_for(run, images: Path) -> None:
    for make in (os.mkfifo, lambda p: os.symlink("/dev/zero", p), lambda p: os.symlink("/gone", p)):
        make(images / "cat" / "odd.jpg")
        refused(run, images, "'cat/odd.jpg'")
        (images / "cat" / "odd.jpg").unlink()
    (images / "cat" / "folder.jpg").mkdir()
    assert look(run, images)[0] == 0


@pytest.mark.parametrize(
    "name",
    [
        "new\nline",
        "a..",
        "n" * 251,
        "n\u0303",
        "\u00f1",
        os.fsdecode(b"\xff\xfe"),
        "\u202egnp",
        "<script>",
        "'\"",
        "a,b",
    ],
)
def test_i20_strange_names(run, images: Path, name: str) -> None:
    shutil.copy(images / "cat" / "0.jpg", images / "dog" / (name + ".jpg"))
    code, out, _ = run("data", "check", str(images), "--json")
    assert code == 3
    assert [p["files"] for p in json.loads(out)["problems"]] == [["cat/0.jpg", f"dog/{name}.jpg"]]
    code, out, _ = run("data", "check", str(images))
    assert len(out.splitlines()) == 2
    assert look(run, images)[0] == 0


Change = Callable[[Path], object]
FOLDERS: list[tuple[str, Change, str]] = [
    ("F1-missing", shutil.rmtree, "no data at"),
    ("F1-file", lambda p: (shutil.rmtree(p), p.write_text("x")), "not a kind of data set"),
    ("F2", lambda p: [f.rename(p / f"{i}.jpg") for i, f in enumerate(p.rglob("*.jpg"))], "no class folders"),
    ("F3", lambda p: (p / "eel").mkdir(), "class folder 'eel' holds no image"),
    ("F4-val", lambda p: split(p, val="eel"), "'eel' not in train; 'dog' missing"),
    ("F4-train", lambda p: split(p, val=""), "'dog' missing"),
    ("F12-path", lambda p: (p / "cat" / ("n" * 240 + ".jpg")).write_bytes(b"x"), "n" * 240),
]


def split(root: Path, val: str) -> None:
    """Moves all into train, and a copy of cat into val; of dog only under the name `val`."""
    root.rename(root.parent / "t")
    shutil.copytree(root.parent / "t" / "cat", root / "val" / "cat")
    if val:
        shutil.copytree(root.parent / "t" / "dog", root / "val" / val)
    (root.parent / "t").rename(root / "train")


@pytest.mark.parametrize(("change", "cause"), [f[1:] for f in FOLDERS], ids=[f[0] for f in FOLDERS])
def test_a_folder_that_cannot_be_right(run, images: Path, change: Change, cause: str) -> None:
    shutil.copytree(images, images.parent / "spare")
    change(images)
    refused(run, images, cause)
    assert look(run, "spare")[0] == 0


def test_f1_a_folder_that_cannot_be_read(run, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scandir(path, real=os.scandir):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", scandir)
        refused(run, images, "dog", "Permission denied")
    assert look(run, images)[0] == 0


def test_f5_f6_junk_and_loops_change_no_label(run, images: Path, tmp_path: Path) -> None:
    before = json.loads(run("data", "check", str(images), "--json")[1])
    (images / "cat" / "loop").symlink_to(images / "cat")
    (images / "__MACOSX" / "cat").mkdir(parents=True)
    for junk in ("Thumbs.db", ".DS_Store", "cat/.hidden.jpg", "__MACOSX/cat/._0.jpg"):
        (images / junk).write_bytes(b"junk")
    after = json.loads(run("data", "check", str(images), "--json")[1])
    assert after.pop("passed_over") == [
        {"kind": "hidden", "files": [".DS_Store", "cat/.hidden.jpg"]},
        {"kind": "system", "files": ["Thumbs.db", "__MACOSX/cat/._0.jpg"]},
    ]
    assert before.pop("passed_over") == []
    assert after == before


def test_f9_the_same_bytes_in_train_and_val(run, images: Path) -> None:
    split(images, val="dog")
    code, out, _ = run("data", "check", str(images), "--json")
    assert code == 3
    assert len(json.loads(out)["problems"]) == 12
    assert {p["kind"] for p in json.loads(out)["problems"]} == {"leak"}


def packed(path: Path, images: Path, *members: tuple[str, bytes, int]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for file in images.rglob("*.jpg"):
            z.write(file, file.relative_to(images))
        for name, data, mode in members:
            info = zipfile.ZipInfo(name)
            info.filename = info.orig_filename = name
            info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
            z.writestr(info, data)
    return path


ARCHIVES: list[tuple[str, str, bytes, int, str]] = [
    *((f"A1-{name}", name, b"x", 0, "outside")
      for name in ("../evil", "/abs/evil", "C:\\evil", "..\\evil", "cat/../../x")),
    ("A2-link", "cat/link.jpg", b"/etc/passwd", 0o120777, "is a link or a device"),
    ("A5-fifo", "cat/fifo.jpg", b"", 0o010644, "is a link or a device"),
    ("A5-device", "cat/zero.jpg", b"", 0o020644, "is a link or a device"),
    ("A6-ratio", "cat/zeros.jpg", bytes(4_000_000), 0, "a decompression bomb"),
    ("A7-case", "CAT/0.JPG", b"x", 0, "same name but for case"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "data", "mode", "cause"), [a[1:] for a in ARCHIVES], ids=[a[0] for a in ARCHIVES]
)
def test_a_suspect_archive_is_refused_whole(
    run, images: Path, name: str, data: bytes, mode: int, cause: str
) -> None:
    before = set(images.parent.iterdir())
    refused(run, packed(images.parent / "x.zip", images, (name, data, mode)), "x.zip", cause)
    assert set(images.parent.iterdir()) - before == {images.parent / "x.zip"}  # nothing left behind
    assert look(run, packed(images.parent / "x.zip", images, ("cat/setuid.jpg", JPEG, 0o104777)))[0] == 0


def test_a7_a_member_that_is_not_what_is_stated(run, images: Path) -> None:
    path = packed(images.parent / "x.zip", images)
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\1\2")
    data[at + 16] ^= 1  # its checksum
    path.write_bytes(data)
    refused(run, path, "length or checksum", ".jpg'")


def test_a14_offline(run) -> None:
    code, out, err = run("data", "download", "cifar10", "--offline")
    assert (code, out) == (3, "")
    cause, hint = err.splitlines()
    assert "cifar-10-binary.tar.gz" in cause
    assert hint.startswith("hint: put https://")
