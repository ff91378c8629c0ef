import pytest
import torch
from torch import nn

from striate.diagram import build
from striate.diagram.flow import steps
from striate.diagram.read import read
from striate.diagram.torchcode import torch_code


def lines(unit: str, size: int = 9) -> list[str]:
    return [
        str(code)
        for step in steps(read(build(f"INPUT({size},{size},8) => {unit}")))
        for code in torch_code(step)
    ]


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("CONV(4)", ["nn.Conv2d(8, 4, 3, padding=1)"]),
        ("CONV(4, 1x7, padding=valid, bias=false)", ["nn.Conv2d(8, 4, (1, 7), bias=False)"]),
        ("CONV(4, stride=2)", ["nn.Conv2d(8, 4, 3, stride=2, padding=1)"]),
        ("DWCONV(multiplier=2)", ["nn.Conv2d(8, 16, 3, padding=1, groups=8)"]),
        ("SEPCONV(4)", ["nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)", "nn.Conv2d(8, 4, 1)"]),
        ("BN(eps=0.001)", ["nn.BatchNorm2d(8, eps=0.001)"]),
        ("LRELU", ["nn.LeakyReLU()"]),
        ("PRELU", ["nn.PReLU(8)"]),
        ("POOL(3, stride=2)", ["nn.MaxPool2d(3, stride=2)"]),
        (
            "AVGPOOL(3, stride=1, padding=same)",
            ["nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)"],
        ),
        ("GAP", ["nn.AdaptiveAvgPool2d(1)", "nn.Flatten()"]),
        ("ZEROS(4)", ["nn.ConstantPad3d((0, 0, 0, 0, 0, 4), 0)"]),
    ],
)
def test_units_as_torch_layers(unit: str, expected: list[str]) -> None:
    assert lines(unit) == expected


def test_same_padding_at_stride_two_is_numbers_for_this_input() -> None:
    assert lines("CONV(4, stride=2)", size=8) == [
        "nn.ZeroPad2d((0, 1, 0, 1))",
        "nn.Conv2d(8, 4, 3, stride=2)",
    ]
    assert lines("POOL(3, stride=2, padding=same)", size=8) == ["nn.MaxPool2d(3, stride=2, ceil_mode=True)"]


WINDOWS = [(2, 2, "same"), (3, 2, "same"), (3, 3, "same"), (2, 3, "same"), (3, 2, 1), (4, 3, "2x1")]
UNITS = [
    "POOL({})",
    "AVGPOOL({})",
    "MINPOOL({})",
    "AVGPOOL({}, count_pad=true)",
    "POOL({}, ceil=true)",
    "AVGPOOL({}, ceil=true)",
]
POOLS = [unit.format(f"{k}, stride={s}, padding={p}") for unit in UNITS for k, s, p in WINDOWS]


@pytest.mark.parametrize("size", [7, 8, 9])
def test_pools_round_the_same_way(size: int) -> None:
    from striate.diagram import standalone

    x = torch.randn(2, 8, size, size)
    for pool in POOLS:
        net = build(f"INPUT({size},{size},8) => {pool}")
        code = "nn.Sequential(" + ", ".join(lines(pool, size)) + ")"
        copy = eval(code, {"nn": nn, **vars(standalone)})
        torch.testing.assert_close(copy(x), net(x), msg=lambda text, pool=pool: f"{pool}: {text}")
