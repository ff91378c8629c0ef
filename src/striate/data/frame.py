"""What `flow_from_dataframe` returns: endless batches of the images that the rows of a table name."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from striate.data.classes import some
from striate.data.files import read_head
from striate.data.flow import FileFlow, ImageFiles
from striate.data.kinds import HEAD, is_picture, kind
from striate.data.source import Indices
from striate.data.tree import Folder, is_image, natural
from striate.errors import DataError, UsageError, nearest

FrameMode = Literal["binary", "categorical", "input", "multi_output", "raw", "sparse"]
NAMED = ("binary", "categorical", "sparse")  # labels are names of classes
MODES = (*NAMED, "input", "multi_output", "raw")


class Frame(ImageFiles):
    """Rows of a data frame, or of a mapping of columns: a file each, its label or labels, and its weight."""

    def __init__(
        self,
        dataframe: Any,
        directory: str | Path | None,
        x_col: str,
        y_col: str | Sequence[str],
        weight_col: str | None,
        classes: Sequence[str] | None,
        class_mode: FrameMode | None,
        validate_filenames: bool,
        *pixels: Any,
    ) -> None:
        super().__init__(Folder("" if directory is None else str(directory)), *pixels)
        if self.root and not os.path.isdir(self.root):
            raise DataError(f"{self.root!r}: no such folder")
        if class_mode is not None and class_mode not in MODES:
            raise UsageError(f"unknown class_mode {class_mode!r}", nearest(str(class_mode), MODES))
        self.mode = class_mode
        self.paths = [self._path(x_col, value) for value in column(dataframe, x_col)]
        n = len(self.paths)
        rows = self._valid(x_col) if validate_filenames else list(range(len(self.paths)))
        names = _column(dataframe, _one(y_col, class_mode), n) if class_mode in NAMED else []
        self.class_indices: dict[str, int] = {}
        if class_mode in NAMED:
            rows = self._classes(names, rows, classes)
        elif classes:
            warnings.warn(f"classes have no meaning for class_mode {class_mode!r}", stacklevel=4)
        if not rows:
            raise DataError(f"{x_col!r}: no image is left")
        self.paths = [self.paths[row] for row in rows]
        self.names = [names[row] for row in rows] if names else []
        self.columns: list[npt.NDArray[Any]] = []
        if class_mode in ("raw", "multi_output"):
            if class_mode == "multi_output" and isinstance(y_col, str):
                raise UsageError("class_mode 'multi_output' needs a list of columns as y_col")
            wanted = [y_col] if isinstance(y_col, str) else y_col
            self.columns = [_numbers(dataframe, name, n)[rows] for name in wanted]
            if class_mode == "raw":
                self.columns = self.columns if isinstance(y_col, str) else [np.stack(self.columns, 1)]
        self.weights = None if weight_col is None else _numbers(dataframe, weight_col, n)[rows]

    def _path(self, x_col: str, value: Any) -> str:
        if not isinstance(value, str | Path):
            raise UsageError(f"{x_col!r}: {value!r} is no file name")
        return str(value)

    def _valid(self, x_col: str) -> list[int]:
        rows = [row for row, path in enumerate(self.paths) if self._is_image(path)]
        if len(rows) < len(self.paths):
            left_out = [path for row, path in enumerate(self.paths) if row not in set(rows)]
            told = f"{len(left_out)} of {len(self.paths)} in {x_col!r} are no image files and left out"
            warnings.warn(f"{told}: {some(left_out)}", stacklevel=5)
        return rows

    def _is_image(self, path: str) -> bool:
        whole = os.path.join(self.root, path)
        return os.path.isfile(whole) and (is_image(path) or is_picture(kind(read_head(whole, HEAD))))

    def _classes(self, names: list[Any], rows: list[int], classes: Sequence[str] | None) -> list[int]:
        """The rows that have one of the classes; `names` keeps no other."""
        kinds = (str, list, tuple) if self.mode == "categorical" else (str,)
        for row in rows:
            if not isinstance(names[row], kinds) or not all(isinstance(n, str) for n in listed(names[row])):
                expected = "a name, or a list of names" if self.mode == "categorical" else "a name"
                raise UsageError(
                    f"row {row}: label {names[row]!r}; class_mode {self.mode!r} expects {expected}"
                )
        found = {name for row in rows for name in listed(names[row])}
        given = list(dict.fromkeys(classes)) if classes else sorted(found, key=natural)
        if missing := [name for name in given if name not in found]:
            raise DataError(f"no row is of class {missing[0]!r}", nearest(missing[0], found))
        if self.mode == "binary" and len(given) != 2:
            raise UsageError(f"class_mode 'binary' needs two classes, not {len(given)}: {some(given)}")
        self.class_indices = {name: i for i, name in enumerate(given)}
        for row in rows:
            if not isinstance(names[row], str):
                names[row] = [name for name in names[row] if name in self.class_indices]
        return [row for row in rows if names[row] and set(listed(names[row])) <= set(given)]

    def strata(self) -> npt.NDArray[np.int64]:
        """Rows (n,) by class, or by their set of classes; all alike where labels are no classes."""
        if not self.names:
            return np.zeros(len(self.paths), np.int64)
        sets = ["\0".join(sorted(listed(names))) for names in self.names]
        return np.unique(sets, return_inverse=True)[1].reshape(-1)


def column(frame: Any, name: str) -> list[Any]:
    """The values of a column of a data frame of any library, or of a mapping of columns."""
    known = [str(c) for c in (frame.columns if hasattr(frame, "columns") else frame)]
    if name not in known:
        raise UsageError(f"no column {name!r}; there are {some(known)}", nearest(name, known))
    return list(frame[name])


def listed(names: Any) -> Sequence[Any]:
    """One name as a list of it; lists stay."""
    return (names,) if isinstance(names, str) else names


def _one(y_col: str | Sequence[str], mode: str | None) -> str:
    if not isinstance(y_col, str):
        raise UsageError(f"class_mode {mode!r} takes one column as y_col, not {list(y_col)!r}")
    return y_col


def _column(frame: Any, name: str, n: int) -> list[Any]:
    """A column with a value for each of `n` files."""
    values = column(frame, name)
    if len(values) != n:
        raise DataError(f"column {name!r} has {len(values)} values for {n} file names")
    return values


def _numbers(frame: Any, name: str, n: int) -> npt.NDArray[Any]:
    """A column of numbers, or of arrays of them, that can become a tensor."""
    values = np.asarray(_column(frame, name, n))
    if values.dtype.kind not in "biuf":
        raise UsageError(f"column {name!r} holds {values.dtype}; numbers are expected")
    return values


class FrameFlow(FileFlow):
    """Batches of a frame's images, with labels as `class_mode` wants them and weights where there are any."""

    def __init__(self, frame: Frame, target_size: tuple[int, int], *flow: Any) -> None:
        super().__init__(frame, target_size, *flow)
        self._frame, self.class_mode, self.class_indices = frame, frame.mode, frame.class_indices
        kept = self._rows.tolist()
        codes = [[frame.class_indices[name] for name in listed(names)] for names in frame.names]
        self._codes = [
            code[0] if isinstance(name, str) else code for code, name in zip(codes, frame.names, strict=True)
        ]
        self.classes = [self._codes[row] for row in kept] if codes else None
        self.sample_weight = None if frame.weights is None else frame.weights[self._rows]

    @property
    def labels(self) -> Any:
        """What is to be predicted, in the order of `filenames`."""
        if self._frame.columns:
            of_rows = [values[self._rows] for values in self._frame.columns]
            return of_rows if self.class_mode == "multi_output" else of_rows[0]
        return self.classes

    def targets(self, rows: Indices) -> tuple[Any, ...]:
        mode = self.class_mode
        if mode is None:
            return ()
        if mode == "input":
            found: Any = "images"
        elif mode in NAMED:
            found = self._of_classes(rows)
        else:
            tensors = [torch.as_tensor(values[rows]) for values in self._frame.columns]
            found = tensors if mode == "multi_output" else tensors[0]
        weights = self._frame.weights
        return (found,) if weights is None else (found, torch.as_tensor(weights[rows]))

    def _of_classes(self, rows: Indices) -> torch.Tensor:
        codes = [self._codes[row] for row in rows.tolist()]
        if self.class_mode != "categorical":
            return torch.tensor(codes, dtype=torch.float32)
        hot = torch.zeros(len(codes), len(self.class_indices))
        for one, code in zip(hot, codes, strict=True):
            one[code] = 1
        return hot
