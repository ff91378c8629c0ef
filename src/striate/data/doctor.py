"""What is wrong with a data set, before it costs an epoch. Everything is decoded once; no file is ever touched."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np

from striate.data.arrays import ArrayStore
from striate.data.classes import present, some
from striate.data.decode import decode, orientation, verify
from striate.data.folder import FileStore
from striate.data.header import Header, header
from striate.data.near import THUMB, near_pairs
from striate.data.scale import UNKNOWN, White, own_white, white_to
from striate.data.scan import peak
from striate.data.source import Part, Pixels, Source, open_source, trainable
from striate.data.tree import Passed, natural, told
from striate.errors import DataError

TINY = 16  # pixels of the shorter side
NEAR = 32  # pixels of the shorter side under which everything looks alike
BLOCK = 256  # images looked at between two reports of progress
IMBALANCE = 10  # times as many images in the largest class as in the smallest
SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "PNG": (".png",), "WEBP": (".webp",), "BMP": (".bmp",),
    "GIF": (".gif",), "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"), "AVIF": (".avif",), "HEIC": (".heic", ".heif", ".hif"),
}  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """`kind` is one word for scripts, `says` a sentence for people, `files` what it's about."""

    kind: str
    says: str
    files: tuple[str, ...] = ()


@dataclass
class Report:
    """What `check` found in a data set."""

    images: int
    classes: dict[str, int]  # images of each
    splits: dict[str, int]
    problems: list[Problem] = field(default_factory=list)
    passed: Passed = field(default_factory=dict)  # files that are no images, or in no row of the table
    notes: tuple[str, ...] = ()  # what was made of the source, where that isn't plain
    white: White = UNKNOWN  # the scale of images of more than 8 bits

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        problems = [{"kind": p.kind, "says": p.says, "files": list(p.files)} for p in self.problems]
        return {
            "images": self.images,
            "classes": self.classes,
            "splits": self.splits,
            "problems": problems,
            "passed_over": [{"kind": kind, "files": list(files)} for kind, files in self.passed.items()],
            "notes": list(self.notes),
            "white": list(self.white),
        }

    def lines(self, files: int = 5, most: int = 10) -> list[str]:
        """A sentence, then a line a problem with its first `files`; of each kind `most`, then how many more.

        Names are quoted, so that none can break a line.
        """
        of_kind: dict[str, list[Problem]] = defaultdict(list)
        for p in self.problems:
            of_kind[p.kind].append(p)
        n, k = len(self.problems), len(self.classes)
        result = f"{n} problem{'s' * (n > 1)}" if n else "no problem found"
        lines = [f"{self.images:,} images of {k} classes: {result}"]
        if 0 < self.white[0] < 65535:
            bits = self.white[0].bit_length()
            lines.append(f"pixels of more than 8 bits use {bits} of 16: {self.white[0]:,} is taken as white")
        for kind, found in of_kind.items():
            lines += [f"{kind}: {p.says}" + f": {some(p.files, files)}" * bool(p.files) for p in found[:most]]
            lines += [f"{kind}: {len(found) - most} more like these"] if len(found) > most else []
        return [*lines, *told(self.passed), *self.notes]


@dataclass
class Look:
    """What decoding one image has shown."""

    name: str
    split: str
    label: str
    fault: tuple[str, str] | None = None  # kind, cause
    size: tuple[int, int] = (0, 0)
    digest: bytes = b""
    peak: tuple[float, float] = (0.0, 0.0)  # of more than 8 bits: the largest integer, or the largest float
    thumb: Pixels | None = None
    notes: tuple[tuple[str, str], ...] = ()  # kind, what


Progress = Callable[[int, int], None]  # images done, images in all


def check(
    source: object,
    *,
    near: bool = True,
    workers: int | None = None,
    progress: Progress | None = None,
    columns: Mapping[str, str] | None = None,
    offline: bool = False,
) -> Report:
    """Decodes every image and looks for what spoils training; `near` also compares how images look."""
    opened = trainable(open_source(source, columns, offline))
    seen = _look_at_all(opened, workers or min(8, os.cpu_count() or 1), progress)
    found = _structure(opened)
    for kind in ("empty", "bomb", "unreadable"):
        found += [Problem(kind, s.fault[1], (s.name,)) for s in seen if s.fault and s.fault[0] == kind]
    for kind, says in NOTES.items():
        files = tuple(s.name for s in seen if kind in dict(s.notes))
        found += [Problem(kind, says, files)] if files else []
    good = [s for s in seen if not s.fault]
    white = opened.white
    integer, real = np.max([s.peak for s in good] or [(0, 0)], axis=0).tolist()
    try:
        white = white_to(integer, real, white)
    except DataError as e:
        found.append(Problem("scale", str(e)))
    found += _exact(good) + (_alike(good) if near else [])
    counts, splits = _counts(opened.parts.values()), {s: len(p) for s, p in opened.parts.items()}
    return Report(len(seen), counts, splits, found, opened.passed, opened.notes, white)


NOTES = {
    "wrong-extension": "the bytes are of another format than the name says",
    "exif-rotated": "stored turned or mirrored (EXIF); shown upright here, but other programs may not",
    "tiny": f"a side is shorter than {TINY} pixels",
    "constant": "every pixel has the same value",
}


def _look_at_all(source: Source, workers: int, progress: Progress | None) -> list[Look]:
    every = [(split, part, i) for split, part in source.parts.items() for i in range(len(part))]
    seen: list[Look] = []
    with ThreadPoolExecutor(workers) as pool:
        for at in range(0, len(every), BLOCK):
            seen += pool.map(lambda item: _look(*item), every[at : at + BLOCK])
            if progress:
                progress(len(seen), len(every))
    return seen


def _look(split: str, part: Part, i: int) -> Look:
    target, row = part.targets[i], int(part.rows[i])
    look = Look(part.ids[i], split, target if isinstance(target, str) else "|".join(target))
    if isinstance(part.store, ArrayStore):
        image = part.store.array[row]
        _judge(look, image, image.tobytes())
    elif isinstance(part.store, FileStore):
        data = b""
        try:
            data = part.store.encoded(row)
            head = header(data)
            look.peak = peak(data, head) if head.deep else (0.0, 0.0)
            small = decode(data, 3, (NEAR, NEAR), own_white(*look.peak))
            verify(data, head)
        except DataError as e:
            kind = (
                "empty"
                if not data and "empty" in str(e)
                else "bomb"
                if "over the limit of" in str(e)
                else "unreadable"
            )
            look.fault = (kind, str(e))
            return look
        if _flat(small) and head.format == "JPEG":  # at an eighth of its size it shows no fine texture
            small = decode(data, 3)
        _judge(look, small, data, head)
    return look


def _judge(look: Look, pixels: Pixels, content: bytes, head: Header | None = None) -> None:
    import cv2

    look.size = (head.height, head.width) if head else (pixels.shape[0], pixels.shape[1])
    look.digest = blake2b(content, digest_size=16).digest()
    notes = []
    suffix = os.path.splitext(look.name)[1].lower()
    if head and suffix and suffix not in SUFFIXES[head.format]:
        notes.append(("wrong-extension", head.format))
    if head and orientation(content, head) not in (0, 1):
        notes.append(("exif-rotated", ""))
    if head and min(look.size) < TINY:
        notes.append(("tiny", ""))
    if _flat(pixels):
        notes.append(("constant", ""))
    elif min(look.size) >= NEAR:
        small = cv2.resize(pixels, (THUMB, THUMB), interpolation=cv2.INTER_AREA)
        look.thumb = np.broadcast_to(small.reshape(THUMB, THUMB, -1), (THUMB, THUMB, 3)).astype(np.uint8)
    look.notes = tuple(notes)


def _flat(pixels: Pixels) -> bool:
    return bool((pixels == pixels[:1, :1]).all())


def _structure(source: Source) -> list[Problem]:
    """Classes and splits: what can be said without decoding."""
    found = []
    have = {split: present(part) | set(source.empty.get(split, ())) for split, part in source.parts.items()}
    main = have.get("train", have.get("all", set()))
    for split, classes in have.items():
        if added := sorted(classes - main, key=natural):
            found.append(
                Problem("class-mismatch", f"classes of {split} that train doesn't have", tuple(added))
            )
        if source.folders and (missing := sorted(main - classes, key=natural)):
            found.append(
                Problem("class-mismatch", f"classes of train that {split} doesn't have", tuple(missing))
            )
    for split, folders in source.empty.items():
        found.append(Problem("empty-class", f"class folders without an image in {split}", folders))
    if source.stray:
        found.append(Problem("stray", "images that lie in no class folder", source.stray))
    if both := _two_levels(source):
        says = "every class folder holds the same folders: is the class the outer or the inner one?"
        found.append(Problem("class-level", says, both))
    found += _class_names(sorted(main, key=natural))
    counts = _counts(source.parts.values())
    if counts and min(counts.values()) * IMBALANCE < max(counts.values()):
        few = tuple(c for c, n in counts.items() if n * IMBALANCE < max(counts.values()))
        says = f"less than a tenth of the {max(counts.values())} images of {max(counts, key=lambda c: counts[c])!r}"
        found.append(Problem("imbalance", says, few))
    return found


def _two_levels(source: Source) -> tuple[str, ...]:
    """The folders that lie in every class folder, where those are two or more and nothing else lies there."""
    inner: dict[str, set[str]] = defaultdict(set)
    for split, part in source.parts.items() if source.folders else ():
        depth = 1 if split == "all" else 2
        for path, label in zip(part.ids, part.targets, strict=True):
            below = path.split("/")[depth:]
            inner[str(label)].add(below[0] if len(below) > 1 else "")
    same = len(inner) > 1 and len(set(map(frozenset, inner.values()))) == 1
    names = next(iter(inner.values())) if same else set()
    return tuple(sorted(names, key=natural)) if len(names) > 1 and "" not in names else ()


def _class_names(names: list[str]) -> list[Problem]:
    """Names that people or file systems take for one another."""
    found = []
    folded: dict[str, list[str]] = defaultdict(list)
    for name in names:
        folded[unicodedata.normalize("NFKC", name).strip().casefold()].append(name)
        if name != name.strip() or any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in name):
            found.append(
                Problem("class-name", "a class name has blanks around it or characters nobody sees", (name,))
            )
    alike = [tuple(same) for same in folded.values() if len(same) > 1]
    return found + [
        Problem("class-name", "class names that differ in case or spelling only", same) for same in alike
    ]


def _counts(parts: Iterable[Part]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for part in parts:
        for target in part.targets:
            for name in (target,) if isinstance(target, str) else target:
                counts[name] += 1
    return {c: counts[c] for c in sorted(counts, key=natural)}


def _exact(seen: list[Look]) -> list[Problem]:
    groups: dict[bytes, list[Look]] = defaultdict(list)
    for look in seen:
        groups[look.digest].append(look)
    return [_same(group, "duplicate", "the same file") for group in groups.values() if len(group) > 1]


def _alike(seen: list[Look]) -> list[Problem]:
    """Groups of images that look the same but are other files."""
    shown = [s for s in seen if s.thumb is not None]
    thumbs = np.array([s.thumb for s in shown], np.uint8).reshape(-1, THUMB, THUMB, 3)
    group_of = list(range(len(shown)))

    def root(i: int) -> int:
        while group_of[i] != i:
            group_of[i] = i = group_of[group_of[i]]
        return i

    for a, b in near_pairs(thumbs):
        if shown[a].digest != shown[b].digest:
            group_of[root(a)] = root(b)
    groups: dict[int, list[Look]] = defaultdict(list)
    for i, look in enumerate(shown):
        groups[root(i)].append(look)
    return [_same(g, "near-duplicate", "images that look the same") for g in groups.values() if len(g) > 1]


def _same(group: list[Look], kind: str, says: str) -> Problem:
    """Worst first: across splits the test is worth less, across classes a label is wrong."""
    files = tuple(look.name for look in group)
    near = kind == "near-duplicate"
    if len({look.split for look in group}) > 1:
        return Problem("near-leak" if near else "leak", f"{says} in several splits", files)
    if len({look.label for look in group}) > 1:
        return Problem("near-conflict" if near else "conflict", f"{says} in several classes", files)
    return Problem(kind, f"{says} several times", files)
