import pytest
import torch
from torch import nn

from striate import zoo

LAYERS = {  # parameters of each layer, as Keras' summary prints them
    "mnist_cnn": [320, 18_496, 200_768, 650],
    "three_conv": [320, 18_496, 36_928, 36_928, 650],
    "cifar10_cnn": [208, 2_080, 8_256, 512_500, 5_010],
    "dogs_vs_cats": [896, 18_496, 73_856, 147_584, 3_211_776, 513],
    "fashion_mnist_cnn": [3_200, 73_856, 147_584, 295_168, 590_080, 295_040, 8_256, 650],
}


@pytest.mark.parametrize("name", LAYERS)
def test_parameters_of_each_layer(name):
    with torch.device("meta"):
        net = zoo.build(name)
    weighted = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert [sum(p.numel() for p in m.parameters()) for m in weighted] == LAYERS[name]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("more", [0, 1, 7])
def test_any_image_size_can_be_built_for(name, more):
    side = zoo.card(name).min_side + more
    with torch.device("meta"):
        net = zoo.build(name, img_size=side, in_chans=2, num_classes=4)
        assert net(torch.empty(2, 2, side, side)).shape == (2, 4)


def test_an_even_kernel_is_padded_behind():
    """Keras' SAME for 2x2 at stride 1 adds a row below and a column on the right."""
    net = zoo.build("cifar10_cnn", in_chans=1)
    conv = net.stem.conv
    nn.init.ones_(conv.weight)
    nn.init.zeros_(conv.bias)
    y = conv(torch.arange(9.0).reshape(1, 1, 3, 3))[0, 0]
    assert y.tolist() == [[0 + 1 + 3 + 4, 1 + 2 + 4 + 5, 2 + 5], [24 - 4, 24, 13], [13, 15, 8]]
