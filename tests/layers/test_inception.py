import pytest
import torch
from torch import nn

from striate.layers import Concat
from striate.layers.inception import (
    InceptionResidual,
    conv_relu,
    inception_factorised,
    inception_naive,
    inception_reduced,
    split,
    tower,
)
from striate.zoo.googlenet import PLAN


def ones(net: nn.Module) -> nn.Module:
    """Every weight one, every bias zero."""
    for p in net.parameters():
        nn.init.ones_(p) if p.ndim > 1 else nn.init.zeros_(p)
    return net


def seen(net: nn.Module, side: int = 31) -> torch.Tensor:
    """Which pixels the centre of the output depends on, as (side, side) booleans."""
    for p in net.parameters():
        nn.init.ones_(p)
    x = torch.ones(1, net_channels(net), side, side, requires_grad=True)
    net.eval()(x)[0, 0, side // 2, side // 2].backward()
    return x.grad[0].sum(0) != 0


def net_channels(net: nn.Module) -> int:
    return next(m for m in net.modules() if isinstance(m, nn.Conv2d)).in_channels


def test_naive_module_sums_each_window():
    net = ones(inception_naive(2, 1, 1, 1, conv=conv_relu))
    y = net(torch.ones(1, 2, 9, 9))[0, :, 4, 4]
    assert y.tolist() == [
        2 * 1,
        2 * 9,
        2 * 25,
        1,
        1,
    ]  # c_in * k^2 for the towers; the pool passes both channels on


def test_naive_module_keeps_growing():
    net = nn.Sequential(inception_naive(8, 4, 4, 4), inception_naive(20, 4, 4, 4))
    assert net(torch.zeros(1, 8, 5, 5)).shape == (1, 8 + 12 + 12, 5, 5)


def test_reduced_module_sums_through_its_reductions():
    net = ones(inception_reduced(2, 1, (3, 1), (5, 1), 1, conv=conv_relu))
    y = net(torch.ones(1, 2, 9, 9))[0, :, 4, 4]
    assert y.tolist() == [2, 2 * 3 * 9, 2 * 5 * 25, 2]


@pytest.mark.parametrize(("block", "c_in", "thousands"), [("a", 192, 159), ("b", 256, 380)])
def test_weights_of_googlenets_first_modules_as_in_table_1(block, c_in, thousands):
    net = inception_reduced(c_in, *PLAN["inception3"][block], conv=conv_relu)
    assert sum(p.numel() for p in net.parameters()) / 1024 == pytest.approx(thousands, abs=1)


def test_reduction_pays():
    """arXiv:1409.4842, section 4: the same outputs from 256 channels, with and without 1x1 in front."""
    naive = sum(p.numel() for p in inception_naive(256, 128, 192, 96).parameters())
    reduced = sum(p.numel() for p in inception_reduced(256, 128, (128, 192), (32, 96), 64).parameters())
    assert naive / reduced > 2.7


def test_factorised_towers_see_7_and_13_pixels():
    one, short, long, pool = inception_factorised(4, 3, 2)
    sides = [seen(net).any(0).sum().item() for net in (one, short, long, pool)]
    assert sides == [1, 7, 13, 3]
    assert all(seen(net).sum() == side**2 for net, side in zip((one, short, long, pool), sides, strict=True))


def test_factorised_7x7_costs_two_sevenths():
    short = inception_factorised(64, 64, 64)[1]
    assert short[1].conv.weight.numel() + short[2].conv.weight.numel() == 64 * 64 * 49 * 2 // 7


def test_split_sees_a_cross():
    row, column = split(2, 3)
    assert seen(row)[15].sum() == 3
    assert seen(row).sum() == 3
    assert seen(column)[:, 15].sum() == 3
    assert seen(column).sum() == 3


def test_stride_2_is_unpadded_as_in_the_papers():
    net = tower(1, (1, 3, 2))
    assert net.conv.padding == (0, 0)
    assert net(torch.zeros(1, 1, 35, 35)).shape == (1, 1, 17, 17)


def residual(scale: float, last: bool = False) -> InceptionResidual:
    torch.manual_seed(1)
    return InceptionResidual(4, Concat(tower(4, (3, 1)), tower(4, (2, 1), (2, 3))), 5, scale, last).eval()


def test_residual_scales_its_correction():
    x = torch.randn(2, 4, 6, 6)
    small, large = (residual(scale, last=True)(x) - x for scale in (0.1, 0.3))
    torch.testing.assert_close(large, 3 * small)
    assert small.abs().max() > 0


def test_residual_without_correction_is_relu():
    net, x = residual(0.2), torch.randn(2, 4, 6, 6)
    nn.init.zeros_(net.up.weight)
    nn.init.zeros_(net.up.bias)
    torch.testing.assert_close(net(x), x.clamp(min=0))
