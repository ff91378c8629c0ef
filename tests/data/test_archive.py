"""Zip archives: read without unpacking, equal to the folder, and refused when one member is suspect."""

import io
import os
import shutil
import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from striate.data import load
from striate.data.archive import Zip
from striate.errors import DataError


def pack(root: Path, target: Path, method: int = zipfile.ZIP_DEFLATED, folders: bool = True) -> Path:
    with zipfile.ZipFile(target, "w", method) as z:
        for path in sorted(root.rglob("*")):
            if path.is_file() or folders:
                z.write(path, path.relative_to(root))
    return target


def splits(source: Path) -> dict[str, Any]:
    """Which image is in which split, but for where the data lies."""
    return {k: v for k, v in load(source).splits().items() if k not in ("name", "source")}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("folders", [True, False])
def test_a_zip_is_the_folder_in_it(write_folder, tmp_path: Path, method: int, folders: bool) -> None:
    root = write_folder({"train/a": 12, "train/b": 12, "test/a": 2, "test/b": 2})
    plain, packed = load(root), load(pack(root, tmp_path / "x.zip", method, folders))
    for a, b in zip(plain.parts().values(), packed.parts().values(), strict=True):
        assert a.ids == b.ids
        assert (a.read(range(len(a))) == b.read(range(len(b)))).all()
        assert (a.digests() == b.digests()).all()


def test_empty_class_folder_in_a_zip(write_folder, tmp_path: Path) -> None:
    archive = pack(write_folder({"a": 2, "b": 2, "c": 0}), tmp_path / "x.zip")
    with pytest.raises(DataError, match="'c' holds no image"):
        load(archive)


def write(target: Path, *members: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in members:
            info = zipfile.ZipInfo(name)
            info.filename = info.orig_filename = name  # ZipInfo cleans what it's given
            info.compress_type = zipfile.ZIP_DEFLATED
            z.writestr(info, data)
    return target


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/abs/evil", "C:\\evil", "..\\evil", "a\\..\\..\\evil"]
)
def test_members_that_lead_outside(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="points outside the archive; the archive is refused"):
        Zip(write(tmp_path / "x.zip", ("a/1.png", b"x"), (name, b"x")))
    assert sorted(os.listdir(tmp_path)) == ["x.zip"]


def test_links_and_devices(tmp_path: Path) -> None:
    for kind in (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR):
        info = zipfile.ZipInfo("link")
        info.external_attr = (kind | 0o777) << 16
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as z:
            z.writestr(info, "/etc/passwd")
        with pytest.raises(DataError, match="is a link or a device"):
            Zip(tmp_path / "x.zip")


def test_bomb_by_ratio(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="decompression bomb"):
        Zip(write(tmp_path / "x.zip", ("zeros.png", bytes(5_000_000))))


def test_what_shrinks_well_is_no_bomb_where_it_is_something(tmp_path: Path) -> None:
    scan = io.BytesIO()
    Image.new("L", (2500, 1800), 255).save(scan, "TIFF")
    files = [(f"{c}/{i}.tif", scan.getvalue()) for c in "ab" for i in range(3)]
    archive = write(tmp_path / "x.zip", *files, ("log.txt", b"the same line\n" * 200_000))
    assert archive.stat().st_size * 100 < len(scan.getvalue())
    assert load(archive).passed == {"text": ("log.txt",)}


def patched(path: Path, member: str, field: int, value: int) -> Path:
    """Overwrites one 4-byte field of the member's entry in the central directory."""
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\1\2", 0, data.rfind(member.encode()))
    data[at + field : at + field + 4] = struct.pack("<L", value)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("field", "value"), [(16, 0xDEADBEEF), (24, 10), (24, 90_000)])
def test_stated_length_or_checksum_that_is_not_the_members(tmp_path: Path, field: int, value: int) -> None:
    archive = Zip(
        patched(write(tmp_path / "x.zip", ("a.png", bytes(range(256)) * 300)), "a.png", field, value)
    )
    with pytest.raises(DataError, match="length or checksum"):
        archive.read("a.png")


def test_overlapping_members(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(5000)
    path = write(tmp_path / "x.zip", ("a.png", noise), ("b.png", noise))
    with pytest.raises(DataError, match="overlap"):
        Zip(patched(path, "b.png", 42, 0))


def test_encrypted_and_other_methods(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "lzma.zip", "w", zipfile.ZIP_LZMA) as z:
        z.writestr("a.png", b"x" * 100)
    with pytest.raises(DataError, match="method 14"):
        Zip(tmp_path / "lzma.zip")
    path = write(tmp_path / "x.zip", ("a.png", b"abc"))
    data = bytearray(path.read_bytes())
    data[data.rfind(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="is encrypted"):
        Zip(path)


def test_names_that_differ_by_case_only(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="same name but for case"):
        Zip(write(tmp_path / "x.zip", ("a/1.png", b"1"), ("A/1.PNG", b"2")))


def test_files_that_differ_by_case_only_lie_beside_each_other(write_folder, tmp_path: Path) -> None:
    one, other = (p.read_bytes() for p in sorted(write_folder({"a": 2}).rglob("*.png")))
    archive = Zip(write(tmp_path / "x.zip", ("a/0.jpg", one), ("a/0.JPG", other), ("b/0.jpg", one)))
    assert archive.files() == ["a/0.JPG", "a/0.jpg", "b/0.jpg"]
    assert archive.read("a/0.JPG") == other
    with pytest.raises(DataError, match="same name"):
        Zip(write(tmp_path / "y.zip", ("a/0.jpg", one), ("./a//0.jpg", other)))


def test_dots_that_mean_this_folder(write_folder, tmp_path: Path) -> None:
    root = write_folder({"a": 3, "b": 3})
    files = [(f"./{p.relative_to(root)}", p.read_bytes()) for p in sorted(root.rglob("*.png"))]
    assert splits(write(tmp_path / "x.zip", ("./", b""), *files)) == splits(root)


def test_an_archive_in_an_archive_is_named(write_folder, tmp_path: Path) -> None:
    inner = pack(write_folder({"a": 3, "b": 3}), tmp_path / "inner.zip").read_bytes()
    with pytest.raises(DataError, match=r"no images; passed over: 1 ZIP file: 'inner\.zip'"):
        load(write(tmp_path / "x.zip", ("inner.zip", inner)))


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
def test_archive_cut_short(write_folder, tmp_path: Path, keep: float) -> None:
    path = pack(write_folder({"a": 5, "b": 5}), tmp_path / "x.zip")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(DataError, match=r"x.zip.*can't be read as .zip"):
        load(path)


def test_backslashes_of_old_windows_tools_are_folders(write_folder, tmp_path: Path) -> None:
    root = write_folder({"a": 3, "b": 3})
    files = [(f"{p.parent.name}\\{p.name}", p.read_bytes()) for p in sorted(root.rglob("*.png"))]
    assert load(write(tmp_path / "x.zip", *files)).classes == ("a", "b")


def test_a_member_that_turns_bad_is_named(write_folder, tmp_path: Path) -> None:
    path = pack(write_folder({"a": 8, "b": 8}), tmp_path / "x.zip", zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    at = data.find(b"a/3.png") + 60
    data[at] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"1 of 16 .*'a/3.png': length or checksum"):
        load(path)


def test_zip_with_a_csv(write_folder, tmp_path: Path) -> None:
    root = write_folder({"pictures": 8})
    (root / "labels.csv").write_text(
        "file,label\n" + "".join(f"pictures/{i}.png,{'ab'[i % 2]}\n" for i in range(8))
    )
    data = load(pack(root, tmp_path / "x.zip"))
    assert data.classes == ("a", "b")
    shutil.rmtree(root)
    assert (data.train.read([0]) == int(Path(data.train.ids[0]).stem)).all()


def test_zip_with_an_npz(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (40, 6, 6), np.uint8)
    np.savez_compressed(tmp_path / "d.npz", x_train=x, y_train=np.arange(40) % 4)
    data = load(write(tmp_path / "x.zip", ("d.npz", (tmp_path / "d.npz").read_bytes())))
    assert data.shape == (1, 6, 6)
    assert [len(p) for p in data.parts().values()] == [28, 6, 6]


def test_cifar10_jpegs(shared_data: Path) -> None:
    data = load(shared_data / "cifar10.zip")
    assert len(data.classes) == 10
    assert data.shape == (3, 32, 32)
    assert [len(p) for p in data.parts().values()] == [45000, 5000, 10000]
    assert np.bincount(data.val.labels).tolist() == [500] * 10


@pytest.mark.parametrize("before", [b"", b"#!/bin/sh\nexit\n" * 9])
@pytest.mark.parametrize("comment", [b"", b"PK\5\6 or not" * 20])
def test_bytes_before_and_comments_behind(
    write_folder, tmp_path: Path, before: bytes, comment: bytes
) -> None:
    root = write_folder({"a": 3, "b": 3})
    path = pack(root, tmp_path / "x.zip")
    with zipfile.ZipFile(path, "a") as z:
        z.comment = comment.replace(b"PK\5\6", b"PK56")
    path.write_bytes(before + path.read_bytes())
    assert splits(path) == splits(root)


def test_zip64_as_it_is_written_to_a_stream(write_folder, tmp_path: Path) -> None:
    root = write_folder({"a": 3, "b": 3})
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as z:
        for file in sorted(root.rglob("*.png")):
            with z.open(zipfile.ZipInfo(str(file.relative_to(root))), "w", force_zip64=True) as member:
                member.write(file.read_bytes())
    assert splits(tmp_path / "x.zip") == splits(root)


def test_numbers_beyond_32_bits_are_taken_from_the_extra_field() -> None:
    from striate.data.archive import _zip64

    extra = struct.pack("<HHL", 0x5455, 4, 7) + struct.pack("<HHQQ", 1, 16, 5 << 32, 6 << 32)
    full = 0xFFFFFFFF
    assert _zip64(extra, full, 10, full) == (5 << 32, 10, 6 << 32)
    assert _zip64(extra, 1, 2, 3) == (1, 2, 3)


def test_names_in_other_letters(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as z:
        z.writestr("кошка/ф.png", b"1")
        z.writestr("cat/a.png", b"2")
    archive = Zip(tmp_path / "x.zip")
    assert archive.files() == ["cat/a.png", "кошка/ф.png"]
    assert archive.read("кошка/ф.png") == b"1"


def test_utf8_without_the_flag(tmp_path: Path) -> None:
    path = write(tmp_path / "x.zip", ("кошка/ф.png", b"1"), ("cat/a.png", b"2"))
    data = bytearray(path.read_bytes())
    for magic, at in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        start = -1
        while (start := data.find(magic, start + 1)) >= 0:
            data[start + at + 1] &= ~8
    path.write_bytes(data)
    assert Zip(path).files() == ["cat/a.png", "кошка/ф.png"]
    with zipfile.ZipFile(tmp_path / "old.zip", "w") as z:
        z.writestr("cat/x.png", b"1")
    old = (tmp_path / "old.zip").read_bytes().replace(b"cat/x.png", b"cat/\x84.png")  # cp437
    (tmp_path / "old.zip").write_bytes(old)
    assert Zip(tmp_path / "old.zip").files() == ["cat/ä.png"]


@pytest.mark.parametrize("seed", range(8))
def test_damaged_archives_end_in_one_kind_of_error(write_folder, tmp_path: Path, seed: int) -> None:
    path = pack(write_folder({"a": 4, "b": 4}), tmp_path / "x.zip")
    whole = path.read_bytes()
    rng = np.random.default_rng(seed)
    for _ in range(25):
        data = bytearray(whole)
        for at in rng.integers(max(0, len(data) - 900), len(data), 3):
            data[at] = rng.integers(0, 256)
        path.write_bytes(data)
        try:
            archive = Zip(path)
            for name in archive.files():
                archive.read(name)
        except DataError:
            pass
