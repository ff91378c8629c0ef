import numpy as np
import pytest
import torch
from torch import nn

from striate.layers import depthwise
from striate.transfer.keras_layout import FLATTENED, from_keras, renumbered, to_keras_layout

RNG = np.random.default_rng(0)


def test_layers_that_nobody_named_are_counted_from_zero_in_order():
    state = {"conv2d_12/kernel": 12, "conv2d_9/kernel": 9, "fc1/kernel": 0, "conv2d_10/bias": 10}
    assert renumbered(state) == {
        "conv2d_2/kernel": 12,
        "conv2d/kernel": 9,
        "fc1/kernel": 0,
        "conv2d_1/bias": 10,
    }


def test_convolution():
    kernel = RNG.normal(size=(3, 5, 4, 6))  # h, w, c_in, c_out
    ours = from_keras(kernel, nn.Conv2d(4, 6, (3, 5)), "")
    assert ours.shape == (6, 4, 3, 5)
    assert ours[5, 2, 1, 4] == kernel[1, 4, 2, 5]


def test_depthwise_convolution():
    kernel = RNG.normal(size=(3, 3, 4, 2))  # h, w, c, multiplier
    ours = from_keras(kernel, depthwise(4, 3, multiplier=2), "")
    assert ours.shape == (8, 1, 3, 3)
    assert ours[2 * 3 + 1, 0, 1, 2] == kernel[1, 2, 3, 1]


def test_dense_layer_behind_a_flatten():
    """Keras flattens (h, w, c), we flatten (c, h, w): the answer to the same map must be the same."""
    key, c = next(iter(FLATTENED.items()))
    x, kernel = RNG.normal(size=(2, 2, c)), RNG.normal(size=(4 * c, 3))
    ours = from_keras(kernel, nn.Linear(4 * c, 3), key)
    answer = ours @ torch.from_numpy(x).permute(2, 0, 1).flatten()
    np.testing.assert_allclose(answer, x.reshape(-1) @ kernel)


@pytest.mark.parametrize(
    ("layer", "shape", "key", "theirs"),
    [
        (nn.Conv2d(4, 6, (3, 5)), (3, 5, 4, 6), "", "conv/kernel"),
        (depthwise(4, 3, multiplier=2), (3, 3, 4, 2), "", "conv/kernel"),
        (nn.Linear(8, 3), (8, 3), "", "fc/kernel"),
        (nn.Linear(1024, 3), (1024, 3), "head.fc6.fc.weight", "fc1/kernel"),
        (nn.Linear(8, 3), (1, 1, 8, 3), "", "conv_preds/kernel"),
        (nn.BatchNorm2d(3), (3,), "", "bn/gamma"),
    ],
)
def test_there_and_back(layer, shape, key, theirs):
    array = RNG.normal(size=shape)
    ours = from_keras(array, layer, key)
    assert ours.shape == layer.weight.shape
    np.testing.assert_array_equal(to_keras_layout(ours, layer, key, theirs), array)
