import pytest
import torch
import torchvision.models as tv

from striate import zoo


def test_same_logits_as_torchvision(same_logits):
    same_logits(zoo.build("mobilenet_v2", num_classes=10), tv.mobilenet_v2(num_classes=10), (2, 3, 40, 33))


@pytest.mark.parametrize("width", [0.35, 0.5, 0.75, 1.4])
def test_widths_round_as_torchvision(width):
    with torch.device("meta"):
        ours, theirs = zoo.build("mobilenet_v2", width=width), tv.mobilenet_v2(width_mult=width)
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]
