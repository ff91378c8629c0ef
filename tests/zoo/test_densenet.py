import pytest
import torch
import torchvision.models as tv
from torch import nn

from striate import zoo


def test_same_logits_as_torchvision(same_logits):
    same_logits(zoo.build("densenet121", num_classes=10), tv.densenet121(num_classes=10), (2, 3, 40, 33))


@pytest.mark.parametrize(("name", "depth"), [(121, 121), (161, 161), (169, 169), (201, 201), (264, 265)])
def test_depth_counts_the_layers_with_weights(name, depth):
    """The plan that Table 1 prints for DenseNet-264 has one more than its name."""
    with torch.device("meta"):
        net = zoo.build(f"densenet{name}")
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in net.modules()) == depth


def test_compression_and_growth():
    with torch.device("meta"):
        net = zoo.build("densenet121")
    widths = [net.stages[i].conv.out_channels for i in (1, 3, 5)]
    assert widths == [(64 + 6 * 32) // 2, (128 + 12 * 32) // 2, (256 + 24 * 32) // 2]
    assert net.stages.end.bn.num_features == 512 + 16 * 32
