"""Depthwise-separable convolution, depthwise first.  Chollet, 2017, arXiv:1610.02357, section 1.2."""

from collections.abc import Sequence

from torch import Tensor, nn

from striate.layers.conv import depthwise, pointwise
from striate.layers.geometry import Padding


class SeparableConv2d(nn.Module):
    """k x k within channels, then 1x1 across them.    (n, c_in, h, w) -> (n, c_out, h', w')"""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: Padding = "same",
        dilation: int | Sequence[int] = 1,
        multiplier: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.depthwise = depthwise(
            c_in, kernel_size, multiplier, stride=stride, padding=padding, dilation=dilation, bias=False
        )
        self.pointwise = pointwise(c_in * multiplier, c_out, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))
