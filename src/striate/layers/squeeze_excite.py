"""Squeeze-and-excitation.  Hu et al., 2018, arXiv:1709.01507, section 3 and Fig. 2."""

from torch import Tensor, nn

from striate.errors import UsageError
from striate.layers.pool import GlobalAvgPool


class SqueezeExcite(nn.Module):
    """x * sigmoid(W2 relu(W1 mean(x))): the whole image scales every channel.    (n, c, h, w) -> (n, c, h, w)

    W1 goes from c to c / reduction channels, W2 back.
    """

    def __init__(self, c: int, reduction: int = 16) -> None:
        super().__init__()
        if c < 1 or reduction < 1:
            raise UsageError(f"channels and reduction must be at least 1, got {c} and {reduction}")
        squeezed = max(c // reduction, 1)
        self.pool = GlobalAvgPool()
        self.squeeze = nn.Linear(c, squeezed)
        self.relu = nn.ReLU()
        self.excite = nn.Linear(squeezed, c)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        scale = self.sigmoid(self.excite(self.relu(self.squeeze(self.pool(x)))))  # (n, c)
        return x * scale[:, :, None, None]
