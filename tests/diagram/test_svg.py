from pathlib import Path
from xml.etree import ElementTree

import pytest
from torch import nn

from striate import zoo
from striate.diagram import build, to_svg
from striate.diagram.drawing import COLOURS, GREY

EXAMPLES = Path(__file__).parents[2] / "examples" / "diagrams"
SVG = "{http://www.w3.org/2000/svg}"


def drawn(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(to_svg(build(text)))


def words(svg: ElementTree.Element) -> list[str]:
    return [str(t.text) for t in svg.iter(f"{SVG}text")]


def test_shapes_stand_on_the_arrows_where_they_change() -> None:
    found = words(drawn("INPUT(28,28,1) => CONV(32) => RELU => POOL => CONV(32) => FC(10)"))
    conv, pool = ["CONV", "3×3 32", "RELU"], ["POOL", "2×2 /2"]
    assert found[:9] == ["INPUT", "28×28×1", *conv, "28×28×32", *pool, "14×14×32"]
    assert found.count("14×14×32") == 1  # the second convolution keeps the shape


def test_repeats_and_names_are_written_above_their_frames() -> None:
    found = words(
        drawn("res = { CONV(3) => BN + SKIP } => RELU\nINPUT(8,8,3) => res*4 => { CONV(1) | CONV(2) } => GAP")
    )
    assert "res ×4" in found
    assert {"8×8×1", "8×8×2"} <= set(found)


def test_a_legend_names_the_colours_in_use() -> None:
    found = words(drawn("INPUT(8,8,3) => CONV => BN => RELU => FC(2)"))
    assert found[-5:] == ["convolution", "dense", "normalisation", "activation", "shape"]


@pytest.mark.parametrize("name", ["googlenet", "resnet18", "lenet5"])
def test_examples_fit_a_page(name: str) -> None:
    svg = drawn((EXAMPLES / f"{name}.diagram").read_text())
    assert float(svg.attrib["width"]) <= 1124
    assert float(svg.attrib["height"]) <= 1800


def test_zoo_networks_are_grouped_by_their_stages() -> None:
    svg = ElementTree.fromstring(to_svg(zoo.build("resnet20_cifar"), (3, 32, 32)))
    names = [t.text for t in svg.iter(f"{SVG}text") if t.attrib["class"] == "n"]
    assert {"head"} <= set(names)
    assert sum("×" in str(name) for name in names) >= 3


def test_names_of_modules_are_escaped_and_cut() -> None:
    net = nn.Sequential()
    net.add_module(
        "<script>alert(1)</script>" + "x" * 10_000, nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1))
    )
    text = to_svg(net, (3, 4, 4))
    assert "<script>" not in text
    assert len(text) < 10_000
    ElementTree.fromstring(text)


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(a: str, b: str) -> float:
    dark, light = sorted((_luminance(a), _luminance(b)))
    return (light + 0.05) / (dark + 0.05)


def test_text_reads_on_every_colour_and_labels_on_light_and_dark_pages() -> None:
    assert all(_contrast("#111111", colour) > 7 for colour, _ in COLOURS.values())
    assert _contrast(GREY, "#ffffff") >= 4.5
    assert _contrast(GREY, "#000000") >= 4.5
