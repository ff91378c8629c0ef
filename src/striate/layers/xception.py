"""Xception's block: a residual branch of separable convolutions.  Chollet, 2017, arXiv:1610.02357, Fig. 5."""

from torch import nn

from striate.layers.chain import chain
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
    branch: dict[str, nn.Module] = {}
    c = c_in
    for i, width in enumerate(widths, start=1):
        if relu_first or i > 1:
            branch[f"relu{i}"] = nn.ReLU()
        branch[f"separable{i}"] = SeparableConv2d(c, width, 3, bias=False)
        branch[f"bn{i}"] = nn.BatchNorm2d(width, eps=eps)
        c = width
    if stride == 1:
        return Add(chain(**branch), nn.Identity())
    skip = chain(conv=nn.Conv2d(c_in, c, 1, stride, bias=False), bn=nn.BatchNorm2d(c, eps=eps))
    return Add(chain(**branch, pool=MaxPool2d(3, stride, pool_padding)), skip)
