"""Networks that no diagram can say, drawn part by part."""

from xml.etree import ElementTree

import pytest
import timm
import torch
import torchvision
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


class Tokens(nn.Module):
    """Patches, channels last; attention among tokens; a map again."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, 6, 4, 4), nn.LayerNorm(6)
        self.mix, self.merge = nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(24, 12)
        self.last = nn.Conv2d(12, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.patches(x).permute(0, 2, 3, 1))
        n, h, w, c = x.shape
        y = x.flatten(1, 2)
        x = (y + self.mix(y, y, y, need_weights=False)[0]).view(n, h, w, c)
        x = x.view(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).flatten(3)
        return self.last(self.merge(x).permute(0, 3, 1, 2)).mean((2, 3))


def test_sizes_are_told_whichever_way_the_dimensions_lie() -> None:
    parts = read_parts(Tokens(), (3, 32, 16))
    sizes = {part.path: part.size for part in parts if part.path}
    assert sizes == {
        "patches": "8×4×6",
        "norm": "8×4×6",
        "mix": "32 tokens × 6",
        "merge": "4×2×12",
        "last": "4×2×5",
    }
    assert (parts[0].size, parts[-1].size) == ("32×16×3", "5")


@pytest.mark.parametrize(
    "name", ["torchvision/swin_t", "torchvision/maxvit_t", "timm/swin_tiny_patch4_window7_224"]
)
def test_stages_of_windowed_transformers(name: str) -> None:
    library, _, name = name.partition("/")
    with torch.device("meta"):
        net = timm.create_model(name) if library == "timm" else torchvision.models.get_model(name)
    sizes = [part.size for part in read_parts(net, (3, 224, 224))]
    sides = [size.split("×") for size in dict.fromkeys(sizes) if "×" in size]
    assert all(len(side) == 3 and side[0] == side[1] for side in sides)
    assert [side[0] for side in sides if side[0] != "1"][-4:] == ["56", "28", "14", "7"]


def test_what_is_no_map_and_no_tokens_is_given_as_torch_has_it() -> None:
    class Windows(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(3, 2, 4, 2, 4).permute(1, 3, 0, 2, 4).reshape(4, 3, 4, 4)

    assert read_parts(nn.Sequential(Windows(), nn.Flatten()), (3, 8, 8))[1].size == "(4, 3, 4, 4)"


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
