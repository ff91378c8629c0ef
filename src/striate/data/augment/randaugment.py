"""RandAugment: a few of fourteen operations, all of one strength (Cubuk et al., 2020, arXiv:1909.13719).

Ranges are those of the authors' code at 31 steps of strength. Every image draws its own operations; images
that drew the same one are changed together.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from striate.data.augment.affine import affine_matrix, check_fill, warp
from striate.data.augment.base import Draw, Transform, like, within
from striate.data.augment.colour import blend, grey

STEPS = 30


@dataclass(frozen=True)
class RandAugment(Transform):
    """`n` operations an image, each of strength `m` of 30."""

    n: int = 2
    m: int = 9
    fill: str = "constant"
    cval: float = 128.0

    def __post_init__(self) -> None:
        within("n", self.n, 1, 10)
        within("m", self.m, 0, STEPS)
        within("cval", self.cval, 0, 255)
        check_fill(self.fill)

    def __call__(self, images: Tensor, labels: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        images = images.clone()
        for _ in range(self.n):
            drawn = draw.integers(0, len(OPERATIONS), len(images))
            sign = draw.flags(0.5, len(images)).float() * 2 - 1
            for number, operation in enumerate(OPERATIONS.values()):
                rows = (drawn == number).nonzero()[:, 0]
                if len(rows):
                    images[rows] = operation(images[rows], sign[rows] * (self.m / STEPS), self)
        return images, labels


Operation = Callable[[Tensor, Tensor, RandAugment], Tensor]  # images, strength in -1..1 (n,), settings


def _moved(images: Tensor, how: RandAugment, **amounts: Tensor) -> Tensor:
    zero = torch.zeros(len(images), device=images.device)
    plain = {"theta": zero, "tx": zero, "ty": zero, "shear": zero, "zx": zero + 1, "zy": zero + 1}
    return warp(images, affine_matrix(**(plain | amounts)), how.fill, how.cval)


def rotate(images: Tensor, strength: Tensor, how: RandAugment) -> Tensor:
    """Up to 30 degrees."""
    return _moved(images, how, theta=30 * strength)


def translate_x(images: Tensor, strength: Tensor, how: RandAugment) -> Tensor:
    """Up to 150/331 of the width."""
    return _moved(images, how, tx=(150 / 331 * images.shape[3] * strength).trunc())


def translate_y(images: Tensor, strength: Tensor, how: RandAugment) -> Tensor:
    """Up to 150/331 of the height."""
    return _moved(images, how, ty=(150 / 331 * images.shape[2] * strength).trunc())


def shear_x(images: Tensor, strength: Tensor, how: RandAugment) -> Tensor:
    """Rows shifted by up to 0.3 of their distance from the centre."""
    return warp(images, _sheared(0.3 * strength, 0), how.fill, how.cval)


def shear_y(images: Tensor, strength: Tensor, how: RandAugment) -> Tensor:
    """Columns shifted by up to 0.3 of their distance from the centre."""
    return warp(images, _sheared(0.3 * strength, 1), how.fill, how.cval)


def _sheared(amount: Tensor, axis: int) -> Tensor:
    matrix = torch.eye(2, 3, device=amount.device).repeat(len(amount), 1, 1)
    matrix[:, axis, 1 - axis] = amount
    return matrix


def brightness(images: Tensor, strength: Tensor, how: RandAugment) -> Tensor:
    """Times 0.1 to 1.9."""
    return like(images, (images * (1 + 0.9 * strength).view(-1, 1, 1, 1)).clamp_(0, 255))


def colour(images: Tensor, strength: Tensor, how: RandAugment) -> Tensor:
    """From nearly grey to nearly twice the colour."""
    return blend(images, grey(images), 1 + 0.9 * strength)


def contrast(images: Tensor, strength: Tensor, how: RandAugment) -> Tensor:
    """From nearly the mean grey of the image to nearly twice the distance from it."""
    return blend(images, grey(images).mean((1, 2, 3), keepdim=True), 1 + 0.9 * strength)


def sharpness(images: Tensor, strength: Tensor, how: RandAugment) -> Tensor:
    """Towards or away from a 3x3 blur with a centre of 5; the border stays."""
    if min(images.shape[2:]) < 3:
        return images
    kernel = torch.ones(images.shape[1], 1, 3, 3, device=images.device)
    kernel[:, :, 1, 1] = 5
    soft = images.float()
    soft[:, :, 1:-1, 1:-1] = F.conv2d(soft, kernel / 13, groups=images.shape[1])
    return blend(images, soft, 1 + 0.9 * strength)


def posterize(images: Tensor, strength: Tensor, how: RandAugment) -> Tensor:
    """Keeps 8 to 4 bits."""
    lost = (4 * strength.abs()).round().view(-1, 1, 1, 1)
    step = 2**lost
    return ((images / step).floor() * step).to(images.dtype)


def solarize(images: Tensor, strength: Tensor, how: RandAugment) -> Tensor:
    """Inverts what is at or over a threshold, 255 to 0."""
    threshold = (255 * (1 - strength.abs())).view(-1, 1, 1, 1)
    return torch.where(images >= threshold, 255 - images, images)


def auto_contrast(images: Tensor, strength: Tensor, how: RandAugment) -> Tensor:
    """Stretches every channel to 0..255, but a channel of one value stays."""
    low, high = images.float().aminmax(dim=3)[0].amin(2), images.float().aminmax(dim=3)[1].amax(2)
    low, high = low[..., None, None], high[..., None, None]
    stretched = (images - low) * (255 / (high - low).clamp(min=1e-6))
    return torch.where(high > low, like(images, stretched), images)


def equalize(images: Tensor, strength: Tensor, how: RandAugment) -> Tensor:
    """Flattens the histogram of every channel, as Pillow does."""
    n, c, h, w = images.shape
    planes = images.reshape(n * c, h * w).long()
    counts = torch.zeros(n * c, 256, dtype=torch.long, device=images.device)
    counts.scatter_add_(1, planes, torch.ones_like(planes))
    last = 255 - (counts > 0).flip(1).long().argmax(1)  # the largest value that occurs
    step = (h * w - counts.gather(1, last[:, None])) // 255  # (nc, 1)
    before = counts.cumsum(1) - counts
    table = ((before + step // 2) // step.clamp(min=1)).clamp(0, 255)
    levelled = table.gather(1, planes).view(images.shape).to(images.dtype)
    return torch.where((step == 0).view(n, c, 1, 1), images, levelled)


def identity(images: Tensor, strength: Tensor, how: RandAugment) -> Tensor:
    """Nothing changes."""
    return images


OPERATIONS: dict[str, Operation] = {
    f.__name__: f
    for f in (
        identity, shear_x, shear_y, translate_x, translate_y, rotate, brightness, colour, contrast, sharpness,
        posterize, solarize, auto_contrast, equalize,
    )
}  # fmt: skip
