"""What every layer promises: shapes without data, any layout and precision, true gradients, export."""

import copy
import subprocess
import sys
import warnings
from collections.abc import Callable
from io import BytesIO

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from striate import layers as L

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: L.Conv2d(6, 4, 3),
    "conv, same at stride 2": lambda: L.Conv2d(6, 4, 3, stride=2),
    "conv, even kernel": lambda: L.Conv2d(6, 4, 2),
    "conv, 1x7": lambda: L.Conv2d(6, 4, (1, 7), bias=False),
    "conv, four paddings": lambda: L.Conv2d(6, 4, 3, padding=(0, 1, 2, 0)),
    "conv, dilated and grouped": lambda: L.Conv2d(6, 4, 3, stride=2, dilation=2, groups=2),
    "depthwise": lambda: L.depthwise(6, 3, multiplier=2),
    "pointwise": lambda: L.pointwise(6, 4),
    "separable": lambda: L.SeparableConv2d(6, 4, 3, stride=2),
    "max-pool": lambda: L.MaxPool2d(2),
    "max-pool, same": lambda: L.MaxPool2d(3, 2, "same"),
    "max-pool, rounded up, four paddings": lambda: L.MaxPool2d(3, 2, (0, 1, 2, 0), ceil_mode=True),
    "average pool, same": lambda: L.AvgPool2d(3, 2, "same"),
    "average pool, rounded up": lambda: L.AvgPool2d(3, 2, (0, 1, 2, 0), True, True),
    "min-pool": lambda: L.MinPool2d(3, 2, "same"),
    "depth max-pool": lambda: L.DepthMaxPool(3),
    "global average": L.GlobalAvgPool,
    "global max": L.GlobalMaxPool,
    "maxout": lambda: L.Maxout(3),
    "response norm": L.LocalResponseNorm,
    "response norm, within a channel": lambda: L.LocalResponseNorm(3, within_channel=True),
    "squeeze and excite": lambda: L.SqueezeExcite(6, 2),
    "drop-connect": lambda: L.DropConnectConv2d(6, 4, 3, 0.5),
    "stochastic depth": lambda: L.StochasticDepth(0.5),
    "addition": lambda: L.Add(L.Identity(), L.Conv2d(6, 6, 3)),
    "concatenation": lambda: L.Concat(L.Identity(), L.MaxPool2d(3, 1, "same"), L.Conv2d(6, 2, 1)),
}

every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


def image(**options: torch.dtype) -> Tensor:
    return torch.randn(2, 6, 8, 9, **options)


@every_layer
def test_shapes_are_known_without_arithmetic(make: Callable[[], nn.Module]) -> None:
    layer, x = make().eval(), image()
    shape = layer(x).shape
    assert copy.deepcopy(layer).to("meta")(x.to("meta")).shape == shape
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        assert layer(fake.from_tensor(x)).shape == shape


@every_layer
def test_layout_and_precision_do_not_change_the_answer(make: Callable[[], nn.Module]) -> None:
    layer, x = make().eval(), image()
    y = layer(x)
    torch.testing.assert_close(layer(x.to(memory_format=torch.channels_last)), y)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer(x).float(), y, rtol=0.05, atol=0.05)
    torch.testing.assert_close(layer.bfloat16()(x.bfloat16()).float(), y, rtol=0.05, atol=0.05)


@every_layer
def test_gradients_equal_finite_differences(make: Callable[[], nn.Module]) -> None:
    layer = make().double().eval()
    x = torch.randn(1, 6, 4, 5, dtype=torch.float64, requires_grad=True)
    names, weights = zip(*layer.named_parameters(), strict=True) if list(layer.parameters()) else ((), ())

    def call(x: Tensor, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, (x, *weights), fast_mode=True)


@every_layer
def test_onnx_runs_the_same(make: Callable[[], nn.Module]) -> None:
    layer, x, file = make().eval(), image(), BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the old exporter, which needs no package beside onnx
        torch.onnx.export(layer, (x,), file, dynamo=False, input_names=["x"])
    (y,) = ReferenceEvaluator(onnx.load_from_string(file.getvalue())).run(None, {"x": x.numpy()})
    np.testing.assert_allclose(y, layer(x).detach().numpy(), rtol=1e-4, atol=1e-5)


@every_layer
def test_torch_export_runs_the_same(make: Callable[[], nn.Module]) -> None:
    layer, x = make().eval(), image()
    torch.testing.assert_close(torch.export.export(layer, (x,)).module()(x), layer(x))


@every_layer
def test_copies_and_saved_weights_are_complete(make: Callable[[], nn.Module]) -> None:
    layer, x, other = make().eval(), image(), make().eval()
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), layer(x))
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))
    assert repr(other) == repr(layer)


def test_importing_the_layers_costs_torch_and_nothing_more() -> None:
    code = """import sys, torch
before = set(sys.modules)
import striate.layers
new = {name.partition(".")[0] for name in set(sys.modules) - before if sys.modules[name]}
print(new - set(sys.stdlib_module_names))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'striate'}"


def test_all_names_what_is_there() -> None:
    assert all(hasattr(L, name) for name in L.__all__)
    assert len(set(L.__all__)) == len(L.__all__)
