"""Maxout.  Goodfellow et al., 2013, arXiv:1302.4389, section 2."""

from torch import Tensor, nn

from striate.errors import UsageError


class Maxout(nn.Module):
    """y[i] = max_j x[i k + j]: k consecutive channels are the k linear pieces of one unit.

    (n, c) -> (n, c / k) and (n, c, h, w) -> (n, c / k, h, w)
    """

    def __init__(self, groups_of: int = 2) -> None:
        super().__init__()
        if groups_of < 1:
            raise UsageError(f"maxout needs at least 1 piece, got {groups_of}")
        self.groups_of = groups_of

    def extra_repr(self) -> str:
        return f"groups_of={self.groups_of}"

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] % self.groups_of:
            raise UsageError(f"{x.shape[1]} channels do not divide into groups of {self.groups_of}")
        return x.unflatten(1, (-1, self.groups_of)).amax(2)
