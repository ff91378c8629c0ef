"""Statistics of a data set or of one image, taken out: centre, scale, ZCA."""

import torch
from torch import Tensor

EPS = 1e-6


def centre_each(x: Tensor) -> Tensor:
    """x minus the mean of its whole image.    float (n, c, h, w) -> the same"""
    return x - x.mean((1, 2, 3), keepdim=True)


def scale_each(x: Tensor) -> Tensor:
    """x over the standard deviation of its whole image, plus 1e-6."""
    return x / (x.std((1, 2, 3), correction=0, keepdim=True) + EPS)


def channel_mean(x: Tensor) -> Tensor:
    """(n, c, h, w) -> (c, 1, 1)"""
    return x.mean((0, 2, 3)).view(-1, 1, 1)


def channel_std(x: Tensor) -> Tensor:
    """(n, c, h, w) -> (c, 1, 1)"""
    return x.std((0, 2, 3), correction=0).view(-1, 1, 1)


def zca_matrix(x: Tensor, epsilon: float = EPS) -> Tensor:
    """U diag(sqrt(n) / (s + epsilon)) U^T of the SVD of the flat images, transposed.    (n, c, h, w) -> (chw, chw)"""
    u, s, _ = torch.linalg.svd(x.flatten(1).T, full_matrices=False)
    return (u * (len(x) ** 0.5 / (s + epsilon))) @ u.T


def zca(x: Tensor, matrix: Tensor) -> Tensor:
    """Images whose pixels don't correlate any more over the data set that the matrix is of."""
    return (x.flatten(1) @ matrix).view(x.shape)
