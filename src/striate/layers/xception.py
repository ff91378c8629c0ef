"""Xception's block: a residual branch of separable convolutions.  Chollet, 2017, arXiv:1610.02357, Fig. 5."""

from torch import nn

from striate.layers.geometry import Padding
from striate.layers.merge import Add
from striate.layers.pool import MaxPool2d
from striate.layers.separable import SeparableConv2d


def xception_block(
    c_in: int,
    *widths: int,
    stride: int = 1,
    relu_first: bool = True,
    pool_padding: Padding = "same",
    eps: float = 1e-3,
) -> Add:
    """skip(x) + pool(bn(separable(relu(...)))), one separable 3x3 for each width.

    At stride 2 a 3x3 max-pool ends the branch and a strided 1x1 convolution is the skip, else neither.
    (n, c_in, h, w) -> (n, widths[-1], h / s, w / s)
    """
    layers: list[nn.Module] = []
    c = c_in
    for width in widths:
        layers += [nn.ReLU(), *separable_bn(c, width, eps)]
        c = width
    if not relu_first:
        layers = layers[1:]
    if stride == 1:
        return Add(nn.Sequential(*layers), nn.Identity())
    skip = nn.Sequential(nn.Conv2d(c_in, c, 1, stride, bias=False), nn.BatchNorm2d(c, eps=eps))
    return Add(nn.Sequential(*layers, MaxPool2d(3, stride, pool_padding)), skip)


def separable_bn(c_in: int, c_out: int, eps: float = 1e-3) -> tuple[nn.Module, nn.Module]:
    """A 3x3 separable convolution and its batch norm.    (n, c_in, h, w) -> (n, c_out, h, w)"""
    return SeparableConv2d(c_in, c_out, 3, bias=False), nn.BatchNorm2d(c_out, eps=eps)
