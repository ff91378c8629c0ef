"""Sheets hold the pixels they should at the places they should."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from striate.data import load, look, planes, preview, values
from striate.data.sheets import CELL, GAP, LINE, save, sheet
from striate.errors import DataError, UsageError


def cell(page: Image.Image, column: int, row: int, size: int = CELL) -> np.ndarray:
    x, y = GAP + column * (size + GAP), GAP + row * (size + LINE + GAP)
    return np.asarray(page)[y : y + size, x : x + size]


def test_first_images_with_their_labels() -> None:
    data = load("digits")
    page = look("digits", 9)
    first = data.train.read([0])[0, 0].numpy()
    shown = cell(page, 0, 0)[
        CELL // 16 :: CELL // 8, CELL // 16 :: CELL // 8
    ]  # the middle of each of the 8x8 pixels
    assert (shown[..., 0] == first).all()
    assert look(data, 9).tobytes() == page.tobytes()
    with pytest.raises(UsageError, match="no split 'all'"):
        look(data, split="all")


def test_preview_shows_originals_and_variants() -> None:
    data = load("digits")
    page = preview(data, [{"name": "horizontal_flip", "p": 1.0}], n=3, variants=2)
    assert page.width == 3 * (CELL + GAP) + GAP
    for row in range(3):
        assert (cell(page, 1, row) == cell(page, 0, row)[:, ::-1]).all()
    assert preview(data, "digits", seed=1).tobytes() == preview(data, "digits", seed=1).tobytes()
    assert preview(data, "digits", seed=1).tobytes() != preview(data, "digits", seed=2).tobytes()
    preview(data, ["mixup", "cutmix"])


def test_labels_of_several(tmp_path: Path) -> None:
    x = np.zeros((20, 8, 8), np.uint8)
    data = load((x, np.tile([[1, 0, 1], [0, 1, 0]], (10, 1))))
    look(data, 4)
    assert data.several


def test_planes_and_values(tmp_path: Path) -> None:
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[0, 1] = (10, 20, 30)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert values(tmp_path / "a.png") == (
        "red 2x3\n  0  10   0\n  0   0   0\n\ngreen 2x3\n  0  20   0\n  0   0   0\n\nblue 2x3\n  0  30   0\n  0   0   0"
    )
    page = planes(tmp_path / "a.png")
    middle = CELL // 2
    top = middle - CELL // 6
    assert [int(cell(page, c, 0)[top, middle, 0]) for c in (1, 2, 3)] == [10, 20, 30]
    grey = torch.arange(4, dtype=torch.uint8).view(1, 2, 2).numpy()
    assert values(grey) == "grey 2x2\n  0   1\n  2   3"
    large = values(np.full((3, 500, 300), 7, np.uint8), most=10)
    assert large.startswith("red 10x6\n  7   7")


def test_unwritable_picture(tmp_path: Path) -> None:
    page = sheet([(np.zeros((3, 4, 4), np.uint8), "a\nb" * 99)], 1)
    assert save(page, tmp_path / "new" / "a.png").is_file()
    with pytest.raises(DataError, match="can't be written"):
        save(page, tmp_path / "a.nonsense")
