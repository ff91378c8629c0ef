"""Rotation, shift, shear and zoom as one resampling, with the four ways to fill what comes from outside.

For a row `a b c d`: `constant` k k k | a b c d | k k k, `nearest` a a a | a b c d | d d d, `reflect` c b a
| a b c d | d c b, `wrap` b c d | a b c d | a b c; the same numbers as SciPy's `affine_transform` with order
0 or 1, where `wrap` is SciPy's `grid-wrap`.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from striate.data.augment.base import Draw, Transform, like, within, within_pair
from striate.errors import UsageError, nearest

FILLS = ("constant", "nearest", "reflect", "wrap")
STEP = 1 << 21  # values warped at a time: memory stays bounded for large batches


@dataclass(frozen=True)
class Affine(Transform):
    """Degrees either way for `rotation` and `shear`, parts of the side for the shifts, a range of factors for `zoom`.

    A factor over 1 shows more: the picture shrinks. Both axes are drawn separately.
    """

    rotation: float = 0.0
    width_shift: float = 0.0
    height_shift: float = 0.0
    shear: float = 0.0
    zoom: tuple[float, float] = (1.0, 1.0)
    fill: str = "nearest"
    cval: float = 0.0

    def __post_init__(self) -> None:
        within("rotation", self.rotation, 0, 360)
        within("width_shift", self.width_shift, 0, 1)
        within("height_shift", self.height_shift, 0, 1)
        within("shear", self.shear, 0, 89)
        within_pair("zoom", self.zoom, 0.01, 100)
        within("cval", self.cval, 0, 255)
        check_fill(self.fill)

    def __call__(self, images: Tensor, labels: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        n, _, h, w = images.shape
        theta = draw.uniform(-self.rotation, self.rotation, n)
        tx = draw.uniform(-self.width_shift * w, self.width_shift * w, n)
        ty = draw.uniform(-self.height_shift * h, self.height_shift * h, n)
        shear = draw.uniform(-self.shear, self.shear, n)
        zx, zy = draw.uniform(*self.zoom, 2, n)
        return warp(images, affine_matrix(theta, tx, ty, shear, zx, zy), self.fill, self.cval), labels


def check_fill(fill: str) -> None:
    """Refuse a fill mode that is none, naming the nearest."""
    if fill not in FILLS:
        raise UsageError(f"unknown fill {fill!r}", nearest(fill, FILLS) or f"one of {', '.join(FILLS)}")


def affine_matrix(theta: Tensor, tx: Tensor, ty: Tensor, shear: Tensor, zx: Tensor, zy: Tensor) -> Tensor:
    """R(theta) T(tx, ty) H(shear) Z(zx, zy) -> (n, 2, 3): where in the input a point of the output lies.

    x to the right and y down from the centre, in pixels; angles in degrees, a positive one turns the
    picture to the left; a positive shift moves it left or up.
    """
    cos, sin = torch.cos(torch.deg2rad(theta)), torch.sin(torch.deg2rad(theta))
    lean, height = torch.sin(torch.deg2rad(shear)), torch.cos(torch.deg2rad(shear))
    x = (cos * zx, (-cos * lean - sin * height) * zy, cos * tx - sin * ty)
    y = (sin * zx, (-sin * lean + cos * height) * zy, sin * tx + cos * ty)
    return torch.stack((torch.stack(x, -1), torch.stack(y, -1)), -2)


def warp(images: Tensor, matrix: Tensor, fill: str = "nearest", cval: float = 0.0, order: int = 1) -> Tensor:
    """(n, c, h, w), (n, 2, 3) -> (n, c, h, w), bilinear or (order 0) from the nearest pixel."""
    step = max(1, STEP // images[0].numel()) if len(images) else 1
    parts = zip(images.split(step), matrix.split(step), strict=True)
    done = [_warp(part, m, fill, cval, order) for part, m in parts]
    return done[0] if len(done) == 1 else torch.cat(done)


def _warp(images: Tensor, matrix: Tensor, fill: str, cval: float, order: int) -> Tensor:
    h, w = images.shape[2:]
    source = images.to(torch.float32)
    at = torch.empty(2, len(images), h, w, device=images.device)
    x = _coordinate(matrix[:, 0], (w - 1) / 2, at[0])
    y = _coordinate(matrix[:, 1], (h - 1) / 2, at[1])
    outside = (x < 0) | (x > w - 1) | (y < 0) | (y > h - 1) if fill == "constant" else None
    if order == 0:
        at.add_(0.5).floor_()
    if fill == "wrap":  # one more row and column, for the seam between the last pixel and the first
        x.remainder_(w)
        y.remainder_(h)
        source = F.pad(source, (0, 1, 0, 1), mode="circular")
    height, width = source.shape[2:]
    x.mul_(2 / width).add_(1 / width - 1)
    y.mul_(2 / height).add_(1 / height - 1)
    padding = "reflection" if fill == "reflect" else "border"
    out = F.grid_sample(source, at.permute(1, 2, 3, 0), "bilinear", padding, align_corners=False)
    if outside is not None:
        out.masked_fill_(outside[:, None], cval)
    return like(images, out)


def _coordinate(m: Tensor, centre: float, out: Tensor) -> Tensor:
    """One row of the matrices, (n, 3) -> where each output pixel reads along that axis, in pixels, (n, h, w)."""
    h, w = out.shape[1:]
    across = m[:, :1] * (torch.arange(w, device=m.device) - (w - 1) / 2)
    down = m[:, 1:2] * (torch.arange(h, device=m.device) - (h - 1) / 2) + m[:, 2:] + centre
    return torch.add(down[:, :, None], across[:, None], out=out)
