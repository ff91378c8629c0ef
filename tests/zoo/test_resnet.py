import pytest
import torch
import torchvision.models as tv
from torch import nn

from striate import zoo
from striate.layers.residual import Residual
from striate.zoo.resnet import KERAS


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_same_logits_as_torchvision(depth, same_logits):
    ours, theirs = zoo.build(f"resnet{depth}", num_classes=10), getattr(tv, f"resnet{depth}")(num_classes=10)
    same_logits(ours, theirs, (2, 3, 40, 33))


@pytest.mark.parametrize(
    ("name", "depth"), [("resnet18", 18), ("resnet50", 50), ("resnet101", 101), ("plain34", 34)]
)
def test_depth_counts_the_layers_with_weights_on_the_longest_path(name, depth):
    with torch.device("meta"):
        net = zoo.build(name)
    shortcuts = sum(
        isinstance(m, Residual) and not isinstance(m.shortcut, nn.Identity) for m in net.modules()
    )
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in net.modules()) - shortcuts == depth


@pytest.mark.parametrize(("depth", "params"), [(50, 25_636_712), (101, 44_707_176), (152, 60_419_944)])
def test_keras_counts_biases_and_running_statistics(depth, params):
    with torch.device("meta"):
        net = zoo.build(f"resnet{depth}", **KERAS)
    tensors = {**net.state_dict()}
    assert sum(t.numel() for name, t in tensors.items() if "num_batches" not in name) == params


def test_plain_twins_have_no_additions():
    with torch.device("meta"):
        twin, net = zoo.build("plain34"), zoo.build("resnet34")
    assert not any(isinstance(m, Residual) for m in twin.modules())
    projections = sum(p.numel() for name, p in net.named_parameters() if "shortcut" in name)
    assert sum(p.numel() for p in net.parameters()) - projections == sum(p.numel() for p in twin.parameters())
