"""Branches that share one input; nn.Identity() is the skip connection."""

import torch
from torch import Tensor, nn

from striate.errors import UsageError


class _Branches(nn.ModuleList):
    def __init__(self, *branches: nn.Module) -> None:
        if not branches:
            raise UsageError("at least one branch is needed")
        super().__init__(branches)

    def _outputs(self, x: Tensor, compared: slice) -> list[Tensor]:
        outputs = [branch(x) for branch in self]
        first = outputs[0].shape
        for i, y in enumerate(outputs[1:], start=2):
            if y.ndim != len(first) or y.shape[compared] != first[compared]:
                raise UsageError(
                    f"branch 1 gives {_chw(first)} but branch {i} gives {_chw(y.shape)}: {self.requirement}"
                )
        return outputs

    requirement: str


def _chw(shape: torch.Size) -> str:
    return "x".join(map(str, shape[1:]))


class Add(_Branches):
    """Sum of the branches.    (n, c, h, w) -> (n, c', h', w')"""

    requirement = "addition needs equal shapes"

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self._outputs(x, slice(None))
        for y in others:
            first = first + y
        return first


class Concat(_Branches):
    """The branches side by side along the channels.    (n, c, h, w) -> (n, c_1 + c_2 + ..., h', w')"""

    requirement = "concatenation needs equal heights and widths"

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(self._outputs(x, slice(2, None)), dim=1)
