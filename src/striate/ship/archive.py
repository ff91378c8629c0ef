"""What a `.pt2` may hold before torch is asked to open it.

torch opens pickles in the archive, and a pickle runs what its author wants. The files that striate writes have none:
their weights are plain bytes. What remains, a graph in JSON with expressions that torch evaluates, is like code all
the same, so that such a file is opened only where its certificate vouches for it.
"""

import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from striate.errors import DataError, UsageError

FACTS = "striate.json"  # the extra file inside a .pt2
CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
EXAMPLE = "data/sample_inputs/model.pt"  # a pickle, unless it is empty
TENSOR = re.compile(r"(weight|tensor)_\d+")
KNOWN = re.compile(
    rf"archive_format|archive_version|byteorder|\.data/(version|serialization_id)|models/model\.json|extra/{FACTS}"
    rf"|data/(weights|constants)/{TENSOR.pattern}|{'|'.join(CONFIGS)}|{EXAMPLE}"
)


def facts_in(path: Path) -> dict[str, Any]:
    """What a `.pt2` says about itself, read without torch; DataError for one that striate would not have written."""
    if not path.is_file():
        raise UsageError(f"no file at {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {m.filename.partition("/")[2]: m for m in archive.infolist()}
            if len(members) < len(archive.infolist()):
                raise _refused(path, "two members of one name")
            _plain(path, members)
            tables = [json.loads(archive.read(members[name])) for name in CONFIGS]
            found = json.loads(archive.read(members[f"extra/{FACTS}"]))
    except (zipfile.BadZipFile, KeyError, ValueError, NotImplementedError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is damaged or no file of striate's: {error}") from error
    for entry in (e for table in tables for e in table["config"].values()):
        if entry["use_pickle"] or not TENSOR.fullmatch(entry["path_name"]):
            raise _refused(path, "a pickle")
    return found


def _plain(path: Path, members: Mapping[str, zipfile.ZipInfo]) -> None:
    for name, member in members.items():
        if not KNOWN.fullmatch(name):
            raise _refused(path, repr(name))
        if member.compress_type != zipfile.ZIP_STORED:
            raise _refused(path, f"{name}, packed")
        if name == EXAMPLE and member.file_size:
            raise _refused(path, "a pickle")


def _refused(path: Path, what: str) -> DataError:
    return DataError(f"{path} holds {what}, which torch might run; it is not opened", "export it again")
