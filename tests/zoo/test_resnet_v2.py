import pytest
import timm
import torch
from torch import nn

from striate import zoo
from striate.zoo.resnet_v2 import KERAS, TIMM


@pytest.mark.parametrize("depth", [18, 50])
def test_same_logits_as_timm(depth, same_logits):
    peer = timm.create_model(f"resnetv2_{depth}", num_classes=10)
    for block in peer.modules():  # timm registers a block's shortcut before its body
        if getattr(block, "downsample", None) is not None:
            block.add_module("downsample", block._modules.pop("downsample"))
    same_logits(zoo.build(f"resnet{depth}v2", num_classes=10, **TIMM), peer, (2, 3, 40, 33))


@pytest.mark.parametrize(("depth", "params"), [(50, 25_613_800), (101, 44_675_560), (152, 60_380_648)])
def test_keras_counts_running_statistics(depth, params):
    with torch.device("meta"):
        net = zoo.build(f"resnet{depth}v2", **KERAS)
    assert sum(t.numel() for name, t in net.state_dict().items() if "num_batches" not in name) == params


def test_zeros_compete_in_the_first_pool():
    net = zoo.build("resnet18v2")
    nn.init.zeros_(net.stem.conv1.weight)
    nn.init.constant_(net.stem.conv1.bias, -1.0)
    y = net.stem(torch.zeros(1, 3, 16, 16))[0, 0]
    assert y[0].tolist() == [0] * 4  # windows that reach over the border see the padding
    assert y[1:, 1:].unique().tolist() == [-1]


def test_a_stage_halves_in_its_last_block():
    with torch.device("meta"):
        net, x = zoo.build("resnet50v2"), torch.empty(1, 3, 224, 224)
        x = net.stem(x)
        for stage, sides in zip(net.stages, ((56, 28), (28, 14), (14, 7), (7, 7)), strict=False):
            assert stage[:-1](x).shape[-1] == sides[0]
            x = stage(x)
            assert x.shape[-1] == sides[1]
