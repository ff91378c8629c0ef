"""ONNX's own node tests and converted PyTorch layers: their arrays through our layers.

Inside are the cases listed here; whatever else these operators have must be outside by a rule: one or three
spatial dimensions, integers, dilated pooling (no network of the zoo has it), the positions of the maxima.
"""

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from striate.layers import (
    AvgPool2d,
    Conv2d,
    GlobalAvgPool,
    GlobalMaxPool,
    LocalResponseNorm,
    MaxPool2d,
    same_pads,
)
from striate.layers.geometry import Pads

OPERATORS = {
    "Conv": "conv",
    "MaxPool": "maxpool",
    "AveragePool": "averagepool",
    "LRN": "lrn",
    "BatchNormalization": "batch_normalization",
    "GlobalAveragePool": "globalaveragepool",
    "GlobalMaxPool": "globalmaxpool",
}
INSIDE = """
basic_conv_with_padding  basic_conv_without_padding  conv_with_autopad_same
conv_with_strides_padding  conv_with_strides_no_padding  conv_with_strides_and_asymmetric_padding
maxpool_2d_default  maxpool_2d_strides  maxpool_2d_pads  maxpool_2d_same_upper  maxpool_2d_same_lower
maxpool_2d_precomputed_pads  maxpool_2d_precomputed_strides  maxpool_2d_precomputed_same_upper
maxpool_2d_ceil  maxpool_2d_ceil_output_size_reduce_by_one
averagepool_2d_default  averagepool_2d_strides  averagepool_2d_pads  averagepool_2d_pads_count_include_pad
averagepool_2d_same_upper  averagepool_2d_same_lower  averagepool_2d_precomputed_same_upper
averagepool_2d_precomputed_pads  averagepool_2d_precomputed_pads_count_include_pad
averagepool_2d_precomputed_strides  averagepool_2d_ceil  averagepool_2d_ceil_last_window_starts_on_pad
globalaveragepool  globalaveragepool_precomputed  globalmaxpool  globalmaxpool_precomputed
lrn  lrn_default
batchnorm_example  batchnorm_epsilon  batchnorm_example_training_mode  batchnorm_epsilon_training_mode
"""


def node_cases() -> dict[str, Any]:
    """What load_model_tests(kind="node") generates on import, but only for these operators."""
    for name in OPERATORS.values():
        importlib.import_module(f"onnx.backend.test.case.node.{name}")
    cases = importlib.import_module("onnx.backend.test.case.node")._NodeTestCases
    return {
        case.name.removeprefix("test_"): case
        for case in cases
        if len(case.model.graph.node) == 1 and case.model.graph.node[0].op_type in OPERATORS
    }


def attributes(case: Any) -> dict[str, Any]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in case.model.graph.node[0].attribute}


def outside(case: Any) -> str | None:
    """Why a case lies beyond these layers, None where it does not."""
    node, (inputs, _) = case.model.graph.node[0], case.data_sets[0]
    if inputs[0].ndim != 4:
        return "not a batch of images"
    if inputs[0].dtype == np.uint8:
        return "integers"
    if node.op_type == "MaxPool" and len(node.output) == 2:
        return "positions of the maxima"
    if node.op_type != "Conv" and "dilations" in attributes(case):
        return "dilated pooling"
    return None


CASES = node_cases()


def padding(a: dict[str, Any], x: Tensor) -> Pads | str:
    """ONNX' auto_pad and pads (top, left, bottom, right) in our words."""
    if a.get("auto_pad") == b"SAME_UPPER":
        return "same"
    if a.get("auto_pad") == b"SAME_LOWER":  # TensorFlow's the other way round
        strides = a.get("strides", (1, 1))
        rows, cols = map(same_pads, x.shape[2:], a["kernel_shape"], strides)
        return rows[1], rows[0], cols[1], cols[0]
    top, left, bottom, right = a.get("pads", (0, 0, 0, 0))
    return top, bottom, left, right


def layer(op: str, a: dict[str, Any], inputs: list[Tensor]) -> nn.Module:
    kernel, strides, ceil = a.get("kernel_shape"), a.get("strides", (1, 1)), bool(a.get("ceil_mode", 0))
    if op == "Conv":
        w, groups = inputs[1], a.get("group", 1)
        options = {"dilation": a.get("dilations", (1, 1)), "groups": groups, "bias": len(inputs) == 3}
        conv = Conv2d(w.shape[1] * groups, w.shape[0], kernel, strides, padding(a, inputs[0]), **options)
        conv.load_state_dict(dict(zip(("weight", "bias"), inputs[1:], strict=False)))
        return conv
    if op == "MaxPool":
        return MaxPool2d(kernel, strides, padding(a, inputs[0]), ceil)
    if op == "AveragePool":
        return AvgPool2d(kernel, strides, padding(a, inputs[0]), ceil, bool(a.get("count_include_pad", 0)))
    if op == "LRN":
        return LocalResponseNorm(a["size"], a.get("alpha", 1e-4), a.get("beta", 0.75), a.get("bias", 1.0))
    if op == "BatchNormalization":
        norm = nn.BatchNorm2d(len(inputs[1]), a.get("epsilon", 1e-5), 1 - a.get("momentum", 0.9))
        state = dict(zip(("weight", "bias", "running_mean", "running_var"), inputs[1:], strict=True))
        norm.load_state_dict(state, strict=False)
        return norm.train(bool(a.get("training_mode", 0)))
    return GlobalAvgPool() if op == "GlobalAveragePool" else GlobalMaxPool()


def test_every_other_case_is_outside_by_rule() -> None:
    assert {name for name, case in CASES.items() if outside(case) is None} == set(INSIDE.split())
    assert {outside(case) for case in CASES.values()} == {
        None,
        "not a batch of images",
        "integers",
        "dilated pooling",
        "positions of the maxima",
    }


@pytest.mark.parametrize("name", INSIDE.split())
def test_node(name: str) -> None:
    case = CASES[name]
    inputs, outputs = ([torch.from_numpy(np.array(v)) for v in side] for side in case.data_sets[0])
    module = layer(case.model.graph.node[0].op_type, attributes(case), inputs)
    y = module(inputs[0])
    torch.testing.assert_close(y, outputs[0].reshape(y.shape), rtol=case.rtol, atol=1e-6)
    if isinstance(module, nn.BatchNorm2d) and module.training:
        check_running_statistics(module, inputs, outputs)


def check_running_statistics(module: nn.BatchNorm2d, inputs: list[Tensor], outputs: list[Tensor]) -> None:
    """ONNX averages the variance of the population, torch the unbiased one: n / (n - 1) times as much."""
    assert module.running_mean is not None
    assert module.running_var is not None
    torch.testing.assert_close(module.running_mean, outputs[1])
    n = math.prod(inputs[0].shape) / inputs[0].shape[1]
    kept = 0.9 * inputs[4]
    torch.testing.assert_close(module.running_var - kept, (outputs[2] - kept) * n / (n - 1))


CONVERTED = Path(onnx.__file__).parent / "backend/test/data/pytorch-converted"
CONVERTED_LAYERS = """
AvgPool2d AvgPool2d_stride BatchNorm2d_eval BatchNorm2d_momentum_eval Conv2d Conv2d_depthwise
Conv2d_depthwise_padded Conv2d_depthwise_strided Conv2d_depthwise_with_multiplier Conv2d_dilated Conv2d_groups
Conv2d_groups_thnn Conv2d_no_bias Conv2d_padding Conv2d_strided MaxPool2d
"""


@pytest.mark.parametrize("name", CONVERTED_LAYERS.split())
def test_converted_layer(name: str) -> None:
    folder = CONVERTED / f"test_{name}"
    graph = onnx.load(folder / "model.onnx").graph
    (node,) = graph.node
    weights = {w.name: numpy_helper.to_array(w) for w in graph.initializer}
    x, expected = (
        numpy_helper.to_array(onnx.load_tensor(folder / "test_data_set_0" / file))
        for file in ("input_0.pb", "output_0.pb")
    )
    inputs = [torch.from_numpy(np.array(weights.get(i, x))) for i in node.input]
    a = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    module = layer(node.op_type, a, inputs).eval()
    torch.testing.assert_close(module(inputs[0]), torch.from_numpy(np.array(expected)), rtol=1e-4, atol=1e-5)
