"""Image folders: `class/file.jpg`, or `train|val|test/class/file.jpg`; the folder names are the labels."""

import re
from dataclasses import dataclass
from itertools import groupby, permutations
from typing import TYPE_CHECKING

import numpy as np

from striate.data.decode import decode
from striate.data.finder import nfc
from striate.data.source import Part, Pixels, Source
from striate.data.tree import Tree, natural, told
from striate.errors import DataError

if TYPE_CHECKING:
    from striate.data.preprocess import Preprocess

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
TRAIN = re.compile(r"(?<![a-z])train(ing)?(?![a-z])")  # in the name of a folder that may be a split
SHARD = re.compile(
    r"(?:(.*)[^a-z])?(?:part|fold|shard|chunk|batch|split|subset|images|train)[-_. ]?[0-9]+(?:-of-[0-9]+)?",
    re.I,
)
LAYOUT = "expected one folder of images for each class, or train/ and val/ or test/ with such folders in them"


@dataclass
class FileStore:
    """Encoded images by path in a tree."""

    tree: Tree
    paths: list[str]

    def name(self, row: int) -> str:
        return self.paths[row]

    def encoded(self, row: int) -> bytes:
        return self.tree.read(self.paths[row])

    def pixels(self, row: int, preprocess: "Preprocess") -> Pixels:
        encoded = self.encoded(row)
        return preprocess.fit(decode(encoded, preprocess.channels, preprocess.least, preprocess.white))


def from_tree(tree: Tree, name: str) -> Source:
    """The classes are the folders just below the root or below each split; deeper folders belong to them."""
    root, folders = _below(tree)
    split_of = _splits(folders, tree.root)
    depth = 1 if split_of else 0
    if not split_of:
        _refuse_hidden_splits(folders, tree.root)
    images = [p for p in tree.images() if p.startswith(root)]
    store = FileStore(tree, images)
    parts: dict[str, list[tuple[int, str]]] = {}  # split -> (row, class)
    stray = []
    for row, path in enumerate(images):
        below = path[len(root) :].split("/")
        if len(below) > depth + 1:
            parts.setdefault(split_of[below[0]] if split_of else "all", []).append((row, nfc(below[depth])))
        else:
            stray.append(path[len(root) :])
    if not parts:
        found = f"{len(images)} images but no class folders" if images else "no images"
        raise DataError("; ".join((f"{tree.root!r}: {found}", *told(tree.passed()))), LAYOUT)
    _refuse_shards({c for rows in parts.values() for _, c in rows}, tree.root)
    empty: dict[str, tuple[str, ...]] = {}
    for folder in folders:
        split, _, label = folder.rpartition("/")
        part = split_of.get(split, "") if split_of else "all" * (not split)
        if part in parts and nfc(label) not in {c for _, c in parts[part]}:
            empty[part] = (*empty.get(part, ()), label)
    return Source(
        name,
        {split: _part(store, rows, len(root)) for split, rows in parts.items()},
        folders=True,
        empty=empty,
        stray=tuple(stray),
        passed=dict(tree.passed()),
    )


def has_classes(tree: Tree) -> bool:
    """Whether images lie in at least two folders that may be classes."""
    try:
        source = from_tree(tree, "")
    except DataError:
        return False
    return len({t for part in source.parts.values() for t in part.targets}) > 1


def is_divided(tree: Tree) -> bool:
    """Whether the topmost folders are splits."""
    try:
        return bool(_splits(_below(tree)[1], tree.root))
    except DataError:
        return True


def _below(tree: Tree) -> tuple[str, list[str]]:
    """The prefix of everything, and the folders below it."""
    root = _unwrap(tree)
    return root, [f[len(root) :] for f in tree.folders() if f.startswith(root) and f + "/" != root]


def _part(store: FileStore, rows: list[tuple[int, str]], cut: int) -> Part:
    ids = [store.paths[r][cut:] for r, _ in rows]
    return Part(ids, [c for _, c in rows], store, np.array([r for r, _ in rows], np.int64))


def _splits(folders: list[str], where: str) -> dict[str, str]:
    """Top folder -> split; empty when the top folders are classes."""
    top = [f for f in folders if "/" not in f]
    split_of = {f: SPLITS[f.lower()] for f in top if f.lower() in SPLITS}
    if ("train" not in split_of.values() and len(split_of) < len(top)) or len(split_of) < min(2, len(top)):
        return {}
    if others := [f for f in top if f not in split_of]:
        raise DataError(
            f"{where!r}: folder {others[0]!r} beside train/ is neither a split nor a class", LAYOUT
        )
    for split, names in groupby(sorted(split_of, key=lambda f: split_of[f]), key=lambda f: split_of[f]):
        if len(both := list(names)) > 1:
            raise DataError(f"{where!r}: folders {both[0]!r} and {both[1]!r} are both {split}")
    return split_of


def _refuse_hidden_splits(folders: list[str], where: str) -> None:
    """`seg_train/` and `seg_test/` with the same folders in them are not two classes."""
    inside: dict[str, set[str]] = {}
    for folder in folders:
        top, *below = folder.split("/")
        inside.setdefault(top, set()).update(below)
    for train, other in permutations(inside, 2):
        if TRAIN.search(train.lower()) and (both := inside[train] & inside[other]):
            raise DataError(
                f"{where!r}: {train!r} and {other!r} look like splits, for {min(both)!r} is in both",
                "name them train/ and val/ or test/",
            )


def _refuse_shards(classes: set[str], where: str) -> None:
    """`part_1/` and `part_2/`, or `fold0/` to `fold4/`, are one data set in portions, not its classes."""
    matches = [SHARD.fullmatch(name) for name in sorted(classes, key=natural)]
    if len(matches) > 1 and all(matches) and len({(m[1] or "").lower() for m in matches if m}) == 1:
        first, second = (m[0] for m in matches[:2] if m)
        raise DataError(
            f"{where!r}: {first!r} and {second!r} look like portions of one data set, not like classes",
            "lay out a folder for each class, or name the columns of a table: --columns path=NAME,label=NAME",
        )


def _unwrap(tree: Tree) -> str:
    """The prefix of a lone folder around everything, as archives often have; `` if there is none."""
    holding = {p.rpartition("/")[0] for p in tree.images()}
    root = ""
    while True:
        top = [f for f in tree.folders() if f.startswith(root) and "/" not in f[len(root) :]]
        inner = [f for f in tree.folders() if len(top) == 1 and f.startswith(top[0] + "/")]
        if len(top) != 1 or not inner or top[0] in holding or root.rstrip("/") in holding:
            return root
        if top[0][len(root) :].lower() in SPLITS:
            return root
        root = top[0] + "/"
