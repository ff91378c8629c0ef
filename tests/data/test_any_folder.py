"""Folders of good and bad files at random: what `check` and `load` say is what was put in."""

import io
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from striate.data import check, load

SUFFIXES = {
    "JPEG": (".jpg", ".JPEG", ".jfif"), "PNG": (".png", ".PNG"), "WEBP": (".webp",), "BMP": (".bmp",),
    "GIF": (".gif",), "TIFF": (".tif", ".tiff"), "PPM": (".ppm",), "AVIF": (".avif",),
}  # fmt: skip
BAD = {  # content -> the problem it is under an image's name
    b"": "empty",
    b"<html>404 not found</html>": "unreadable",
    b"version https://git-lfs.github.com/spec/v1\n": "unreadable",
    b"\x89PNG\r\n\x1a\n cut short": "unreadable",
}
OTHER = {  # content -> its kind under a name that promises nothing
    b"a list of names\n": "text",
    b"BMI,age\n22,30\n": "text",
    b"version https://git-lfs.github.com/spec/v1\n": "Git LFS pointer",
    b"%PDF-1.7": "PDF",
    b"PK\3\4": "ZIP",
    b"\0\0\0\x14ftypqt  ": "video",
    bytes(20): "unknown",
    b"": "empty",
}
PICTURES = {bytes(128) + b"DICM", b"\xff\x0a JPEG XL", b"FUJIFILMCCD-RAW"}  # unreadable under any name


@dataclass
class Planted:
    """Files by path, and what is to be said of them."""

    files: dict[str, bytes] = field(default_factory=dict)
    good: dict[str, str] = field(default_factory=dict)  # path -> class
    bad: dict[str, str] = field(default_factory=dict)  # path -> problem
    odd: set[str] = field(default_factory=set)  # of another format than the name says
    passed: dict[str, str] = field(default_factory=dict)  # path -> kind


@cache
def picture(kind: str, seed: int) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), np.uint8)
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


@st.composite
def trees(draw: st.DrawFn) -> Planted:
    """Two to four classes with up to three folders in each, an image at least, and anything between."""
    found = Planted()
    names = draw(
        st.lists(st.sampled_from(("cat", "Hund", "füchse", "7", "a b")), min_size=2, max_size=4, unique=True)
    )
    number = 0
    for label in names:
        kinds = draw(
            st.lists(st.sampled_from(("good", "good", "bad", "picture", "other", "hidden")), max_size=6)
        )
        for what in ("good", *kinds):
            number += 1
            stem = label + draw(st.sampled_from(("/", "/", "/deep/er/"))) + f"{number}"
            plant(found, draw, what, stem, label, number)
    return found  # fmt: skip


def plant(found: Planted, draw: st.DrawFn, what: str, stem: str, label: str, number: int) -> None:
    if what == "good":
        kind = draw(st.sampled_from(sorted(SUFFIXES)))
        suffix = draw(st.sampled_from((*SUFFIXES[kind], "", ".dat", ".png", ".jpg")))
        found.files[stem + suffix] = picture(kind, number)
        found.good[stem + suffix] = label
        if suffix and suffix.lower() not in map(str.lower, SUFFIXES[kind]):
            found.odd.add(stem + suffix)
    elif what == "bad":
        content = draw(st.sampled_from(sorted(BAD)))
        found.files[stem + ".jpg"] = content
        found.bad[stem + ".jpg"] = BAD[content]
    elif what == "picture":
        path = stem + draw(st.sampled_from(("", ".dcm", ".jpg")))
        found.files[path] = draw(st.sampled_from(sorted(PICTURES)))
        found.bad[path] = "unreadable"
    elif what == "other":
        path = stem + draw(st.sampled_from(("", ".txt", ".bin")))
        found.files[path] = draw(st.sampled_from(sorted(OTHER)))
        found.passed[path] = OTHER[found.files[path]]
    else:
        folder, kind = draw(
            st.sampled_from(((".thumbs/", "hidden"), ("@eaDir/", "system"), ("__MACOSX/.x/", "system")))
        )
        path = f"{label}/{folder}{number}.jpg"
        found.files[path] = picture("JPEG", number)
        found.passed[path] = kind


@contextmanager
def written(tree: Planted) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())
    try:
        for path, data in tree.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        yield folder
    finally:
        shutil.rmtree(folder)


def holds(tree: Planted) -> None:
    passed: dict[str, set[str]] = {}
    for path, kind in tree.passed.items():
        passed.setdefault(kind, set()).add(path)
    with written(tree) as folder:
        report = check(folder, near=False)
        assert report.images == len(tree.good) + len(tree.bad)
        labels = [*tree.good.values(), *(path.split("/")[0] for path in tree.bad)]
        assert report.classes == Counter(labels)
        assert {kind: set(files) for kind, files in report.passed.items()} == passed
        problems: dict[str, str] = {}
        for problem in report.problems:
            assert problem.kind in ("empty", "unreadable", "wrong-extension"), problem
            assert not set(problem.files) & set(problems)
            problems |= dict.fromkeys(problem.files, problem.kind)
        assert problems == tree.bad | dict.fromkeys(tree.odd, "wrong-extension")
        data = load(folder, on_bad_image="skip", cache="off")
        assert {path for part in data.parts().values() for path in part.ids} == set(tree.good)
        assert set(data.skipped) == set(tree.bad)
        assert data.passed == report.passed
        for part in data.parts().values():
            assert [data.classes[k] for k in part.labels] == [tree.good[path] for path in part.ids]


@settings(max_examples=40, deadline=None, phases=(Phase.explicit, Phase.generate), derandomize=True)
@given(tree=trees())
def test_what_is_said_is_what_was_put_in(tree: Planted) -> None:
    holds(tree)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=trees())
def test_what_is_said_is_what_was_put_in_for_long(tree: Planted) -> None:
    holds(tree)
