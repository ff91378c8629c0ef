"""Convolution with TensorFlow's SAME at any stride or any explicit padding; pointwise and depthwise."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from striate.errors import UsageError
from striate.layers.geometry import Padding, Window, Windowed


class Conv2d(Windowed, nn.Conv2d):
    """y[o] = b[o] + sum_i w[o, i] * x[i], slid over the image.    (n, c_in, h, w) -> (n, c_out, h', w')

    h' = ceil(h / s) with padding "same", else floor((h + pads - d (k - 1) - 1) / s) + 1.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: Padding = "same",
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        window = Window(kernel_size, stride, padding, dilation)
        if min(c_in, c_out, groups) < 1:
            raise UsageError(
                f"channels and groups must be at least 1, got {c_in} -> {c_out}, groups {groups}"
            )
        if c_in % groups or c_out % groups:
            raise UsageError(f"{c_in} -> {c_out} channels do not divide into {groups} groups")
        super().__init__(c_in, c_out, window.kernel, window.stride, 0, window.dilation, groups, bias)
        self.window = window
        self.padding = window.torch_padding()

    def forward(self, x: Tensor) -> Tensor:
        return self._convolve(x, self.weight)

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        top, bottom, left, right = self.window.pads(h, w)
        if (top, left) != (bottom, right):
            x = F.pad(x, (left, right, top, bottom))
            top = left = 0
        try:
            return F.conv2d(x, weight, self.bias, self.stride, (top, left), self.dilation, self.groups)
        except RuntimeError:
            self.window.output(h, w)  # the reason in our words if the image has become too small
            raise


def pointwise(c_in: int, c_out: int, **options: Any) -> Conv2d:
    """1x1 convolution: the same dense layer at every pixel.    (n, c_in, h, w) -> (n, c_out, h, w)"""
    return Conv2d(c_in, c_out, 1, **options)


def depthwise(c: int, kernel_size: int | Sequence[int], multiplier: int = 1, **options: Any) -> Conv2d:
    """`multiplier` filters of its own for every channel.    (n, c, h, w) -> (n, c * multiplier, h', w')"""
    return Conv2d(c, c * multiplier, kernel_size, groups=c, **options)
