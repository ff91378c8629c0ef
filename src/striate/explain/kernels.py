"""Filters made by hand, applied by our own convolution: what a first layer could learn."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from striate.errors import UsageError, nearest
from striate.explain.picture import GREY, SIGNED, Panel, Pixels, Scale, sheet, to_pixels
from striate.layers import Conv2d

Kernel = NDArray[np.float32]
BRIGHTEST = 0.99  # of the pixels: a few edges would leave the others pale


def _rows(text: str, divisor: float = 1) -> Kernel:
    """`1 0 | 0 1` -> [[1, 0], [0, 1]] / divisor"""
    return np.array([row.split() for row in text.split("|")], np.float32) / np.float32(divisor)


def _line(side: int, axis: int) -> Kernel:
    """A line of ones through the middle: along the columns for axis 1."""
    kernel = np.zeros((side, side), np.float32)
    kernel[(slice(None), side // 2) if axis else side // 2] = 1
    return kernel


KERNELS: dict[str, Kernel] = {
    "box blur": _rows("1 1 1 | 1 1 1 | 1 1 1", 9),
    "gaussian": _rows("1 2 1 | 2 4 2 | 1 2 1", 16),
    "sharpen": _rows("0 -1 0 | -1 5 -1 | 0 -1 0"),
    "laplacian": _rows("0 1 0 | 1 -4 1 | 0 1 0"),
    "sobel x": _rows("-1 0 1 | -2 0 2 | -1 0 1"),
    "sobel y": _rows("-1 -2 -1 | 0 0 0 | 1 2 1"),
    "scharr x": _rows("-3 0 3 | -10 0 10 | -3 0 3"),
    "scharr y": _rows("-3 -10 -3 | 0 0 0 | 3 10 3"),
    "prewitt x": _rows("-1 0 1 | -1 0 1 | -1 0 1"),
    "prewitt y": _rows("-1 -1 -1 | 0 0 0 | 1 1 1"),
    "emboss": _rows("-2 -1 0 | -1 1 1 | 0 1 2"),
    "vertical lines": _line(7, axis=1),
    "horizontal lines": _line(7, axis=0),
}


def gaussian(side: int, sigma: float) -> Kernel:
    """exp(-r^2 / 2 sigma^2) on side x side pixels, its sum 1."""
    if side < 1 or side % 2 == 0 or sigma <= 0:
        raise UsageError(f"gaussian({side}, {sigma}): expected an odd side and a positive sigma in px")
    line = np.exp(-((np.arange(side) - side // 2) ** 2) / (2 * sigma**2))
    return (np.outer(line, line) / line.sum() ** 2).astype(np.float32)


def kernel(name: str) -> Kernel:
    """The kernel of that name; raises UsageError with the nearest ones."""
    if name not in KERNELS:
        raise UsageError(f"unknown kernel {name!r}", nearest(name, KERNELS) or f"one of {', '.join(KERNELS)}")
    return KERNELS[name]


def apply(image: Tensor, weights: Kernel) -> Tensor:
    """The kernel over every channel by itself, zeros around the image.    (c, h, w) -> float32 (c, h, w)"""
    c = image.shape[0]
    layer = Conv2d(c, c, weights.shape, groups=c, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights).expand_as(layer.weight))
        return layer(image[None].float())[0]


def by_opencv(image: Tensor, weights: Kernel) -> Tensor:
    """What OpenCV's filter2D gives for the same.    (c, h, w) -> float32 (c, h, w)"""
    import cv2

    planes = [
        cv2.filter2D(plane, cv2.CV_32F, weights, borderType=cv2.BORDER_CONSTANT)
        for plane in image.float().numpy()
    ]
    return torch.from_numpy(np.stack(planes))


def threshold(image: Tensor, at: float) -> Tensor:
    """255 where the image is above `at`, else 0.    -> uint8 of its shape"""
    return torch.where(image > at, 255, 0).to(torch.uint8)


def samples() -> dict[str, Tensor]:
    """The two photographs that scikit-learn carries, uint8 (3, 427, 640)."""
    from sklearn.datasets import load_sample_image

    pixels = {name: load_sample_image(f"{name}.jpg") for name in ("china", "flower")}
    return {name: torch.from_numpy(p.transpose(2, 0, 1).copy()) for name, p in pixels.items()}


def kernel_sheet(image: Tensor, names: tuple[str, ...] = tuple(KERNELS), cell: int = 220) -> Image.Image:
    """A grey image, uint8 (1, h, w), under each kernel: ours, OpenCV's, and how far they differ."""
    if image.shape[0] != 1:
        raise UsageError(f"expected a grey image (1, h, w), got {tuple(image.shape)}", "grey(image)")
    panels = [
        Panel(to_pixels(image.numpy()), "image"),
        Panel(to_pixels(threshold(image, 127).numpy()), "over 127"),
    ]
    for name in names:
        ours, theirs = apply(image, kernel(name)), by_opencv(image, kernel(name))
        apart = float((ours - theirs).abs().max())
        scale = _scale(kernel(name), ours)
        panels.append(Panel(_painted(ours, scale), name, scale))
        panels.append(Panel(_painted(theirs, scale), f"OpenCV's: {apart:.2g} apart", scale))
    return sheet(panels, 6, cell)


def _scale(weights: Kernel, found: Tensor) -> Scale:
    """Kernels that sum to 0 answer about 0; others brighten what they smooth or sharpen by their sum."""
    total = float(weights.sum())
    if round(total, 3) == 0:
        far = float(np.quantile(np.abs(found.numpy()), BRIGHTEST))
        return Scale(-far, far, "grey levels", SIGNED)
    return Scale(0, 255 * total, "grey levels", GREY)


def _painted(plane: Tensor, scale: Scale) -> Pixels:
    return scale.paint(plane[0].numpy())


def grey(image: Tensor) -> Tensor:
    """Luma 0.299 R + 0.587 G + 0.114 B; grey stays.    uint8 (3 or 1, h, w) -> (1, h, w)"""
    if (
        not isinstance(image, Tensor)
        or image.dtype != torch.uint8
        or image.dim() != 3
        or len(image) not in (1, 3)
    ):
        given = f"{image.dtype} {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
        raise UsageError(
            f"expected pixels, uint8 (3, h, w) or (1, h, w), got {given}",
            "a file: grey(Preprocess((h, w)).read(file)), or striate explain RUN FILE -m kernels",
        )
    if len(image) == 1:
        return image
    weights: Any = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    return (image * weights).sum(0, keepdim=True).round().to(torch.uint8)
