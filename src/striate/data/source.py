"""What every source of images hands over, and which source a DATA word means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from striate.errors import DataError, UsageError, nearest

if TYPE_CHECKING:  # for their types only: opening a source doesn't need torch
    from striate.data.preprocess import Preprocess
    from striate.data.tree import Passed, Tree

Pixels = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]
Digests = npt.NDArray[np.uint64]  # eight bytes of BLAKE2b an image
Targets = Sequence[str] | Sequence[tuple[str, ...]]
NAMES = ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100")


class Store(Protocol):
    """Where encoded or raw images lie: a folder, an archive, an array; row numbers are the store's own."""

    def name(self, row: int) -> str: ...

    def pixels(self, row: int, preprocess: "Preprocess") -> Pixels:
        """uint8 (c, h, w), decoded and resized."""
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
    """`parts` is `all`, or some of `train`, `val` and `test`; `classes` where the source states them."""

    name: str
    parts: dict[str, Part]
    classes: tuple[str, ...] | None = None
    several: bool = False  # labels an image
    table: bool = False  # what its images are, a table says
    folders: bool = False  # classes are folders: every split must have all of them
    empty: dict[str, tuple[str, ...]] = field(default_factory=dict)  # split -> class folders without an image
    stray: tuple[str, ...] = ()  # images that belong to no class
    passed: dict[str, tuple[str, ...]] = field(default_factory=dict)  # files that it doesn't use, by kind
    notes: tuple[str, ...] = ()  # what was made of the source, where that isn't plain
    white: tuple[int, int] = (0, 0)  # the scale that its arrays were on (see `striate.data.scale`)


def trainable(source: Source) -> Source:
    """`source`, if it has images to train on; raises DataError where it has val or test alone."""
    if not source.parts.keys() & {"all", "train"}:
        raise DataError(
            f"{source.name}: no images in train/, only in {' and '.join(source.parts)}",
            "train/ beside it, x_train in an .npz, or rows of a table whose split is 'train'",
        )
    return source


def open_source(
    source: object,
    columns: Mapping[str, str] | None = None,
    offline: bool = False,
    white: tuple[int, int] = (0, 0),
) -> Source:
    """A DATA word, a path, a pair of arrays, a data frame, or a Source itself.

    `columns` names the columns of a table by their role: path, label, split, group, weight. `white` is the scale of
    the data that a network was trained on (see `striate.data.scale`).
    """
    from striate.data import arrays, cifar, published, table
    from striate.data.archive import Zip
    from striate.data.tree import Folder

    if isinstance(source, Source):
        return source
    if isinstance(source, tuple) and len(source) == 2:
        return arrays.from_arrays(*source, white=white)
    if hasattr(source, "columns"):
        return table.from_frame(source, columns=columns)
    if not isinstance(source, (str, Path)):
        kind = type(source).__name__
        raise UsageError(f"no images in {kind}: expected a name, a path, a data frame, or (images, labels)")
    path = Path(source).expanduser()
    try:
        there = path.exists()
    except OSError as e:  # a name too long, say
        raise DataError(f"{str(source)!r}: {e.strerror}") from e
    if not there and str(source) == "digits":
        return arrays.digits()
    if not there and str(source) in NAMES:
        return published.open_named(str(source), offline)
    if not there:
        known = f"names that are known: {', '.join(NAMES)}"
        raise DataError(f"no data at {str(source)!r}", nearest(str(source), NAMES) or known)
    name, kind = path.resolve().stem, path.suffix.lower()
    if path.is_dir():
        return from_files(Folder(str(path)), path.resolve().name, columns, white)
    if kind == ".zip":
        return from_files(Zip(path), name, columns, white)
    if kind == ".npz":
        return arrays.from_npz(path, name, white)
    if kind in (".csv", ".tsv"):
        return table.from_csv(Folder(str(path.parent)), path.name, name, columns)
    if path.name.lower().endswith((".tar.gz", ".tgz")):
        return cifar.from_tar(path.read_bytes(), name.removesuffix(".tar"), str(path))
    expected = "expected a folder, .zip, .npz, .csv, or the .tar.gz of CIFAR's binary version"
    raise DataError(f"{str(source)!r}: not a kind of data set that I know", expected)


def from_files(
    tree: "Tree",
    name: str,
    columns: Mapping[str, str] | None = None,
    white: tuple[int, int] = (0, 0),
) -> Source:
    """What a folder or an archive holds: IDX, CIFAR's binary files, one .npz, images in a table, or class folders."""
    from striate.data import arrays, cifar, folder, idx, table

    files = tree.files()
    if idx.is_idx(files):
        return _beside(idx.from_tree(tree, name), tree, {f for f in files if idx.NAME.search(f)})
    if cifar.which(files):
        used = {f for f in files if f.rpartition("/")[2] in cifar.WANTED}
        return _beside(cifar.from_tree(tree, name), tree, used)
    if not tree.images() and len(single := [f for f in files if f.lower().endswith(".npz")]) == 1:
        return _beside(arrays.from_npz(BytesIO(tree.read(single[0])), name, white), tree, set(single))
    if found := table.of_images(tree, columns):
        source = table.from_csv(tree, found, name, columns)
        listed = {part.store.name(row) for part in source.parts.values() for row in part.rows.tolist()}
        return _beside(source, tree, listed | {found})
    return folder.from_tree(tree, name)


def _beside(source: Source, tree: "Tree", used: set[str]) -> Source:
    """The source, with the files of its tree that it doesn't use."""
    others = {**tree.passed(), "unlisted image": tuple(tree.images())}
    unused = {kind: tuple(f for f in files if f not in used) for kind, files in others.items()}
    return replace(source, passed=source.passed | {kind: files for kind, files in unused.items() if files})


def passed_over(source: Source) -> "Passed":
    """Every file of the source that is in none of its parts, by kind."""
    return {**source.passed, **({"stray image": source.stray} if source.stray else {})}
