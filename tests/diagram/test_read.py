from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate import layers
from striate.diagram import build, to_text, weights
from striate.diagram.flow import Group, Merge, steps
from striate.diagram.read import read
from striate.errors import UsageError


class Function(nn.Module):
    """Any function of one tensor as a module."""

    def __init__(self, f: Any) -> None:
        super().__init__()
        self.f = f

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x)


TORCH = [
    (nn.Conv2d(8, 4, 3, padding=1), "CONV(4)"),
    (nn.Conv2d(8, 4, 3), "CONV(4, padding=valid)"),
    (nn.Conv2d(8, 4, 3, stride=2, padding=1), "CONV(4, stride=2, padding=1)"),
    (nn.Conv2d(8, 4, 1, stride=2), "CONV(4, 1, stride=2)"),
    (nn.Conv2d(8, 4, 3, padding="same", dilation=2), "CONV(4, dilation=2)"),
    (nn.Conv2d(8, 4, 2, padding="same"), "CONV(4, 2)"),
    (nn.Conv2d(8, 4, (1, 7), padding=(0, 3), groups=2, bias=False), "CONV(4, 1x7, groups=2, bias=false)"),
    (nn.Conv2d(8, 16, 3, padding=1, groups=8), "DWCONV(multiplier=2)"),
    (layers.Conv2d(8, 4, 3, 2), "CONV(4, stride=2)"),
    (layers.SeparableConv2d(8, 4, 5, 2, bias=False), "SEPCONV(4, 5, stride=2, bias=false)"),
    (nn.BatchNorm2d(8, eps=0.001), "BN(eps=0.001)"),
    (nn.LocalResponseNorm(5), "LRN"),
    (layers.LocalResponseNorm(3, within_channel=True), "LRN(3, within=true)"),
    (nn.ReLU(inplace=True), "RELU"),
    (nn.Hardtanh(0, 6), "RELU6"),
    (nn.PReLU(), "PRELU(shared=true)"),
    (nn.PReLU(8), "PRELU"),
    (nn.LeakyReLU(0.2), "LRELU(0.2)"),
    (nn.SiLU(), "SWISH"),
    (nn.MaxPool2d(3, 2, 1), "POOL(3, stride=2, padding=1)"),
    (nn.MaxPool2d(3, 1, 1), "POOL(3, stride=1, padding=same)"),
    (nn.MaxPool2d(2, ceil_mode=True), "POOL(ceil=true)"),
    (layers.MaxPool2d(3, 2, "same"), "POOL(3, stride=2, padding=same)"),
    (nn.AvgPool2d(2), "AVGPOOL"),
    (nn.AvgPool2d(3, 1, 1), "AVGPOOL(3, stride=1, padding=same, count_pad=true)"),
    (nn.AvgPool2d(3, 1, 1, count_include_pad=False), "AVGPOOL(3, stride=1, padding=same)"),
    (layers.MinPool2d(2), "MINPOOL"),
    (nn.AdaptiveAvgPool2d(4), "AVGPOOL(3)"),
    (nn.AdaptiveMaxPool2d((4, 3)), "POOL(3x4)"),
    (nn.AdaptiveAvgPool2d(1), "AVGPOOL(12)"),
    (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Dropout(0.2), nn.Flatten()), "GAP => DO(0.2)"),
    (nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten()), "GMP"),
    (Function(lambda x: x.mean((2, 3))), "GAP"),
    (Function(lambda x: x.mean([-1, -2], keepdim=True).flatten(1)), "GAP"),
    (Function(lambda x: torch.flatten(F.relu(x), 1)), "RELU => FLATTEN"),
    (Function(lambda x: x.view(x.size(0), -1)), "FLATTEN"),
    (layers.DepthMaxPool(4), "DEPTHPOOL(4)"),
    (layers.Maxout(2), "MAXOUT"),
    (nn.Sequential(layers.GlobalAvgPool(), layers.DropConnectLinear(8, 5, 0.3)), "GAP => DROPCONNECT(5, p=0.3)"),
    (nn.Dropout2d(0.1), "SDO(0.1)"),
    (layers.StochasticDepth(0.1), "DROPPATH(0.1)"),
    (layers.SqueezeExcite(8, 4), "SE(4)"),
    (nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(8, 4, 3, 2)), "CONV(4, stride=2, padding=(0, 1, 0, 1))"),
    (nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3, 2)), "PAD(1) => POOL(3, stride=2)"),
    (Function(lambda x: 0.5 * x), "SCALE(0.5)"),
    (Function(lambda x: F.pad(x, (0, 0, 0, 0, 0, 3))), "ZEROS(3)"),
    (Function(lambda x: x + x), "{ SKIP + SKIP }"),
    (Function(lambda x: torch.cat([x, F.relu(x), x.tanh()], 1)), "{ SKIP | RELU | TANH }"),
    (Function(lambda x: sum([x, F.relu(x)])), "{ SKIP + RELU }"),
    (Function(lambda x: x + F.relu(x) + x.tanh()), "{ SKIP + RELU + TANH }"),
    (nn.Sequential(nn.Identity(), nn.Dropout(0.0), nn.MaxPool2d(1, 1), layers.PadChannels(8, 8), nn.ReLU()), "RELU"),
    (Function(lambda x: F.relu(1.0 * x)), "RELU"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "text"), TORCH, ids=[text for _, text in TORCH])
def test_what_torch_computes_has_a_word(module: nn.Module, text: str) -> None:
    net, shape = nn.Sequential(module).eval(), (8, 12, 12)
    assert to_text(net, shape) == f"INPUT(12, 12, 8) => {text}"
    copy = build(to_text(net, shape)).eval()
    copy.load_state_dict(dict(zip(copy.state_dict(), weights(net, shape), strict=True)))
    x = torch.randn(2, *shape)
    torch.testing.assert_close(net(x.clone()), copy(x))


UNSAYABLE = [
    (nn.Softmax(1), "softmax"),
    (nn.GELU(approximate="tanh"), "gelu"),
    (nn.AdaptiveAvgPool2d(5), "adaptive_avg_pool2d"),
    (nn.ChannelShuffle(2), "channel_shuffle"),
    (nn.MaxPool2d(2, dilation=2), "max_pool2d"),
    (nn.ReflectionPad2d(1), "pad"),
    (nn.BatchNorm2d(8, affine=False), "batch_norm"),
    (nn.Linear(12, 5), "linear"),
    (Function(lambda x: x * x.mean((2, 3), keepdim=True)), "mul"),
    (Function(lambda x: x + x.mean((2, 3), keepdim=True)), "add"),
    (Function(lambda x: x - 1), "sub"),
    (Function(lambda x: torch.cat([x, x], 2)), "cat"),
    (Function(lambda x: F.pad(x, (-1, 0, 0, 0))), "pad"),
    (layers.DropConnectConv2d(8, 4, 3), "DropConnectConv2d"),
]


@pytest.mark.parametrize(("module", "operation"), UNSAYABLE, ids=[operation for _, operation in UNSAYABLE])
def test_the_first_operation_without_a_word_is_named(module: nn.Module, operation: str) -> None:
    net = nn.Sequential()
    net.add_module("first", nn.ReLU())
    net.add_module("second", module)
    with pytest.raises(UsageError) as caught:
        to_text(net, (8, 12, 12))
    assert f"no word for {operation} at second" in str(caught.value)


class Crossing(nn.Module):
    """The first branch's result also goes into the second: no bracket can say so."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.ReLU(), nn.Tanh(), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        b = self.b(a + x)
        return self.c(a) + b


def test_paths_that_cross_are_refused() -> None:
    with pytest.raises(UsageError, match="the paths cross at a"):
        to_text(Crossing(), (3, 4, 4))


def test_branches_within_branches() -> None:
    inner = layers.Add(nn.Conv2d(3, 3, 1), nn.Identity())
    net = layers.Concat(nn.Sequential(nn.ReLU(), inner, nn.Tanh()), nn.Identity(), nn.Sigmoid())
    assert to_text(net, (3, 4, 4)) == (
        "INPUT(4, 4, 3) => { RELU => { CONV(3, 1) + SKIP } => TANH | SKIP | SIGMOID }"
    )


def test_shapes_come_with_the_flow() -> None:
    flow = read(nn.Sequential(nn.Conv2d(3, 4, 3), layers.Concat(nn.ReLU(), nn.Identity())), (3, 8, 8))
    conv, merge = flow
    assert isinstance(merge, Merge)
    assert (next(steps(flow)).x, conv.y, merge.x, merge.y) == ((3, 8, 8), (4, 6, 6), (4, 6, 6), (8, 6, 6))


def test_blocks_and_named_children_are_groups() -> None:
    net = build("b(c) = CONV(c) => RELU\nINPUT(8,8,3) => b(4) => b(4) => POOL => { CONV(2) | CONV(3) }")
    groups = [(g.name, g.args, g.block) for g in read(net) if isinstance(g, Group)]
    assert groups == [("b1", {"c": 4}, True), ("b2", {"c": 4}, True)]
    foreign = nn.ModuleDict(
        {"stem": nn.Sequential(nn.ReLU()), "head": nn.Sequential(nn.Flatten(), nn.Linear(12, 2))}
    )
    chain = nn.Sequential()
    for name, child in foreign.items():
        chain.add_module(name, child)
    assert [(g.name, g.block) for g in read(chain, (3, 2, 2)) if isinstance(g, Group)] == [
        ("stem", False),
        ("head", False),
    ]


@pytest.mark.parametrize("shape", [None, (), (3, 8), 5])
def test_the_input_shape_has_to_be_known(shape: Any) -> None:
    with pytest.raises(UsageError, match="ReLU: unknown input shape"):
        read(nn.ReLU(), shape)
