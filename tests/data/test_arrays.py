"""Arrays in Keras' layout and from Python; numbers that are no pixels are refused."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from striate.data import load
from striate.data.arrays import channels_last
from striate.data.decode import to_uint8
from striate.errors import DataError, UsageError

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (60, 5, 7, 3), np.uint8)
Y = np.arange(60) % 3


def read(images):  # type: ignore[no-untyped-def]
    return images.read(range(len(images))).numpy()


def test_arrays_keep_their_pixels() -> None:
    data = load((X, Y))
    for images in data.parts().values():
        rows = [int(i.rpartition("/")[2]) for i in images.ids]
        assert (read(images) == X[rows].transpose(0, 3, 1, 2)).all()
        assert (images.labels == Y[rows]).all()


def test_channels_first_is_the_same() -> None:
    assert load((X.transpose(0, 3, 1, 2), Y)).splits() == load((X, Y)).splits()


def test_npz_with_its_own_splits(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x_train=X[:30], y_train=Y[:30, None], x_val=X[30:40], y_val=Y[30:40, None],
             x_test=X[40:], y_test=Y[40:, None])  # fmt: skip
    data = load(tmp_path / "d.npz")
    assert [len(p) for p in data.parts().values()] == [30, 10, 20]
    assert (read(data.test) == X[40:].transpose(0, 3, 1, 2)).all()
    assert (data.val.labels == Y[30:40]).all()


@pytest.mark.parametrize(
    ("split", "sizes"),
    [
        (None, [45, 5, 10]),  # a tenth
        ((80, 20, 0), [40, 10, 10]),
        ((0.7, 0.1, 0.2), [44, 6, 10]),  # an eighth of 50 is 6.25
        ((1, 0, 0), [50, 0, 10]),
    ],
)
def test_a_missing_split_is_taken_from_train_in_the_proportion_asked_for(
    tmp_path: Path, split: tuple[float, ...] | None, sizes: list[int]
) -> None:
    np.savez(tmp_path / "d.npz", x_train=X[:50], y_train=Y[:50], x_test=X[50:], y_test=Y[50:])
    data = load(tmp_path / "d.npz", split=split)
    assert [len(images) for images in data.parts().values()] == sizes
    assert (read(data.test) == X[50:].transpose(0, 3, 1, 2)).all()


def test_several_labels_an_image() -> None:
    hot = RNG.integers(0, 2, (60, 4))
    data = load((X, hot))
    assert data.several
    for images in data.parts().values():
        rows = [int(i.rpartition("/")[2]) for i in images.ids]
        assert images.labels.dtype == np.float32
        assert (images.labels == hot[rows]).all()


@pytest.mark.parametrize("labels", [np.eye(3)[Y], np.eye(3, dtype=bool)[Y], Y[:, None]])
def test_one_hot_labels_and_columns_are_classes(tmp_path: Path, labels: npt.NDArray[Any]) -> None:
    np.savez(tmp_path / "d.npz", x_train=X, y_train=labels)
    for data in (load((X, labels)), load(tmp_path / "d.npz")):
        assert not data.several
        for split, images in load((X, Y)).parts().items():
            assert (data.parts()[split].labels == images.labels).all()


def test_names_may_be_objects_as_in_a_column_of_a_data_frame() -> None:
    names = np.array(["ant", "bee", "cat"])[Y]
    assert load((X, names.astype(object))).splits() == load((X, names)).splits()


def test_a_folder_comes_before_the_data_set_of_its_name(write_folder, tmp_path, monkeypatch):  # type: ignore[no-untyped-def]
    write_folder({"cat": 3, "dog": 3}).rename(tmp_path / "digits")
    monkeypatch.chdir(tmp_path)
    assert load("digits").classes == ("cat", "dog")


def test_grey_from_colour_and_colour_from_grey() -> None:
    grey = load((X, Y), in_chans=1)
    r, g, b = (read(load((X, Y), split=(1, 0, 0)).train)[:, c].astype(float) for c in range(3))
    luma = 0.299 * r + 0.587 * g + 0.114 * b  # ITU-R BT.601
    assert np.abs(read(load((X, Y), in_chans=1, split=(1, 0, 0)).train)[:, 0] - luma).max() <= 1
    assert grey.shape == (1, 5, 7)
    colour = load((X[..., 0], Y), in_chans=3, split=(1, 0, 0))
    assert (read(colour.train) == X[:, None, :, :, 0].repeat(3, 1)).all()


def test_resized_arrays() -> None:
    data = load((np.full((20, 8, 8), 7, np.uint8), np.arange(20) % 2), img_size=(16, 4))
    assert data.shape == (1, 16, 4)
    assert (read(data.train) == 7).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 255], np.uint8), [0, 255]),
        (np.array([0.0, 0.5, 1.0]), [0, 128, 255]),
        (np.array([0.0, 127.4, 255.0], np.float32), [0, 127, 255]),
        (np.array([0, 257, 65535], np.uint16), [0, 1, 255]),
        (np.array([0, 200], np.int64), [0, 200]),
        (np.array([False, True]), [0, 255]),
    ],
)
def test_what_counts_as_a_pixel(values: np.ndarray, expected: list[int]) -> None:
    assert to_uint8(values, "x").tolist() == expected


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.array([0.0, np.nan]), "NaN"),
        (np.array([0.0, np.inf]), "infinite"),
        (np.array([-0.5, 0.5]), r"values -0.5..0.5"),
        (np.array([0, 70000]), r"0..70000"),
        (np.array([0.0, 300.0]), r"0..300"),
        (np.array(["a"]), "numbers are expected"),
        (np.array([1j]), "numbers are expected"),
    ],
)
def test_what_does_not(values: np.ndarray, says: str) -> None:
    with pytest.raises(DataError, match=says):
        to_uint8(values, "x")


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (X, Y[:50], "60 images but 50 labels"),
        (X[0, 0], Y, "shape"),
        (X, np.linspace(0, 1, 60), "not whole numbers"),
        (X, np.zeros((60, 3, 2)), "labels of shape"),
        (X, np.full(60, 2), "one class only"),
        (X, np.eye(3)[Y] * 2 - 1, "rows of 3 numbers that are not all 0 or 1"),
        (X, [("a",), ("a", "b")] * 30, "labels: not all of one size"),
        ([X[0], X[1, 1:]] * 30, Y, "pixels: not all of one size"),
    ],
)
def test_arrays_that_do_not_fit(x: npt.ArrayLike, y: npt.ArrayLike, says: str) -> None:
    with pytest.raises(DataError, match=says):
        load((x, y))


def test_something_else_altogether() -> None:
    with pytest.raises(UsageError, match="no images in int"):
        load(3)
    with pytest.raises(DataError, match=r"\(n, h, w\)"):
        channels_last(np.zeros((2, 5, 4, 5), np.uint8), "x")


def test_npz_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, images=X)
    with pytest.raises(DataError, match=r"no x_train; it holds images"):
        load(path)
    np.savez(path, x_train=X)
    with pytest.raises(DataError, match="images or labels, but not both"):
        load(path)
    np.savez(path, x_train=np.array([{}], object), y_train=Y)
    with pytest.raises(DataError, match="allow_pickle"):
        load(path)
    np.save(tmp_path / "one.npy", X)
    for data in (b"PK\3\4 nonsense", b"no zip at all", (tmp_path / "one.npy").read_bytes()):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"can't be read as \.npz: File is not a zip file"):
            load(path)


HOT = np.eye(12, dtype=np.uint8)
LABELS = np.arange(60) % 12


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (LABELS[:48], HOT[LABELS[48:]]),
        (HOT[LABELS[:48]], LABELS[48:]),
        (HOT[LABELS[:48]], LABELS[48:, None].astype(float)),
        (HOT[LABELS[:48]].astype(bool), HOT[LABELS[48:]].astype(np.float32)),
    ],
)
def test_one_hot_in_one_split_and_numbers_in_another_mean_the_same(
    tmp_path: Path, train: npt.NDArray[Any], test: npt.NDArray[Any]
) -> None:
    np.savez(tmp_path / "d.npz", x_train=X[:48], y_train=train, x_test=X[48:], y_test=test)
    data = load(tmp_path / "d.npz", split=(1, 0, 0))
    assert not data.several
    assert data.classes == tuple(map(str, range(12)))
    assert data.train.labels.tolist() == LABELS[:48].tolist()
    assert data.test.labels.tolist() == LABELS[48:].tolist()


@pytest.mark.parametrize(
    ("train", "test", "says"),
    [
        (HOT[LABELS[:48]], LABELS[48:] + 1, "y_train is one-hot for classes 0 to 11, but y_test holds other"),
        (HOT[LABELS[:48]], LABELS[48:].astype(str), "but y_test holds other labels"),
        (HOT[LABELS[:48]], np.eye(13)[LABELS[48:]], "y_train has 12 columns of labels, y_test has 13"),
        (1 - HOT[LABELS[:48]], LABELS[48:], "0 and 1 for 12 labels, but y_test has one label an image"),
    ],
)
def test_labels_of_two_meanings_are_refused(tmp_path: Path, train: Any, test: Any, says: str) -> None:
    np.savez(tmp_path / "d.npz", x_train=X[:48], y_train=train, x_test=X[48:], y_test=test)
    with pytest.raises(DataError, match=says):
        load(tmp_path / "d.npz")


@pytest.mark.parametrize("form", ["{axis}_{split}", "{AXIS}_{Split}", "{split}_{axis}", "{split}_{word}"])
@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_arrays_by_the_names_that_splits_have(tmp_path: Path, form: str, val: str) -> None:
    arrays = {}
    for split, rows in (("training", slice(40)), (val, slice(40, 50)), ("testing", slice(50, 60))):
        for axis, word, values in (("x", "images", X), ("y", "labels", Y)):
            named = form.format(axis=axis, AXIS=axis.upper(), word=word, split=split, Split=split.title())
            arrays[named] = values[rows]
    np.savez(tmp_path / "d.npz", **arrays)
    data = load(tmp_path / "d.npz")
    assert [len(part) for part in data.parts().values()] == [40, 10, 10]
    assert (read(data.val) == X[40:50].transpose(0, 3, 1, 2)).all()


def test_arrays_that_nobody_reads_are_named_and_two_for_one_place_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x_train=X, y_train=Y, x_dev=X, y_dev=Y)
    assert load(tmp_path / "d.npz").passed == {"array": ("x_dev", "y_dev")}
    np.savez(tmp_path / "d.npz", x_train=X, y_train=Y, x_val=X, y_val=Y, x_valid=X, y_valid=Y)
    with pytest.raises(DataError, match="'x_val' and 'x_valid' are both the x of val"):
        load(tmp_path / "d.npz")
    np.savez(tmp_path / "d.npz", x=X, y=Y, x_train=X, y_train=Y)
    with pytest.raises(DataError, match="there are splits beside them"):
        load(tmp_path / "d.npz")
    np.savez(tmp_path / "d.npz", x_train=X[:0], y_train=Y[:0])
    with pytest.raises(DataError, match="no images"):
        load(tmp_path / "d.npz")


def odd_npz(path: Path, header: bytes = b"", **flags: int) -> None:
    """An .npz whose first member has another header, or other bytes in the zip's directory."""
    np.savez(path, x_train=X, y_train=Y)
    if header:
        with zipfile.ZipFile(path, "w") as z:
            z.writestr("x_train.npy", b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header)
            z.writestr("y_train.npy", b"not an array")
    data = bytearray(path.read_bytes())
    for magic, base in ((b"PK\3\4", 0), (b"PK\1\2", 2)):
        at = data.find(magic)
        for field, value in flags.items():
            data[at + base + {"version": 4, "flags": 6, "method": 8}[field]] = value
    path.write_bytes(data)


@pytest.mark.parametrize(
    "odd",
    [
        {"flags": 1},  # encrypted
        {"method": 99},
        {"version": 255},
        {"header": b"[" * 5000},
        {"header": b"{'descr': '<f8', 'fortran_order': False, 'shape': (2,), 'x': " + b"(" * 4000},
        {"header": b"\xff\xfe"},
        {"header": b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 3)}"},
    ],
)
def test_odd_members_end_in_one_line(tmp_path: Path, odd: dict[str, Any]) -> None:
    odd_npz(tmp_path / "d.npz", **odd)
    with pytest.raises(DataError, match=r"'d\.npz': can't be read as \.npz: ") as e:
        load(tmp_path / "d.npz")
    assert "\n" not in str(e.value)
    assert len(str(e.value)) < 250


def test_a_member_that_is_no_array(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as z:
        z.writestr("x_train", b"text")
    with pytest.raises(DataError, match="'x_train' is no array"):
        load(tmp_path / "d.npz")
