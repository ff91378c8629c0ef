"""Layouts people have, and the ones that shift labels silently elsewhere."""

import os
import shutil
from pathlib import Path

import pytest

from striate.data import load
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
