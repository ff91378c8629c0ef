"""A fixed factor, such as the 0.1 to 0.3 that calms a residual branch.  Szegedy et al., 2016, arXiv:1602.07261, 3.3."""

from torch import Tensor, nn


class Scale(nn.Module):
    """y = factor * x.    (n, ...) -> (n, ...)"""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def extra_repr(self) -> str:
        return f"{self.factor}"

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x
