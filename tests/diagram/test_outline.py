"""Networks that no diagram can say, drawn part by part."""

from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor, nn

from striate import zoo
from striate.diagram import to_svg, to_text
from striate.diagram.outline import read_parts
from striate.errors import UsageError


class Crossing(nn.Module):
    """b reads a, c reads a and b, the sum reads b and c."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
        self.b = nn.Conv2d(4, 4, 1)
        self.c = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        b = self.b(a)
        c = self.c(torch.cat((a, b), 1))
        return torch.cat((torch.sin(b), c), 1).mean((2, 3))


def test_parts_know_what_they_read() -> None:
    parts = read_parts(Crossing(), (3, 8, 8))
    assert [part.path or part.type for part in parts] == [
        *("INPUT", "a.0", "a.1", "b", "cat", "c", "sin", "cat", "mean")
    ]
    assert [part.inputs for part in parts] == [(), (0,), (1,), (2,), (2, 3), (4,), (3,), (5, 6), (7,)]


def test_what_no_diagram_says_is_drawn_all_the_same() -> None:
    with pytest.raises(UsageError):
        to_text(Crossing(), (3, 8, 8))
    svg = to_svg(Crossing(), (3, 8, 8))
    assert svg.count("marker-end") == 1  # in the style
    edges = [line for line in ElementTree.fromstring(svg).iter() if line.attrib.get("class") == "l a"]
    assert len(edges) == 10  # one for every input above


def test_nasnet_shows_that_every_cell_reads_the_two_before_it() -> None:
    with torch.device("meta"):
        net = zoo.build("nasnet_mobile")
    parts = read_parts(net, (3, 224, 224))
    cells = [i for i, part in enumerate(parts) if part.type == "Cell"]
    assert len(cells) == 2 + 3 * 4 + 2
    assert all(parts[i].inputs == (i - 2, i - 1) for i in cells[1:])
    assert {part.frame for part in parts} >= {
        "stem",
        "stages.cells1",
        "stages.cells2",
        "stages.cells3",
        "head",
    }
