"""The table says what the numbers are, at any width of terminal."""

import io
import re

import pytest
from rich.console import Console
from torch import nn

from striate.anatomy import anatomy, memory
from striate.anatomy.render import human_bytes


def net() -> nn.Module:
    layers = (nn.Conv2d(3, 64, (3, 5), bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 15 * 14, 10))


def shown(width: int) -> str:
    out = io.StringIO()
    a = anatomy(net(), (3, 32, 32), batch=8, name="small")
    Console(file=out, width=width).print(a.table(width, memory(net(), (3, 32, 32), 8, "sgd")))
    return out.getvalue()


def test_a_wide_table_has_everything() -> None:
    text = shown(140)
    assert re.search(r"0 +Conv2d +64x30x28 +2,880 +3\*5\*3\*64 +2,419,200 +3x5 +1 +1.64 MiB", text)
    assert re.search(r"5 +Linear +10 +134,410 +\(13440 \+ 1\)\*10 +134,400", text)
    assert "parameters       137,418 (Keras counts 137,546, with running statistics)" in text
    assert "multiply-adds    2,553,600 for one image" in text
    assert "receptive field  4x6 pixels, one value every 2" in text
    assert "first-dense-layer" in text


def test_what_is_not_counted_is_said() -> None:
    class Foreign(nn.Module):
        def forward(self, x):  # type: ignore[no-untyped-def]
            return x.cumsum(1)

    out = io.StringIO()
    Console(file=out, width=100).print(anatomy(Foreign(), (3, 8, 8)).table())
    assert "at least 0" in out.getvalue()
    assert "not counted      cumsum" in out.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
def test_no_line_is_wider_than_the_terminal_and_no_number_is_cut(width: int) -> None:
    text = shown(width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert "2,419,200" in text


def test_bytes_for_people() -> None:
    assert [human_bytes(n) for n in (0, 999, 1024, 1_048_576, 300 * 2**20, 5 * 2**30)] == [
        "0 B",
        "999 B",
        "1 KiB",
        "1 MiB",
        "300 MiB",
        "5 GiB",
    ]
