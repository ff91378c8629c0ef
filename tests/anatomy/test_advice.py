"""Both sides of every rule: a network that sets it off with the numbers said, and a healthy one that does not."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from striate.anatomy import Anatomy, anatomy


def said(net: nn.Module, shape: tuple[int, ...]) -> dict[str, tuple[str, str]]:
    return {advice.rule: (advice.level, advice.text) for advice in anatomy(net, shape).advice}


def conv(c_in: int, c_out: int, k: int = 3, stride: int = 1, **options: object) -> nn.Sequential:
    convolution = nn.Conv2d(c_in, c_out, k, stride, padding=k // 2, **options)  # type: ignore[arg-type]
    return nn.Sequential(convolution, nn.BatchNorm2d(c_out), nn.ReLU())


def healthy(width: int = 16) -> nn.Sequential:
    """32x32 pixels, three halvings, a field of 71, averaged."""
    stages = [(3, width, 1), (width, width, 2), (width, 2 * width, 1), (2 * width, 2 * width, 2)]
    stages += [(2 * width, 4 * width, 1), (4 * width, 4 * width, 2), (4 * width, 4 * width, 1)]
    body = [conv(a, b, 3, s) for a, b, s in stages]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, 10))


def test_a_healthy_network_needs_no_advice() -> None:
    assert said(healthy(), (3, 32, 32)) == {}


HEALTHY = ["resnet18", "resnet50", "densenet121", "googlenet", "mobilenet_v2", "shufflenet_v2_x1_0"]
HEALTHY += ["efficientnet_b0", "convnext_tiny", "mobilenet_v3_large", "mnasnet1_0", "resnext50_32x4d"]


@pytest.mark.parametrize("name", HEALTHY)
def test_good_published_networks_need_no_advice(name: str, measured: Callable[[str], Anatomy]) -> None:
    assert measured(name).advice == ()


def test_famous_weaknesses_are_found(measured: Callable[[str], Anatomy]) -> None:
    (advice,) = measured("vgg16").advice
    assert advice.rule == "first-dense-layer"
    assert "25,088 x 4,096 = 102,760,448 weights are 74% of all parameters" in advice.text
    rules = {advice.rule: advice.text for advice in measured("squeezenet1_0").advice}
    assert "sees 155 of 224 pixels" in rules["receptive-field"]
    assert "windows of 7 at stride 2 don't tile 224 pixels, the last 1 row is never seen" in rules["tiling"]
    (advice,) = measured("inception_v3").advice
    assert advice.text == "the network shrinks 299 pixels by 32, which doesn't divide them; 288 or 320 would"


def test_receptive_field() -> None:
    few = nn.Sequential(conv(3, 8), conv(8, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    level, text = said(few, (3, 32, 32))["receptive-field"]
    assert level == "warning"
    assert "sees 5 of 32 pixels, not the whole image" in text
    assert "receptive-field" not in said(few, (3, 5, 5))
    dense = nn.Sequential(conv(3, 1), nn.Flatten(), nn.Linear(12 * 12, 10))
    assert "receptive-field" not in said(dense, (3, 12, 12))
    assert (
        "sees 3 of 13 pixels"
        in said(nn.Sequential(conv(3, 1), nn.Flatten()), (3, 13, 13))["receptive-field"][1]
    )


def test_a_gate_that_sees_everything_is_enough() -> None:
    class Gate(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * torch.sigmoid(x.mean((2, 3), keepdim=True))

    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    assert "receptive-field" in said(nn.Sequential(conv(3, 8), *head), (3, 32, 32))
    assert "receptive-field" not in said(nn.Sequential(conv(3, 8), Gate(), *head), (3, 32, 32))


def test_alignment() -> None:
    net = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 3, 3, 2))
    shifted = said(Both(net, nn.Conv2d(3, 3, 1, 2)), (3, 32, 32))["alignment"]
    assert shifted[0] == "info"
    assert "a.1 (conv2d) is centred on pixel 1 + 2i, b (conv2d) on 0 + 2i" in shifted[1]
    assert "alignment" not in said(Both(nn.Conv2d(3, 3, 3, 2, 1), nn.Conv2d(3, 3, 1, 2)), (3, 32, 32))


class Both(nn.Module):
    def __init__(self, a: nn.Module, b: nn.Module) -> None:
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) + self.b(x)


class Times(Both):
    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) * self.b(x)


def test_divisible_input() -> None:
    assert "shrinks 36 pixels by 8" in said(healthy(), (3, 36, 36))["divisible-input"][1]
    assert "32 or 40 would" in said(healthy(), (3, 36, 36))["divisible-input"][1]
    assert "divisible-input" not in said(healthy(), (3, 40, 40))


def test_tiling() -> None:
    valid = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.MaxPool2d(2))
    assert said(valid, (3, 32, 33))["tiling"][1] == (
        "0: windows of 3 at stride 2 don't tile 32 pixels, the last 1 row is never seen (2 layers in all)"
    )
    assert "tiling" not in said(valid, (3, 33, 33))
    # what is left over is padding, the window is sparse on purpose, or rounds up: nothing is lost
    assert "tiling" not in said(nn.Conv2d(3, 8, 7, 2, 3), (3, 32, 32))
    assert "tiling" not in said(nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 8, 2, 2)), (3, 32, 32))
    assert "tiling" not in said(nn.Conv2d(3, 8, 1, 2), (3, 32, 32))
    assert "tiling" not in said(nn.MaxPool2d(3, 2, ceil_mode=True), (3, 32, 32))


def test_first_dense_layer() -> None:
    flat = nn.Sequential(
        conv(3, 32), nn.Flatten(), nn.Dropout(), nn.Linear(32 * 64, 50), nn.ReLU(), nn.Linear(50, 9)
    )
    text = said(flat, (3, 8, 8))["first-dense-layer"][1]
    assert "3: 2,048 x 50 = 102,400 weights are 99% of all parameters" in text
    few = nn.Sequential(conv(3, 64), conv(64, 64), nn.Flatten(), nn.Linear(64, 10))
    assert "first-dense-layer" not in said(few, (3, 1, 1))
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(192, 100), nn.ReLU(), nn.Linear(100, 10))
    assert "first-dense-layer" not in said(mlp, (3, 8, 8))


def test_large_kernels() -> None:
    text = said(nn.Sequential(conv(3, 8, 7), conv(8, 8, 7)), (3, 32, 32))["large-kernels"][1]
    assert text == "1.0: a 7x7 kernel has 49 weights per channel pair, a stack of 3x3 that sees as far 27"
    assert "large-kernels" not in said(nn.Sequential(conv(3, 8, 7), conv(8, 8, 5)), (3, 32, 32))
    assert "large-kernels" not in said(nn.Sequential(conv(3, 8), conv(8, 8, 7, groups=8)), (3, 32, 32))


def test_nonlinearity() -> None:
    def pair(a: int, b: int, c: int, *between: nn.Module) -> nn.Module:
        return nn.Sequential(nn.Conv2d(a, b, 3), *between, nn.Conv2d(b, c, 3))

    affine = (nn.BatchNorm2d(8), nn.AvgPool2d(2), nn.Dropout())
    level, text = said(pair(3, 8, 8, *affine), (3, 32, 32))["nonlinearity"]
    assert (level, text) == (
        "warning",
        "nothing non-linear between 0 and 4: together they are one linear layer",
    )
    assert "nonlinearity" not in said(pair(3, 8, 8, nn.ReLU()), (3, 32, 32))
    assert "nonlinearity" not in said(pair(3, 8, 8, nn.MaxPool2d(2)), (3, 32, 32))
    assert "nonlinearity" not in said(pair(16, 4, 16), (16, 32, 32))  # a bottleneck
    depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 16, 1))
    assert "nonlinearity" not in said(depthwise, (8, 32, 32))
    gate = Times(nn.Identity(), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Sigmoid()))
    assert "nonlinearity" not in said(nn.Sequential(nn.Conv2d(3, 8, 3), gate), (3, 32, 32))
    skip = nn.Sequential(nn.Conv2d(3, 8, 3), Both(nn.ReLU(), nn.Identity()), nn.Conv2d(8, 8, 3))
    assert "nonlinearity" not in said(skip, (3, 32, 32))


def test_classifier_norm() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 10))
    assert "classifier-norm" not in said(net, (3, 4, 4))
    assert said(nn.Sequential(*net, nn.BatchNorm1d(10)), (3, 4, 4))["classifier-norm"] == (
        "warning",
        "5 normalises the logits of 4",
    )


@pytest.mark.parametrize(
    ("end", "k", "bound"),
    [
        (nn.Softmax(1), 10, 0.2320),
        (nn.Sigmoid(), 100, 0.0267),
        (nn.Hardsigmoid(), 2, 0.7311),
        (nn.Tanh(), 10, 0.4509),
        (nn.ReLU6(), 1000, 0.2877),
    ],
    ids=str,
)
def test_squashed_outputs_bound_every_probability(end: nn.Module, k: int, bound: float) -> None:
    """The best case is one class at the top of the interval, all others at its bottom."""
    top = torch.full((k,), -1e4, dtype=torch.float64).index_fill_(0, torch.tensor(0), 1e4)
    best = end(top[None]).softmax(1).max()
    assert float(best) == pytest.approx(bound, abs=1e-4)
    level, text = said(nn.Sequential(nn.Flatten(), nn.Linear(64, k), end, nn.Dropout()), (1, 8, 8))["logits"]
    assert level == "warning"
    assert text.endswith(f"of {k} classes none can get a probability over {bound:.3f}; end it with 1")


def test_one_output_and_outputs_cut_off_at_nought() -> None:
    def text(k: int, end: nn.Module) -> str:
        return said(nn.Sequential(nn.Flatten(), nn.Linear(64, k), end), (1, 8, 8))["logits"][1]

    assert "every probability lies between 50% and 73%" in text(1, nn.Sigmoid())
    assert "none can be under 0; end it with 1" in text(10, nn.ReLU())


def test_logits_and_maps_are_free() -> None:
    assert "logits" not in said(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), (1, 8, 8))
    assert "logits" not in said(nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.LogSoftmax(1)), (1, 8, 8))
    squeezenet = nn.Sequential(nn.Conv2d(3, 10, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert "logits" not in said(squeezenet, (3, 8, 8))
    assert "logits" not in said(nn.Sequential(nn.Conv2d(3, 10, 1), nn.ReLU()), (3, 8, 8))


def test_no_advice_rests_on_a_field_that_is_not_known() -> None:
    """Two values of an upsampled map see different amounts: neither a field nor a jump may be judged."""
    for layer in (nn.Upsample(scale_factor=2), nn.ConvTranspose2d(8, 8, 2, 2), nn.AdaptiveAvgPool2d(5)):
        net = nn.Sequential(conv(3, 8), nn.MaxPool2d(2), layer, nn.Flatten(), nn.LazyLinear(10))
        net(torch.zeros(2, 3, 18, 18))
        assert anatomy(net, (3, 18, 18)).receptive_field is None
        assert not {"receptive-field", "divisible-input"} & said(net, (3, 18, 18)).keys()


def test_dropout() -> None:
    def net(*drop: nn.Module) -> nn.Module:
        return nn.Sequential(
            conv(3, 8), nn.Flatten(), nn.Linear(512, 256), nn.ReLU(), *drop, nn.Linear(256, 10)
        )

    assert said(net(), (3, 8, 8))["dropout"][1] == (
        "131,072 weights in hidden dense layers and no dropout before 4"
    )
    assert "dropout" not in said(net(nn.Dropout()), (3, 8, 8))
    assert "dropout" not in said(healthy(64), (3, 32, 32))  # no hidden dense layer


def test_feature_map_size() -> None:
    text = said(healthy(), (3, 16, 16))["feature-map-size"][1]
    assert text.startswith("6.0: a 3x3 window on a map of 2x2 sees mostly padding")
    assert "feature-map-size" not in said(healthy(), (3, 24, 24))


def test_odd_kernels() -> None:
    text = said(nn.Conv2d(3, 8, (2, 3)), (3, 8, 8))["odd-kernels"][1]
    assert "a 2x3 kernel has no centre" in text
    assert "odd-kernels" not in said(nn.Conv2d(3, 8, 3), (3, 8, 8))
    assert "odd-kernels" not in said(nn.Conv2d(3, 8, 4, 4), (3, 8, 8))  # patches


def test_depth_without_skips() -> None:
    def plain(depth: int) -> list[nn.Module]:
        return [conv(4, 4) for _ in range(depth)]

    level, text = said(nn.Sequential(*plain(21)), (4, 16, 16))["depth-without-skips"]
    assert (level, text[:36]) == ("warning", "21 layers with weights in a row and ")
    assert "depth-without-skips" not in said(nn.Sequential(*plain(20)), (4, 16, 16))
    separable = [nn.Sequential(conv(4, 4, groups=4), conv(4, 4, 1)) for _ in range(20)]
    assert "depth-without-skips" not in said(nn.Sequential(*separable), (4, 16, 16))
    skips = nn.Sequential(*(Both(nn.Identity(), layer) for layer in plain(30)))
    assert "depth-without-skips" not in said(skips, (4, 16, 16))
