import torch

from striate import zoo
from striate.zoo.nin import mlpconv


def test_an_mlpconv_is_the_same_perceptron_at_every_pixel():
    layer = mlpconv(3, 5, 4, kernel=3)
    x = torch.randn(1, 3, 4, 4)
    patch = x[0, :, 1:4, 0:3].flatten()
    hidden = (layer.conv.weight.flatten(1) @ patch + layer.conv.bias).relu()
    out = (layer.cccp1.weight.flatten(1) @ hidden + layer.cccp1.bias).relu()
    torch.testing.assert_close(layer(x)[0, :, 1, 0], out)


def test_class_maps_are_averaged_without_a_dense_layer():
    net = zoo.build("nin").eval()
    x = torch.randn(2, 3, 32, 32)
    assert net.features(x).shape == (2, 192, 8, 8)
    torch.testing.assert_close(net(x), net.head.cccp(net.features(x)).mean((2, 3)))


def test_map_sizes_for_imagenet():
    with torch.device("meta"):
        x, sides = torch.empty(1, 3, 224, 224), []
        for stage in zoo.build("nin_imagenet").stages:
            x = stage(x)
            sides.append(x.shape[-1])
    assert sides == [27, 13, 6, 6]
