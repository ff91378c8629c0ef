"""What every source of images hands over, and which source a DATA word means."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from striate.errors import DataError, UsageError, nearest

if TYPE_CHECKING:  # for their types only: reading a source doesn't need torch
    from striate.data.preprocess import Preprocess

Pixels = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]
Targets = Sequence[str] | Sequence[tuple[str, ...]]
NAMES = ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100")


class Store(Protocol):
    """Where encoded or raw images lie: a folder, an archive, an array; row numbers are the store's own."""

    def name(self, row: int) -> str: ...

    def pixels(self, row: int, preprocess: "Preprocess") -> Pixels:
        """uint8 (h, w, c), decoded and resized."""
        ...


@dataclass
class Part:
    """One split as its source gives it; image i of it is row `rows[i]` of the store.

    `targets` are class names, or tuples of them where an image has several.
    """

    ids: Sequence[str]
    targets: Targets
    store: Store
    rows: Indices
    groups: Sequence[str] | None = None
    weights: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: Sequence[int] | Indices) -> "Part":
        """The part made of these images, in this order."""
        rows = np.asarray(rows, np.int64)
        if len(rows) == len(self) and (rows == np.arange(len(self))).all():
            return self
        at = rows.tolist()
        return Part(
            [self.ids[i] for i in at],
            [self.targets[i] for i in at],
            self.store,
            self.rows[rows],
            None if self.groups is None else [self.groups[i] for i in at],
            None if self.weights is None else self.weights[rows],
        )


@dataclass
class Source:
    """`parts` is `all`, or `train` with `test`, `val` or both; `classes` where the source states them."""

    name: str
    parts: dict[str, Part]
    classes: tuple[str, ...] | None = None
    several: bool = False  # labels an image
    folders: bool = False  # classes are folders: every split must have all of them
    empty: dict[str, tuple[str, ...]] = field(default_factory=dict)  # split -> class folders without an image
    stray: tuple[str, ...] = ()  # images that belong to no class


def open_source(source: object) -> Source:
    """A DATA word, a path, a pair of arrays, or a Source itself."""
    from striate.data import arrays, folder, tree

    if isinstance(source, Source):
        return source
    if isinstance(source, tuple) and len(source) == 2:
        return arrays.from_arrays(*source)
    if not isinstance(source, (str, Path)):
        kind = type(source).__name__
        raise UsageError(f"no images in {kind}: expected a name, a path, or (images, labels)")
    if str(source) == "digits":
        return arrays.digits()
    path = Path(source).expanduser()
    if not path.exists():
        known = f"names that are known: {', '.join(NAMES)}"
        raise DataError(f"no data at {str(source)!r}", nearest(str(source), NAMES) or known)
    if path.suffix.lower() == ".npz":
        return arrays.from_npz(path)
    return folder.from_tree(tree.open_tree(path), path.resolve().name)
