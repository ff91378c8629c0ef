"""Any source as a trained network wants it: undivided, prepared and labelled as the network's own data were."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from striate.data.arrays import ArrayStore
from striate.data.cache import Cache
from striate.data.classes import present, some
from striate.data.dataset import (
    Scans,
    eager,
    open_caches,
    pixels_of,
    prepared,
    scan_stores,
    white_in,
    without_bad,
)
from striate.data.images import Images, array_digests
from striate.data.preprocess import Preprocess
from striate.data.source import Digests, Part, Source, open_source
from striate.data.tree import natural
from striate.errors import DataError, nearest

LONGEST = 60  # characters of a class name in a message


@dataclass
class Whole:
    """The parts that a source has by itself, unread, and how one becomes images for a network of these classes."""

    source: Source
    preprocess: Preprocess
    classes: tuple[str, ...]
    several: bool
    skipped: Mapping[str, str]  # id -> why it was left out
    scans: Scans
    caches: Mapping[int, Cache | None]

    def digests(self, part: Part) -> Digests:
        """(n,) As the images of `part` will tell them, but before it's known which of them are wanted."""
        if not isinstance(part.store, ArrayStore):
            return self.scans[id(part.store)].digests[part.rows]
        if eager(part, self.preprocess):
            return array_digests(pixels_of(part, part.store, self.preprocess).numpy())
        return array_digests(part.store.array[part.rows])

    def images(self, part: Part) -> Images:
        """Raises DataError where an image is of a class that the network doesn't know."""
        names = tuple(sorted(present(part), key=natural))
        found = prepared(part, names, self.source.several, self.preprocess, self.scans, self.caches)
        return relabelled(found, names, self.classes, self.several, self.source.name)

    def refuse_strangers(self, parts: Iterable[Part]) -> None:
        """Raises DataError for a class that the network doesn't know."""
        _refuse_strangers({c for part in parts for c in present(part)}, self.classes, self.source.name)


def open_whole(
    source: object,
    preprocess: Preprocess,
    classes: tuple[str, ...],
    several: bool = False,
    *,
    columns: Mapping[str, str] | None = None,
    on_bad_image: Literal["error", "skip"] = "error",
    cache: Literal["off", "ram", "disk"] = "disk",
    cache_limit: int | None = None,
    offline: bool = False,
) -> Whole:
    """Opens what `load` opens and looks at the header of every file; raises DataError for images that can't be read."""
    opened = open_source(source, columns, offline, preprocess.white)
    scans = scan_stores(opened, thorough=on_bad_image == "skip")
    opened, skipped = without_bad(opened, scans, on_bad_image)
    white = white_in(opened, opened.parts.values(), scans, preprocess.white)
    preprocess = replace(preprocess, white=white)
    caches = open_caches(opened.parts.values(), preprocess, scans, cache, cache_limit)
    return Whole(opened, preprocess, classes, several, skipped, scans, caches)


def relabelled(
    images: Images, have: Sequence[str], classes: Sequence[str], several: bool, name: str
) -> Images:
    """`images`, whose labels count in `have`, with labels that count in `classes`, matched by name.

    Where an image may have several labels, a single one is one of them. Raises DataError for a class that isn't among
    `classes`, and for images without exactly one label where one is wanted.
    """
    labels = images.labels
    if tuple(have) == tuple(classes) and (labels.ndim == 2) == several:
        return images
    number = {c: i for i, c in enumerate(classes)}
    used = np.unique(labels) if labels.ndim == 1 else np.flatnonzero((labels > 0.5).any(0))
    _refuse_strangers((have[i] for i in used.tolist()), classes, name)
    place = np.array([number.get(c, 0) for c in have], np.int64)
    other = copy.copy(images)
    if labels.ndim == 1 and not several:
        other.labels = place[labels]
        return other
    mapped = np.zeros((len(images), len(classes)), np.float32)
    for i in used.tolist():
        mapped[labels == i if labels.ndim == 1 else labels[:, i] > 0.5, place[i]] = 1
    if not several and (wrong := np.flatnonzero(mapped.sum(1) != 1)).size:
        at = int(wrong[0])
        raise DataError(
            f"{name}: {len(wrong)} images have several labels or none ({str(images.ids[at])!r} has "
            f"{int(mapped[at].sum())}), and the network chooses one class"
        )
    other = copy.copy(images)
    other.labels = mapped if several else mapped.argmax(1)
    return other


def _refuse_strangers(used: Iterable[str], classes: Sequence[str], name: str) -> None:
    if strange := sorted(set(used) - set(classes), key=natural):
        raise DataError(
            f"{name}: the network doesn't know the class{'es' * (len(strange) > 1)} {_short(strange)}; "
            f"it knows {_short(classes)}",
            nearest(strange[0][:LONGEST], (c[:LONGEST] for c in classes))
            or "leave its images out, or train with it",
        )


def _short(names: Sequence[str]) -> str:
    return some([c if len(c) <= LONGEST else f"{c[: LONGEST - 3]}..." for c in names])
