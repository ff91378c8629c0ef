"""One class list, taken from train, stored, and held against every other split.

Class numbers that shift because a folder is missing in one split score every image wrongly, and silently.
"""

from collections.abc import Sequence
from pathlib import Path

from striate.data.finder import nfc
from striate.data.source import Part, Source
from striate.data.tree import natural
from striate.errors import DataError


def given_classes(classes: Sequence[str] | str | Path) -> list[str]:
    """A list of names, or a text file with one a line, in order."""
    if isinstance(classes, (str, Path)):
        try:
            lines = Path(classes).read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as e:
            raise DataError(
                f"{str(classes)!r}: can't read class names: {e}", "one name a line, in order"
            ) from e
        classes = [line.strip() for line in lines if line.strip()]
    classes = [nfc(name) for name in classes]
    if doubled := [c for i, c in enumerate(classes) if c in classes[:i]]:
        raise DataError(f"class {doubled[0]!r} is named twice")
    return classes


def class_list(
    source: Source, given: Sequence[str] | None = None, allow_empty: bool = False
) -> tuple[str, ...]:
    """The classes of train (or all) in natural order, once every other split agrees with them."""
    if source.empty and not allow_empty:
        split, folders = next(iter(source.empty.items()))
        where = "" if split == "all" else f" in {split}/"
        raise DataError(
            f"{source.name}: class folder {folders[0]!r}{where} holds no image",
            "remove the folder, or keep the class with allow_empty (--allow-empty)",
        )
    have = {split: present(part) | set(source.empty.get(split, ())) for split, part in source.parts.items()}
    main = "all" if "all" in have else "train"
    names = list(given or source.classes or sorted(have[main], key=natural))
    of = "the given list" if given else main
    for split, found in have.items():
        says = []
        if added := found - set(names):
            says.append(f"{some(sorted(added, key=natural))} not in {of}")
        if (missing := set(names) - found) and source.folders and not allow_empty:
            says.append(f"{some(sorted(missing, key=natural))} missing")
        if says:
            raise DataError(f"{source.name}: the classes of {split} are not those of {of}: {'; '.join(says)}")
    if not names:
        raise DataError(f"{source.name}: no images")
    if len(names) < 2:
        raise DataError(f"{source.name}: one class only ({names[0]!r}); telling apart needs two")
    return tuple(names)


def present(part: Part) -> set[str]:
    """The classes that at least one image of the part has."""
    return {t for many in set(part.targets) for t in ((many,) if isinstance(many, str) else many)}


def some(names: Sequence[str], most: int = 5) -> str:
    """The first few names, quoted, and how many more there are."""
    return ", ".join(map(repr, names[:most])) + (
        f" and {len(names) - most} more" if len(names) > most else ""
    )
