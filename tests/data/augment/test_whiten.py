"""Statistics against NumPy; whitened images have the identity as covariance."""

import numpy as np
import torch

from striate.data.augment.whiten import centre_each, channel_mean, channel_std, scale_each, zca, zca_matrix

X = torch.from_numpy(np.random.default_rng(0).normal(3, 2, (300, 2, 4, 5))).float()


def test_each_image_and_each_channel() -> None:
    x = X.numpy()
    assert np.allclose(centre_each(X).mean((1, 2, 3)), 0, atol=1e-5)
    assert np.allclose(scale_each(X), x / (x.std((1, 2, 3), keepdims=True) + 1e-6), atol=1e-5)
    assert np.allclose(channel_mean(X).flatten(), x.mean((0, 2, 3)), atol=1e-5)
    assert np.allclose(channel_std(X).flatten(), x.std((0, 2, 3)), atol=1e-5)


def test_zca_makes_the_covariance_the_identity_and_stays_close_to_the_picture() -> None:
    mixing = torch.randn(40, 40, generator=torch.Generator().manual_seed(0))
    x = (X.flatten(1) @ mixing).view(X.shape)
    x = x - x.mean(0)
    white = zca(x, zca_matrix(x)).flatten(1)
    covariance = white.T @ white / len(white)
    assert torch.allclose(covariance, torch.eye(40), atol=1e-2)
    matrix = zca_matrix(x)
    assert torch.allclose(matrix, matrix.T, atol=1e-4)  # zero phase: neither rotated nor mirrored
