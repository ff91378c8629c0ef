"""Parts of pictures: shifted by a few pixels, or cut out and enlarged."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from striate.data.augment.affine import FILLS, check_fill, warp
from striate.data.augment.base import Draw, Transform, within, within_pair

PAD_MODES = dict(zip(FILLS, ("constant", "replicate", "reflect", "circular"), strict=True))


@dataclass(frozen=True)
class RandomCrop(Transform):
    """Pads every side by `padding` pixels, or below 1 by that part of it, and cuts the old size out anywhere.

    Here `reflect` doesn't repeat the edge, as papers on CIFAR have it.
    """

    padding: float = 4
    fill: str = "constant"

    def __post_init__(self) -> None:
        within("padding", self.padding, 1e-3, 1024)
        check_fill(self.fill)

    def __call__(self, images: Tensor, labels: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        n, _, h, w = images.shape
        down, across = (max(1, round(self.padding * (side if self.padding < 1 else 1))) for side in (h, w))
        bytes_on_gpu = images.dtype == torch.uint8 and images.device.type != "cpu"
        source = images.half() if bytes_on_gpu else images  # GPUs pad floats only; these hold 0..255 exactly
        if self.fill in ("reflect", "wrap") and (down >= h or across >= w):  # torch pads by less than a side
            rows, columns = (_around(side, by, self.fill) for side, by in ((h, down), (w, across)))
            padded = images[:, :, rows.to(images.device)][..., columns.to(images.device)]
        else:
            padded = F.pad(source, (across, across, down, down), mode=PAD_MODES[self.fill]).to(images.dtype)
        top, left = draw.integers(0, 2 * down + 1, n), draw.integers(0, 2 * across + 1, n)
        return windows(padded, top, left, h, w), labels


def _around(side: int, by: int, fill: str) -> Tensor:
    """Which pixel of a side stands at each place of one that is longer `by` at both ends."""
    at = torch.arange(-by, side + by)
    if fill == "wrap":
        return at % side
    period = max(1, 2 * (side - 1))
    return torch.minimum(at % period, period - at % period)


def windows(images: Tensor, top: Tensor, left: Tensor, h: int, w: int) -> Tensor:
    """images[i, :, top[i]:top[i]+h, left[i]:left[i]+w] of each image -> (n, c, h, w)

    Seen as a tensor of all windows that overlap in memory, this is one `index_select`, a copy row by row.
    """
    n, c, height, width = images.shape
    images = images.contiguous()
    last = images.numel() - ((c - 1) * height + h - 1) * width - w
    every = images.as_strided((last + 1, c, h, w), (1, height * width, width, 1))
    first = torch.arange(n, device=images.device) * (c * height * width) + top * width + left
    return every.index_select(0, first)


@dataclass(frozen=True)
class RandomResizedCrop(Transform):
    """A part of `scale` of the area with a side `ratio` of w/h, enlarged (Szegedy et al., 2015, arXiv:1409.4842, 6)."""

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        within_pair("scale", self.scale, 1e-3, 1)
        within_pair("ratio", self.ratio, 0.01, 100)

    def __call__(self, images: Tensor, labels: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        n, _, h, w = images.shape
        area = draw.uniform(*self.scale, n)
        ratio = draw.uniform(math.log(self.ratio[0]), math.log(self.ratio[1]), n).exp()
        zx = (area * ratio * h / w).sqrt().clamp(max=1)
        zy = (area / ratio * w / h).sqrt().clamp(max=1)
        cx, cy = draw.uniform(-0.5, 0.5, 2, n)
        matrix = torch.zeros(n, 2, 3, device=images.device)
        matrix[:, 0, 0], matrix[:, 0, 2] = zx, cx * (1 - zx) * w
        matrix[:, 1, 1], matrix[:, 1, 2] = zy, cy * (1 - zy) * h
        return warp(images, matrix), labels
