"""The cost comparisons of the course notes, computed from real layers.

>>> for lesson in lessons():
...     print(lesson)
1x1x16 -> 32 on 28x28: 401,408 multiplications, 544 parameters
3x3x16 -> 64 on 28x28: 7,225,344 multiplications, 9,280 parameters
5x5x16 -> 8 on 28x28: 2,508,800 multiplications, 3,208 parameters
5x5x16 -> 64 on 28x28: 20,070,400 multiplications, 25,664 parameters
2x2 max-pool on 28x28x16: 50,176 comparisons
dense 22x22x64 -> 1: 30,976 multiplications, 30,977 parameters
regular 3x3x64 -> 64 on 28x28: 28,901,376 multiplications, 36,928 parameters
separable 3x3x64 -> 64 on 28x28: 3,662,848 multiplications, 4,800 parameters
one 5x5x64 -> 64 on 28x28: 80,281,600 multiplications, 102,464 parameters
two 3x3x64 -> 64 on 28x28: 57,802,752 multiplications, 73,856 parameters
7x7x64 -> 64 on 28x28: 157,351,936 multiplications, 200,768 parameters
1x7 then 7x1, 64 -> 64 on 28x28: 44,957,696 multiplications, 57,472 parameters
"""

from dataclasses import dataclass

import torch
from torch import nn

from striate.anatomy.anatomy import anatomy


@dataclass(frozen=True, slots=True)
class Lesson:
    """One line of a comparison, for one image."""

    title: str
    macs: int
    comparisons: int
    params: int

    def __str__(self) -> str:
        if self.comparisons:
            return f"{self.title}: {self.comparisons:,} comparisons"
        return f"{self.title}: {self.macs:,} multiplications, {self.params:,} parameters"


def lessons() -> list[Lesson]:
    """All comparisons; neighbouring lines are meant to be compared."""
    with torch.device("meta"):
        return [
            _measure("1x1x16 -> 32 on 28x28", nn.Conv2d(16, 32, 1), (16, 28, 28)),
            _measure("3x3x16 -> 64 on 28x28", _same(16, 64, 3), (16, 28, 28)),
            _measure("5x5x16 -> 8 on 28x28", _same(16, 8, 5), (16, 28, 28)),
            _measure("5x5x16 -> 64 on 28x28", _same(16, 64, 5), (16, 28, 28)),
            _measure("2x2 max-pool on 28x28x16", nn.MaxPool2d(2, 1), (16, 29, 29)),
            _measure(
                "dense 22x22x64 -> 1", nn.Sequential(nn.Flatten(), nn.Linear(22 * 22 * 64, 1)), (64, 22, 22)
            ),
            _measure("regular 3x3x64 -> 64 on 28x28", _same(64, 64, 3), (64, 28, 28)),
            _measure("separable 3x3x64 -> 64 on 28x28", _separable(64, 64, 3), (64, 28, 28)),
            _measure("one 5x5x64 -> 64 on 28x28", _same(64, 64, 5), (64, 28, 28)),
            _measure(
                "two 3x3x64 -> 64 on 28x28", nn.Sequential(*(_same(64, 64, 3) for _ in "12")), (64, 28, 28)
            ),
            _measure("7x7x64 -> 64 on 28x28", _same(64, 64, 7), (64, 28, 28)),
            _measure(
                "1x7 then 7x1, 64 -> 64 on 28x28",
                nn.Sequential(
                    nn.Conv2d(64, 64, (1, 7), padding=(0, 3)), nn.Conv2d(64, 64, (7, 1), padding=(3, 0))
                ),
                (64, 28, 28),
            ),
        ]


def dense_connections(layers: int) -> int:
    """Connections of a dense block: layer l reads its l predecessors, L(L + 1)/2 in all (Huang et al., 2017).

    >>> dense_connections(5)
    15
    """
    return layers * (layers + 1) // 2


def _same(c_in: int, c_out: int, k: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, k, padding=k // 2)


def _separable(c_in: int, c_out: int, k: int) -> nn.Sequential:
    depthwise = nn.Conv2d(c_in, c_in, k, padding=k // 2, groups=c_in)
    return nn.Sequential(depthwise, nn.Conv2d(c_in, c_out, 1))


def _measure(title: str, module: nn.Module, input_shape: tuple[int, ...]) -> Lesson:
    a = anatomy(module, input_shape)
    return Lesson(title, a.macs, a.comparisons, a.params)
