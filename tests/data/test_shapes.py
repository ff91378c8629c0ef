"""The same pictures for the same arguments, real JPEGs, classes that can be learnt and not by colour."""

from pathlib import Path

import numpy as np
import pytest

from striate.data import load, make_shapes
from striate.data.header import header
from striate.data.shapes import SHAPES
from striate.errors import UsageError


def test_a_folder_of_real_jpegs(tmp_path: Path) -> None:
    root = make_shapes(tmp_path / "shapes", classes=5, per_class=8)
    files = sorted(root.rglob("*.jpg"))
    assert len(files) == 40
    assert {f.parent.name for f in files} == {"circle", "square", "triangle", "star", "cross"}
    assert all(header(f.read_bytes()).format == "JPEG" for f in files)
    data = load(root)
    assert data.shape == (3, 96, 96)
    assert len(data.classes) == 5


def test_reproducible(tmp_path: Path) -> None:
    a, b, c = (make_shapes(tmp_path / n, 3, 4, 48, seed) for n, seed in (("a", 1), ("b", 1), ("c", 2)))
    first, second, other = ([f.read_bytes() for f in sorted(r.rglob("*.jpg"))] for r in (a, b, c))
    assert first == second
    assert not set(first) & set(other)


def test_shape_and_not_colour_is_the_class(tmp_path: Path) -> None:
    """A linear classifier on the mean colour knows nothing; one on the outline does."""
    root = make_shapes(tmp_path / "shapes", classes=3, per_class=60, size=32)
    data = load(root, split=(1, 0, 0))
    x = data.train.read(range(180)).float()
    means = x.mean((2, 3)).numpy()
    centres = np.stack([means[data.train.labels == k].mean(0) for k in range(3)])
    guess = ((means[:, None] - centres) ** 2).sum(2).argmin(1)
    assert (guess == data.train.labels).mean() < 0.55


def test_every_shape_can_be_drawn(tmp_path: Path) -> None:
    root = make_shapes(tmp_path / "all", classes=len(SHAPES), per_class=1, size=64)
    assert {f.parent.name for f in root.rglob("*.jpg")} == set(SHAPES)
    for points in (s() for s in SHAPES.values()):
        assert max(abs(v) for p in points for v in p) <= 1.3


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UsageError, match="not an empty folder"):
        make_shapes(tmp_path)
    for arguments in ({"classes": 1}, {"classes": 99}, {"per_class": 0}, {"size": 4}):
        with pytest.raises(UsageError, match="expected"):
            make_shapes(tmp_path / "new", **arguments)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()
