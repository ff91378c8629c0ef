"""Sources that come as arrays: scikit-learn's digits, `.npz` in Keras' layout, and arrays from Python."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from striate.data.decode import to_uint8
from striate.data.source import Part, Pixels, Source, Targets
from striate.errors import DataError

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


def from_arrays(x: npt.ArrayLike, y: npt.ArrayLike, name: str = "arrays") -> Source:
    """Images (n, h, w), (n, h, w, c) or (n, c, h, w) with labels (n,), one-hot (n, k), or several (n, k) of 0 and 1."""
    (labels,) = without_hot([np.asarray(y)])
    return _source(name, {"all": array_part(f"{name}/", np.asarray(x), labels)})


def _source(name: str, parts: dict[str, Part]) -> Source:
    first = next(iter(parts.values())).targets
    return Source(name, parts, several=len(first) > 0 and isinstance(first[0], tuple))


def array_part(prefix: str, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> Part:
    """Arrays of pixels and labels as one part of a source; `prefix` names them in messages and ids."""
    store = ArrayStore(channels_last(to_uint8(x, f"{prefix}pixels"), prefix), prefix)
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
    if y.ndim == 1 and y.dtype.kind in "iuUb":
        names, codes = np.unique(y, return_inverse=True)
        words = [str(v) for v in names.tolist()]
        return [words[c] for c in codes]
    if y.ndim == 2 and y.shape[1] > 1 and np.isin(y, (0, 1)).all():
        return [tuple(str(k) for k in np.flatnonzero(row)) for row in y]
    raise DataError(
        f"{what}: labels of shape {y.shape} and type {y.dtype}; expected (n,), or (n, k) of 0 and 1"
    )


def without_hot(labels: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """Class numbers (n,) in place of one-hot (n, k), where every row of every split has a single 1."""
    hot = all(
        y.ndim == 2 and y.shape[1] > 1 and np.isin(y, (0, 1)).all() and (y.sum(1) == 1).all() for y in labels
    )
    return [y.argmax(1) for y in labels] if hot else list(labels)


def from_npz(file: Path | BytesIO, name: str) -> Source:
    """`x_train y_train [x_val y_val] [x_test y_test]`, or `x y`; never unpickles."""
    where = f"{name}.npz"
    try:
        with (
            open(file, "rb") if isinstance(file, Path) else file as raw,
            np.load(raw, allow_pickle=False) as f,
        ):
            found = {k: f[k] for k in f.files if k in KEYS}
            others = [k for k in f.files if k not in KEYS]
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile) as e:
        raise DataError(f"{where!r}: can't be read as .npz: {e}", NPZ) from e
    parts = {}
    names = [k for k in found if k.startswith("y")]
    found |= zip(names, without_hot([found[k] for k in names]), strict=True)
    for split in ("train", "val", "test", "all"):
        x, y = (found.get(k if split == "all" else f"{k}_{split}") for k in "xy")
        if (x is None) != (y is None):
            raise DataError(f"{where!r}: {split} has images or labels, but not both", NPZ)
        if x is not None and y is not None:
            try:
                parts[split] = array_part(f"{split}/", x, y)
            except DataError as e:
                raise DataError(f"{where!r}: {e}", e.hint) from e
    if "all" not in parts and "train" not in parts:
        raise DataError(f"{where!r}: no x_train; it holds {', '.join(others) or 'nothing'}", NPZ)
    return _source(name, parts)


KEYS = {"x", "y", *(f"{k}_{split}" for k in "xy" for split in ("train", "val", "test"))}
