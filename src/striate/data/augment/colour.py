"""Light and colour. Each image draws its own amount."""

from dataclasses import dataclass

import torch
from torch import Tensor

from striate.data.augment.base import Draw, Transform, like, within, within_pair


def grey(images: Tensor) -> Tensor:
    """0.299 R + 0.587 G + 0.114 B (ITU-R BT.601).    (n, c, h, w) -> float (n, 1, h, w)"""
    if images.shape[1] == 1:
        return images.float()
    weights = torch.tensor([0.299, 0.587, 0.114], device=images.device).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """other + factor (images - other), clipped to 0..255; `factor` is (n,)."""
    mixed = torch.lerp(other.float(), images.float(), factor.view(-1, 1, 1, 1))
    return like(images, mixed.clamp_(0, 255))


@dataclass(frozen=True)
class Brightness(Transform):
    """x times a factor of `range`: 0 is black, 1 unchanged."""

    range: tuple[float, float] = (0.6, 1.4)

    def __post_init__(self) -> None:
        within_pair("range", self.range, 0, 100)

    def __call__(self, images: Tensor, labels: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        factor = draw.uniform(*self.range, len(images)).view(-1, 1, 1, 1)
        return like(images, (images * factor).clamp_(0, 255)), labels


@dataclass(frozen=True)
class Contrast(Transform):
    """Distance from the mean grey of the image times a factor of `range`."""

    range: tuple[float, float] = (0.6, 1.4)

    def __post_init__(self) -> None:
        within_pair("range", self.range, 0, 100)

    def __call__(self, images: Tensor, labels: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        mean = grey(images).mean((1, 2, 3), keepdim=True)
        return blend(images, mean, draw.uniform(*self.range, len(images))), labels


@dataclass(frozen=True)
class Saturation(Transform):
    """Distance of each pixel from its grey times a factor of `range`: 0 is a grey picture."""

    range: tuple[float, float] = (0.6, 1.4)

    def __post_init__(self) -> None:
        within_pair("range", self.range, 0, 100)

    def __call__(self, images: Tensor, labels: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        return blend(images, grey(images), draw.uniform(*self.range, len(images))), labels


@dataclass(frozen=True)
class ChannelShift(Transform):
    """One value within `amount` either way added to all channels, clipped to the image's own range of values."""

    amount: float = 20.0

    def __post_init__(self) -> None:
        within("amount", self.amount, 0, 255)

    def __call__(self, images: Tensor, labels: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        return shift_channels(images, draw.uniform(-self.amount, self.amount, len(images))), labels


def shift_channels(images: Tensor, amount: Tensor) -> Tensor:
    """clip(x + amount, min x, max x) of each image; `amount` is (n,)."""
    flat = images.float().flatten(1)
    shifted = (flat + amount.view(-1, 1)).clamp_(flat.amin(1, True), flat.amax(1, True))
    return like(images, shifted.view(images.shape))
