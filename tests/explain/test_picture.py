"""Colours and places of a picture, at values worked out by hand."""

import os
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest

from striate.explain.picture import (
    BAR,
    GAP,
    LINE,
    Panel,
    Scale,
    heat_scale,
    overlay,
    sheet,
    signed_scale,
    stretch,
)  # fmt: skip


@pytest.mark.parametrize(
    "backend", ["module://not_installed.backend", "module://matplotlib_inline.backend_inline"]
)
def test_a_window_that_a_notebook_asks_for_is_not_needed(backend):
    """matplotlib refuses to be imported where MPLBACKEND names a module that isn't installed, as `!striate` has it."""
    code = (
        "import numpy as np; from striate.explain.picture import Scale; "
        "from striate.explain.health_chart import _figure; "
        "_figure(1); print(Scale(0, 1).paint(np.ones((1, 1))).tolist())"
    )
    environment = {**os.environ, "MPLBACKEND": backend}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "[[[252, 255, 164]]]\n", done.stderr  # the end of inferno


def test_a_scale_paints_its_ends_with_the_ends_of_the_colour_map():
    colours = np.round(255 * np.array([mpl.colormaps["inferno"](v)[:3] for v in (0, 255)]))
    painted = Scale(2.0, 4.0).paint(np.array([[2.0, 4.0, 9.0, -1.0]]))
    assert painted[0, 0].tolist() == painted[0, 3].tolist() == colours[0].tolist()
    assert painted[0, 1].tolist() == painted[0, 2].tolist() == colours[1].tolist()
    assert (Scale(0.0, 0.0).paint(np.zeros((2, 2))) == colours[0]).all()  # nothing found: no division by 0


def test_scales_from_values():
    assert heat_scale(np.array([0.0, 5.0]), "u") == Scale(0.0, 5.0, "u")
    assert signed_scale(np.array([-3.0, 1.0])).low == -3
    assert signed_scale(np.array([-3.0, 1.0])).high == 3


def test_an_overlay_keeps_its_share_of_the_image():
    image = np.full((1, 1, 3), 100, np.uint8)
    scale = Scale(0.0, 1.0, colours="gray")
    assert overlay(image, np.ones((1, 1)), scale, 0.25).tolist() == [[[139, 139, 139]]]  # 75 + 63.75
    assert overlay(image, np.ones((1, 1)), scale, 0.0).tolist() == [[[100, 100, 100]]]


def test_a_sheet_has_every_panel_in_its_place_with_its_bar():
    red, blue = (np.full((2, 2, 3), c, np.uint8) for c in ([255, 0, 0], [0, 0, 255]))
    page = np.asarray(sheet([Panel(red), Panel(blue, "b", Scale(0, 1, "u", "gray"))], 2, cell=64))
    height = LINE + 64 + BAR + LINE + 4
    assert page.shape == (2 * GAP + height, 3 * GAP + 128, 3)
    assert (page[GAP + LINE : GAP + LINE + 64, GAP : GAP + 64] == [255, 0, 0]).all()
    assert (page[GAP + LINE : GAP + LINE + 64, 2 * GAP + 64 : 2 * GAP + 128] == [0, 0, 255]).all()
    bar = page[GAP + LINE + 64 + 4, 2 * GAP + 64 : 2 * GAP + 128, 0]
    assert (bar[0], bar[-1]) == (0, 255)


def test_a_signed_picture_is_grey_at_0():
    values = np.array([[[0.0, 1.0, -1.0, 0.0]]])  # standard deviation sqrt(1/2)
    assert stretch(values, 2**0.5)[0, :, 0].tolist() == [128, 255, 0, 128]
    assert (stretch(np.zeros((3, 2, 2))) == 128).all()
