"""NASNet-A, mobile (4 @ 1056) and large (6 @ 4032).  Zoph et al., 2018, arXiv:1707.07012.

Idea     Search two cells on CIFAR-10, where trying one is cheap, and stack them into a network for ImageNet.
Source   Cells: Fig. 4.  Stack: Fig. 2.  N @ P, N normal cells a stage and P channels at the end: section 4.2.
         Stem of a 3x3/2 convolution and two reduction cells, and which maps the cell after a reduction reads:
         the authors' TensorFlow-Slim code.
Departs  No auxiliary head and no scheduled drop-path.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from striate.layers import AvgPool2d, GlobalAvgPool, MaxPool2d
from striate.layers.chain import chain
from striate.layers.geometry import same_pads
from striate.layers.nas_cell import NASNET_A_NORMAL, NASNET_A_REDUCTION, OPERATIONS, Cell, Operation
from striate.zoo.network import ZooNet
from striate.zoo.registry import Card, register

KERAS: dict[str, Any] = {"padding_counts": "everywhere"}
TIMM: dict[str, Any] = {"padding_counts": "average"}

PaddingCounts = Literal["nowhere", "average", "everywhere"]
Pair = tuple[Tensor, Tensor]  # the last cell's output and that of the one before


class Stem(nn.Module):
    """3x3/2 convolution, two reduction cells.    (n, c, h, w) -> (n, c', h/8, w/8), (n, c'', h/4, w/4)"""

    def __init__(self, c_in: int, width: int, c: int, operations: Mapping[str, Operation]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, width, 3, 2, bias=False)
        self.bn = nn.BatchNorm2d(width, eps=1e-3)
        self.cell1 = Cell(NASNET_A_REDUCTION, width, None, c // 4, 2, operations=operations)
        self.cell2 = Cell(NASNET_A_REDUCTION, self.cell1.c_out, width, c // 2, 2, 2, operations)

    def forward(self, x: Tensor) -> Pair:
        x = self.bn(self.conv(x))
        y = self.cell1(x, x)
        return self.cell2(y, x), y


class Stage(nn.ModuleList):
    """A reduction cell, but for the first stage, and n normal cells on the last two maps.

    Beside the reduction's output the next cell reads the reduction's x or, with `skip_reduction`, its p.
    """

    def __init__(self, cells: list[Cell], skip_reduction: bool) -> None:
        super().__init__(cells)
        self.skip_reduction = skip_reduction

    def forward(self, maps: Pair) -> Pair:
        x, p = maps
        for cell in self:
            skipped = self.skip_reduction and cell.stride == 2
            x, p = cell(x, p), (p if skipped else x)
        return x, p


class Last(nn.Module):
    """relu(x), x being the last of the two maps."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, maps: Pair) -> Tensor:
        return self.relu(maps[0])


def build(
    n: int,
    penultimate: int,
    stem_width: int,
    skip_reduction: bool,
    num_classes: int,
    in_chans: int,
    dropout: float,
    padding_counts: PaddingCounts,
) -> ZooNet:
    """NASNet-A (n @ penultimate)."""
    operations = {**OPERATIONS, **POOLS[padding_counts]}
    c = penultimate // 24
    stem = Stem(in_chans, stem_width, c, operations)
    c_x, c_p, p_stride = stem.cell2.c_out, stem.cell1.c_out, 2
    stages: dict[str, nn.Module] = {}
    for name, width in {"cells1": c, "cells2": 2 * c, "cells3": 4 * c}.items():
        cells = []
        if name != "cells1":
            reduction = Cell(NASNET_A_REDUCTION, c_x, c_p, width, 2, operations=operations)
            cells.append(reduction)
            c_x, c_p, p_stride = reduction.c_out, c_p if skip_reduction else c_x, 2
        for _ in range(n):
            cells.append(Cell(NASNET_A_NORMAL, c_x, c_p, width, 1, p_stride, operations))
            c_x, c_p, p_stride = cells[-1].c_out, c_x, 1
        stages[name] = Stage(cells, skip_reduction)
    stages["end"] = Last()
    head = chain(pool=GlobalAvgPool(), drop=nn.Dropout(dropout), fc=nn.Linear(c_x, num_classes))
    return ZooNet(stem, stages, head, in_chans=in_chans, min_side=3)


class ZeroPadSame(nn.Module):
    """TensorFlow's SAME padding as zeros that take part.    (n, c, h, w) -> (n, c, h + pads, w + pads)"""

    def __init__(self, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, x: Tensor) -> Tensor:
        (top, bottom), (left, right) = (same_pads(s, self.kernel_size, self.stride) for s in x.shape[2:])
        return F.pad(x, (left, right, top, bottom))


def average_of_zeros(c_in: int, c_out: int, stride: int) -> nn.Module:
    """3x3 average; if it shrinks the map, its padding counts as zeros."""
    return AvgPool2d(3, stride, "same", count_include_pad=stride > 1)


def max_of_zeros(c_in: int, c_out: int, stride: int) -> nn.Module:
    """3x3 maximum; if it shrinks the map, the zeros of its padding may win."""
    if stride == 1:
        return MaxPool2d(3, 1, "same")
    return chain(pad=ZeroPadSame(3, stride), pool=MaxPool2d(3, stride))


POOLS: dict[str, dict[str, Operation]] = {
    "nowhere": {},
    "average": {"average3x3": average_of_zeros},
    "everywhere": {"average3x3": average_of_zeros, "max3x3": max_of_zeros},
}


@register(Card("nasnet_mobile", "nasnet", "1707.07012", 2017, (3, 224, 224), min_side=3, params=5_289_978))
def nasnet_mobile(
    num_classes: int = 1000,
    in_chans: int = 3,
    dropout: float = 0.5,
    padding_counts: PaddingCounts = "nowhere",
) -> ZooNet:
    """NASNet-A (4 @ 1056).

    `padding_counts` says in which strided pools the padding takes part as zeros: in none in the authors' code, in
    the averages in timm's (`TIMM`), in all in Keras' (`KERAS`).
    """
    return build(4, 1056, 32, False, num_classes, in_chans, dropout, padding_counts)


@register(Card("nasnet_large", "nasnet", "1707.07012", 2017, (3, 331, 331), min_side=3, params=88_753_150))
def nasnet_large(
    num_classes: int = 1000,
    in_chans: int = 3,
    dropout: float = 0.5,
    padding_counts: PaddingCounts = "nowhere",
) -> ZooNet:
    """NASNet-A (6 @ 4032); arguments as `nasnet_mobile`."""
    return build(6, 4032, 96, True, num_classes, in_chans, dropout, padding_counts)
