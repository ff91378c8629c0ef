"""Local response normalisation.  Krizhevsky et al., 2012, section 3.3; batch normalisation is torch's."""

import torch.nn.functional as F
from torch import Tensor, nn

from striate.errors import UsageError


class LocalResponseNorm(nn.Module):
    """y = x / (k + alpha * mean(x^2))^beta over `size` channels, or size x size pixels of the same channel.

    (n, c, h, w) -> (n, c, h, w).  What lies outside counts as zero.  Alpha is thus that of torch, ONNX and
    Caffe; TensorFlow and AlexNet's paper take the sum, so their alpha is ours / size.
    """

    def __init__(
        self,
        size: int = 5,
        alpha: float = 1e-4,
        beta: float = 0.75,
        k: float = 1.0,
        within_channel: bool = False,
    ) -> None:
        super().__init__()
        if size < 1:
            raise UsageError(f"size must be at least 1, got {size}")
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k
        self.within_channel = within_channel

    def extra_repr(self) -> str:
        within = ", within_channel=True" if self.within_channel else ""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}{within}"

    def forward(self, x: Tensor) -> Tensor:
        if not self.within_channel:
            return F.local_response_norm(x, self.size, self.alpha, self.beta, self.k)
        before, after = self.size // 2, (self.size - 1) // 2
        energy = F.avg_pool2d(F.pad(x * x, (before, after, before, after)), self.size, 1)
        return x / (self.k + self.alpha * energy).pow(self.beta)
