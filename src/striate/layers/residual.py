"""Residual blocks and what they are made of.

He et al., 2015, arXiv:1512.03385 (basic, bottleneck, shortcuts A and B); He et al., 2016, arXiv:1603.05027
(pre-activation); Xie et al., 2017, arXiv:1611.05431 (aggregated: a bottleneck whose 3x3 has groups).
"""

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from striate.layers.chain import chain
from striate.layers.conv import Conv2d

Norm = Callable[[int], nn.Module]


class Residual(nn.Module):
    """relu(f(x) + shortcut(x)).    (n, c_in, h, w) -> (n, c_out, h', w')"""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut or nn.Identity()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.body(x) + self.shortcut(x))


def plain(body: nn.Module) -> nn.Sequential:
    """relu(f(x)): the block without its shortcut, for comparison."""
    return chain(body=body, relu=nn.ReLU())


class PreActivation(nn.Module):
    """f(a) + shortcut(x) with a = relu(bn(x)); a shortcut that projects starts from a as well.

    (n, c_in, h, w) -> (n, c_out, h', w').  arXiv:1603.05027, Fig. 4 (e).
    """

    def __init__(
        self,
        c_in: int,
        body: nn.Module,
        shortcut: nn.Module | None = None,
        projects: bool = False,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.bn = norm(c_in)
        self.relu = nn.ReLU()
        self.body = body
        self.shortcut = shortcut or nn.Identity()
        self.projects = projects

    def forward(self, x: Tensor) -> Tensor:
        a = self.relu(self.bn(x))
        return self.body(a) + self.shortcut(a if self.projects else x)


def basic(
    c_in: int,
    c_out: int,
    stride: int = 1,
    *,
    padding: int | Literal["same"] = 1,
    bias: bool = False,
    norm: Norm = nn.BatchNorm2d,
) -> nn.Sequential:
    """bn(3x3(relu(bn(3x3(x))))).    (n, c_in, h, w) -> (n, c_out, h / s, w / s)"""
    conv = Conv2d if padding == "same" else nn.Conv2d  # TensorFlow's SAME is asymmetric at stride 2
    return chain(
        conv1=conv(c_in, c_out, 3, stride, padding, bias=bias),
        bn1=norm(c_out),
        relu1=nn.ReLU(),
        conv2=conv(c_out, c_out, 3, 1, padding, bias=bias),
        bn2=norm(c_out),
    )


def bottleneck(
    c_in: int,
    width: int,
    c_out: int,
    stride: int = 1,
    *,
    groups: int = 1,
    stride_on: Literal["1x1", "3x3"] = "3x3",
    bias: bool = False,
    norm: Norm = nn.BatchNorm2d,
) -> nn.Sequential:
    """bn(1x1(relu(bn(3x3(relu(bn(1x1(x)))))))).    (n, c_in, h, w) -> (n, c_out, h / s, w / s)"""
    first, second = (stride, 1) if stride_on == "1x1" else (1, stride)
    return chain(
        conv1=nn.Conv2d(c_in, width, 1, first, bias=bias),
        bn1=norm(width),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(width, width, 3, second, padding=1, groups=groups, bias=bias),
        bn2=norm(width),
        relu2=nn.ReLU(),
        conv3=nn.Conv2d(width, c_out, 1, bias=bias),
        bn3=norm(c_out),
    )


def preact_basic(
    c_in: int, c_out: int, stride: int = 1, *, bias: bool = False, norm: Norm = nn.BatchNorm2d
) -> nn.Sequential:
    """3x3(relu(bn(3x3(a)))); `bias` goes to the last convolution, which no norm follows."""
    return chain(
        conv1=nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False),
        bn1=norm(c_out),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(c_out, c_out, 3, padding=1, bias=bias),
    )


def preact_bottleneck(
    c_in: int, width: int, c_out: int, stride: int = 1, *, bias: bool = False, norm: Norm = nn.BatchNorm2d
) -> nn.Sequential:
    """1x1(relu(bn(3x3(relu(bn(1x1(a))))))); `bias` goes to the last convolution, which no norm follows."""
    return chain(
        conv1=nn.Conv2d(c_in, width, 1, bias=False),
        bn1=norm(width),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(width, width, 3, stride, padding=1, bias=False),
        bn2=norm(width),
        relu2=nn.ReLU(),
        conv3=nn.Conv2d(width, c_out, 1, bias=bias),
    )


def projection(
    c_in: int, c_out: int, stride: int = 1, *, bias: bool = False, norm: Norm = nn.BatchNorm2d
) -> nn.Sequential:
    """Shortcut B: bn(1x1(x)), learned.    (n, c_in, h, w) -> (n, c_out, h / s, w / s)"""
    return chain(conv=nn.Conv2d(c_in, c_out, 1, stride, bias=bias), bn=norm(c_out))


class PadChannels(nn.Module):
    """Shortcut A: every s-th pixel of x, and zeros for the channels it lacks; nothing to learn.

    (n, c_in, h, w) -> (n, c_out, h / s, w / s)
    """

    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        super().__init__()
        self.missing = c_out - c_in
        self.subsample = nn.MaxPool2d(1, stride)

    def extra_repr(self) -> str:
        return f"missing={self.missing}"

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(self.subsample(x), (0, 0, 0, 0, 0, self.missing))
