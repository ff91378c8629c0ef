import pytest
import timm
import torch

from striate import zoo
from striate.zoo.senet import CAFFE


@pytest.mark.parametrize(("peer", "mine"), [("seresnet50", {}), ("legacy_seresnet50", CAFFE)])
def test_same_logits_as_timm(peer, mine, same_logits):
    ours, theirs = zoo.build("seresnet50", num_classes=10, **mine), timm.create_model(peer, num_classes=10)
    same_logits(ours, theirs, (1, 3, 40, 33))


def test_the_gates_cost_what_section_4_says():
    """2/r times the sum over stages of blocks times C squared, and here a bias for every unit."""
    with torch.device("meta"):
        gated, bare = zoo.build("seresnet50"), zoo.build("resnet50")
    blocks = ((3, 256), (4, 512), (6, 1024), (3, 2048))
    weights = 2 / 16 * sum(n * c**2 for n, c in blocks)
    biases = sum(n * (c + c // 16) for n, c in blocks)
    extra = sum(p.numel() for p in gated.parameters()) - sum(p.numel() for p in bare.parameters())
    assert extra == weights + biases
