"""Every short rule gives the shapes, types and strides that torch computes with data."""

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from striate.diagram.shapes import RULES, Hollow

Seen = list[tuple[str, list[tuple[tuple[int, ...], torch.dtype]]]]


class Spy(Hollow):
    """Notes what every operation with a rule returned."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Seen = []

    def __torch_dispatch__(
        self, func: object, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        out = super().__torch_dispatch__(func, types, args, kwargs)
        if func in RULES:
            self.seen.append((str(func), [(tuple(t.shape), t.dtype) for t in flat(out)]))
        return out


def flat(out: object) -> Iterator[Tensor]:
    for t in out if isinstance(out, tuple | list) else (out,):
        if isinstance(t, Tensor):
            yield t


def seen(net: nn.Module, shape: tuple[int, ...], device: str) -> Seen:
    """All results of a step with data (device cpu, where no rule applies) or without (meta)."""
    net = copy.deepcopy(net).to(device)
    x = torch.empty(shape, device=device).requires_grad_()
    with Spy() as spy:
        y = net(x)
        y.sum().backward()
    return spy.seen


class Call(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x * 1.0)


ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.SiLU,
    nn.GELU,
    nn.ELU,
    nn.LeakyReLU,
    nn.Sigmoid,
    nn.Tanh,
    nn.Hardswish,
)
ACTIVATIONS += (nn.Hardsigmoid, nn.Softplus, nn.Hardtanh)
LAYERS = [activation() for activation in ACTIVATIONS]
LAYERS += [
    Call(lambda x: F.relu(x, inplace=True)),
    nn.BatchNorm2d(4),
    nn.BatchNorm2d(4, affine=False),
    nn.BatchNorm2d(4).eval(),
    nn.Conv2d(4, 6, 3, 2, 1, 2),
    nn.Conv2d(4, 6, (1, 3), groups=2, bias=False),
    nn.MaxPool2d(3, 2, 1, ceil_mode=True),
    nn.AvgPool2d(3, 2, ceil_mode=True),
    nn.AdaptiveAvgPool2d(1),
    nn.AdaptiveAvgPool2d(3),
    nn.Sequential(nn.Flatten(), nn.Linear(4 * 9 * 8, 5), nn.LogSoftmax(1)),
    nn.Sequential(nn.Flatten(), nn.Linear(4 * 9 * 8, 5, bias=False)),
    nn.LayerNorm((9, 8)),
    nn.ZeroPad2d((1, 2, 0, 1)),
    nn.ZeroPad2d((-1, 2, 0, -1)),
    nn.Dropout(),
    Call(lambda x: torch.cat((x, x[:, :1]), 1)),
    Call(lambda x: torch.cat((x, x[:, :, :1]), -2)),
    Call(lambda x: x + x * 2 - x / 3),
    Call(lambda x: x * x.mean((2, 3), keepdim=True)),
    Call(lambda x: x + x[:1, 0]),
    Call(lambda x: x.mean((-1, -2))),
    Call(lambda x: x.sum((1, 3))),
    Call(lambda x: F.local_response_norm(x, 3)),
]


@pytest.mark.parametrize("net", LAYERS, ids=lambda net: str(net).replace("\n", " ")[:50])
def test_rules_give_what_torch_gives(net: nn.Module) -> None:
    with_data, without = (seen(net, (2, 4, 9, 8), device) for device in ("cpu", "meta"))
    assert without == with_data


sizes = st.integers(1, 12)


@settings(max_examples=60, deadline=None)
@given(
    sizes, sizes, st.integers(1, 5), st.integers(1, 4), st.integers(0, 2), st.integers(1, 2), st.booleans()
)
def test_windows(h: int, w: int, k: int, s: int, p: int, d: int, ceil: bool) -> None:
    assume(min(h, w) + 2 * p >= d * (k - 1) + 1)
    layers = [nn.Conv2d(2, 3, k, s, p, d)]
    if p <= k // 2:
        layers += [nn.MaxPool2d(k, s, p, d, ceil_mode=ceil)]
        layers += [nn.AvgPool2d(k, s, p, ceil_mode=ceil)] * (d == 1)
    for layer in layers:
        x = torch.empty(1, 2, h, w)
        with Hollow():
            assert layer.to("meta")(x.to("meta")).shape == layer.to_empty(device="cpu")(x).shape


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: F.conv2d(x, x.new_empty(4, 3, 3, 3)),
        lambda x: F.conv2d(x, x.new_empty(4, 4, 9, 3)),
        lambda x: F.linear(x, x.new_empty(4, 7)),
        lambda x: torch.cat((x, x[..., :1])),
        lambda x: x + x[:, :3],
        lambda x: F.max_pool2d(x, 9),
    ],
)
def test_what_torch_refuses_is_refused(wrong: Callable[[Tensor], Tensor]) -> None:
    with Hollow(), pytest.raises(RuntimeError):
        wrong(torch.empty(2, 4, 8, 8, device="meta"))


def test_tensors_with_data_are_computed_with() -> None:
    with Hollow():
        assert (torch.tensor([1.0, 2.0]) + torch.tensor([1.0, 1.0])).tolist() == [2, 3]
