"""Random moves of a training batch, by the names of the recipe.    uint8 (n, c, h, w) -> (n, c, h, w)"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

REACH = 0.07  # of the side: 2 px of 28, 16 px of 224


def shift(x: Tensor, generator: Generator) -> Tensor:
    """Every image moved by up to 7 % of its side each way, its edge repeated."""
    rows = _moved(x.shape[2], len(x), x.device, generator)
    columns = _moved(x.shape[3], len(x), x.device, generator)
    return _take(x, rows, columns)


def shift_flip(x: Tensor, generator: Generator) -> Tensor:
    """`shift`, and half of the images mirrored left to right."""
    rows = _moved(x.shape[2], len(x), x.device, generator)
    columns = _moved(x.shape[3], len(x), x.device, generator)
    mirrored = torch.rand((len(x), 1), generator=generator, device=x.device) < 0.5
    return _take(x, rows, torch.where(mirrored, columns.flip(1), columns))


MOVES: dict[str, Callable[[Tensor, Generator], Tensor]] = {
    "none": lambda x, generator: x,
    "shift": shift,
    "shift-flip": shift_flip,
}


def _moved(side: int, n: int, device: torch.device, generator: Generator) -> Tensor:
    """Where each row of each image comes from.    (n, side)"""
    reach = max(1, round(REACH * side))
    offset = torch.randint(-reach, reach + 1, (n, 1), generator=generator, device=device)
    return (torch.arange(side, device=device) + offset).clamp_(0, side - 1)


def _take(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    n, c, h, w = x.shape
    index = rows.mul(w).unsqueeze(2) + columns.unsqueeze(1)  # (n, h, w), a pixel's place in its plane
    return x.view(n, c, h * w).gather(2, index.view(n, 1, h * w).expand(n, c, h * w)).view(n, c, h, w)
