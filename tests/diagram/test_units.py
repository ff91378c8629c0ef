"""The table's arithmetic against what torch does with the layers that it makes."""

import pytest
import torch

from striate.diagram import build
from striate.diagram.drawing import COLOUR
from striate.diagram.flow import steps
from striate.diagram.parser import parse
from striate.diagram.plan import plan
from striate.diagram.torchcode import CODE
from striate.diagram.units import UNITS

USES = [
    *("CONV", "CONV(5, 1)", "CONV(5, 1x7)", "CONV(6, 3, stride=2)", "CONV(6, 4, stride=3, padding=valid)"),
    *("CONV(6, 3, dilation=2)", "CONV(6, 3x2, stride=1x2, padding=2)", "CONV(12, groups=3, bias=false)"),
    *("CONV(6, 3, padding=(0, 1, 2, 3))", "CONV(6, 2)", "CONV(6, 3, padding=1x0)"),
    *("DWCONV", "DWCONV(5, stride=2, multiplier=3)", "DWCONV(3, dilation=2, bias=false)"),
    *("SEPCONV", "SEPCONV(7, 5, stride=2, multiplier=2)", "SEPCONV(7, bias=false)"),
    *("BN", "BN(eps=0.001, momentum=0.01)", "LRN", "LRN(3, within=true)", "RELU", "LRELU(0.2)", "PRELU"),
    *("PRELU(shared=true)", "ELU(0.5)", "SELU", "GELU", "SWISH", "TANH", "SIGMOID", "RELU6", "MAXOUT", "MAXOUT(3)"),
    *("POOL", "POOL(3, stride=2)", "POOL(3, stride=2, padding=same)", "POOL(3, stride=2, padding=1)"),
    *("POOL(3, stride=2, ceil=true)", "AVGPOOL(2x3)", "AVGPOOL(3, stride=1, padding=same, count_pad=true)"),
    *("AVGPOOL(2, padding=same)", "MINPOOL(3, stride=2, padding=same)", "GAP", "GMP", "DEPTHPOOL(4)"),
    *("SCALE(0.17)", "ZEROS(3)", "PAD(2)", "PAD(1x0)", "PAD((0, 1, 2, 3))", "FLATTEN", "FC(9)", "FC(9, bias=false)"),
    *("DROPCONNECT(9)", "DROPCONNECT(9, 0.2, bias=false)", "DO", "DO(0.2)", "SDO", "DROPPATH(0.1)", "SE", "SE(4)"),
]  # fmt: skip
FLAT = [
    "BN",
    "RELU",
    "PRELU",
    "MAXOUT",
    "FLATTEN",
    "FC(3)",
    "DROPCONNECT(3)",
    "DO",
    "DROPPATH(0.5)",
    "SCALE(2)",
]


@pytest.mark.parametrize("use", [*USES, *(f"GAP => {use}" for use in FLAT)])
def test_shapes_and_counts_are_those_of_the_layers(use: str) -> None:
    text = f"INPUT(11,13,12) => {use}"
    planned = plan(parse(text))
    net = build(text)
    net.eval()
    y = net(torch.randn(2, 12, 11, 13))
    assert tuple(y.shape[1:]) == list(steps(planned.flow))[-1].y
    assert sum(p.numel() for p in net.parameters()) == planned.parameters


def test_every_unit_is_used_above_written_as_torch_and_drawn() -> None:
    used = {use.split("(")[0] for use in USES}
    assert used == UNITS.keys() == CODE.keys()
    assert UNITS.keys() <= COLOUR.keys()


def test_arguments_reach_the_layer_that_they_name() -> None:
    conv = build(
        "INPUT(11,13,12) => CONV(24, 3x2, stride=2x1, padding=1, dilation=2, groups=3, bias=false)"
    ).conv1
    assert (conv.out_channels, conv.kernel_size, conv.stride) == (24, (3, 2), (2, 1))
    assert (conv.padding, conv.dilation, conv.groups, conv.bias) == ((1, 1), (2, 2), 3, None)
    lrn = build("INPUT(8,8,8) => LRN(3, 0.1, 0.5, 2, true)").lrn1
    assert (lrn.size, lrn.alpha, lrn.beta, lrn.k, lrn.within_channel) == (3, 0.1, 0.5, 2, True)
    pool = build("INPUT(8,8,8) => AVGPOOL(3, 2, 1, true, true)").avgpool1
    assert (pool.kernel_size, pool.stride, pool.ceil_mode, pool.count_include_pad) == (
        (3, 3),
        (2, 2),
        True,
        True,
    )
    assert build("INPUT(8,8,8) => DROPCONNECT(5, 0.25)").dropconnect1.p == 0.25
    assert build("INPUT(8,8,8) => BN(eps=0.1, momentum=0.2)").bn1.momentum == 0.2
