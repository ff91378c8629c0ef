"""Pictures with something missing."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from striate.data.augment.base import Draw, Transform, within, within_pair
from striate.errors import UsageError


@dataclass(frozen=True)
class RandomErasing(Transform):
    """A rectangle of `scale` of the area becomes noise or one value (Zhong et al., 2017, arXiv:1708.04896, 3).

    `value` is `noise`, or a number on 0..255; `ratio` is h/w of the rectangle.
    """

    p: float = 0.25
    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)
    value: float | str = "noise"

    def __post_init__(self) -> None:
        within("p", self.p, 0, 1)
        within_pair("scale", self.scale, 1e-3, 1)
        within_pair("ratio", self.ratio, 0.01, 100)
        if isinstance(self.value, str) and self.value != "noise":
            raise UsageError(f"value {self.value!r}: expected 'noise' or a number from 0 to 255")
        if not isinstance(self.value, str):
            within("value", self.value, 0, 255)

    def __call__(self, images: Tensor, labels: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        n, _, h, w = images.shape
        area = draw.uniform(*self.scale, n) * h * w
        ratio = draw.uniform(math.log(self.ratio[0]), math.log(self.ratio[1]), n).exp()
        eh = (area * ratio).sqrt().round().clamp(1, h)
        ew = (area / ratio).sqrt().round().clamp(1, w)
        at = draw.uniform(0, 1, 2, n)
        inside = boxes((at[0] * (h - eh + 1)).floor(), (at[1] * (w - ew + 1)).floor(), eh, ew, h, w)
        inside &= draw.flags(self.p, n).view(-1, 1, 1)
        if isinstance(self.value, str):
            noise = draw.integers(0, 256, *images.shape).to(images.dtype)
            return torch.where(inside[:, None], noise, images), labels
        return images.masked_fill(inside[:, None], self.value), labels


@dataclass(frozen=True)
class Cutout(Transform):
    """A black square of `size` pixels anywhere, partly outside too (DeVries and Taylor, 2017, arXiv:1708.04552)."""

    size: int = 8

    def __post_init__(self) -> None:
        within("size", self.size, 1, 4096)

    def __call__(self, images: Tensor, labels: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        n, _, h, w = images.shape
        top = draw.integers(0, h, n) - self.size // 2
        left = draw.integers(0, w, n) - self.size // 2
        side = torch.full_like(top, self.size)
        return images.masked_fill(boxes(top, left, side, side, h, w)[:, None], 0), labels


def boxes(top: Tensor, left: Tensor, height: Tensor, width: Tensor, h: int, w: int) -> Tensor:
    """True inside the box of each image.    four times (n,) -> (n, h, w)"""
    y, x = (torch.arange(side, device=top.device) for side in (h, w))
    rows = (y >= top[:, None]) & (y < (top + height)[:, None])
    columns = (x >= left[:, None]) & (x < (left + width)[:, None])
    return rows[:, :, None] & columns[:, None, :]
