import pytest
import timm
import torch

from striate import zoo
from striate.zoo.senet import CAFFE


@pytest.mark.parametrize("depth", [50, pytest.param(101, marks=pytest.mark.slow)])
def test_same_logits_as_timm(depth, same_logits):
    peer = timm.create_model(f"legacy_seresnet{depth}", num_classes=10)
    same_logits(zoo.build(f"seresnet{depth}", num_classes=10, **CAFFE), peer, (2, 3, 40, 33))
    if depth == 50:
        peer = timm.create_model("seresnet50", num_classes=10)
        same_logits(zoo.build("seresnet50", num_classes=10), peer, (2, 3, 40, 33))


def test_the_gates_cost_what_section_4_says():
    """2/r times the sum over stages of blocks times C squared, and here a bias for every unit."""
    with torch.device("meta"):
        gated, bare = zoo.build("seresnet50"), zoo.build("resnet50")
    blocks = ((3, 256), (4, 512), (6, 1024), (3, 2048))
    weights = 2 / 16 * sum(n * c**2 for n, c in blocks)
    biases = sum(n * (c + c // 16) for n, c in blocks)
    extra = sum(p.numel() for p in gated.parameters()) - sum(p.numel() for p in bare.parameters())
    assert extra == weights + biases
