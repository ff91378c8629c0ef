"""Two pictures in one; the label says how much of each."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from striate.data.augment.base import Draw, Transform, like, within


@dataclass(frozen=True)
class Mixup(Transform):
    """l x + (1 - l) x', l of Beta(alpha, alpha) for the batch (Zhang et al., 2018, arXiv:1710.09412, 2)."""

    mixes: ClassVar[bool] = True
    alpha: float = 0.2
    p: float = 1.0

    def __post_init__(self) -> None:
        within("alpha", self.alpha, 1e-3, 100)
        within("p", self.p, 0, 1)

    def __call__(self, images: Tensor, labels: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        mixed, share, partner = (
            bool(draw.flags(self.p, 1)),
            draw.beta(self.alpha),
            draw.permutation(len(images)),
        )
        if not mixed:
            return images, labels
        both = torch.lerp(images[partner].float(), images.float(), share)
        return like(images, both), torch.lerp(labels[partner], labels, share)


@dataclass(frozen=True)
class Cutmix(Transform):
    """A rectangle of another image in each, its area 1 - l, l of Beta(alpha, alpha) (Yun et al., 2019,
    arXiv:1905.04899, 3.1)."""

    mixes: ClassVar[bool] = True
    alpha: float = 1.0
    p: float = 1.0

    def __post_init__(self) -> None:
        within("alpha", self.alpha, 1e-3, 100)
        within("p", self.p, 0, 1)

    def __call__(self, images: Tensor, labels: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        n, _, h, w = images.shape
        mixed, share, partner = bool(draw.flags(self.p, 1)), draw.beta(self.alpha), draw.permutation(n)
        cy, cx = draw.uniform(0, 1, 2).tolist()
        if not mixed:
            return images, labels
        side = (1 - share) ** 0.5
        top, bottom = _span(cy * h, side * h, h)
        left, right = _span(cx * w, side * w, w)
        images = images.clone()
        images[:, :, top:bottom, left:right] = images[partner, :, top:bottom, left:right]
        kept = 1 - (bottom - top) * (right - left) / (h * w)  # what is outside of the image doesn't count
        return images, torch.lerp(labels[partner], labels, kept)


def _span(centre: float, side: float, limit: int) -> tuple[int, int]:
    return max(0, round(centre - side / 2)), min(limit, round(centre + side / 2))
