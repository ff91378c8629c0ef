"""Filters and maps: the numbers behind the pictures, and how they are painted."""

import numpy as np
import pytest
import torch
from torch import nn

from striate import zoo
from striate.errors import UsageError
from striate.explain.filters import feature_panels, features, filter_panel, filters
from striate.explain.picture import signed_scale


def test_filters_are_the_weights_of_the_first_or_the_named_convolution(plain):
    name, weights = filters(plain)
    assert name == "conv1"
    assert torch.equal(weights, plain.conv1.weight)
    assert torch.equal(filters(plain, "conv2")[1], plain.conv2.weight)
    with pytest.raises(UsageError, match="layer fc has no filters"):
        filters(plain, "fc")
    with pytest.raises(UsageError, match="Flatten has no convolution"):
        filters(nn.Flatten())


def test_colour_filters_are_grey_at_0_and_share_one_scale():
    weights = torch.zeros(2, 3, 24, 24)
    weights[0, 0], weights[1, 2] = 0.5, -1.0
    panel = filter_panel(weights, "conv")
    assert (panel.scale.low, panel.scale.high) == (-1, 1)
    assert panel.pixels[0, 0].tolist() == [191, 128, 128]
    assert panel.pixels[0, -1].tolist() == [128, 128, 0]


def test_deep_filters_are_planes_in_rows_and_columns():
    weights = torch.randn(100, 50, 24, 24)
    panel = filter_panel(weights, "conv", most=4)
    assert panel.title == "conv: 2 of 100 filters (rows) x 2 of 50 channels"
    scale = signed_scale(weights[:2, :2].numpy())
    assert (panel.pixels[26:50, :24] == scale.paint(weights[1, 0].numpy())).all()


def test_features_are_what_the_layers_gave(plain, awkward, images):
    plain.eval()
    found = features(plain, images)
    assert list(found) == ["relu1", "relu2"]
    with torch.no_grad():
        first = plain.relu1(plain.bn1(plain.conv1(images)))
        torch.testing.assert_close(found["relu1"], first)
        torch.testing.assert_close(found["relu2"], plain.relu2(plain.conv2(plain.pool(first))))
        named = features(awkward, images, ["bn1", "conv2"])  # what comes next writes into these
        torch.testing.assert_close(named["bn1"], plain.bn1(plain.conv1(images)))
        torch.testing.assert_close(named["conv2"], plain.conv2(plain.pool(first)))
    with pytest.raises(UsageError, match="layer fc gives"):
        features(plain, images, ["fc"])


def test_the_most_active_maps_come_first():
    maps = torch.stack([torch.full((24, 24), v) for v in (1.0, 3.0, 2.0)])
    (panel,) = feature_panels({"conv": maps}, most=2)
    assert panel.title == "conv: 2 of 3 maps of 24x24"
    assert (panel.scale.low, panel.scale.high) == (0, 3)
    assert panel.pixels[0, 0].tolist() == panel.scale.paint(np.array([[3.0]]))[0, 0].tolist()
    (signed,) = feature_panels({"conv": maps - 2})
    assert (signed.scale.low, signed.scale.high) == (-1, 1)


def test_every_stage_of_a_zoo_network():
    net = zoo.build("resnet20_cifar")
    found = features(net, torch.randn(2, 3, 32, 32))
    assert [tuple(t.shape) for t in found.values()] == [(2, 16, 32, 32), (2, 32, 16, 16), (2, 64, 8, 8)]
