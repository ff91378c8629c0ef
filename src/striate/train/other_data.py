"""Other data than a run's own: what of it is asked for, and which of its images the run has seen before.

Data that isn't divided as asked, and that is the run's own or part of it, keeps the run's division. An image is known
by its name and digest, or by its digest alone where the data has no such split.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from striate.data import Images
from striate.data.classes import some
from striate.data.files import read_file
from striate.data.header import header
from striate.data.scan import file_digest
from striate.data.source import Digests
from striate.data.splits import SPLITS
from striate.data.whole import Whole
from striate.errors import DataError, UsageError

Known = tuple[str, str]  # id, digest


class Seen:
    """The images of a run by the split that they were in, from what it stored of its splits."""

    def __init__(self, stored: Mapping[str, Any]) -> None:
        self.named: dict[Known, str] = {}
        self.digests: dict[str, set[str]] = {}
        for split in SPLITS:
            ids, digests = (stored[split][key] if stored else [] for key in ("ids", "digests"))
            self.named |= dict.fromkeys(zip(ids, digests, strict=True), split)
            self.digests[split] = set(digests)

    def homes(self, ids: Sequence[str], digests: Sequence[str], by_name: bool) -> list[str | None]:
        """The split of each image; of copies in several splits, the one that was kept away from training counts."""
        at = {} if by_name else {d: split for split in SPLITS for d in self.digests[split]}
        return [self.named.get(key) or at.get(key[1]) for key in zip(ids, digests, strict=True)]

    def file(self, path: Path | str) -> str | None:
        """The split that an image file was in, under whatever name; None for what can't be read, too."""
        try:
            data = read_file(path)
            digest = f"{file_digest(data, header(data).format):016x}"
        except (DataError, OSError):
            return None
        return next((split for split in SPLITS if digest in self.digests[split]), None)

    def overlap(self, images: Images, split: str) -> Counter[str]:
        """How many of the images, which a network judged on `split` should be new to, were in an earlier split."""
        found = Counter[str]()
        for key in zip(images.ids, written(images.digests()), strict=True):
            if self.named.get(key) != split:
                earlier = (s for s in SPLITS[: SPLITS.index(split)] if key[1] in self.digests[s])
                found.update(islice(earlier, 1))
        return found


@dataclass(frozen=True)
class Chosen:
    """Images to judge a network on, from one store or several, and what is to be said about their choice."""

    images: Sequence[Images]
    notes: tuple[str, ...] = ()


def written(digests: Digests) -> list[str]:
    """As a run stores them."""
    return [f"{d:016x}" for d in digests.tolist()]


def choose(whole: Whole, seen: Seen, split: str | None = None) -> Chosen:
    """The images of `whole` in `split`, by default "test": by the data's own division, else by the run's.

    Where neither knows a test split, the data is taken whole. Raises UsageError where there is no other such split,
    DataError for a class that the network doesn't know.
    """
    wanted = split or "test"
    parts, divided = whole.source.parts, wanted in whole.source.parts
    digests = {name: written(whole.digests(part)) for name, part in parts.items()}
    homes = {name: seen.homes(part.ids, digests[name], by_name=divided) for name, part in parts.items()}
    whole.refuse_strangers([parts[wanted]] if divided else parts.values())
    if divided:
        rows = {name: _at(wanted, (home or name for home in homes[name])) for name in parts}
    elif wanted != "test" or _recognised(homes, digests, seen):
        rows = {name: _at(wanted, homes[name]) for name in parts}
    else:
        rows = {}
    notes = [_out(whole.skipped, "can't be read")] if whole.skipped else []
    notes += [_out(stray, "in no class folder")] if (stray := whole.source.stray) else []
    if any(rows.values()):
        told = [wanted] if divided else list(parts)
        strange = not divided  # else what the run doesn't know is taken
        left = Counter(h for name in told for h in homes[name] if h != wanted and (h is not None or strange))
        notes += [_left_out(wanted, left)] if left else []
    elif wanted == "test" and not divided:
        rows = {name: list(range(len(part))) for name, part in parts.items()}
        if split or "all" not in parts:
            notes.append(f"there is no test split: all {sum(map(len, parts.values())):,} images are taken")
    else:
        has = ", ".join(name for name in parts if name != "all")
        raise UsageError(
            f"{whole.source.name} has no {wanted} split" + (f", only {has}" if has else ": it isn't divided"),
            "without --split its test split is taken, or all of it",
        )
    images = [whole.images(parts[name].take(taken)) for name, taken in rows.items() if taken]
    return Chosen(images, (*notes, *_missing(images, whole.classes)))


def _recognised(
    homes: Mapping[str, Sequence[str | None]], digests: Mapping[str, Sequence[str]], seen: Seen
) -> bool:
    """Whether this is the run's own data: nothing else, or with all of its test split among it."""
    tested = seen.digests["test"]
    whole = {digest for some_of in digests.values() for digest in some_of}
    return all(None not in found for found in homes.values()) or bool(tested and tested <= whole)


def _at(wanted: str, homes: Iterable[str | None]) -> list[int]:
    return [i for i, home in enumerate(homes) if home == wanted]


def overlap_told(chosen: Sequence[Images], seen: Seen, split: str) -> str:
    """A warning, where images were part of the run's training; else empty."""
    counts = sum((seen.overlap(images, split) for images in chosen), Counter[str]())
    return told(sum(map(len, chosen)), counts)


def told(n: int, counts: Mapping[str | None, int] | Mapping[str, int]) -> str:
    """The sentence for `n` images, some of which were in the splits of a run."""
    did = {"train": "trained the run", "val": "chose its best epoch"}
    said = [f"{counts[earlier]:,} {what}" for earlier, what in did.items() if counts.get(earlier)]
    return f"of {n:,} images, {' and '.join(said)}: that says little of new images" if said else ""


def _left_out(wanted: str, left: Mapping[str | None, int]) -> str:
    did = {"train": "trained it", "val": "chose its best epoch", "test": "tested it", None: "it doesn't know"}
    said = [f"{left[home]:,} that {what}" for home, what in did.items() if left.get(home)]
    return f"the run knows this data and takes its own {wanted} split; left out are {', '.join(said)}"


def _out(names: Iterable[str], why: str) -> str:
    found = list(names)
    return f"{len(found):,} left out, {why}: {some(found)}"


def _missing(images: Sequence[Images], classes: Sequence[str]) -> list[str]:
    there: set[int] = set()
    for part in images:
        there |= set((part.labels.nonzero()[1] if part.labels.ndim == 2 else part.labels).tolist())
    lacking = [name for i, name in enumerate(classes) if i not in there]
    return [f"there is no image of {some(lacking)}"] if lacking else []
