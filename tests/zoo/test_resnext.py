import torch
import torchvision.models as tv
from torch import nn

from striate import zoo


def test_same_logits_as_torchvision(same_logits):
    peer = tv.resnext50_32x4d(num_classes=10)
    same_logits(zoo.build("resnext50_32x4d", num_classes=10), peer, (2, 3, 40, 33))


def test_widths_of_table_1():
    """128, 256, 512, 1024 channels in 32 groups: 4, 8, 16, 32 a group."""
    with torch.device("meta"):
        net = zoo.build("resnext50_32x4d")
    grouped = [stage[0].body.conv2 for stage in net.stages]
    assert all(isinstance(conv, nn.Conv2d) and conv.groups == 32 for conv in grouped)
    assert [conv.weight.shape[1] for conv in grouped] == [4, 8, 16, 32]
