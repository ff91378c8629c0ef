"""Separable convolution: equal to the full convolution whose kernel is the product of its two parts."""

import torch
from torch import nn

from striate.layers import Conv2d, SeparableConv2d


def test_equals_the_convolution_with_the_factored_kernel() -> None:
    layer = SeparableConv2d(3, 5, 3, stride=2, dilation=2, multiplier=2).double()
    full = Conv2d(3, 5, 3, stride=2, dilation=2).double()
    depth = layer.depthwise.weight.view(3, 2, 3, 3)
    point = layer.pointwise.weight.view(5, 3, 2)
    assert full.bias is not None
    assert layer.pointwise.bias is not None
    with torch.no_grad():
        full.weight.copy_(torch.einsum("ocm,cmhw->ochw", point, depth))
        full.bias.copy_(layer.pointwise.bias)
    x = torch.randn(2, 3, 10, 9, dtype=torch.float64)
    torch.testing.assert_close(layer(x), full(x))


def test_parameters_against_a_regular_convolution() -> None:
    def count(m: nn.Module) -> int:
        return sum(p.numel() for p in m.parameters())

    assert count(SeparableConv2d(32, 64, 3)) == 3 * 3 * 32 + 32 * 64 + 64 == 2_400
    assert count(Conv2d(32, 64, 3)) == 18_496
