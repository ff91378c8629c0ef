"""Convolution against hand-computed values and torch's own layer with the padding written out."""

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from striate.errors import UsageError
from striate.layers import Conv2d, depthwise, pointwise


class Calls(TorchFunctionMode):
    """The names of the torch functions called inside the block."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = getattr(func, "__name__", "")
        if name in ("conv2d", "pad"):
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def ones(kernel_size: int, **options: object) -> Conv2d:
    conv = Conv2d(1, 1, kernel_size, bias=False, **options)  # type: ignore[arg-type]
    nn.init.ones_(conv.weight)
    return conv


ramp = torch.arange(25.0).view(1, 1, 5, 5)


def test_values_computed_by_hand() -> None:
    assert ones(3, padding="valid")(ramp).tolist() == [[[[54, 63, 72], [99, 108, 117], [144, 153, 162]]]]
    assert ones(3)(ramp)[0, 0, 0].tolist() == [12, 21, 27, 33, 24]


def test_same_at_stride_two_pads_below_and_to_the_right_only() -> None:
    even = torch.arange(16.0).view(1, 1, 4, 4)
    # windows start at 0 and 2: the last one hangs over the edge
    assert ones(3, stride=2)(even).tolist() == [[[[45, 39], [66, 50]]]]


@pytest.mark.parametrize(
    ("options", "calls"),
    [
        ({"kernel_size": 3}, ["conv2d"]),
        ({"kernel_size": (1, 7)}, ["conv2d"]),
        ({"kernel_size": 3, "stride": 2, "padding": (1, 2)}, ["conv2d"]),
        ({"kernel_size": 1, "stride": 2}, ["conv2d"]),
        ({"kernel_size": 3, "dilation": 2}, ["conv2d"]),
        ({"kernel_size": 2}, ["pad", "conv2d"]),
        ({"kernel_size": 3, "stride": 2}, ["pad", "conv2d"]),
        ({"kernel_size": 3, "padding": (0, 1, 0, 1)}, ["pad", "conv2d"]),
    ],
)
def test_one_native_call_wherever_the_padding_is_symmetric(options: dict[str, int], calls: list[str]) -> None:
    conv = Conv2d(2, 3, **options)  # type: ignore[arg-type]
    with Calls() as seen:
        conv(torch.randn(1, 2, 8, 8))
    assert seen.names == calls


def test_same_at_stride_two_is_native_on_odd_inputs() -> None:
    with Calls() as seen:
        Conv2d(2, 3, 3, stride=2)(torch.randn(1, 2, 9, 9))
    assert seen.names == ["conv2d"]


@pytest.mark.parametrize("kernel", [1, 2, 3, (1, 7), (7, 1), (2, 5)])
@pytest.mark.parametrize("stride", [1, 2, (1, 3)])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("padding", ["same", "valid", 2, (1, 3), (0, 1, 2, 3)])
@pytest.mark.parametrize("groups", [1, 2])
def test_equals_torch_with_the_padding_written_out(
    kernel: int, stride: int, dilation: int, padding: str | int | tuple[int, ...], groups: int
) -> None:
    conv = Conv2d(4, 6, kernel, stride, padding, dilation, groups).double()
    plain = nn.Conv2d(4, 6, kernel, stride, 0, dilation, groups).double()
    plain.load_state_dict(conv.state_dict())
    x = torch.randn(2, 4, 15, 16, dtype=torch.float64)
    top, bottom, left, right = conv.pads(15, 16)
    expected = plain(nn.ZeroPad2d((left, right, top, bottom))(x))
    torch.testing.assert_close(conv(x), expected)
    assert conv.window.output(15, 16) == tuple(expected.shape[2:])


def test_parameters_as_counted_by_hand() -> None:
    def count(m: nn.Module) -> int:
        return sum(p.numel() for p in m.parameters())

    assert count(Conv2d(32, 64, 3)) == (3 * 3 * 32 + 1) * 64 == 18_496
    assert count(Conv2d(16, 32, 3, groups=4)) == 1_184
    assert count(pointwise(64, 128, bias=False)) == 64 * 128
    assert count(depthwise(32, 3, multiplier=2)) == (3 * 3 + 1) * 64


def test_depthwise_filters_its_own_channel() -> None:
    conv = depthwise(3, 3, multiplier=2, bias=False)
    x = torch.randn(1, 3, 6, 6)
    y = conv(x)
    for c in range(3):
        own = nn.functional.conv2d(x[:, c : c + 1], conv.weight[2 * c : 2 * c + 2], padding=1)
        torch.testing.assert_close(y[:, 2 * c : 2 * c + 2], own)


def test_pointwise_is_a_dense_layer_at_every_pixel() -> None:
    conv, x = pointwise(5, 7), torch.randn(2, 5, 3, 4)
    dense: Tensor = nn.functional.linear(x.permute(0, 2, 3, 1), conv.weight[:, :, 0, 0], conv.bias)
    torch.testing.assert_close(conv(x), dense.permute(0, 3, 1, 2))


def test_says_its_padding() -> None:
    assert Conv2d(1, 1, 3).padding == (1, 1)
    assert Conv2d(1, 1, 3, stride=2).padding == "same"
    assert Conv2d(1, 1, 3, padding=(0, 1, 0, 1)).padding == (0, 1, 0, 1)
    assert Conv2d(1, 1, 3, stride=2).pad_spec == "same"
    assert "padding=same" in repr(Conv2d(1, 1, 3, stride=2))


def test_an_image_that_has_become_too_small() -> None:
    with pytest.raises(UsageError, match="a window of 11 does not fit into an input of 7"):
        Conv2d(1, 1, 11, padding="valid")(torch.zeros(1, 1, 7, 20))
    with pytest.raises(UsageError, match="a window of 11 does not fit into an input of 7"):
        Conv2d(1, 1, 11, padding="valid").to("meta")(torch.zeros(1, 1, 7, 20, device="meta"))


def test_other_failures_stay_torchs_own() -> None:
    with pytest.raises(RuntimeError, match="to have 3 channels, but got 1"):
        Conv2d(3, 1, 3)(torch.zeros(1, 1, 7, 7))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"c_in": 6, "c_out": 4, "groups": 4}, "6 -> 4 channels do not divide into 4 groups"),
        ({"c_in": 6, "c_out": 4, "groups": 3}, "6 -> 4 channels do not divide into 3 groups"),
        ({"c_in": 0, "c_out": 4}, "must be at least 1, got 0 -> 4"),
    ],
)
def test_channels_that_make_no_sense(options: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Conv2d(kernel_size=3, **options)
