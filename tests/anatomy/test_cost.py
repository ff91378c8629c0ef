"""Counts against torchvision's published cards, torch's own FLOP counter, torchinfo, and arithmetic by hand."""

import json
import math
from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from striate.anatomy import Anatomy, anatomy

Measured = Callable[[str], Anatomy]
Peer = Callable[[str], nn.Module]

EXACT = {  # parameters and multiply-adds at 224
    "alexnet": (61_100_840, 714_188_480),
    "vgg11": (132_863_336, 7_609_090_048),
    "vgg11_bn": (132_868_840, 7_609_090_048),
    "vgg13": (133_047_848, 11_308_466_176),
    "vgg13_bn": (133_053_736, 11_308_466_176),
    "vgg16": (138_357_544, 15_470_264_320),
    "vgg16_bn": (138_365_992, 15_470_264_320),
    "vgg19": (143_667_240, 19_632_062_464),
    "vgg19_bn": (143_678_248, 19_632_062_464),
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet34": (21_797_672, 3_663_761_408),
    "resnet50": (25_557_032, 4_089_184_256),
    "resnet101": (44_549_160, 7_801_405_440),
    "resnet152": (60_192_808, 11_513_626_624),
    "densenet121": (7_978_856, 2_834_161_664),
    "densenet161": (28_681_000, 7_727_907_072),
    "densenet169": (14_149_480, 3_359_843_328),
    "densenet201": (20_013_928, 4_291_365_888),
    "squeezenet1_0": (1_248_424, 818_924_576),
    "squeezenet1_1": (1_235_496, 349_151_936),
    "mobilenet_v2": (3_504_872, 300_774_272),
}


@pytest.mark.parametrize("name", EXACT)
def test_exact_counts(name: str, measured: Measured) -> None:
    a = measured(name)
    assert (a.params, a.macs) == EXACT[name]
    assert a.unknown == ()
    assert a.unused == {}
    for row in a.rows:  # every formula is true
        assert row.params == (eval(row.formula) if row.formula else 0), row
    assert sum(row.params for row in a.rows) == a.params


CARDS = [
    "googlenet",
    "inception_v3",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
]
CARDS += ["mnasnet1_0", "shufflenet_v2_x1_0", "efficientnet_b0", "convnext_tiny", "swin_t", "vit_b_16"]


@pytest.mark.parametrize("name", CARDS)
def test_published_cards(name: str, measured: Measured) -> None:
    card = torchvision.models.get_model_weights(name).DEFAULT.meta
    a = measured(name)
    assert a.params == card["num_params"]
    assert round(a.macs / 1e9, 3) == card["_ops"]


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "swin_t", "vit_b_32"])
def test_torchs_own_counter_agrees(name: str, peer: Peer) -> None:
    net = peer(name).eval()
    with FlopCounterMode(display=False) as counter:
        net(torch.empty(1, 3, 224, 224, device="meta"))
    assert counter.get_total_flops() == 2 * anatomy(net, (3, 224, 224)).macs


KERAS = {"densenet121": 8_062_504, "densenet169": 14_307_880, "densenet201": 20_242_984}
KERAS |= {"mobilenet_v2": 3_538_984, "vgg16": 138_357_544, "resnext50_32x4d": 25_097_128}


@pytest.mark.parametrize("name", KERAS)
def test_keras_counts_running_statistics_too(name: str, measured: Measured) -> None:
    assert measured(name).params_keras == KERAS[name]


def test_resnet50_with_the_stride_of_the_paper(peer: Peer) -> None:
    net = peer("resnet50")
    for block in net.modules():
        if isinstance(block, torchvision.models.resnet.Bottleneck):
            block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)
    assert anatomy(net, (3, 224, 224)).macs == 3_857_973_248


def test_auxiliary_heads_are_counted_and_named_as_unused(measured: Measured) -> None:
    assert measured("inception_v3").unused == {"AuxLogits": 3_326_696}


@pytest.mark.parametrize(
    ("layer", "formula", "params"),
    [
        (nn.Conv2d(32, 64, 3), "(3*3*32 + 1)*64", 18_496),
        (nn.Conv2d(32, 64, 3, bias=False), "3*3*32*64", 18_432),
        (nn.Conv2d(32, 64, (1, 7)), "(1*7*32 + 1)*64", 14_400),
        (nn.Conv2d(32, 32, 3, groups=32), "(3*3 + 1)*32", 320),
        (nn.Conv2d(32, 64, 3, groups=4), "(3*3*32/4 + 1)*64", 4_672),
        (nn.BatchNorm2d(32), "2*32", 64),
        (nn.BatchNorm2d(32, affine=False), "", 0),
        (nn.PReLU(32), "32", 32),
        (nn.PReLU(), "1", 1),
        (nn.GroupNorm(4, 32), "32 + 32", 64),
        (nn.ConvTranspose2d(32, 8, 2), "32*8*2*2 + 8", 1_032),
        (nn.ReLU(), "", 0),
    ],
)
def test_formulas(layer: nn.Module, formula: str, params: int) -> None:
    (row,) = anatomy(layer, (32, 8, 8)).rows
    assert (row.formula, row.params) == (formula, params)


def test_shared_weights_count_once_and_work_twice() -> None:
    """torchinfo's recursive network: one 3x3 convolution called six times."""

    class Recursive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(64, 64, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(6):
                x = self.conv(x)
            return x

    a = anatomy(Recursive(), (64, 28, 28))
    assert a.params == 36_928
    assert a.macs + 6 * 64 * 28 * 28 == 173_709_312  # torchinfo adds one multiply-add per bias
    assert [(row.params, row.formula) for row in a.rows] == [(36_928, "(3*3*64 + 1)*64")] + [
        (0, "shared")
    ] * 5


def test_tied_layers_count_once() -> None:
    net = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
    net[1].weight = net[0].weight
    a = anatomy(net, (8,))
    assert (a.params, a.macs) == (64, 128)


def torchinfo(a: Anatomy) -> int:
    """Its multiply-adds: every parameter, bias and batch norm's too, once per position (batch norm once)."""
    positions = (1 if row.type == "BatchNorm2d" else math.prod(row.output[1:]) for row in a.rows)
    return sum(row.params * n for row, n in zip(a.rows, positions, strict=True))


def test_torchinfo_agrees_by_its_own_rules(measured: Measured) -> None:
    a = measured("resnet50")
    assert round(2 * torchinfo(a) / 1e9, 2) == 8.18
    assert a.disk_bytes - 4 * 53_120 - 8 * 53 == 4 * a.params  # running statistics and 53 counters of batches
    kept = sum(row.activation_bytes for row in a.rows if row.params)
    assert round(2 * 2 * kept / 1e6, 2) == 355.66  # forward and backward, batch of 2
    grouped = anatomy(nn.Conv2d(16, 32, 3, groups=4), (16, 28, 28))
    assert (grouped.params, 7 * torchinfo(grouped)) == (1_184, 5_602_688)


def test_torchinfos_small_network() -> None:
    class SingleInputNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 10, 5), nn.Conv2d(10, 20, 5)
            self.drop, self.fc1, self.fc2 = nn.Dropout2d(), nn.Linear(320, 50), nn.Linear(50, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.max_pool2d(self.conv1(x), 2).relu()
            x = torch.max_pool2d(self.drop(self.conv2(x)), 2).relu()
            return self.fc2(self.fc1(x.view(-1, 320)).relu())

    a = anatomy(SingleInputNet(), (1, 28, 28))
    assert [row.params for row in a.rows if row.params] == [260, 5_020, 16_050, 510]
    assert (a.params, 2 * torchinfo(a)) == (21_840, 975_200)


def test_multiplications_of_torch_scan() -> None:
    assert anatomy(nn.Conv2d(3, 8, 3), (3, 32, 32)).macs == 194_400
    assert anatomy(nn.Linear(8, 4), (8,)).macs == 32


def test_pooling_compares_and_multiplies_nothing() -> None:
    a = anatomy(nn.Sequential(nn.MaxPool2d(2, 1), nn.AdaptiveMaxPool2d(1), nn.Flatten()), (16, 29, 29))
    assert (a.macs, [row.comparisons for row in a.rows]) == (0, [50_176, 28 * 28 * 16, 0])


def test_an_unknown_operation_is_a_lower_bound_not_zero() -> None:
    class Fourier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(torch.fft.fft2(x).real.flatten(1))

    a = anatomy(Fourier(), (1, 8, 8))
    assert a.macs == 640
    assert a.unknown == ("fft_fft2",)
    assert a.rows[0].macs is None
    assert a.to_json()["macs_lower_bound"] is True
    json.dumps(a.to_json())
