"""Cells of the NASNet search space: blocks of two operations on two earlier maps, added or concatenated.

Zoph et al., 2018, arXiv:1707.07012: the space in section 3, its details in appendix A, NASNet-A in Fig. 4.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from striate.errors import UsageError, nearest
from striate.layers.chain import chain
from striate.layers.conv import Conv2d
from striate.layers.merge import Concat
from striate.layers.pool import AvgPool2d, MaxPool2d
from striate.layers.separable import SeparableConv2d

Merge = Literal["add", "concat"]
Size = int | tuple[int, int]
Operation = Callable[[int, int, int], nn.Module]  # (c_in, c_out, stride) -> an operation


@dataclass(frozen=True, slots=True)
class Block:
    """left_op(state[left]) + right_op(state[right]), or the two side by side."""

    left: int
    left_op: str
    right: int
    right_op: str
    merge: Merge = "add"


@dataclass(frozen=True, slots=True)
class CellPlan:
    """State 0 is the last cell's output, 1 that of the one before, 2, 3, ... those of the blocks.

    `output` names the states that leave the cell, side by side; if empty, all blocks that no block has used.
    """

    blocks: tuple[Block, ...]
    output: tuple[int, ...] = ()

    def leaving(self) -> tuple[int, ...]:
        """The states that leave the cell."""
        used = {state for block in self.blocks for state in (block.left, block.right)}
        return self.output or tuple(i for i in range(2, len(self.blocks) + 2) if i not in used)


def relu_conv_bn(
    c_in: int, c_out: int, kernel_size: Size = 1, stride: Size = 1, dilation: int = 1
) -> nn.Sequential:
    """bn(w * relu(x)), the order everywhere in a cell.    (n, c_in, h, w) -> (n, c_out, h / s, w / s)"""
    conv = Conv2d(c_in, c_out, kernel_size, stride, dilation=dilation, bias=False)
    return chain(relu=nn.ReLU(), conv=conv, bn=nn.BatchNorm2d(c_out, eps=1e-3))


def _identity(c_in: int, c_out: int, stride: int) -> nn.Module:
    """The map itself; where it has other channels or must shrink, a 1x1 convolution of it."""
    return nn.Identity() if (c_in, stride) == (c_out, 1) else relu_conv_bn(c_in, c_out, 1, stride)


def _separable(kernel_size: int, c_in: int, c_out: int, stride: int) -> nn.Sequential:
    """The separable convolution twice, as appendix A says; the first one strides."""
    return chain(
        relu1=nn.ReLU(),
        separable1=SeparableConv2d(c_in, c_out, kernel_size, stride, bias=False),
        bn1=nn.BatchNorm2d(c_out, eps=1e-3),
        relu2=nn.ReLU(),
        separable2=SeparableConv2d(c_out, c_out, kernel_size, bias=False),
        bn2=nn.BatchNorm2d(c_out, eps=1e-3),
    )


def _factorised(n: int, c_in: int, c_out: int, stride: int) -> nn.Sequential:
    """1 x n, then n x 1, each striding along its own axis."""
    row = relu_conv_bn(c_in, c_out, (1, n), (1, stride))
    return nn.Sequential(row, relu_conv_bn(c_out, c_out, (n, 1), (stride, 1)))


def _convolution(kernel_size: int, dilation: int, c_in: int, c_out: int, stride: int) -> nn.Sequential:
    return relu_conv_bn(c_in, c_out, kernel_size, stride, dilation)


def _pool(
    pool: type[AvgPool2d | MaxPool2d], kernel_size: int, c_in: int, c_out: int, stride: int
) -> nn.Module:
    pooled = pool(kernel_size, stride, "same")
    return pooled if c_in == c_out else chain(pool=pooled, project=relu_conv_bn(c_in, c_out))


OPERATIONS: dict[str, Operation] = {
    "identity": _identity,
    "conv1x3_3x1": partial(_factorised, 3),
    "conv1x7_7x1": partial(_factorised, 7),
    "conv1x1": partial(_convolution, 1, 1),
    "conv3x3": partial(_convolution, 3, 1),
    "dilated3x3": partial(_convolution, 3, 2),
    "separable3x3": partial(_separable, 3),
    "separable5x5": partial(_separable, 5),
    "separable7x7": partial(_separable, 7),
    "average3x3": partial(_pool, AvgPool2d, 3),
    "max3x3": partial(_pool, MaxPool2d, 3),
    "max5x5": partial(_pool, MaxPool2d, 5),
    "max7x7": partial(_pool, MaxPool2d, 7),
}


def factorised_reduction(c_in: int, c_out: int) -> nn.Sequential:
    """Half the size without losing rows: 1x1/2 beside 1x1/2 one pixel further down and right.

    (n, c_in, h, w) -> (n, c_out, h / 2, w / 2)
    """
    first, second = c_out // 2, c_out - c_out // 2
    shifted = chain(shift=nn.ZeroPad2d((-1, 1, -1, 1)), conv=nn.Conv2d(c_in, second, 1, 2, bias=False))
    paths = Concat(nn.Conv2d(c_in, first, 1, 2, bias=False), shifted)
    return chain(relu=nn.ReLU(), paths=paths, bn=nn.BatchNorm2d(c_out, eps=1e-3))


class Pairwise(nn.Module):
    """left(a) + right(b), or the two side by side.    two (n, c, h, w) -> (n, c or 2c, h / s, w / s)"""

    def __init__(self, left: nn.Module, right: nn.Module, merge: Merge) -> None:
        super().__init__()
        self.left, self.right, self.merge = left, right, merge

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        left, right = self.left(a), self.right(b)
        return left + right if self.merge == "add" else torch.cat((left, right), dim=1)


class Cell(nn.Module):
    """A normal (stride 1) or reduction (stride 2) cell.    x, p -> (n, c_out, h / s, w / s)

    x (n, c_x, h, w) is the last cell's output, p (n, c_p, h * p_stride, w * p_stride) that of the one before;
    both are brought to c channels first. Without a cell before (`c_p` None) x stands in for p, as it is.
    Operations on x and p stride. `c_out` is how many channels leave.
    """

    def __init__(
        self,
        plan: CellPlan,
        c_x: int,
        c_p: int | None,
        c: int,
        stride: int = 1,
        p_stride: int = 1,
        operations: Mapping[str, Operation] = OPERATIONS,
    ) -> None:
        super().__init__()
        self.current = relu_conv_bn(c_x, c)
        self.previous: nn.Module = nn.Identity()
        if c_p is not None:
            self.previous = factorised_reduction(c_p, c) if p_stride == 2 else relu_conv_bn(c_p, c)
        self.plan, self.stride = plan, stride
        self.blocks = nn.ModuleList()
        widths = [c, c_x if c_p is None else c]
        for i, block in enumerate(plan.blocks):
            left, right = (
                _operation(operations, name, state, i)(widths[state], c, stride if state < 2 else 1)
                for state, name in ((block.left, block.left_op), (block.right, block.right_op))
            )
            self.blocks.append(Pairwise(left, right, block.merge))
            widths.append(c if block.merge == "add" else 2 * c)
        self.c_out = sum(widths[state] for state in plan.leaving())

    def forward(self, x: Tensor, p: Tensor) -> Tensor:
        states = [self.current(x), self.previous(p)]
        for block, pairwise in zip(self.plan.blocks, self.blocks, strict=True):
            states.append(pairwise(states[block.left], states[block.right]))
        return torch.cat([states[i] for i in self.plan.leaving()], dim=1)


def _operation(operations: Mapping[str, Operation], name: str, state: int, block: int) -> Operation:
    """The operation called `name`, after a check that block number `block` may read `state`."""
    if not 0 <= state < block + 2:
        raise UsageError(f"block {block} reads state {state}, but only 0 to {block + 1} exist before it")
    if name not in operations:
        known = ", ".join(operations)
        raise UsageError(f"unknown operation {name!r}", hint=nearest(name, operations) or f"known: {known}")
    return operations[name]


NASNET_A_NORMAL = CellPlan(
    (
        Block(0, "separable5x5", 1, "separable3x3"),
        Block(1, "separable5x5", 1, "separable3x3"),
        Block(0, "average3x3", 1, "identity"),
        Block(1, "average3x3", 1, "average3x3"),
        Block(0, "separable3x3", 0, "identity"),
    ),
    output=(1, 2, 3, 4, 5, 6),
)
NASNET_A_REDUCTION = CellPlan(
    (
        Block(0, "separable5x5", 1, "separable7x7"),
        Block(0, "max3x3", 1, "separable7x7"),
        Block(0, "average3x3", 1, "separable5x5"),
        Block(2, "average3x3", 3, "identity"),
        Block(2, "separable3x3", 0, "max3x3"),
    ),
    output=(3, 4, 5, 6),
)
