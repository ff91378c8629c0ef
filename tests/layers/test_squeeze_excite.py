"""Squeeze-and-excitation: the equations of the paper in one line, and its parameter count."""

import pytest
import torch

from striate.errors import UsageError
from striate.layers import SqueezeExcite


def test_equals_equations_2_to_4() -> None:
    layer, x = SqueezeExcite(32, reduction=8), torch.randn(2, 32, 5, 6)
    w1, b1, w2, b2 = (p for p in layer.parameters())
    z = x.mean((2, 3))
    s = torch.sigmoid((z @ w1.T + b1).clamp(min=0) @ w2.T + b2)
    torch.testing.assert_close(layer(x), torch.einsum("nchw,nc->nchw", x, s))
    assert sum(p.numel() for p in layer.parameters()) == 32 * 4 + 4 + 4 * 32 + 32


def test_never_squeezes_to_nothing() -> None:
    assert SqueezeExcite(8).squeeze.out_features == 1
    with pytest.raises(UsageError, match="at least 1, got 8 and 0"):
        SqueezeExcite(8, reduction=0)
