"""`load`: a source divided into train, val and test, with one class list and one preparation."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from striate.data.arrays import ArrayStore, channels
from striate.data.cache import Cache, open_cache
from striate.data.classes import class_list, given_classes, present, some
from striate.data.folder import FileStore
from striate.data.images import ArrayImages, Images, StoredImages, array_digests
from striate.data.preprocess import Preprocess
from striate.data.scale import UNKNOWN, White, white_to
from striate.data.scan import Scan, scan
from striate.data.source import Digests, Part, Source, Store, open_source, passed_over, trainable
from striate.data.splits import OTHER_DATA, SHARES, SPLITS, divide, fractions, restore
from striate.data.statistics import channel_statistics
from striate.data.tree import Passed, natural
from striate.errors import DataError, UsageError, nearest

CACHES = ("off", "ram", "disk")
EAGER = 1 << 30  # bytes up to which resized arrays are kept in memory
Scans = Mapping[int, Scan]  # id of a store -> what was found in it


@dataclass
class DataSet:
    """Three `Images`, what their labels mean, and how a picture becomes one of them."""

    name: str
    classes: tuple[str, ...]
    train: Images
    val: Images
    test: Images
    preprocess: Preprocess
    several: bool = False  # labels an image: float (n, k) of 0 and 1
    skipped: dict[str, str] = field(default_factory=dict)  # id -> why it was left out
    passed: Passed = field(default_factory=dict)  # kind -> files that were never looked at as images
    notes: tuple[str, ...] = ()  # what was made of the source, where that isn't plain
    cache: str = ""  # where decoded images are kept, and how much room they may take
    source: object = None  # what `load` was given: a word, a path, arrays, a data frame
    columns: Mapping[str, str] | None = None  # of a table, by their role

    @property
    def shape(self) -> tuple[int, int, int]:
        """(c, h, w) of every image."""
        return self.preprocess.shape

    def parts(self) -> dict[str, Images]:
        return dict(zip(SPLITS, (self.train, self.val, self.test), strict=True))

    def splits(self) -> dict[str, Any]:
        """What a run stores: which image is where, and a digest of each; `load(splits=)` takes it back."""
        stored: dict[str, Any] = {"format": 1, "name": self.name, "classes": list(self.classes)}
        if isinstance(self.source, (str, Path)) and (path := Path(self.source).expanduser()).exists():
            stored["source"] = str(path.resolve())
        for split, images in self.parts().items():
            digests = [f"{d:016x}" for d in images.digests().tolist()]
            stored[split] = {"fingerprint": fingerprint(images), "ids": list(images.ids), "digests": digests}
        return stored


def fingerprint(images: Images) -> str:
    """One hash over the names, labels and contents of a split, in order."""
    h = blake2b(digest_size=16)
    h.update("\0".join(images.ids).encode("utf-8", "surrogateescape"))
    h.update(np.ascontiguousarray(images.labels).tobytes())
    h.update(images.digests().astype("<u8").tobytes())
    return h.hexdigest()


def load(
    source: object,
    *,
    img_size: int | tuple[int, int] | None = None,
    in_chans: int | None = None,
    resize: str = "squash",
    split: Sequence[float] | None = None,
    seed: int = 0,
    splits: Mapping[str, Any] | None = None,
    preprocess: Preprocess | None = None,
    classes: Sequence[str] | str | Path | None = None,
    allow_empty: bool = False,
    on_bad_image: Literal["error", "skip"] = "error",
    columns: Mapping[str, str] | None = None,
    cache: Literal["off", "ram", "disk"] = "disk",
    cache_limit: int | None = None,
    offline: bool = False,
) -> DataSet:
    """Opens a source, looks at the header of every file, and divides it.

    Train, val and test of the source are kept. One that it lacks of val and test is taken from train, a stratified
    tenth or in the proportion of `split`; a source that isn't divided at all is divided by `split`, 70/15/15 by
    default. `splits` restores what `DataSet.splits` gave, `preprocess` what training used. `columns` names those of
    a table by their role (path, label, split, group, weight). Images that are files are decoded once and then come
    from the `cache`, which takes no more than `cache_limit` bytes. `on_bad_image="skip"` decodes all of them at the
    start to know which to leave out.
    """
    share = fractions(split) if split is not None else None
    known = preprocess.white if preprocess else UNKNOWN
    opened = open_source(source, columns, offline, known)
    if columns and not opened.table:
        raise UsageError(f"{opened.name} is no table: its images have no columns", "leave --columns out")
    scans = scan_stores(opened, thorough=on_bad_image == "skip")
    if splits and on_bad_image == "error":  # what was added since may be as bad as it likes
        opened = replace(opened, parts=restore(opened, splits))
    opened, skipped = without_bad(opened, scans, on_bad_image)
    notes = opened.notes
    if splits:
        parts, names = restore(opened, splits), tuple(given_classes(splits["classes"]))
        _same_classes(opened.name, parts, names)
    else:
        given = given_classes(classes) if classes is not None else None
        names = class_list(trainable(opened), given, allow_empty)
        if share and opened.parts.keys() >= set(SPLITS):
            raise UsageError(
                f"{opened.name} is divided already, into train, val and test", "leave --split out"
            )
        parts = divide(opened, share, seed, partial(_part_digests, scans))
        notes = (*notes, *_unfilled(opened, parts, share))
    prepare = preprocess or _preprocess(opened, scans, img_size, in_chans, resize)
    prepare = replace(prepare, white=white_in(opened, parts.values(), scans, known))
    caches = open_caches(parts.values(), prepare, scans, cache, cache_limit)
    images = {s: prepared(part, names, opened.several, prepare, scans, caches) for s, part in parts.items()}
    if len(images["train"]) == 0:
        raise DataError(f"{opened.name}: no image is left to train on")
    if preprocess is None:
        mean, std = channel_statistics(images["train"], seed)
        prepare = replace(prepare, mean=mean, std=std)
    three = images["train"], images["val"], images["test"]
    kept = "; ".join(c.note for c in caches.values() if c is not None)
    found = DataSet(
        opened.name,
        names,
        *three,
        prepare,
        opened.several,
        skipped,
        passed_over(opened),
        notes,
        kept,
        source,
        columns,
    )
    if splits:
        _compare(found, splits)
    return found


def _part_digests(scans: Scans, part: Part) -> Digests:
    return _digests(part.store, scans)[part.rows]


def _unfilled(source: Source, parts: Mapping[str, Part], share: Sequence[float] | None) -> Iterator[str]:
    """The splits that got no image, though they were to have some."""
    for split, wanted in zip(SPLITS, share or SHARES, strict=True):
        if wanted and not len(parts[split]):
            what = "groups" if any(p.groups is not None for p in source.parts.values()) else "images"
            yield f"{split} is empty: there are too few {what} for {wanted:.0%}"


def scan_stores(source: Source, thorough: bool) -> Scans:
    """Every encoded image is looked at; arrays need no look."""
    stores = {id(p.store): p.store for p in source.parts.values()}
    return {i: scan(len(s.paths), s.encoded, thorough) for i, s in stores.items() if isinstance(s, FileStore)}


def without_bad(source: Source, scans: Scans, on_bad: str) -> tuple[Source, dict[str, str]]:
    """The source without images that can't be read, and why they can't; raises DataError where `on_bad` is "error"."""
    if on_bad not in ("error", "skip"):
        raise UsageError(f"on_bad_image {on_bad!r}: expected 'error' or 'skip'")
    bad: dict[str, str] = {}
    parts = {}
    for split, part in source.parts.items():
        causes = scans[id(part.store)].bad if id(part.store) in scans else {}
        wrong = {i: causes[r] for i, r in enumerate(part.rows.tolist()) if r in causes} if causes else {}
        bad |= {part.ids[i]: cause for i, cause in wrong.items()}
        parts[split] = part.take([i for i in range(len(part)) if i not in wrong]) if wrong else part
    if bad and on_bad == "error":
        first = "; ".join(f"{name!r}: {cause}" for name, cause in list(bad.items())[:3])
        more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
        n = sum(map(len, source.parts.values()))
        raise DataError(
            f"{source.name}: {len(bad)} of {n} images can't be read: {first}{more}",
            "mend or remove them, or leave them out with on_bad_image='skip' (--on-bad-image skip)",
        )
    lost = {s: tuple(sorted(present(p) - present(parts[s]), key=natural)) for s, p in source.parts.items()}
    empty = {s: (*source.empty.get(s, ()), *lost[s]) for s in parts if s in source.empty or lost[s]}
    return replace(source, parts=parts, empty=empty), bad


def _preprocess(
    source: Source, scans: Scans, img_size: int | tuple[int, int] | None, in_chans: int | None, resize: str
) -> Preprocess:
    """The size asked for, else that of the images where they agree, else at most 224; RGB if any is."""
    part = source.parts.get("train") or source.parts["all"]
    if isinstance(part.store, ArrayStore):
        sizes, deep = np.array([part.store.array.shape[1:3]]), part.store.array.shape[3] > 1
    else:
        found = scans[id(part.store)]
        sizes, deep = found.sizes[part.rows], bool((found.channels[part.rows] > 1).any())
    if img_size is None and len(sizes) and (sizes == sizes[0]).all():
        img_size = (int(sizes[0, 0]), int(sizes[0, 1]))
    elif img_size is None:
        img_size = int(min(224, max(32, np.median(sizes.min(1)) // 32 * 32))) if len(sizes) else 224
    size = (img_size, img_size) if isinstance(img_size, int) else img_size
    c = in_chans or (3 if deep else 1)
    return Preprocess(size, resize, c, (0.0,) * c, (1.0,) * c)


def white_in(source: Source, parts: Iterable[Part], scans: Scans, known: White) -> White:
    """The scale of arrays, or of all files of more than 8 bits together."""
    if not scans:
        return source.white
    used = [scans[id(part.store)].peaks[part.rows] for part in parts]
    integer, real = np.concatenate(used).max(0, initial=0)
    try:
        return white_to(integer, real, known)
    except DataError as e:
        raise DataError(f"{source.name}: {e}", e.hint) from e


def open_caches(
    parts: Iterable[Part], prepare: Preprocess, scans: Scans, kind: str, limit: int | None
) -> dict[int, Cache | None]:
    """One cache a store, whatever splits share it."""
    if kind not in CACHES:
        raise UsageError(f"unknown cache {kind!r}", nearest(kind, CACHES) or f"one of {', '.join(CACHES)}")
    stores = {id(part.store): part.store for part in parts if not eager(part, prepare)}
    return {i: open_cache(kind, _digests(store, scans), prepare, limit) for i, store in stores.items()}


def eager(part: Part, prepare: Preprocess) -> bool:
    """Whether all pixels are kept in memory: arrays of the right size, or that resized don't take much."""
    if not isinstance(part.store, ArrayStore):
        return False
    return part.store.array.shape[1:3] == prepare.size or len(part) * math.prod(prepare.shape) <= EAGER


def _digests(store: Store, scans: Scans) -> Digests:
    return array_digests(store.array) if isinstance(store, ArrayStore) else scans[id(store)].digests


def prepared(
    part: Part,
    classes: Sequence[str],
    several: bool,
    prepare: Preprocess,
    scans: Scans,
    caches: Mapping[int, Cache | None],
) -> Images:
    """The images of a part, labelled by their places in `classes`; pixels are kept where they are few."""
    labels = _labels(part, classes, several)
    if isinstance(part.store, ArrayStore) and eager(part, prepare):
        return ArrayImages(pixels_of(part, part.store, prepare), labels, part.ids, part.weights)
    digests = _digests(part.store, scans)[part.rows]
    cache = caches[id(part.store)]
    return StoredImages(part.store, part.rows, prepare, digests, labels, part.ids, part.weights, cache)


def _labels(part: Part, classes: Sequence[str], several: bool) -> npt.NDArray[Any]:
    number = {c: i for i, c in enumerate(classes)}
    if not several:
        return np.fromiter((number[str(t)] for t in part.targets), np.int64, len(part))
    hot = np.zeros((len(part), len(classes)), np.float32)
    for row, names in zip(hot, part.targets, strict=True):
        row[[number[t] for t in names]] = 1
    return hot


def pixels_of(part: Part, store: ArrayStore, prepare: Preprocess) -> torch.Tensor:
    """Raw arrays -> uint8 (n, c, h, w) of the size and channels of `prepare`."""
    array = store.array
    if len(part) < len(array) or (part.rows != np.arange(len(array))).any():
        array = array[part.rows]
    pixels = np.ascontiguousarray(prepare.fit(channels(array, prepare.channels)))
    return torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())


def _same_classes(name: str, parts: Mapping[str, Part], names: tuple[str, ...]) -> None:
    for split, part in parts.items():
        if strange := sorted(present(part) - set(names), key=natural):
            raise DataError(
                f"{name}: labels of the stored {split} split changed: {some(strange)} not in the stored classes",
                OTHER_DATA,
            )


def _compare(found: DataSet, splits: Mapping[str, Any]) -> None:
    for split, images in found.parts().items():
        now = [f"{d:016x}" for d in images.digests().tolist()]
        stored = splits[split]["digests"]
        if changed := [n for n, a, b in zip(images.ids, now, stored, strict=True) if a != b]:
            raise DataError(
                f"{found.name}: {len(changed)} images of the stored {split} split changed: {some(changed)}",
                OTHER_DATA,
            )
        if fingerprint(images) != splits[split]["fingerprint"]:
            raise DataError(
                f"{found.name}: labels of the stored {split} split changed",
                OTHER_DATA,
            )
