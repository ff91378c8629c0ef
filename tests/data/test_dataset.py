"""`load` end to end on digits, MNIST and small folders."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from striate.data import load
from striate.errors import DataError, UsageError


def test_digits_are_scikit_learns_scaled_to_bytes() -> None:
    from sklearn.datasets import load_digits

    data = load("digits")
    assert data.shape == (1, 8, 8)
    assert data.classes == tuple("0123456789")
    assert [len(p) for p in data.parts().values()] == [1258, 270, 269]
    theirs = load_digits()
    for images in data.parts().values():
        rows = [int(i.removeprefix("digits/")) for i in images.ids]
        assert (
            images.read(range(len(images)))[:, 0].numpy() == np.rint(theirs.images[rows] * 255 / 16)
        ).all()
        assert (images.labels == theirs.target[rows]).all()


def test_mean_and_std_are_those_of_the_training_split() -> None:
    data = load("digits")
    x = data.train.read(range(len(data.train)))
    normal = data.preprocess.normalise(x)
    assert normal.dtype == torch.float32
    assert normal.mean().item() == pytest.approx(0, abs=1e-5)
    assert normal.std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_mnist_keeps_its_test_split(shared_data: Path) -> None:
    data = load(shared_data / "mnist.npz")
    with np.load(shared_data / "mnist.npz") as f:
        assert (data.test.read(range(10000))[:, 0].numpy() == f["x_test"]).all()
        assert (data.test.labels == f["y_test"]).all()
        assert len(data.train) + len(data.val) == 60000
        counts = np.bincount(f["y_train"])
    assert np.bincount(data.val.labels) == pytest.approx(counts / 10, abs=1)


def test_folder_without_splits(write_folder) -> None:
    data = load(write_folder({"img10": 20, "img2": 20}))
    assert data.classes == ("img2", "img10")
    assert data.shape == (3, 10, 12)
    assert [len(p) for p in data.parts().values()] == [28, 6, 6]
    for images in data.parts().values():
        pixels = images.read(range(len(images)))
        for image, name, label in zip(pixels, images.ids, images.labels, strict=True):
            folder, file = name.split("/")
            assert data.classes[label] == folder
            assert (image == int(Path(file).stem) + (20 if folder == "img2" else 0)).all()


def test_folder_with_splits_keeps_them(write_folder) -> None:
    counts = {"train/a": 20, "train/b": 20, "valid/a": 2, "valid/b": 3, "test/a": 4, "test/b": 1}
    data = load(write_folder(counts))
    assert [len(p) for p in data.parts().values()] == [40, 5, 5]
    assert set(data.val.ids) == {f"valid/a/{i}.png" for i in range(2)} | {
        f"valid/b/{i}.png" for i in range(3)
    }


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"split": (0.8, 0.1, 0.1)}, "is divided already, into train, val and test"),
        ({"columns": {"path": "file"}}, "is no table"),
    ],
)
def test_what_a_divided_folder_has_no_use_for_is_refused(write_folder, asked, said: str) -> None:
    root = write_folder({f"{split}/{name}": 2 for split in ("train", "val", "test") for name in "ab"})
    with pytest.raises(UsageError, match=said):
        load(root, **asked)


def test_test_split_alone_takes_val_from_train(write_folder) -> None:
    data = load(write_folder({"train/a": 20, "train/b": 30, "test/a": 4, "test/b": 4}))
    assert [len(p) for p in data.parts().values()] == [45, 5, 8]
    assert np.bincount(data.val.labels).tolist() == [2, 3]


def test_stored_splits_come_back_exactly(write_folder) -> None:
    root = write_folder({"a": 10, "b": 10})
    first = load(root, seed=1)
    stored = json.loads(json.dumps(first.splits()))
    again = load(root, seed=2, splits=stored)
    assert again.splits() == stored
    assert again.test.ids == first.test.ids


def test_stored_splits_name_what_is_missing_or_changed(write_folder) -> None:
    root = write_folder({"a": 10, "b": 10})
    data = load(root)
    stored = data.splits()
    victim = root / data.train.ids[3]
    cv2.imwrite(str(victim), np.full((10, 12, 3), 200, np.uint8))
    with pytest.raises(DataError, match=f"1 images of the stored train split changed: '{data.train.ids[3]}'"):
        load(root, splits=stored)
    victim.unlink()
    with pytest.raises(
        DataError, match=f"1 images of the stored train split are missing: '{data.train.ids[3]}'"
    ):
        load(root, splits=stored)
