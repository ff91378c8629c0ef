"""`flow_from_dataframe`: what each class_mode feeds, worked out by hand from Keras' documentation."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from striate.data import ImageDataGenerator
from striate.errors import DataError, UsageError

COLUMNS: dict[str, list[Any]] = {
    "filename": [f"{i}.png" for i in range(8)],
    "class": list("abcabcab"),
    "size": list("xyxyxyxy"),
    "tags": [["a"], ["a", "b"], "c", ["b"], "a", ("c", "a"), "b", "b"],
    "age": [2.0 * i for i in range(8)],
    "rank": [i % 3 for i in range(8)],
    "counts": [i / 8 for i in range(8)],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(8):
        Image.new("RGB", (10, 8), (20 * i, 3, 4)).save(tmp_path / f"{i}.png")
    return tmp_path


def flow(folder: Path, columns: Any = COLUMNS, generator: Any = None, **options: Any) -> Any:
    options = {"target_size": (4, 6), "batch_size": 8, "shuffle": False, "directory": folder} | options
    return (generator or ImageDataGenerator()).flow_from_dataframe(columns, **options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, np.eye(3)[[0, 1, 2, 0, 1, 2, 0, 1]]),
        (
            {"y_col": "tags"},
            [[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 1, 0]],
        ),
        ({"y_col": "size", "class_mode": "binary"}, [0, 1, 0, 1, 0, 1, 0, 1]),
        ({"class_mode": "sparse"}, [0, 1, 2, 0, 1, 2, 0, 1]),
        ({"class_mode": "sparse", "classes": ["c", "b", "a"]}, [2, 1, 0, 2, 1, 0, 2, 1]),
        ({"y_col": "age", "class_mode": "raw"}, COLUMNS["age"]),
        ({"y_col": ["age", "rank"], "class_mode": "raw"}, list(zip(COLUMNS["age"], COLUMNS["rank"], strict=True))),
    ],
)  # fmt: skip
def test_labels_of_each_mode(folder: Path, options: dict[str, Any], expected: Any) -> None:
    images, labels = next(flow(folder, **options))
    assert images.shape == (8, 4, 6, 3)
    assert images[:, 0, 0, 0].tolist() == [20 * i for i in range(8)]
    assert labels.tolist() == np.asarray(expected, float).tolist()


def test_several_outputs_images_as_labels_and_none(folder: Path) -> None:
    _, (age, rank), weights = next(
        flow(folder, y_col=["age", "rank"], class_mode="multi_output", weight_col="counts")
    )
    assert age.tolist() == COLUMNS["age"]
    assert rank.tolist() == COLUMNS["rank"]
    assert weights.tolist() == COLUMNS["counts"]
    images, same, weights = next(flow(folder, class_mode="input", weight_col="counts"))
    assert torch.equal(images, same)
    assert weights.tolist() == COLUMNS["counts"]
    assert next(flow(folder, class_mode=None, weight_col="counts")).shape == (8, 4, 6, 3)


def test_rows_of_other_classes_are_left_out(folder: Path) -> None:
    some = flow(folder, classes=["b", "a"])
    assert some.class_indices == {"b": 0, "a": 1}
    assert some.filenames == ["0.png", "1.png", "3.png", "4.png", "6.png", "7.png"]
    assert some.classes == [1, 0, 1, 0, 1, 0]
    lists = flow(folder, y_col="tags", classes=["c", "b"])
    assert lists.classes == [[1], 0, [1], [0], 1, 1]


def test_files_that_are_no_images_are_left_out_with_a_warning(folder: Path) -> None:
    (folder / "3.png").unlink()
    (folder / "5.png").rename(folder / "5")
    (folder / "notes").write_text("no image")
    columns = COLUMNS | {"filename": [*COLUMNS["filename"][:5], "5", "notes", "7.png"]}
    with pytest.warns(UserWarning, match=r"2 of 8 in 'filename' are no image files .*'3.png', 'notes'"):
        found = flow(folder, columns)
    assert found.filenames == ["0.png", "1.png", "2.png", "4.png", "5", "7.png"]
    with pytest.raises(DataError, match=r"'3.png'"):
        next(flow(folder, columns, validate_filenames=False))


def test_absolute_paths_need_no_directory(folder: Path) -> None:
    columns = COLUMNS | {"filename": [str(folder / name) for name in COLUMNS["filename"]]}
    assert torch.equal(next(flow(folder, columns, directory=None))[0], next(flow(folder))[0])


def test_the_same_batches_as_from_a_directory(folder: Path) -> None:
    for i, name in enumerate(COLUMNS["class"]):
        (folder / name).mkdir(exist_ok=True)
        (folder / f"{i}.png").rename(folder / name / f"{i}.png")
    generator = ImageDataGenerator(rotation_range=30, validation_split=0.25)
    directory = generator.flow_from_directory(folder, (4, 6), seed=1, subset="training", shuffle=False)
    columns = {"filename": directory._found.paths, "class": [p[0] for p in directory._found.paths]}
    frame = flow(folder, columns, generator, seed=1, subset="training")
    for ours, theirs in zip(next(frame), next(directory), strict=True):
        assert torch.equal(ours, theirs)


def test_subsets_part_the_rows(folder: Path) -> None:
    generator = ImageDataGenerator(validation_split=0.25)
    names = [
        flow(folder, generator=generator, subset=s, y_col="size").filenames
        for s in ("training", "validation")
    ]
    assert [len(n) for n in names] == [6, 2]
    assert sorted(names[0] + names[1]) == COLUMNS["filename"]


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"x_col": "file"}, UsageError, "no column 'file'"),
        ({"y_col": "clas"}, UsageError, "no column 'clas'"),
        ({"x_col": "age"}, UsageError, "0.0 is no file name"),
        ({"class_mode": "binary"}, UsageError, "needs two classes, not 3"),
        ({"class_mode": "sparse", "y_col": "tags"}, UsageError, r"row 0: label \['a'\]"),
        ({"y_col": "age"}, UsageError, "row 0: label 0.0"),
        ({"class_mode": "raw"}, UsageError, "numbers are expected"),
        ({"class_mode": "multi_output"}, UsageError, "needs a list of columns"),
        ({"y_col": ["age", "rank"]}, UsageError, "takes one column"),
        ({"class_mode": "catgorical"}, UsageError, "unknown class_mode"),
        ({"weight_col": "size"}, UsageError, "numbers are expected"),
        (
            {"columns": COLUMNS | {"class": ["a", "b"]}},
            DataError,
            "column 'class' has 2 values for 8 file names",
        ),
        ({"directory": "nowhere"}, DataError, "'nowhere': no such folder"),
        ({"classes": ["d"]}, DataError, "no row is of class 'd'"),
    ],
)
def test_frames_that_do_not_fit(folder: Path, options: dict[str, Any], error: Any, says: str) -> None:
    with pytest.raises(error, match=says):
        flow(folder, **options)
