import torch
from torch import nn

from striate import zoo
from striate.layers import Add, SeparableConv2d
from striate.zoo.xception import TIMM


def on_meta(**options) -> nn.Module:
    with torch.device("meta"):
        return zoo.build("xception", **options)


def test_36_convolutions_in_14_modules():
    """arXiv:1610.02357, section 4: all modules but the first and the last have a residual connection."""
    net = on_meta()
    separable = [m for m in net.modules() if isinstance(m, SeparableConv2d)]
    assert len(separable) + 2 == 36
    assert sum(isinstance(m, Add) for m in net.modules()) + 2 == 14


def test_maps_have_the_sizes_of_figure_5():
    with torch.device("meta"):
        net, x = on_meta().eval(), torch.empty(1, 3, 299, 299)
        x = net.stem(x)
        shapes = [tuple((x := stage(x)).shape[1:]) for stage in net.stages]
    assert shapes == [(728, 19, 19), (728, 19, 19), (2048, 10, 10)]


def test_timms_port_has_its_own_padding_and_epsilon():
    net = on_meta(**TIMM)
    assert {m.eps for m in net.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-5}
    assert {m.eps for m in on_meta().modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}
    assert {m.padding for m in net.modules() if isinstance(m, nn.MaxPool2d)} == {(1, 1)}
