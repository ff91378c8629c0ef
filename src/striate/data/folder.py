"""Image folders: `class/file.jpg`, or `train|val|test/class/file.jpg`; the folder names are the labels."""

from dataclasses import dataclass

import numpy as np

from striate.data.preprocess import Preprocess
from striate.data.source import Part, Pixels, Source
from striate.data.tree import Tree, is_image, natural
from striate.errors import DataError

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
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

    def pixels(self, row: int, preprocess: Preprocess) -> Pixels:
        return preprocess.pixels(self.encoded(row))


def from_tree(tree: Tree, name: str) -> Source:
    """The classes are the folders just below the root or below each split; deeper folders belong to them."""
    root = _unwrap(tree)
    folders = [f[len(root) :] for f in tree.folders() if f.startswith(root) and f != root]
    top = [f for f in folders if "/" not in f]
    images = [p for p in tree.files() if p.startswith(root) and is_image(p)]
    split_of = {f: SPLITS.get(f.lower(), "") for f in top}
    divided = "train" in split_of.values() and (
        all(split_of.values()) or len({*split_of.values()} - {""}) > 1
    )
    if divided and (others := [f for f in top if not split_of[f]]):
        raise DataError(
            f"{tree.root!r}: folder {others[0]!r} beside train/ is neither a split nor a class", LAYOUT
        )
    depth = 1 if divided else 0
    store = FileStore(tree, images)
    parts: dict[str, list[int]] = {}
    ids: list[str] = []
    targets: list[str] = []
    for row, path in enumerate(images):
        below = path[len(root) :].split("/")
        ids.append(path[len(root) :])
        targets.append(below[depth] if len(below) > depth + 1 else "")
        if targets[row]:
            parts.setdefault(split_of[below[0]] if divided else "all", []).append(row)
    if not parts:
        found = f"{len(images)} images but no class folders" if images else "no images"
        raise DataError(f"{tree.root!r}: {found}", LAYOUT)
    full = {s: {targets[r] for r in rows} for s, rows in parts.items()}
    empty: dict[str, set[str]] = {}
    for folder in folders:
        below = folder.split("/")
        split = split_of[below[0]] if divided else "all"
        if len(below) == depth + 1 and below[depth] not in full.get(split, ()):
            empty.setdefault(split, set()).add(below[depth])
    return Source(
        name,
        {
            s: Part([ids[r] for r in rows], [targets[r] for r in rows], store, np.asarray(rows))
            for s, rows in parts.items()
        },
        empty={s: tuple(sorted(names, key=natural)) for s, names in empty.items()},
        stray=tuple(ids[r] for r in range(len(ids)) if not targets[r]),
        folders=True,
    )


def _unwrap(tree: Tree) -> str:
    """The prefix of a lone folder that holds everything, as archives often have; `` if there is none."""
    root = ""
    folders, files = tree.folders(), tree.files()
    while True:
        inside = [f[len(root) :] for f in folders if f.startswith(root)]
        top = [f for f in inside if "/" not in f]
        if len(top) != 1 or any(
            is_image(p) and "/" not in p[len(root) :] for p in files if p.startswith(root)
        ):
            return root
        deeper = root + top[0] + "/"
        if top[0].lower() in SPLITS or any(
            is_image(p) and "/" not in p[len(deeper) :] for p in files if p.startswith(deeper)
        ):
            return root
        if not any(f.startswith(deeper) for f in folders):
            return root
        root = deeper
