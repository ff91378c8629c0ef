"""Local response normalisation against torch's, and against the formula written as loops."""

import pytest
import torch
from torch import nn

from striate.errors import UsageError
from striate.layers import LocalResponseNorm


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("beta", [0.5, 0.75])
def test_across_channels_equals_torch(size: int, beta: float) -> None:
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64, requires_grad=True)
    ours = LocalResponseNorm(size, 0.3, beta, 2.0)(x)
    theirs = nn.LocalResponseNorm(size, 0.3, beta, 2.0)(x)
    torch.testing.assert_close(ours, theirs)
    weight = torch.randn_like(ours)
    torch.testing.assert_close(
        *(torch.autograd.grad((y * weight).sum(), x)[0] for y in (ours, theirs)), rtol=1e-9, atol=1e-9
    )


def test_within_a_channel_equals_the_formula() -> None:
    size, alpha, beta, k = 3, 0.6, 0.75, 1.0
    x = torch.randn(1, 2, 4, 5, dtype=torch.float64)
    y = LocalResponseNorm(size, alpha, beta, k, within_channel=True)(x)
    for c in range(2):
        for p in range(4):
            for q in range(5):
                near = x[0, c, max(p - 1, 0) : p + 2, max(q - 1, 0) : q + 2]
                expected = x[0, c, p, q] / (k + alpha / size**2 * (near**2).sum()) ** beta
                torch.testing.assert_close(y[0, c, p, q], expected)


def test_half_precision_keeps_small_alpha() -> None:
    """With AlexNet's alpha the divisor is 1.01: one bfloat16 step, lost if the sum were kept in bfloat16."""
    x = torch.full((1, 8, 2, 2), 11.0)
    exact = LocalResponseNorm()(x)
    half = LocalResponseNorm()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, exact.bfloat16())
    assert not torch.equal(half, x.bfloat16())


def test_size_must_be_positive() -> None:
    with pytest.raises(UsageError, match="size must be at least 1, got 0"):
        LocalResponseNorm(0)
