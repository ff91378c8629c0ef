"""Images listed in a table: a CSV file, or a data frame; a row an image with its label or several, and more.

Columns are found by the names people give them: a path, a label, and if there are, split, group and weight.
Several labels are one column with `|` or `;` between them, or a column of 0 and 1 for each class.
"""

import codecs
import csv
import io
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html.entities import html5
from pathlib import Path
from typing import Any

import numpy as np

from striate.data.classes import some
from striate.data.finder import Finder, nfc
from striate.data.folder import SPLITS, FileStore, has_classes, is_divided
from striate.data.source import Part, Source
from striate.data.tree import Folder, Tree, natural
from striate.errors import DataError, UsageError, nearest

FLAGS = {"is_valid": "val", "is_val": "val", "is_test": "test"}  # columns of yes and no
ROLES = {
    "path": (
        *("path", "file", "filename", "filepath", "file_name", "file_path", "image", "image_path", "img"),
        *("image_name", "img_name", "image_file", "image_id", "image index", "id"),
    ),
    "label": ("label", "labels", "class", "class_name", "category", "target", "tags"),
    "split": ("split", "subset", "set", "fold", *FLAGS),
    "group": ("group", "group_id", "patient", "patient_id", "subject"),
    "weight": ("weight", "sample_weight"),
}
YES, NO = ("1", "1.0", "true", "yes", "t", "y"), ("", "0", "0.0", "false", "no", "f", "n")
AS_UTF8 = "save it as UTF-8"
OUT = "--columns {}= leaves the column out"


def named_columns(text: str | None) -> dict[str, str]:
    """`path=file,label=kind` -> column by role; `split=` means that no column is."""
    pairs = [part.partition("=") for part in text.split(",")] if text else []
    if wrong := ["".join(p) for p in pairs if not (p[0].strip() and p[1])]:
        raise UsageError(f"columns: expected ROLE=NAME, got {wrong[0]!r}", f"roles are {', '.join(ROLES)}")
    return {role.strip(): name.strip() for role, _, name in pairs}


@dataclass
class Table:
    """Columns of equal length, and for each row how an error calls it."""

    name: str
    columns: dict[str, list[str]]
    lines: Sequence[int]  # of the file; 1 is the header

    def fail(self, row: int, says: str, hint: str = "") -> DataError:
        return DataError(f"{self.name!r}, line {self.lines[row]}: {says}", hint)


def of_images(tree: Tree, columns: Mapping[str, str] | None) -> str | None:
    """The table that says what the images of this tree are; None where their folders do, or nothing.

    Where images lie in class folders, that is a table with file names and labels for most of them; folders that are
    splits count more than any table.
    """
    tables = [f for f in tree.files() if f.lower().endswith((".csv", ".tsv"))]
    if not tables:
        return None
    classes = has_classes(tree)
    if classes and not columns and is_divided(tree):
        return None
    meant = tables if len(tables) == 1 and (columns or not classes) else _listing(tree, tables, columns or {})
    if len(meant) > 1 or (columns and not meant):
        which = "more than one of them lists" if meant else "none of them lists"
        says = f"{tree.root!r}: of the tables {some(tables)} {which} these images"
        raise DataError(says, "give one as DATA")
    return meant[0] if meant else None


def _listing(tree: Tree, tables: Sequence[str], columns: Mapping[str, str]) -> list[str]:
    """The tables that have more than half of the images in their rows."""
    found, half = [], len(tree.images()) // 2
    for path in tables:
        try:
            data = tree.read(path)
            # a table for every image, say: none needs to be parsed
            if max(data.count(b"\n"), data.count(b"\r")) <= half:
                continue
            table = read_csv(data, path)
            files = Finder(tree, _folder(path), anywhere=False)
            column = table.columns[_roles(table, columns)["path"]]
            listed = {files.find(value) for value in column} - {None}
        except DataError:
            continue
        if len(listed) > half:
            found.append(path)
    return found


def _folder(path: str) -> str:
    folder = path.rpartition("/")[0]
    return folder + "/" if folder else ""


def from_csv(tree: Tree, path: str, name: str, columns: Mapping[str, str] | None = None) -> Source:
    """Paths are relative to the CSV file, or what only one image below the root of the tree ends in."""
    return _source(read_csv(tree.read(path), path), Finder(tree, _folder(path), False), name, columns or {})


def from_frame(frame: Any, root: str | Path = ".", columns: Mapping[str, str] | None = None) -> Source:
    """A pandas (or polars) data frame; paths are relative to `root`, or absolute."""
    found = {str(c): [_text(v) for v in frame[c].to_list()] for c in frame.columns}
    n = len(next(iter(found.values()), []))
    files = Finder(Folder(str(root)), "", anywhere=True)
    return _source(Table("data frame", found, range(n)), files, "frame", columns or {})


def _text(cell: Any) -> str:
    """A cell as a CSV file would have it: what is missing is empty."""
    if isinstance(cell, list | tuple | set | np.ndarray):
        return "|".join(sorted(map(str, cell)))
    missing = cell is None or (not isinstance(cell, str) and str(cell) in ("nan", "<NA>", "NaT"))
    return "" if missing else str(cell)


def read_csv(data: bytes, name: str) -> Table:
    """UTF-8 with or without BOM, or UTF-16 with one; any line ending; comma, semicolon or tab."""
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        raise DataError(f"{name!r}, line {line}: not UTF-{16 if wide else 8} text", AS_UTF8) from e
    if "\0" in text:
        raise DataError(f"{name!r}, line 1: not UTF-8 text, it seems to be UTF-16 without its mark", AS_UTF8)
    first = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    rows, lines = [], []
    try:
        head = [c.strip() for c in next(reader, [])]
        for row in reader:
            if row and len(row) != len(head):
                raise DataError(
                    f"{name!r}, line {reader.line_num}: {len(row)} values for {len(head)} columns"
                )
            if row:
                rows.append([v.strip() for v in row])
                lines.append(reader.line_num)
    except csv.Error as e:
        raise DataError(f"{name!r}, line {reader.line_num}: {e}") from e
    if not rows:
        raise DataError(f"{name!r}: no rows under the header")
    if doubled := [c for i, c in enumerate(head) if c in head[:i]]:
        raise DataError(f"{name!r}, line 1: column {doubled[0]!r} is there twice")
    return Table(name, {c: list(v) for c, v in zip(head, zip(*rows, strict=True), strict=True)}, lines)


def _source(table: Table, files: Finder, name: str, columns: Mapping[str, str]) -> Source:
    roles = _roles(table, columns)
    paths = _paths(table, roles["path"], files)
    targets, classes, several = _targets(table, roles)
    weights = _weights(table, roles.get("weight"))
    groups = table.columns[roles["group"]] if "group" in roles else None
    if groups is not None:
        groups = [group or f"\0{row}" for row, group in enumerate(groups)]  # no group: alone
    ids = [path.removeprefix(files.prefix) for path in paths]
    whole = Part(ids, targets, FileStore(files.tree, paths), np.arange(len(paths)), groups, weights)
    notes = _notes(table, columns, roles, targets, classes, paths, files.prefix)
    if "split" not in roles:
        return Source(name, {"all": whole}, classes, several, table=True, notes=notes)
    rows: dict[str, list[int]] = {}
    for row, split in enumerate(_split_words(table, roles["split"])):
        rows.setdefault(split, []).append(row)
    parts = {split: whole.take(taken) for split, taken in rows.items()}
    return Source(name, parts, classes, several, table=True, notes=notes)


def _notes(
    table: Table,
    given: Mapping[str, str],
    roles: Mapping[str, str],
    targets: Any,
    classes: tuple[str, ...] | None,
    paths: Sequence[str],
    prefix: str,
) -> tuple[str, ...]:
    """What was made of the table, for the user to nod or to frown at."""
    notes = [f"{table.name}: " + ", ".join(f"{role} is column {column!r}" for role, column in roles.items())]
    if "weight" in roles and "weight" not in given:
        notes.append(
            f"column {roles['weight']!r} is what an image counts in the loss; {OUT.format('weight')}"
        )
    unsplit = "column {!r} divides nothing: no value of it is train, val or test"
    notes += map(unsplit.format, _no_splits(table, given))
    if unread := _unread(table, {*roles.values(), *(classes or ()), *_no_splits(table, given)}):
        notes.append(f"not used: {some(unread)}")
    if classes:
        notes.append(f"several labels an image: columns {some(classes)}")
    elif targets and isinstance(targets[0], tuple):
        labels = table.columns[roles["label"]]
        lists = [row for row, names in enumerate(targets) if names != (nfc(labels[row]),)]
        where = f"line {table.lines[lists[0]]}: {labels[lists[0]]!r}"
        notes.append(f"several labels an image: {len(lists)} of {len(targets)} rows, the first in {where}")
    cells = table.columns[roles["path"]]
    bare = [row for row, cell in enumerate(cells) if _completed(cell, paths[row], prefix)]
    if bare:
        first = f"{cells[bare[0]]!r} is {paths[bare[0]]!r}"
        notes.append(f"{len(bare)} of {len(paths)} file names were completed: {first}")
    return tuple(notes)


def _unread(table: Table, used: set[str]) -> list[str]:
    """The columns that nothing is taken from; flags are read together."""
    flags = FLAGS if {c.lower() for c in used} & FLAGS.keys() else ()
    return [c for c in table.columns if c and c not in used and c.lower() not in flags]


def _completed(cell: str, path: str, prefix: str) -> bool:
    said = cell.replace("\\", "/")
    return not os.path.isabs(said) and nfc(os.path.normpath(prefix + said).replace(os.sep, "/")) != nfc(path)


def _split_words(table: Table, column: str) -> list[str]:
    """train, val or test for each row."""
    if column.lower() in FLAGS:
        flags = {c: FLAGS[c.lower()] for c in table.columns if c.lower() in FLAGS}
        words = ["train"] * len(table.columns[column])
        for flag, split in flags.items():
            for row, value in enumerate(table.columns[flag]):
                if value.lower() not in (*YES, *NO):
                    raise table.fail(row, f"{flag} {value!r} is neither yes nor no")
                words[row] = split if value.lower() in YES else words[row]
        return words
    for row, word in enumerate(table.columns[column]):
        if word.lower() not in SPLITS:
            says = f"split {word!r} is none of train, val, test"
            raise table.fail(row, says, nearest(word, SPLITS) or OUT.format("split"))
    return [SPLITS[word.lower()] for word in table.columns[column]]


def _no_splits(table: Table, given: Mapping[str, str]) -> list[str]:
    """The columns called like a split in which nothing is one (numbers of folds, say)."""
    words = set(ROLES["split"]) - set(FLAGS)
    called = [c for c in table.columns if c.lower() in words and c not in given.values()]
    return [
        c for c in called if "split" not in given and not any(v.lower() in SPLITS for v in table.columns[c])
    ]


def _roles(table: Table, given: Mapping[str, str]) -> dict[str, str]:
    """Which column is what; those named by the caller first."""
    have = ", ".join(map(repr, table.columns))
    roles = {}
    for role, column in given.items():
        if role not in ROLES:
            raise UsageError(
                f"unknown column role {role!r}", nearest(role, ROLES) or f"one of {', '.join(ROLES)}"
            )
        if column and column not in table.columns:
            raise DataError(f"{table.name!r}, line 1: no column {column!r}; there are {have}")
        if column:
            roles[role] = column
    taken = {*roles.values(), *_no_splits(table, given)}
    for role, words in ROLES.items():
        matching = [c for c in table.columns if c.lower() in words and c not in taken]
        if role not in given and matching:
            roles[role] = min(matching, key=lambda c, words=words: words.index(c.lower()))  # type: ignore[misc]
    if "path" not in roles:
        raise DataError(
            f"{table.name!r}, line 1: no column of file names; there are {have}",
            "name it 'path' or say which it is: --columns path=NAME",
        )
    if "label" not in roles and not _flags(table, roles):
        hint = "name it 'label' or say which it is (--columns label=NAME), or give each class a column of 0 and 1"
        raise DataError(f"{table.name!r}, line 1: no column of labels; there are {have}", hint)
    return roles


def _flags(table: Table, roles: Mapping[str, str]) -> list[str]:
    """The columns left over, if every value in them is 0 or 1."""
    left = [c for c in table.columns if c not in roles.values() and c.lower() not in ROLES["split"]]
    return left if left and all(set(table.columns[c]) <= {"0", "1", "0.0", "1.0"} for c in left) else []


def _targets(table: Table, roles: Mapping[str, str]) -> tuple[Any, tuple[str, ...] | None, bool]:
    """Class names, or tuples of them; the classes if they are columns; whether an image has several."""
    if "label" not in roles:
        flags = _flags(table, roles)
        hot = [[v.startswith("1") for v in table.columns[c]] for c in flags]
        chosen = [tuple(c for c, v in zip(flags, row, strict=True) if v) for row in zip(*hot, strict=True)]
        return chosen, tuple(flags), True
    column = [nfc(value) for value in table.columns[roles["label"]]]
    parts = {value: _parted(value) for value in set(column) if value}
    if _is_list(parts):
        return [parts.get(value, ()) for value in column], None, True
    for row, value in enumerate(column):
        if not value:
            raise table.fail(row, f"column {roles['label']!r} is empty")
    return column, None, False


def _parted(value: str) -> tuple[str, ...]:
    """The labels in one cell: `cat|indoors`, `cat; indoors`; the semicolon of `&amp;` parts nothing."""
    kept = re.sub(
        r"&(#?\w+;)", lambda m: m[0][:-1] + "\0" if m[1][0] == "#" or m[1] in html5 else m[0], value
    )
    found = {part.strip().replace("\0", ";") for part in re.split("[|;]", kept)} - {""}
    return tuple(sorted(found, key=natural))


def _is_list(parts: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether cells hold lists: with a bar always; with semicolons if all do, or if one's parts are known elsewhere."""
    several = {value for value, names in parts.items() if names != (value.strip(),)}
    if any("|" in value for value in several) or (several and len(several) == len(parts)):
        return True
    uses: dict[str, int] = defaultdict(int)
    for names in parts.values():
        for name in names:
            uses[name] += 1
    return any(uses[name] > 1 for value in several for name in parts[value])


def _weights(table: Table, column: str | None) -> Any:
    if column is None:
        return None
    weights = np.empty(len(table.columns[column]), np.float32)
    for row, value in enumerate(table.columns[column]):
        try:
            weights[row] = float(value)
        except ValueError:
            weights[row] = -1
        if not 0 <= weights[row] < np.inf:
            raise table.fail(row, f"weight {value!r} is no number of 0 or more", OUT.format("weight"))
    return weights


def _paths(table: Table, column: str, files: Finder) -> list[str]:
    """Every path is there, once, and inside."""
    seen: dict[str, int] = {}
    for row, value in enumerate(table.columns[column]):
        try:
            path = files.find(value)
        except DataError as e:
            raise table.fail(row, str(e), e.hint) from e
        if path is None:
            raise table.fail(row, f"no file {value!r}")
        if path in seen:
            raise table.fail(row, f"file {value!r} is listed before, in line {table.lines[seen[path]]}")
        seen[path] = row
    return list(seen)
