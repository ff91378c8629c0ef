"""Sources that come as arrays: scikit-learn's digits, `.npz` in Keras' layout, and arrays from Python."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from numpy.lib.npyio import NpzFile

from striate.data.folder import SPLITS
from striate.data.scale import UNKNOWN, White, to_uint8, white_of
from striate.data.source import Part, Pixels, Source, Targets
from striate.errors import DataError, one_line

if TYPE_CHECKING:
    from striate.data.preprocess import Preprocess

NPZ = "expected arrays x_train, y_train and, if there are, x_val, y_val, x_test, y_test"


@dataclass
class ArrayStore:
    """Pixels uint8 (n, h, w, c), all in memory."""

    array: Pixels
    prefix: str = ""

    def name(self, row: int) -> str:
        return f"{self.prefix}{row}"

    def pixels(self, row: int, preprocess: "Preprocess") -> Pixels:
        return preprocess.fit(channels(self.array[row], preprocess.channels))


def channels(images: Pixels, c: int) -> Pixels:
    """uint8 (..., 1, 3 or 4) -> (..., c); alpha over white and grey by BT.601, as for files."""
    deep = images.shape[-1]
    if deep == 4:
        alpha = images[..., 3:].astype(np.uint16)
        images = ((images[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    if deep == c or (deep, c) == (4, 3):
        return images
    if deep == 1:
        return np.repeat(images, c, axis=-1)
    luma = images.astype(np.uint32) @ np.array(
        [19595, 38470, 7471], np.uint32
    )  # 0.299, 0.587, 0.114 of 65536
    return ((luma + 32768) >> 16).astype(np.uint8)[..., None]


def digits() -> Source:
    """scikit-learn's 1,797 handwritten digits, 8x8 grey; 0..16 becomes 0..255."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x = np.rint(found.images * (255 / 16)).astype(np.uint8)
    return Source("digits", {"all": array_part("digits/", x, found.target)})


def from_arrays(x: npt.ArrayLike, y: npt.ArrayLike, name: str = "arrays", white: White = UNKNOWN) -> Source:
    """Images (n, h, w), (n, h, w, c) or (n, c, h, w) with labels (n,), one-hot (n, k), or several (n, k) of 0 and 1.

    `white` is the scale of the data that a network was trained on.
    """
    labels = without_hot({"y": _even(y, f"{name}/labels")})
    images = _even(x, f"{name}/pixels")
    white = white_of([(f"{name}/pixels", images)], white)
    return _source(name, {"all": array_part(f"{name}/", images, labels["y"], white)}, white)


def _even(values: npt.ArrayLike, what: str) -> npt.NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError as e:
        raise DataError(f"{what}: not all of one size; expected an array") from e


def _source(name: str, parts: dict[str, Part], white: White) -> Source:
    several = any(len(part) and isinstance(part.targets[0], tuple) for part in parts.values())
    return Source(name, parts, several=several, white=white)


def array_part(prefix: str, x: npt.NDArray[Any], y: npt.NDArray[Any], white: White = UNKNOWN) -> Part:
    """Arrays of pixels and labels as one part of a source; `prefix` names them in messages and ids."""
    store = ArrayStore(channels_last(to_uint8(x, f"{prefix}pixels", white), prefix), prefix)
    n = len(store.array)
    targets = target_names(y, prefix)
    if len(targets) != n:
        raise DataError(f"{prefix}: {n} images but {len(targets)} labels")
    return Part([store.name(i) for i in range(n)], targets, store, np.arange(n))


def channels_last(x: Pixels, what: str) -> Pixels:
    """(n, h, w), (n, h, w, c) or (n, c, h, w) -> (n, h, w, c)"""
    if x.ndim == 3:
        return x[..., None]
    if x.ndim == 4 and x.shape[3] in (1, 3, 4):
        return x
    if x.ndim == 4 and x.shape[1] in (1, 3, 4):
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    raise DataError(
        f"{what}: shape {x.shape}; expected (n, h, w), (n, h, w, c) or (n, c, h, w) with 1, 3 or 4 channels"
    )


def target_names(y: npt.NDArray[Any], what: str) -> Targets:
    """Class numbers or names (n,), (n, 1), or several an image (n, k) of 0 and 1 -> names."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 1 and y.dtype.kind == "f":
        if not np.array_equal(y, np.rint(y)):
            raise DataError(f"{what}: labels are not whole numbers")
        y = y.astype(np.int64)
    if y.dtype.kind == "O" and all(isinstance(v, str) for v in y.flat):  # a column of a data frame
        y = y.astype(str)
    if y.ndim == 1 and y.dtype.kind in "iuUb":
        names, codes = np.unique(y, return_inverse=True)
        words = [str(v) for v in names.tolist()]
        return [words[c] for c in codes]
    if y.ndim == 2 and y.shape[1] > 1 and np.isin(y, (0, 1)).all():
        return [tuple(str(k) for k in np.flatnonzero(row)) for row in y]
    raise DataError(
        f"{what}: labels of shape {y.shape} and type {y.dtype}; expected (n,), or (n, k) of 0 and 1"
    )


def without_hot(labels: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Class numbers (n,) in place of one-hot (n, k); the labels of all splits mean the same, or DataError.

    Rows of 0 and 1 are one-hot where every row of every split has a single 1; else they are several labels an image.
    """
    hot = {name: y for name, y in labels.items() if y.ndim == 2 and y.shape[1] > 1}
    if not hot:
        return dict(labels)
    name, first = next(iter(hot.items()))
    k = first.shape[1]
    if other := next((n for n, y in hot.items() if y.shape[1] != k), ""):
        raise DataError(f"{name} has {k} columns of labels, {other} has {hot[other].shape[1]}")
    numbers = {n: y for n, y in labels.items() if n not in hot}
    if wrong := next((n for n, y in hot.items() if not np.isin(y, (0, 1)).all()), ""):
        raise DataError(f"{wrong}: rows of {k} numbers that are not all 0 or 1 are no labels")
    if not all((y.sum(1) == 1).all() for y in hot.values()):
        if numbers:
            raise DataError(
                f"{name} has rows of 0 and 1 for {k} labels, but {min(numbers)} has one label an image"
            )
        return dict(labels)
    for other, y in numbers.items():
        if y.dtype.kind not in "iuf" or not np.isin(y, np.arange(k)).all():
            raise DataError(f"{name} is one-hot for classes 0 to {k - 1}, but {other} holds other labels")
    return {n: y.argmax(1) if n in hot else y for n, y in labels.items()}


AXES = {"x": "x", "y": "y", "images": "x", "labels": "y"}


def key(name: str) -> tuple[str, str] | None:
    """`x_valid` -> ("x", "val"), `test_labels` -> ("y", "test"), `x` -> ("x", "all"); None for what isn't read."""
    words = name.lower().split("_")
    axes = [AXES[word] for word in words if word in AXES]
    splits = [SPLITS[word] for word in words if word in SPLITS]
    if len(words) == 1 and words[0] in ("x", "y"):
        return axes[0], "all"
    return (axes[0], splits[0]) if (len(axes), len(splits), len(words)) == (1, 1, 2) else None


def from_npz(file: Path | BytesIO, name: str, white: White = UNKNOWN) -> Source:
    """`x_train y_train [x_val y_val] [x_test y_test]`, or `x y`; never unpickles.

    All are on one scale: `white`, of the data that a network was trained on, or the one found in them.
    """
    where = f"{name}.npz"
    try:
        return _of_arrays(*_members(file), name, white)
    except DataError as e:
        raise DataError(f"{where!r}: {e}", e.hint) from e


def _members(file: Path | BytesIO) -> tuple[dict[tuple[str, str], npt.NDArray[Any]], tuple[str, ...]]:
    """The arrays by what they are, and the names of those that nothing is known about."""
    found: dict[tuple[str, str], npt.NDArray[Any]] = {}
    names: dict[tuple[str, str], str] = {}
    others = []
    try:
        with (
            open(file, "rb") if isinstance(file, Path) else file as raw,
            NpzFile(raw, allow_pickle=False) as members,  # np.load advises to unpickle what is no zip
        ):
            for name in members.files:
                if not (place := key(name)):
                    others.append(name)
                    continue
                if place in names:
                    raise DataError(
                        f"{names[place]!r} and {name!r} are both the {place[0]} of {place[1]}", NPZ
                    )
                names[place] = name
                if not isinstance(array := members[name], np.ndarray):
                    raise DataError(f"{name!r} is no array", NPZ)
                found[place] = array
    except DataError:
        raise
    except Exception as e:  # numpy and zipfile raise many kinds; all mean that it can't be read
        raise DataError(f"can't be read as .npz: {one_line(e)}", NPZ) from e
    return found, tuple(others)


def _of_arrays(
    found: dict[tuple[str, str], npt.NDArray[Any]], others: tuple[str, ...], name: str, white: White
) -> Source:
    splits = {split for _, split in found}
    if "all" in splits and len(splits) > 1:
        raise DataError("x and y are all images, but there are splits beside them", NPZ)
    if not any(axis == "x" for axis, _ in found):
        raise DataError(f"no x_train; it holds {', '.join(others) or 'nothing'}", NPZ)
    labels = without_hot({f"y_{split}": y for (axis, split), y in found.items() if axis == "y"})
    parts = {}
    white = white_of(
        [("x" if split == "all" else f"x_{split}", x) for (axis, split), x in found.items() if axis == "x"],
        white,
    )
    for split in ("train", "val", "test", "all"):
        x, y = found.get(("x", split)), labels.get(f"y_{split}")
        if (x is None) != (y is None):
            raise DataError(f"{split} has images or labels, but not both", NPZ)
        if x is not None and y is not None:
            parts[split] = array_part(f"{split}/", x, y, white)
    return replace(_source(name, parts, white), passed={"array": others} if others else {})
