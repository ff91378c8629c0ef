"""Convolution of narrow maps, several images side by side in a strip.

Matrix tiles (Intel AMX) take sixteen pixels of a row at a time: rows of seven leave most of a tile empty, above all in
the gradient of the kernels.
"""

import functools
import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.layers import Conv2d

WIDEST = 11  # px; wider maps fill tiles well enough
LEAST = 64  # channels; below, laying images out costs what it wins
IMAGES = 16  # a strip, at most


@functools.cache
def tiles() -> bool:
    """Whether this processor multiplies in tiles."""
    return getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()


def fits(layer: nn.Module) -> bool:
    """Whether `layer` is a plain convolution that leaves maps as large as they are, and looks beyond a pixel."""
    if not isinstance(layer, nn.Conv2d) or type(layer) not in (nn.Conv2d, Conv2d):
        return False  # a kind of its own may do something else
    around = tuple(k // 2 for k in layer.kernel_size)
    return (
        min(layer.in_channels, layer.out_channels) >= LEAST
        and layer.padding in ("same", around)
        and all(k % 2 for k in layer.kernel_size)
        and around[1] > 0
        and (layer.stride, layer.dilation, layer.groups) == ((1, 1), (1, 1), 1)
        and layer.padding_mode == "zeros"
    )


class Strips:
    """What a convolution does, narrow maps in strips while autocast computes in bfloat16."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = cast(nn.Conv2d, layer)

    def __call__(self, x: Tensor) -> Tensor:
        images = math.gcd(len(x), IMAGES)
        if images > 1 and x.ndim == 4 and x.shape[-1] <= WIDEST and _in_tiles(x):
            return convolved(x.to(torch.bfloat16), self.layer, images)
        y: Tensor = type(self.layer).forward(self.layer, x)
        return y


def _in_tiles(x: Tensor) -> bool:
    on = x.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    return on and torch.get_autocast_dtype("cpu") == torch.bfloat16


def convolved(x: Tensor, layer: nn.Conv2d, images: int) -> Tensor:
    """So many images a strip, which divide the batch, columns of zeros between them.    (n, c, h, w) -> (n, k, h, w)"""
    padding = layer.kernel_size[0] // 2, layer.kernel_size[1] // 2
    strip = F.conv2d(_laid(x, images, padding[1]), layer.weight, layer.bias, padding=padding)
    return _lifted(strip, images, padding[1])


def _laid(x: Tensor, images: int, gap: int) -> Tensor:
    """(n, c, h, w) -> (n / images, c, h, images * (w + gap))"""
    n, c, h, w = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(n // images, images, h, w, c).transpose(1, 2)
    return F.pad(rows, (0, 0, 0, gap)).reshape(n // images, h, images * (w + gap), c).permute(0, 3, 1, 2)


def _lifted(strip: Tensor, images: int, gap: int) -> Tensor:
    """(n / images, k, h, images * (w + gap)) -> (n, k, h, w)"""
    n, k, h, w = strip.shape
    rows = strip.permute(0, 2, 3, 1).reshape(n, h, images, w // images, k)[:, :, :, :-gap]
    return rows.transpose(1, 2).reshape(n * images, h, w // images - gap, k).permute(0, 3, 1, 2)
