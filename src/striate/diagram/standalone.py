"""Layers that torch lacks, each in a form that a generated file carries along: it needs nothing but torch."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MinPool2d(nn.MaxPool2d):
    """Minimum of every window.    (n, c, h, w) -> (n, c, h', w')"""

    def forward(self, x: Tensor) -> Tensor:
        return -super().forward(-x)


class DepthMaxPool(nn.Module):
    """One map for each of g groups of channels, their maximum.    (n, c, h, w) -> (n, g, h, w)"""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (self.groups, -1)).amax(2)


class Maxout(nn.Module):
    """Maximum over every k neighbouring channels.    (n, c, ...) -> (n, c / k, ...)"""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (-1, self.k)).amax(2)


class LocalResponseNormWithin(nn.Module):
    """x / (k + alpha * mean(x^2))^beta, the mean over size x size pixels.    (n, c, h, w) -> (n, c, h, w)"""

    def __init__(self, size: int, alpha: float, beta: float, k: float) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        before, after = self.size // 2, (self.size - 1) // 2
        energy = F.avg_pool2d(F.pad(x * x, (before, after, before, after)), self.size, 1)
        return x / (self.k + self.alpha * energy).pow(self.beta)


class DropConnectLinear(nn.Linear):
    """A dense layer whose weights drop with probability p while training.    (n, f_in) -> (n, f_out)"""

    def __init__(self, f_in: int, f_out: int, p: float = 0.5, bias: bool = True) -> None:
        super().__init__(f_in, f_out, bias)
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, F.dropout(self.weight, self.p, self.training), self.bias)


class StochasticDepth(nn.Module):
    """While training, zero a whole sample with probability p and divide the others by 1 - p."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        alive = x.new_ones((x.shape[0],) + (1,) * (x.ndim - 1))
        return x * F.dropout(alive, self.p)


class Scale(nn.Module):
    """factor * x.    (n, ...) -> (n, ...)"""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


class SqueezeExcite(nn.Module):
    """x * sigmoid(W2 relu(W1 mean(x))), one scale for each channel.    (n, c, h, w) -> (n, c, h, w)"""

    def __init__(self, c: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(c, squeezed)
        self.excite = nn.Linear(squeezed, c)

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3))))))  # (n, c)
        return x * scale[:, :, None, None]
