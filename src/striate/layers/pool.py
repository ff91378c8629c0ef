"""Pooling: maximum, average and minimum over windows, over the whole image, and over channels."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.errors import UsageError
from striate.layers.geometry import Padding, Pads, Window, Windowed


def _window(kernel_size: int | Sequence[int], stride: int | Sequence[int] | None, padding: Padding) -> Window:
    window = Window(kernel_size, kernel_size if stride is None else stride, padding)
    (top, bottom, left, right), (kh, kw) = window.pads(1, 1), window.kernel
    if max(top, bottom) >= kh or max(left, right) >= kw:
        raise UsageError(f"padding {padding} leaves windows of {window.kernel} that see nothing but padding")
    return window


def _native(pads: Pads, kernel: tuple[int, int]) -> bool:
    """torch pools with symmetric padding of at most half a kernel by itself."""
    top, bottom, left, right = pads
    return top == bottom and left == right and 2 * top <= kernel[0] and 2 * left <= kernel[1]


def _spread(window: Window, h: int, w: int, ceil: bool) -> Pads:
    """Padding after which a floor-mode pool has as many windows as `window` has on h x w."""
    top, bottom, left, right = window.pads(h, w)
    if ceil:
        rows, cols = window.output(h, w, ceil=True)
        bottom = (rows - 1) * window.stride[0] + window.kernel[0] - top - h
        right = (cols - 1) * window.stride[1] + window.kernel[1] - left - w
    return top, bottom, left, right


def _max_pool(x: Tensor, window: Window, ceil: bool) -> Tensor:
    h, w = x.shape[-2:]
    pads = window.pads(h, w)
    try:
        if _native(pads, window.kernel):
            return F.max_pool2d(x, window.kernel, window.stride, (pads[0], pads[2]), ceil_mode=ceil)
        top, bottom, left, right = _spread(window, h, w, ceil)
        x = F.pad(x, (left, right, top, bottom), value=-torch.inf)
        return F.max_pool2d(x, window.kernel, window.stride)
    except RuntimeError:
        window.output(h, w, ceil)  # the reason in our words if the image has become too small
        raise


class MaxPool2d(Windowed, nn.MaxPool2d):
    """Maximum of every window; padding never wins.    (n, c, h, w) -> (n, c, h', w')"""

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: Padding = "valid",
        ceil_mode: bool = False,
    ) -> None:
        window = _window(kernel_size, stride, padding)
        super().__init__(window.kernel, window.stride, ceil_mode=ceil_mode)
        self.window = window
        self.padding = window.torch_padding()

    def forward(self, x: Tensor) -> Tensor:
        return _max_pool(x, self.window, self.ceil_mode)


class MinPool2d(Windowed, nn.Module):
    """Minimum of every window; padding never wins.    (n, c, h, w) -> (n, c, h', w')"""

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: Padding = "valid",
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.window = _window(kernel_size, stride, padding)
        self.kernel_size, self.stride = self.window.kernel, self.window.stride
        self.padding = self.window.torch_padding()
        self.ceil_mode = ceil_mode

    def extra_repr(self) -> str:
        sizes = f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        return f"{sizes}, ceil_mode={self.ceil_mode}"

    def forward(self, x: Tensor) -> Tensor:
        return -_max_pool(-x, self.window, self.ceil_mode)


class AvgPool2d(Windowed, nn.AvgPool2d):
    """Mean of every window over the pixels that exist.    (n, c, h, w) -> (n, c, h', w')

    `count_include_pad` counts the padding as zeros.
    """

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: Padding = "valid",
        ceil_mode: bool = False,
        count_include_pad: bool = False,
    ) -> None:
        window = _window(kernel_size, stride, padding)
        super().__init__(window.kernel, window.stride, 0, ceil_mode, count_include_pad)
        self.window = window
        self.padding = window.torch_padding()

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        kernel, stride = self.window.kernel, self.window.stride
        pads = self.window.pads(h, w)
        try:
            if _native(pads, kernel):
                p = (pads[0], pads[2])
                return F.avg_pool2d(x, kernel, stride, p, self.ceil_mode, self.count_include_pad)
            top, bottom, left, right = _spread(self.window, h, w, self.ceil_mode)
            y = F.avg_pool2d(F.pad(x, (left, right, top, bottom)), kernel, stride)
        except RuntimeError:
            self.window.output(h, w, self.ceil_mode)  # the reason in our words
            raise
        rows = self._counted(y, 0, h, pads[0], pads[1])
        cols = self._counted(y, 1, w, pads[2], pads[3])
        return y * (kernel[0] * kernel[1] / (rows[:, None] * cols)).to(y.dtype)

    def _counted(self, y: Tensor, axis: int, size: int, before: int, after: int) -> Tensor:
        """How many positions of each window count along one axis."""
        start = torch.arange(y.shape[axis - 2], device=y.device) * self.window.stride[axis] - before
        end = start + self.window.kernel[axis]
        if self.count_include_pad:
            return end.clamp(max=size + after) - start
        return end.clamp(max=size) - start.clamp(min=0)


class GlobalAvgPool(nn.Module):
    """Mean over the image.    (n, c, h, w) -> (n, c)"""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class GlobalMaxPool(nn.Module):
    """Maximum over the image.    (n, c, h, w) -> (n, c)"""

    def forward(self, x: Tensor) -> Tensor:
        return x.amax((2, 3))


class DepthMaxPool(nn.Module):
    """Maximum over each of g groups of neighbouring channels.    (n, c, h, w) -> (n, g, h, w)"""

    def __init__(self, groups: int) -> None:
        super().__init__()
        if groups < 1:
            raise UsageError(f"groups must be at least 1, got {groups}")
        self.groups = groups

    def extra_repr(self) -> str:
        return f"groups={self.groups}"

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] % self.groups:
            raise UsageError(f"{x.shape[1]} channels do not divide into {self.groups} groups")
        return x.unflatten(1, (self.groups, -1)).amax(2)
