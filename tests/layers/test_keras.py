"""Keras' own layers on its torch backend, with our weights: SAME at any stride, depthwise, separable."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from striate.layers import AvgPool2d, Conv2d, MaxPool2d, SeparableConv2d, depthwise

keras = pytest.importorskip("keras")

windows = pytest.mark.parametrize("kernel", [1, 2, 3, (1, 7), (5, 2)])
strides = pytest.mark.parametrize("stride", [1, 2, 3])
images = pytest.mark.parametrize("hw", [(11, 12), (8, 7)])


def run_keras(layer: Any, x: Tensor, *weights: Tensor) -> Tensor:
    """NCHW in and out of a Keras layer that is NHWC inside; weights already in Keras' order."""
    x = x.permute(0, 2, 3, 1)
    layer.build(tuple(x.shape))
    layer.set_weights([w.detach().numpy() for w in weights])
    return layer(x).detach().permute(0, 3, 1, 2)


def hwio(conv: nn.Conv2d) -> Tensor:
    return conv.weight.permute(2, 3, 1, 0)


def depth_kernel(conv: nn.Conv2d) -> Tensor:
    """(c m, 1, kh, kw) -> (kh, kw, c, m)"""
    return conv.weight.unflatten(0, (conv.in_channels, -1)).squeeze(2).permute(2, 3, 0, 1)


@windows
@strides
@images
def test_convolution(kernel: int, stride: int, hw: tuple[int, int]) -> None:
    ours, x = Conv2d(3, 4, kernel, stride), torch.randn(2, 3, *hw)
    theirs = keras.layers.Conv2D(4, kernel, stride, padding="same")
    torch.testing.assert_close(ours(x), run_keras(theirs, x, hwio(ours), ours.bias), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kernel", "dilation"), [(3, 2), (2, 3), ((5, 3), (1, 2))])
@images
def test_dilated_convolution(kernel: int, dilation: int, hw: tuple[int, int]) -> None:
    ours, x = Conv2d(3, 4, kernel, dilation=dilation, bias=False), torch.randn(2, 3, *hw)
    theirs = keras.layers.Conv2D(4, kernel, padding="same", dilation_rate=dilation, use_bias=False)
    torch.testing.assert_close(ours(x), run_keras(theirs, x, hwio(ours)), rtol=1e-5, atol=1e-5)


@windows
@strides
@images
def test_depthwise(kernel: int, stride: int, hw: tuple[int, int]) -> None:
    ours, x = depthwise(3, kernel, 2, stride=stride), torch.randn(2, 3, *hw)
    theirs = keras.layers.DepthwiseConv2D(kernel, stride, padding="same", depth_multiplier=2)
    torch.testing.assert_close(
        ours(x), run_keras(theirs, x, depth_kernel(ours), ours.bias), rtol=1e-5, atol=1e-5
    )


@windows
@strides
@images
def test_separable(kernel: int, stride: int, hw: tuple[int, int]) -> None:
    ours, x = SeparableConv2d(3, 5, kernel, stride, multiplier=2), torch.randn(2, 3, *hw)
    theirs = keras.layers.SeparableConv2D(5, kernel, stride, padding="same", depth_multiplier=2)
    weights = depth_kernel(ours.depthwise), hwio(ours.pointwise), ours.pointwise.bias
    torch.testing.assert_close(ours(x), run_keras(theirs, x, *weights), rtol=1e-5, atol=1e-5)


@windows
@strides
@images
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_pooling(kernel: int, stride: int, hw: tuple[int, int], padding: str) -> None:
    x = torch.randn(2, 3, *hw)
    highest = keras.layers.MaxPooling2D(kernel, stride, padding=padding)
    mean = keras.layers.AveragePooling2D(kernel, stride, padding=padding)
    torch.testing.assert_close(MaxPool2d(kernel, stride, padding)(x), run_keras(highest, x))
    ours = AvgPool2d(kernel, stride, padding)
    top, bottom, left, right = ours.pads(*hw)
    if (top, left) == (
        bottom,
        right,
    ):  # else Keras on torch averages repeated edges, which TensorFlow leaves out
        torch.testing.assert_close(ours(x), run_keras(mean, x))
