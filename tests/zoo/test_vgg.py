import pytest
import torch
import torchvision.models as tv
from torch import nn

from striate import zoo

OTHERS = [
    pytest.param(n, marks=pytest.mark.slow) for n in ("vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg19")
]


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
def test_depth_counts_the_layers_with_weights(depth):
    with torch.device("meta"):
        net = zoo.build(f"vgg{depth}_bn")
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth


def alive(part: nn.Module) -> nn.Module:
    """Random weights for a part of a network that was built without memory."""
    for p in part.to_empty(device="cpu").parameters():
        nn.init.normal_(p, std=0.05)
    return part


@pytest.mark.parametrize("name", ["vgg11", "vgg16_bn", "vgg19_bn", *OTHERS])
def test_convolutions_answer_as_torchvision(name, same_logits):
    """The dense layers, 90 % of the weights, are AlexNet's: tested there, and here in the slow test."""
    with torch.device("meta"):
        ours, theirs = zoo.build(name), getattr(tv, name)()
    same_logits(alive(ours.stages), alive(theirs.features), (1, 3, 40, 33))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg11", "vgg19_bn"])
def test_same_logits_as_torchvision(name, same_logits):
    same_logits(zoo.build(name, num_classes=10), getattr(tv, name)(num_classes=10), (2, 3, 64, 96))
