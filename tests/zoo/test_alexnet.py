import pytest
import torch
import torchvision.models as tv
from torch import nn

from striate import zoo
from striate.zoo.alexnet import response_norm


def test_same_logits_as_torchvision(same_logits):
    same_logits(zoo.build("alexnet", num_classes=10), tv.alexnet(num_classes=10), (2, 3, 96, 70))


def test_two_towers_meet_only_at_conv3():
    """Section 3.2: the kernels of conv2, conv4 and conv5 see only the maps of their own GPU."""
    with torch.device("meta"):
        net = zoo.build("alexnet_2012")
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert [tuple(m.weight.shape) for m in convs] == [
        (96, 3, 11, 11),
        (256, 48, 5, 5),
        (384, 256, 3, 3),
        (384, 192, 3, 3),
        (256, 192, 3, 3),
    ]


def test_map_sizes_of_figure_2():
    with torch.device("meta"):
        net, x = zoo.build("alexnet_2012"), torch.empty(1, 3, 224, 224)
        assert net.stem.conv1(x).shape[-1] == 55
        assert net.stages.conv2.conv(net.stem(x)).shape[-1] == 27
        assert net.features(x).shape == (1, 256, 6, 6)


def test_response_norm_is_the_formula_of_section_3_3():
    a = torch.rand(1, 7, 1, 1) * 10
    b = response_norm()(a).flatten()
    for i in range(7):
        energy = sum(a.flatten()[j] ** 2 for j in range(max(0, i - 2), min(6, i + 2) + 1))
        assert b[i].item() == pytest.approx((a[0, i, 0, 0] / (2 + 1e-4 * energy) ** 0.75).item())
