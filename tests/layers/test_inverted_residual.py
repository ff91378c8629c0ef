import pytest
import torch
from torch import nn

from striate.layers.inverted_residual import InvertedResidual, conv_bn_relu6


def test_a_silent_body_leaves_x_only_where_shapes_agree():
    x = torch.randn(2, 4, 6, 6)
    for c_out, stride, expected in (
        (4, 1, x),
        (4, 2, 0 * x[:, :, ::2, ::2]),
        (8, 1, 0 * x.repeat(1, 2, 1, 1)),
    ):
        block = InvertedResidual(4, c_out, stride)
        nn.init.zeros_(block.body[-1].bn.weight)
        assert torch.equal(block(x), expected)


@pytest.mark.parametrize(
    ("expand", "params"),
    [
        # 1x1 to 24, depthwise 3x3, 1x1 to 5; a scale and a shift for each norm
        (6, 4 * 24 + 2 * 24 + 9 * 24 + 2 * 24 + 24 * 5 + 2 * 5),
        (1, 9 * 4 + 2 * 4 + 4 * 5 + 2 * 5),
    ],
)
def test_parameters_by_hand(expand, params):
    assert sum(p.numel() for p in InvertedResidual(4, 5, expand=expand).parameters()) == params


def test_the_end_is_linear_and_the_rest_capped_at_6():
    names = [type(m).__name__ for m in InvertedResidual(4, 4).body.modules() if not list(m.children())]
    assert names == ["Conv2d", "BatchNorm2d", "ReLU6"] * 2 + ["Conv2d", "BatchNorm2d"]
    unit = conv_bn_relu6(1, 1, 1, padding=0).eval()
    nn.init.ones_(unit.conv.weight)
    assert unit(torch.tensor([[[[-3.0, 100.0]]]])).flatten().tolist() == [0, 6]
