import pytest
import torch
import torchvision.models as tv
from torch import nn

from striate import zoo


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


@pytest.mark.parametrize("name", ["vgg11", "vgg16_bn", "vgg19_bn"])
def test_convolutions_answer_as_torchvision(name, same_logits):
    """The dense layers, 90 % of the weights, are AlexNet's and tested there."""
    with torch.device("meta"):
        ours, theirs = zoo.build(name), getattr(tv, name)()
    same_logits(alive(ours.stages), alive(theirs.features), (1, 3, 40, 33))
