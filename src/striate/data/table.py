"""Images listed in a table: a CSV file, or a data frame; a row an image with its label or several, and more.

Columns are found by the names people give them: a path, a label, and if there are, split, group and weight.
Several labels are one column with `|` or `;` between them, or a column of 0 and 1 for each class.
"""

import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from striate.data.files import read_file
from striate.data.folder import SPLITS, FileStore
from striate.data.source import Part, Source
from striate.data.tree import Tree, natural
from striate.errors import DataError, UsageError, nearest

ROLES = {
    "path": ("path", "file", "filename", "filepath", "file_name", "image", "image_path", "img"),
    "label": ("label", "labels", "class", "class_name", "category", "target", "tags"),
    "split": ("split", "subset", "set", "fold"),
    "group": ("group", "group_id", "patient", "subject"),
    "weight": ("weight", "sample_weight"),
}


def named_columns(text: str | None) -> dict[str, str]:
    """`path=file,label=kind` -> column by role."""
    pairs = [part.partition("=") for part in text.split(",")] if text else []
    if wrong := ["".join(p) for p in pairs if not (p[0].strip() and p[2].strip())]:
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


def from_csv(tree: Tree, path: str, name: str, columns: Mapping[str, str] | None = None) -> Source:
    """Paths are relative to the CSV file and stay below its folder."""
    folder = path.rpartition("/")[0]
    return _source(read_csv(tree.read(path), path), tree, folder + "/" if folder else "", name, columns or {})


def from_frame(frame: Any, root: str | Path = ".", columns: Mapping[str, str] | None = None) -> Source:
    """A pandas (or polars) data frame; paths are relative to `root`, or absolute."""
    found = {str(c): [_text(v) for v in frame[c].to_list()] for c in frame.columns}
    n = len(next(iter(found.values()), []))
    return _source(Table("data frame", found, range(n)), Files(str(root)), "", "frame", columns or {})


def _text(cell: Any) -> str:
    """A cell as a CSV file would have it: what is missing is empty."""
    missing = cell is None or (not isinstance(cell, str) and str(cell) in ("nan", "<NA>", "NaT"))
    return "" if missing else str(cell)


@dataclass
class Files:
    """Any file that the caller names, below `root` or not."""

    root: str

    def has(self, path: str) -> bool:
        return os.path.isfile(os.path.join(self.root, path))

    def read(self, path: str) -> bytes:
        return read_file(os.path.join(self.root, path))

    def files(self) -> list[str]:
        return []

    def folders(self) -> list[str]:
        return []


def read_csv(data: bytes, name: str) -> Table:
    """UTF-8 with or without BOM, any line ending, comma, semicolon or tab."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        raise DataError(f"{name!r}, line {line}: not UTF-8 text") from e
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


def _source(table: Table, tree: Any, prefix: str, name: str, columns: Mapping[str, str]) -> Source:
    roles = _roles(table, columns)
    paths = _paths(table, roles["path"], tree, prefix)
    targets, classes, several = _targets(table, roles)
    weights = _weights(table, roles.get("weight"))
    groups = table.columns[roles["group"]] if "group" in roles else None
    if groups is not None:
        groups = [group or f"\0{row}" for row, group in enumerate(groups)]  # no group: alone
    store = FileStore(tree, [prefix + p if not os.path.isabs(p) else p for p in paths])
    whole = Part(paths, targets, store, np.arange(len(paths)), groups, weights)
    if "split" not in roles:
        return Source(name, {"all": whole}, classes, several)
    rows: dict[str, list[int]] = {}
    for row, word in enumerate(table.columns[roles["split"]]):
        if word.lower() not in SPLITS:
            raise table.fail(row, f"split {word!r} is none of train, val, test", nearest(word, SPLITS))
        rows.setdefault(SPLITS[word.lower()], []).append(row)
    if "train" not in rows:
        raise DataError(f"{table.name!r}: no row of column {roles['split']!r} is 'train'")
    return Source(name, {s: whole.take(r) for s, r in rows.items()}, classes, several)


def _roles(table: Table, given: Mapping[str, str]) -> dict[str, str]:
    """Which column is what; those named by the caller first."""
    have = ", ".join(map(repr, table.columns))
    roles = {}
    for role, column in given.items():
        if role not in ROLES:
            raise UsageError(
                f"unknown column role {role!r}", nearest(role, ROLES) or f"one of {', '.join(ROLES)}"
            )
        if column not in table.columns:
            raise DataError(f"{table.name!r}, line 1: no column {column!r}; there are {have}")
        roles[role] = column
    for role, words in ROLES.items():
        matching = [c for c in table.columns if c.lower() in words and c not in roles.values()]
        if role not in roles and matching:
            roles[role] = min(matching, key=lambda c, words=words: words.index(c.lower()))  # type: ignore[misc]
    if "path" not in roles:
        raise DataError(
            f"{table.name!r}, line 1: no column of file names; there are {have}", "name it 'path'"
        )
    if "label" not in roles and not _flags(table, roles):
        hint = "name it 'label', or give each class a column of 0 and 1"
        raise DataError(f"{table.name!r}, line 1: no column of labels; there are {have}", hint)
    return roles


def _flags(table: Table, roles: Mapping[str, str]) -> list[str]:
    """The columns left over, if every value in them is 0 or 1."""
    left = [c for c in table.columns if c not in roles.values()]
    return left if left and all(set(table.columns[c]) <= {"0", "1", "0.0", "1.0"} for c in left) else []


def _targets(table: Table, roles: Mapping[str, str]) -> tuple[Any, tuple[str, ...] | None, bool]:
    """Class names, or tuples of them; the classes if they are columns; whether an image has several."""
    if "label" not in roles:
        flags = _flags(table, roles)
        hot = [[v.startswith("1") for v in table.columns[c]] for c in flags]
        chosen = [tuple(c for c, v in zip(flags, row, strict=True) if v) for row in zip(*hot, strict=True)]
        return chosen, tuple(flags), True
    column = table.columns[roles["label"]]
    if any("|" in v or ";" in v for v in column):
        parts = [tuple(sorted({p.strip() for p in re.split("[|;]", v)} - {""}, key=natural)) for v in column]
        return parts, None, True
    for row, value in enumerate(column):
        if not value:
            raise table.fail(row, f"column {roles['label']!r} is empty")
    return column, None, False


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
            raise table.fail(row, f"weight {value!r} is no number of 0 or more")
    return weights


def _paths(table: Table, column: str, tree: Any, prefix: str) -> list[str]:
    """Every path is there, once, and inside."""
    seen: dict[str, int] = {}
    outside = not isinstance(tree, Files)
    for row, value in enumerate(table.columns[column]):
        path = value.replace("\\", "/")
        path = path if os.path.isabs(path) else os.path.normpath(path).replace(os.sep, "/")
        if outside and (os.path.isabs(path) or path.split("/")[0] == ".."):
            raise table.fail(row, f"path {value!r} leads out of the folder of the table")
        if path in seen:
            raise table.fail(row, f"file {value!r} is listed before, in line {table.lines[seen[path]]}")
        if not tree.has(path if os.path.isabs(path) else prefix + path):
            raise table.fail(row, f"no file {value!r}")
        seen[path] = row
    return list(seen)
