import torch

from striate import zoo


def test_fewer_than_ten_thousand_parameters():
    net = zoo.build("mnist_tiny")
    assert sum(p.numel() for p in net.parameters()) == 9_694 < 10_000


def test_each_channel_has_three_filters_as_large_as_the_map():
    net = zoo.build("mnist_tiny", img_size=36)
    places = net.stages.places.conv
    assert places.weight.shape == (48, 1, 9, 9)
    assert net.features(torch.zeros(2, 1, 36, 36)).shape == (2, 48, 1, 1)
