"""Which file of a tree a name in a table means."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from striate.data.tree import Folder, Tree
from striate.errors import DataError


def nfc(text: str) -> str:
    """The composed spelling: macOS takes letters and their accents apart."""
    return unicodedata.normalize("NFC", text)


@dataclass
class Finder:
    """The file that a cell names: as it stands, or completed by a suffix, a folder, or another spelling of Unicode."""

    tree: Tree
    prefix: str  # the table's folder
    anywhere: bool  # or below the root of the tree alone

    def find(self, cell: str) -> str | None:
        """Its path in the tree; None where there is none, DataError where it's outside or one of several."""
        path = cell.replace("\\", "/")
        if os.path.isabs(path) and (not self.anywhere or not os.path.isfile(path)):
            path = self._inner(path)
        elif not os.path.isabs(path):
            path = os.path.normpath(self.prefix + path).replace(os.sep, "/")
        if not self.anywhere and (os.path.isabs(path) or path.split("/")[0] == ".."):
            raise DataError(
                f"path {cell!r} leads out of the folder of the table",
                "give as DATA the folder that holds both",
            )
        if self.tree.has(path):
            return path
        end = "/" + nfc(cell.replace("\\", "/")).removeprefix("./")
        fits = [p for p in self._by_name[end.rpartition("/")[2]] if _ends(p, end)]
        if len(fits) > 1:
            raise DataError(f"file {cell!r} may be {fits[0]!r} or {fits[1]!r}", "write its folder before it")
        return fits[0] if fits else None

    def _inner(self, path: str) -> str:
        """An absolute path below the root, from there on."""
        for root in (os.path.abspath(self.tree.root), os.path.realpath(self.tree.root)):
            if isinstance(self.tree, Folder) and path.startswith(root + os.sep):
                return os.path.normpath(path[len(root) + 1 :]).replace(os.sep, "/")
        return path

    @cached_property
    def _by_name(self) -> Mapping[str, list[str]]:
        """Images by file name, with and without suffix."""
        found: dict[str, list[str]] = defaultdict(list)
        for path in self.tree.images():
            name = nfc(path.rpartition("/")[2])
            for key in {name, os.path.splitext(name)[0]}:
                found[key].append(path)
        return found


def _ends(path: str, end: str) -> bool:
    whole = "/" + nfc(path)
    return whole.endswith(end) or os.path.splitext(whole)[0].endswith(end)
