"""Charts at coordinates worked out by hand, pictures read back by Pillow."""

import base64
import io
import re
import xml.etree.ElementTree as ET

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from striate.train.charts import Line, decades, filters, line_chart, picture, ticks


def read(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2]))))


def test_points_are_where_the_axes_say() -> None:
    line = Line("training", [(1, 0.0), (3, 2.0)], "training")
    svg = line_chart("Loss", [line], "epoch", "nats", "{:g}".format)
    root = ET.fromstring(svg)
    path = root.find("./g[@class='training']/path")
    assert path is not None
    # the frame is 52..348 wide, 14..190 high: epochs 1 to 3 from left to right, 0 at its foot, 2 at its top
    assert path.get("d") == "M52.0 190.0 L348.0 14.0"
    assert [t.text for t in root.iter("text")] == ["0", "0.5", "1", "1.5", "2", "1", "2", "3", "epoch"]
    assert [t.text for t in root.iter("title")] == ["training, epoch 1: 0", "training, epoch 3: 2"]


def test_a_loss_that_falls_far_gets_a_logarithmic_axis() -> None:
    line = Line("training", [(1, 10.0), (2, 1.0), (3, 0.1)], "training")
    root = ET.fromstring(line_chart("Loss", [line], "epoch", "nats", "{:g}".format, log=True))
    path = root.find("./g/path")
    assert path is not None
    assert path.get("d") == "M52.0 14.0 L200.0 102.0 L348.0 190.0"  # equal ratios, equal steps
    assert [t.text for t in root.iter("text")][:3] == ["0.1", "1", "10"]
    assert len(decades(1e-30, 1e3)) <= 8


def test_what_was_not_measured_is_not_drawn() -> None:
    nan, infinity = float("nan"), float("inf")
    lines = [Line("a", [(1, nan), (2, 5.0), (3, infinity)], "a"), Line("b", [(1, nan)], "b")]
    root = ET.fromstring(line_chart("t", lines, "x", "y", str))
    assert [g.get("class") for g in root.iter("g")] == ["a"]
    assert len(list(root.iter("circle"))) == 1
    assert line_chart("t", lines[1:], "x", "y", str) == ""


def test_many_points_carry_no_discs() -> None:
    svg = line_chart("t", [Line("a", [(i, i) for i in range(1, 1001)], "a")], "epoch", "y", str)
    assert "circle" not in svg
    assert len(svg) < 40_000


def test_names_are_escaped() -> None:
    svg = line_chart("<b>&", [Line("</title><script>", [(1, 1.0)], "a")], "x", "y", str)
    assert "<script>" not in svg
    assert "<b>" not in svg


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 8))
def test_ticks_enclose_the_range_evenly(low: float, span: float, about: int) -> None:
    found = ticks(low, low + span, about)
    assert found == sorted(set(found))
    steps = np.diff(found)
    assert np.allclose(steps, steps[0], rtol=1e-3)
    tolerance = 1e-6 * float(steps[0])
    assert found[0] <= low + tolerance
    assert found[-1] >= low + span - tolerance
    assert re.fullmatch(r"[125]e[+-]\d\d", f"{steps[0]:.0e}")
    assert len(found) <= about + 2


@given(st.integers(1, 50), st.integers(0, 1000))
def test_epochs_get_whole_ticks_inside_the_run(first: int, more: int) -> None:
    found = ticks(first, first + more, 5, whole=True)
    assert found
    assert all(isinstance(x, int) and first <= x <= first + more for x in found)
    assert len(found) <= 6


def test_small_pictures_are_exact() -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    assert (read(picture(grey)) == grey[..., 0]).all()
    colour = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    assert (read(picture(colour)) == colour).all()


def test_large_pictures_are_made_small() -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 640).astype(np.uint8)[None, :, None], (480, 640, 3))
    uri = picture(np.ascontiguousarray(ramp))
    assert uri.startswith("data:image/jpeg;base64,")
    shrunk = read(uri)
    assert shrunk.shape == (144, 192, 3)
    assert abs(float(shrunk.mean()) - 127.5) < 2
    assert len(uri) < 8000


def test_filters_share_one_scale_with_grey_for_zero() -> None:
    weights = np.zeros((2, 1, 1, 3), dtype=np.float32)
    weights[0, 0, 0] = (-2.0, 0.0, 2.0)
    weights[1, 0, 0] = (1.0, -1.0, 0.0)
    first, second = map(read, filters(weights))
    assert first.tolist() == [[0, 128, 255]]
    assert second.tolist() == [[191, 64, 128]]
    assert read(filters(np.zeros((1, 3, 2, 2), np.float32))[0]).tolist() == [[[128] * 3] * 2] * 2


def test_a_flat_curve_still_has_an_axis() -> None:
    assert ticks(0.0, 0.0, 4) == [0.0, 0.5]
    assert ticks(5.0, 5.0, 4) == [4.0, 6.0]
    assert ticks(3, 3, 5, whole=True) == [3]
