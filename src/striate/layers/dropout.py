"""Noise on weights (DropConnect) and on whole branches (stochastic depth)."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from striate.errors import UsageError
from striate.layers.conv import Conv2d


def _probability(p: float) -> float:
    if not 0 <= p <= 1:
        raise UsageError(f"a probability lies between 0 and 1, got {p}")
    return p


class DropConnectLinear(nn.Linear):
    """y = (M * W / (1 - p)) x + b with M ~ Bernoulli(1 - p), drawn once a batch.    (n, f_in) -> (n, f_out)

    Wan et al., 2013, section 3; in eval mode the dense layer itself.
    """

    def __init__(self, f_in: int, f_out: int, p: float = 0.5, bias: bool = True) -> None:
        super().__init__(f_in, f_out, bias)
        self.p = _probability(p)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, p={self.p}"

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, F.dropout(self.weight, self.p, self.training), self.bias)


class DropConnectConv2d(Conv2d):
    """Convolution with weights dropped as in DropConnectLinear.    (n, c_in, h, w) -> (n, c_out, h', w')"""

    def __init__(
        self, c_in: int, c_out: int, kernel_size: int | Sequence[int], p: float = 0.5, **options: Any
    ) -> None:
        super().__init__(c_in, c_out, kernel_size, **options)
        self.p = _probability(p)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, p={self.p}"

    def forward(self, x: Tensor) -> Tensor:
        return self._convolve(x, F.dropout(self.weight, self.p, self.training))


class StochasticDepth(nn.Module):
    """Zero the whole sample with probability p, else divide it by 1 - p; identity in eval mode.

    (n, ...) -> (n, ...), at the end of a residual branch.  Huang et al., 2016, arXiv:1603.09382, section 3.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = _probability(p)

    def extra_repr(self) -> str:
        return f"p={self.p}"

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        alive = x.new_ones((x.shape[0],) + (1,) * (x.ndim - 1))
        return x * F.dropout(alive, self.p)
