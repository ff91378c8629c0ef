"""Mirrored pictures."""

from dataclasses import dataclass

import torch
from torch import Tensor

from striate.data.augment.base import Draw, Transform, within


def mirrored(images: Tensor, rows: Tensor, dim: int) -> Tensor:
    """Images with those of `rows` turned round along `dim`.

    Whole images are picked from both kinds, row by row: torch copies bytes into a tensor one at a time.
    """
    both = torch.cat((images, images.index_select(0, rows).flip(dim)))
    of = torch.arange(len(images), device=images.device)
    of[rows] = torch.arange(len(images), len(both), device=images.device)
    return both.index_select(0, of)


@dataclass(frozen=True)
class HorizontalFlip(Transform):
    """Left becomes right with probability p."""

    p: float = 0.5

    def __post_init__(self) -> None:
        within("p", self.p, 0, 1)

    def __call__(self, images: Tensor, labels: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        return mirrored(images, draw.chosen(self.p, len(images)), 3), labels


@dataclass(frozen=True)
class VerticalFlip(Transform):
    """Top becomes bottom with probability p."""

    p: float = 0.5

    def __post_init__(self) -> None:
        within("p", self.p, 0, 1)

    def __call__(self, images: Tensor, labels: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        return mirrored(images, draw.chosen(self.p, len(images)), 2), labels


@dataclass(frozen=True)
class AlternatingFlip(Transform):
    """Half of the images flipped in even epochs, the other half in odd ones (Jordan, 2024, arXiv:2404.00498, 3.5).

    Two epochs then show every image both ways, which random flips do for half of the images only.
    """

    def __call__(self, images: Tensor, labels: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        if draw.rows is None:
            return mirrored(images, draw.chosen(0.5, len(images)), 3), labels
        side = (
            draw.rows.long() * 2_654_435_761 >> 16
        ) + draw.epoch  # Knuth's hash: no pattern in the row numbers
        return mirrored(images, (side % 2 == 1).nonzero()[:, 0].to(images.device), 3), labels
