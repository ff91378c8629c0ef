"""One folder with every fault, planted; each is found, named once, and nothing else is."""

import io
import json
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from striate.data import check, load, make_shapes
from striate.data.near import near_pairs
from striate.data.sheets import problem_sheet

RNG = np.random.default_rng(0)


def photo(seed: int, size: tuple[int, int] = (80, 60)) -> Image.Image:
    """A smooth random picture, like no other."""
    pixels = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """train, val and test of two classes, 6 + 2 + 2 photos each."""
    seed = 0
    for split, n in (("train", 6), ("val", 2), ("test", 2)):
        for label in ("cat", "dog"):
            (tmp_path / "d" / split / label).mkdir(parents=True)
            for i in range(n):
                photo(seed).save(tmp_path / "d" / split / label / f"{i}.jpg", quality=92)
                seed += 1
    return tmp_path / "d"


def kinds(root: Path) -> dict[str, list[tuple[str, ...]]]:
    found: dict[str, list[tuple[str, ...]]] = {}
    for problem in check(root).problems:
        found.setdefault(problem.kind, []).append(tuple(sorted(problem.files)))
    return found


def test_clean_data_has_no_problems(clean: Path) -> None:
    report = check(clean)
    assert report.ok
    assert report.images == 20
    assert report.classes == {"cat": 10, "dog": 10}
    assert report.splits == {"train": 12, "val": 4, "test": 4}


def test_files_that_cannot_be_used(clean: Path) -> None:
    cat = clean / "train/cat"
    (cat / "empty.jpg").write_bytes(b"")
    (cat / "cut.jpg").write_bytes((cat / "0.jpg").read_bytes()[:-300])
    (cat / "page.jpg").write_bytes(b"<html>404</html>")
    head = b"IHDR" + struct.pack(">LLBBBBB", 30000, 30000, 1, 0, 0, 0, 0)
    chunk = struct.pack(">L", 13) + head + struct.pack(">L", zlib.crc32(head))
    (cat / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">L4sL", 0, b"IDAT", 0x35AF061E)
    )
    assert kinds(clean) == {
        "empty": [("train/cat/empty.jpg",)],
        "bomb": [("train/cat/bomb.png",)],
        "unreadable": [("train/cat/cut.jpg",), ("train/cat/page.jpg",)],
    }


def test_damage_in_the_middle_is_found_and_left_out(clean: Path) -> None:
    """The end marker is in its place, the header is whole, and OpenCV shows something."""
    file = clean / "train/cat/0.jpg"
    data = file.read_bytes()
    middle = len(data) * 3 // 4
    file.write_bytes(data[:middle] + b"\xd5" * 200 + data[middle + 200 :])
    assert kinds(clean) == {"unreadable": [("train/cat/0.jpg",)]}
    assert list(load(clean, on_bad_image="skip").skipped) == ["train/cat/0.jpg"]
    load(clean)  # the look at the start of a run is at headers and ends


def test_files_that_are_not_what_they_seem(clean: Path) -> None:
    cat = clean / "train/cat"
    photo(100).save(cat / "png.jpg", "PNG")
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(101).save(cat / "turned.jpg", exif=exif)
    photo(102, (40, 9)).save(cat / "tiny.jpg")
    Image.new("RGB", (50, 50), (9, 99, 199)).save(cat / "blue.jpg")
    Image.fromarray(((np.indices((48, 48)).sum(0) % 2) * 255).astype(np.uint8)).save(cat / "checks.png")
    assert kinds(clean) == {
        "wrong-extension": [("train/cat/png.jpg",)],
        "exif-rotated": [("train/cat/turned.jpg",)],
        "tiny": [("train/cat/tiny.jpg",)],
        "constant": [("train/cat/blue.jpg",)],
    }


def test_fine_texture_that_is_grey_at_an_eighth_is_not_constant(clean: Path) -> None:
    checks = ((np.indices((400, 400)).sum(0) % 2) * 255).astype(np.uint8)
    Image.fromarray(checks).save(clean / "train/cat/checks.jpg", quality=100)
    assert check(clean).ok


def test_exact_copies_inside_and_across(clean: Path) -> None:
    shutil.copy(clean / "train/cat/0.jpg", clean / "train/cat/again.jpg")
    shutil.copy(clean / "train/cat/1.jpg", clean / "test/cat/copy.jpg")
    shutil.copy(clean / "train/dog/2.jpg", clean / "train/cat/wrong.jpg")
    assert kinds(clean) == {
        "duplicate": [("train/cat/0.jpg", "train/cat/again.jpg")],
        "leak": [("test/cat/copy.jpg", "train/cat/1.jpg")],
        "conflict": [("train/cat/wrong.jpg", "train/dog/2.jpg")],
    }


def test_near_copies(clean: Path) -> None:
    for name, change in (
        ("small", lambda im: im.resize((48, 36))),
        ("bright", lambda im: ImageEnhance.Brightness(im).enhance(0.8)),
        ("grey", lambda im: im.convert("L")),
    ):
        change(Image.open(clean / "train/cat/0.jpg")).save(clean / f"val/cat/{name}.jpg", quality=60)
    Image.open(clean / "train/dog/1.jpg").save(clean / "train/dog/packed.jpg", quality=40)
    found = kinds(clean)
    assert found == {
        "near-leak": [("train/cat/0.jpg", "val/cat/bright.jpg", "val/cat/grey.jpg", "val/cat/small.jpg")],
        "near-duplicate": [("train/dog/1.jpg", "train/dog/packed.jpg")],
    }
    assert check(clean, near=False).ok


def test_classes(clean: Path) -> None:
    shutil.rmtree(clean / "val/dog")
    (clean / "test/bird").mkdir()
    photo(200).save(clean / "test/bird/0.jpg")
    (clean / "train/Cat").mkdir()
    photo(201).save(clean / "train/Cat/0.jpg")
    (clean / "train/fox ").mkdir()
    photo(202).save(clean / "train/loose.jpg")
    found = check(clean)
    says = {(p.kind, p.files) for p in found.problems}
    assert ("class-mismatch", ("bird",)) in says
    assert ("class-mismatch", ("Cat", "dog", "fox ")) in says
    assert ("empty-class", ("fox ",)) in says
    assert ("class-name", ("Cat", "cat")) in says
    assert ("class-name", ("fox ",)) in says
    assert ("stray", ("train/loose.jpg",)) in says


def test_imbalance(tmp_path: Path) -> None:
    for label, n in (("many", 33), ("few", 3)):
        (tmp_path / label).mkdir()
        for i in range(n):
            photo(1000 * n + i).save(tmp_path / label / f"{i}.jpg")
    assert [(p.kind, p.files) for p in check(tmp_path).problems] == [("imbalance", ("few",))]


def test_report_is_json_and_one_line_a_problem(clean: Path) -> None:
    (clean / "train/cat/new\nline.jpg").write_bytes(b"")
    report = check(clean)
    again = json.loads(json.dumps(report.to_dict()))
    assert again["problems"] == [
        {"kind": "empty", "says": "the file is empty", "files": ["train/cat/new\nline.jpg"]}
    ]
    assert report.lines()[1:] == ["empty: the file is empty: 'train/cat/new\\nline.jpg'"]


def test_files_are_never_touched(clean: Path) -> None:
    def state() -> list[tuple[str, int, bytes]]:
        return [(str(p), p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(clean.rglob("*.jpg"))]

    before = state()
    check(clean)
    assert state() == before


def test_arrays_progress_and_sheet(clean: Path) -> None:
    x = RNG.integers(0, 256, (30, 40, 40, 3), np.uint8)
    x[3], x[7], x[9] = x[2], 50, x[8]
    y = np.arange(30) % 2
    y[9] = y[8]
    report = check((x, y))
    assert {(p.kind, p.files) for p in report.problems} == {
        ("constant", ("arrays/7",)),
        ("conflict", ("arrays/2", "arrays/3")),
        ("duplicate", ("arrays/8", "arrays/9")),
    }
    seen: list[tuple[int, int]] = []
    (clean / "train/cat/bad.jpg").write_bytes(b"bad")
    shutil.copy(clean / "train/cat/0.jpg", clean / "train/cat/again.jpg")
    report = check(clean, progress=lambda *p: seen.append(p))
    assert seen[-1] == (22, 22)
    page = problem_sheet(clean, report)
    assert page is not None
    assert page.width > 3 * 128


def test_real_photographs_are_all_different(shared_data: Path) -> None:
    assert not list(near_pairs(thumbs_of(shared_data)))


def thumbs_of(shared_data: Path) -> np.ndarray:
    import zipfile

    with zipfile.ZipFile(shared_data / "imagenet-samples-250.zip") as z:
        images = [Image.open(io.BytesIO(z.read(n))).convert("RGB") for n in z.namelist()]
    return np.stack([np.asarray(im.resize((16, 16), Image.Resampling.BOX)) for im in images])


def test_altered_photographs_are_found(shared_data: Path) -> None:
    thumbs = thumbs_of(shared_data)
    noisy = np.clip(thumbs * 0.85 + 10 + RNG.normal(0, 3, thumbs.shape), 0, 255).astype(np.uint8)
    pairs = {tuple(sorted(p)) for p in near_pairs(np.concatenate((thumbs, noisy)))}
    n = len(thumbs)
    found = sum((i, i + n) in pairs for i in range(n))
    assert found >= 0.97 * n
    assert not [p for p in pairs if p[1] - p[0] != n]


def test_colour_tells_shapes_apart_that_are_alike_in_grey(tmp_path: Path) -> None:
    make_shapes(tmp_path / "shapes", classes=5, per_class=30)
    grey = [np.full((16, 16, 3), 90, np.uint8), np.full((16, 16, 3), 90, np.uint8)]
    for picture, (at, colour) in zip(grey, (((4, 4), (200, 40, 30)), ((6, 6), (20, 150, 100))), strict=True):
        picture[8:, :] = 140
        picture[at[0] : at[0] + 4, at[1] : at[1] + 4] = colour  # both of about the ground's grey
    assert not list(near_pairs(np.stack(grey)))
    assert list(near_pairs(np.stack([grey[0], grey[0] // 2 + 20])))
    assert check(tmp_path / "shapes").ok


def test_training_runs_the_cheap_part_first(clean: Path) -> None:
    (clean / "train/cat/cut.jpg").write_bytes((clean / "train/cat/0.jpg").read_bytes()[:-300])
    with pytest.raises(ValueError, match=r"train/cat/cut\.jpg"):
        load(clean)
