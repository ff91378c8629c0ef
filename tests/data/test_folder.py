"""Layouts people have, and the ones that shift labels silently elsewhere."""

import os
import shutil
from pathlib import Path

import pytest

from striate.data import check, load
from striate.data.folder import from_tree, has_classes
from striate.data.tree import Folder
from striate.errors import DataError


def source(root: Path):  # type: ignore[no-untyped-def]
    return from_tree(Folder(str(root)), root.name)


def test_deeper_folders_belong_to_their_class(write_folder) -> None:
    part = source(write_folder({"cat/day/a": 2, "cat/night": 1, "dog": 1})).parts["all"]
    assert dict(zip(part.ids, part.targets, strict=True)) == {
        "cat/day/a/0.png": "cat",
        "cat/day/a/1.png": "cat",
        "cat/night/0.png": "cat",
        "dog/0.png": "dog",
    }


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_names_of_splits(write_folder, val: str) -> None:
    found = source(write_folder({"Train/a": 1, "Train/b": 1, f"{val}/a": 1, f"{val}/b": 1}))
    assert {s: len(p) for s, p in found.parts.items()} == {"train": 2, "val": 2}


def test_training_and_testing_are_splits(write_folder) -> None:
    found = source(write_folder({"Training/a": 2, "Training/b": 1, "Testing/a": 1, "Testing/b": 1}))
    assert {s: len(p) for s, p in found.parts.items()} == {"train": 3, "test": 2}


def test_a_folder_around_everything_is_looked_through(write_folder) -> None:
    found = source(write_folder({"pets/data/train/a": 2, "pets/data/train/b": 1, "pets/data/test/a": 1}))
    assert list(found.parts["train"].ids) == ["train/a/0.png", "train/a/1.png", "train/b/0.png"]


def test_a_class_may_be_called_like_a_split(write_folder) -> None:
    shoes = source(write_folder({"trainers/red": 2, "boots/red": 2}))
    assert set(shoes.parts["all"].targets) == {"trainers", "boots"}


def test_a_class_may_be_called_test(write_folder) -> None:
    assert set(source(write_folder({"test": 2, "cat": 2})).parts["all"].targets) == {"test", "cat"}


def test_junk_is_no_image_and_stray_images_are_known(write_folder) -> None:
    root = write_folder({"a": 1, "b": 1, "__MACOSX/a": 1, ".hidden": 1})
    for name in ("a/.DS_Store", "a/Thumbs.db", "a/._0.png", "a/notes.txt"):
        (root / name).write_bytes(b"x")
    shutil.copy(root / "a/0.png", root / "loose.png")
    found = source(root)
    assert list(found.parts["all"].ids) == ["a/0.png", "b/0.png"]
    assert found.stray == ("loose.png",)


def test_names_hide_no_image_and_what_is_passed_over_is_known_by_kind(write_folder) -> None:
    root = write_folder({"a": 3, "b": 3})
    for new in ("1", "1.dat", "1.txt", "photo.2021", ".."):
        shutil.copy(root / "a/1.png", root / "b" / f"x{new}")
    for name, data in {
        "a/notes.txt": b"x", "b/clip.mov": b"\0\0\0\x14ftypqt  ", "a/raw.bin": bytes(9), "a/none": b"",
        "a/.hidden.png": b"", "a/@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg": b"", "#recycle/b/0.png": b"",
        ".AppleDouble/0.png": b"", "a/Thumbs.db": b"",
    }.items():  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data or (root / "a/0.png").read_bytes() * (name != "a/none"))
    data = load(root)
    found = {i for part in data.parts().values() for i in part.ids}
    assert found == {f"{c}/{i}.png" for c in "ab" for i in range(3)} | {
        "b/x1", "b/x1.dat", "b/x1.txt", "b/xphoto.2021", "b/x..",
    }  # fmt: skip
    assert data.passed == {
        "text": ("a/notes.txt",),
        "video": ("b/clip.mov",),
        "unknown": ("a/raw.bin",),
        "empty": ("a/none",),
        "hidden": (".AppleDouble/0.png", "a/.hidden.png"),
        "system": ("#recycle/b/0.png", "a/@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg", "a/Thumbs.db"),
    }
    report = check(root)
    assert report.passed == data.passed
    assert "passed over: 3 system files: '#recycle/b/0.png', " in "\n".join(report.lines())


def test_a_folder_without_an_image_says_what_is_in_it(write_folder) -> None:
    root = write_folder({"a": 0, "b": 0})
    for i in range(5):
        (root / "a" / f"{i}.avi").write_bytes(b"RIFF\0\0\0\0AVI ")
    (root / "inner.zip").write_bytes(b"PK\3\4")
    with pytest.raises(
        DataError, match=r"no images; .*5 video files: 'a/0.avi', .* and 2 more; .*ZIP file: 'inner.zip'"
    ):
        load(root)


@pytest.mark.parametrize(
    "counts",
    [
        {"part_1": 3, "part_2": 3},
        {"HAM10000_images_part_1": 3, "HAM10000_images_part_2": 3},
        {"images_001": 2, "images_002": 2, "images_010": 2},
        {f"fold{k}/{c}": 2 for k in range(5) for c in "ab"},
        {"shard-00000-of-00002": 2, "shard-00001-of-00002": 2},
        {"train.1": 2, "train.2": 2},
        {"train/Batch 1": 2, "train/Batch 2": 2, "test/Batch 1": 1, "test/Batch 2": 1},
    ],
)
def test_portions_of_a_data_set_are_not_its_classes(write_folder, counts: dict[str, int]) -> None:
    with pytest.raises(DataError, match="look like portions of one data set, not like classes") as e:
        load(write_folder(counts))
    assert "--columns" in e.value.hint


@pytest.mark.parametrize("names", [("c0", "c1"), ("0", "1"), ("class_1", "class_2"), ("asset1", "asset2")])
def test_classes_may_be_numbered(write_folder, names: tuple[str, str]) -> None:
    assert load(write_folder(dict.fromkeys(names, 4))).classes == names


def test_two_levels_that_may_be_the_class_are_a_problem(write_folder) -> None:
    root = write_folder({f"{site}/{c}": 3 for site in ("north", "south") for c in ("sick", "well")})
    assert [(p.kind, p.files) for p in check(root, near=False).problems if p.kind == "class-level"] == [
        ("class-level", ("sick", "well"))
    ]
    (root / "north/sick").rename(root / "north/ill")
    assert not [p for p in check(root, near=False).problems if p.kind == "class-level"]


def test_classes_of_composed_and_decomposed_letters_are_the_same(write_folder) -> None:
    root = write_folder({"train/caf\u00e9": 3, "train/bar": 3, "test/cafe\u0301": 2, "test/bar": 2})
    assert load(root).classes == ("bar", "caf\u00e9")


def test_links_are_followed_but_never_in_a_circle(write_folder, tmp_path: Path) -> None:
    root = write_folder({"a": 1, "b": 1})
    os.symlink(root, root / "a" / "loop")
    outside = tmp_path / "elsewhere"
    shutil.copytree(root / "b", outside)
    os.symlink(outside, root / "c")
    found = source(root)
    assert {i for i in found.parts["all"].ids if "loop" not in i} == {"a/0.png", "b/0.png", "c/0.png"}
    assert len(found.parts["all"]) < 20


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ({"a": 3, "b": 3, "c": 0}, "class folder 'c' holds no image"),
        ({"train/a": 3, "train/b": 3, "val/a": 3, "val/b": 0}, "class folder 'b' in val/ holds no image"),
        ({"train/a": 3, "train/b": 3, "val/a": 3}, "classes of val are not those of train: 'b' missing"),
        ({"train/a": 3, "train/b": 3, "test/a": 1, "test/b": 1, "test/c": 1}, "of test .* 'c' not in train"),
        ({"only": 4}, "one class only"),
        ({"train/a": 1, "train/b": 1, "val/a": 1, "val/b": 1, "more/a": 1}, "'more' beside train/"),
        ({"train/a": 1, "train/b": 1, "val/a": 1, "valid/a": 1}, "'val' and 'valid' are both val"),
        (
            {"seg_train/a": 3, "seg_train/b": 3, "seg_test/a": 1},
            "'seg_train' and 'seg_test' look like splits",
        ),
        ({"train_set/x/a": 3, "train_set/x/b": 3, "test_set/x/a": 1}, "'train_set' and 'test_set' look like"),
        ({"train": 0, "test/a": 3, "test/b": 3}, "no images in train/"),
        ({"": 3}, "3 images but no class folders"),
        ({"a": 0}, "no images"),
    ],
)
def test_folders_that_would_shift_labels_are_refused(write_folder, counts: dict[str, int], says: str) -> None:
    with pytest.raises(DataError, match=says):
        load(write_folder(counts))


def test_empty_class_is_kept_when_allowed(write_folder) -> None:
    data = load(write_folder({"a": 10, "b": 10, "empty": 0}), allow_empty=True)
    assert data.classes == ("a", "b", "empty")


def test_given_classes_decide_the_order_and_unknown_ones_are_named(write_folder, tmp_path: Path) -> None:
    root = write_folder({"a": 4, "b": 4})
    names = tmp_path / "names.txt"
    names.write_text("b\r\na\n", encoding="utf-8-sig")
    assert load(root, classes=names).classes == ("b", "a")
    with pytest.raises(DataError, match="'b' not in the given list"):
        load(root, classes=["a", "c"])
    with pytest.raises(DataError, match="the classes of all are not those of the given list: 'c' missing"):
        load(root, classes=["a", "b", "c"])
    assert load(root, classes=["a", "b", "c"], allow_empty=True).classes == ("a", "b", "c")
    with pytest.raises(DataError, match="named twice"):
        load(root, classes=["a", "b", "a"])


def test_root_that_is_missing_or_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data at 'digitz'") as e:
        load("digitz")
    assert "did you mean digits" in e.value.hint
    with pytest.raises(DataError, match="name too long"):
        load("x" * 5000)
    file = tmp_path / "file.dat"
    file.write_bytes(b"")
    with pytest.raises(DataError, match="not a kind of data set"):
        load(file)


def test_bad_images_stop_before_training_or_are_skipped_and_listed(write_folder) -> None:
    root = write_folder({"a": 10, "b": 10})
    for i in range(4):
        (root / "a" / f"{i}.png").write_bytes((root / "a" / f"{i}.png").read_bytes()[:40])
    with pytest.raises(DataError, match=r"4 of 20 images .*'a/0.png': the PNG is cut short.*; and 1 more"):
        load(root)
    data = load(root, on_bad_image="skip")
    assert set(data.skipped) == {f"a/{i}.png" for i in range(4)}
    assert sum(len(p) for p in data.parts().values()) == 16


def test_class_of_bad_images_alone_counts_as_empty(write_folder) -> None:
    root = write_folder({"a": 3, "b": 3, "c": 3})
    for file in (root / "c").iterdir():
        file.write_bytes(b"")
    with pytest.raises(DataError, match="class folder 'c' holds no image"):
        load(root, on_bad_image="skip")


def test_natural_order_is_the_same_in_every_locale(write_folder) -> None:
    root = write_folder({"img10": 2, "img2": 2, "Cat": 2, "cat": 2, "äpfel": 2})
    assert load(root).classes == ("Cat", "cat", "img2", "img10", "äpfel")


def test_has_classes(write_folder) -> None:
    root = write_folder({"a": 1, "b": 1})
    assert has_classes(Folder(str(root)))
    assert not has_classes(Folder(str(root / "a")))


def test_file_removed_between_scan_and_read_is_named(write_folder) -> None:
    data = load(write_folder({"a": 10, "b": 10}), cache="off")
    (Path(data.train.store.tree.root) / data.train.ids[0]).unlink()  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=data.train.ids[0]):
        data.train.read([0])
    assert data.train.read([1]).shape == (1, 3, 10, 12)


def test_special_files_are_not_waited_for(write_folder) -> None:
    root = write_folder({"a": 5, "b": 5})
    os.mkfifo(root / "a" / "pipe.png")
    os.symlink("/dev/zero", root / "a" / "zero.png")
    (root / "a" / "folder.png").mkdir()
    with pytest.raises(DataError, match=r"2 of 12 .*pipe.png.*not a regular file"):
        load(root)


@pytest.mark.parametrize(
    "name", ["new\nline.png", "a" * 251 + ".png", "\u202egnp.png", "<script>.png", "b\udcff.png"]
)
def test_strange_names(write_folder, name: str) -> None:
    root = write_folder({"a": 4, "b": 4})
    shutil.copy(root / "a/0.png", root / "a" / name)
    data = load(root)
    assert f"a/{name}" in [i for p in data.parts().values() for i in p.ids]
    assert data.splits()["train"]["fingerprint"]
