"""Blocks against their equations, with the shortcut or the body silenced."""

import pytest
import torch
from torch import nn

from striate.layers.residual import (
    PadChannels,
    PreActivation,
    Residual,
    basic,
    bottleneck,
    plain,
    preact_basic,
    preact_bottleneck,
    projection,
)


def silence(norm: nn.Module) -> None:
    nn.init.zeros_(norm.weight)
    nn.init.zeros_(norm.bias)


@pytest.mark.parametrize("body", [lambda: basic(6, 6), lambda: bottleneck(6, 3, 6)])
def test_a_body_whose_last_norm_is_zero_leaves_relu_of_x(body):
    block = Residual(body())
    silence(block.body[-1])
    x = torch.randn(2, 6, 5, 5)
    assert torch.equal(block(x), x.relu())


def test_plain_is_the_residual_block_less_its_shortcut():
    body = basic(4, 4).eval()
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(plain(body)(x), body(x).relu())
    assert torch.equal(Residual(body)(x), (body(x) + x).relu())


def test_preactivation_with_a_silent_body_is_the_identity():
    block = PreActivation(4, preact_basic(4, 4))
    nn.init.zeros_(block.body.conv2.weight)
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(block(x), x)


def test_a_projecting_shortcut_starts_from_the_activated_image():
    project = nn.Conv2d(4, 8, 1)
    block = PreActivation(4, preact_bottleneck(4, 2, 8), project, projects=True).eval()
    nn.init.zeros_(block.body.conv3.weight)
    block.bn.running_mean.fill_(0.3)
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(block(x), project(((x - 0.3) / (1 + 1e-5) ** 0.5).relu()))


def test_grouped_bottleneck_is_the_sum_of_its_paths():
    """Xie et al., Fig. 3: the grouped form (c) equals the aggregated form (a)."""
    cardinality, width, c = 4, 2, 6
    body = bottleneck(c, cardinality * width, c, groups=cardinality, norm=nn.Identity)
    x = torch.randn(2, c, 5, 5)
    total = torch.zeros_like(x)
    for i in range(cardinality):
        own = slice(i * width, (i + 1) * width)
        path = bottleneck(c, width, c, norm=nn.Identity)
        path.conv1.weight.data = body.conv1.weight.data[own]
        path.conv2.weight.data = body.conv2.weight.data[own]
        path.conv3.weight.data = body.conv3.weight.data[:, own]
        total += path(x)
    torch.testing.assert_close(body(x), total)


@pytest.mark.parametrize(("stride_on", "seen"), [("1x1", [2, 4, 6]), ("3x3", [3, 4, 5])])
def test_a_stride_on_the_1x1_never_looks_at_every_second_row(stride_on, seen):
    body = bottleneck(1, 2, 1, stride=2, stride_on=stride_on, norm=nn.Identity)
    for conv in (body.conv1, body.conv2, body.conv3):
        nn.init.ones_(conv.weight)
    x = torch.ones(1, 1, 9, 9, requires_grad=True)
    body(x)[0, 0, 2, 2].backward()
    assert x.grad[0, 0].sum(1).nonzero().flatten().tolist() == seen


def test_option_a_takes_every_second_pixel_and_adds_zero_channels():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    y = PadChannels(1, 3, stride=2)(x)
    assert y[0, 0].tolist() == [[0, 2], [8, 10]]
    assert y.shape == (1, 3, 2, 2)
    assert not y[0, 1:].any()


def test_option_b_is_a_strided_1x1_with_norm():
    shortcut = projection(2, 4, 2).eval()
    x = torch.randn(1, 2, 4, 4)
    by_hand = torch.einsum("oi,nihw->nohw", shortcut.conv.weight[:, :, 0, 0], x[:, :, ::2, ::2])
    torch.testing.assert_close(shortcut(x), by_hand / (1 + 1e-5) ** 0.5)


def test_same_padding_is_asymmetric_at_stride_2():
    """TensorFlow pads 4 pixels for a 3x3/2 by (0, 1): the first window starts at the first pixel."""
    body = basic(1, 1, stride=2, padding="same", norm=nn.Identity)
    nn.init.ones_(body.conv1.weight)
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    first = body.conv1(x)[0, 0]
    assert first.tolist() == [[45, 39], [66, 50]]
