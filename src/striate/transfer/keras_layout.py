"""How Keras lays out and names arrays.

A Keras state here is a flat dict, `{"conv1_conv/kernel": ..., "conv1_bn/gamma": ...}`. Kernels are
(h, w, c_in, c_out) there, depthwise ones (h, w, c, multiplier), dense ones (in, out).
"""

import re
from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
UNNAMED = r"(conv2d|batch_normalization)(?:_(\d+))?"
FLATTENED = {"head.fc6.fc.weight": 512}  # dense layers behind a flatten: channels of the map, last in Keras
CONVOLUTIONS = ("conv_preds/kernel",)  # dense layers here that are 1x1 convolutions there


def renumbered(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The state with the layers that nobody named (`conv2d_7`) counted from 0, in the order of their making.

    Keras counts on through the whole process.
    """
    numbers = defaultdict(set)
    for key in state:
        if match := re.fullmatch(UNNAMED, key.partition("/")[0]):
            numbers[match[1]].add(int(match[2] or 0))
    new = {
        natural(f"{kind}_{n}"): natural(f"{kind}_{i}")
        for kind, found in numbers.items()
        for i, n in enumerate(sorted(found))
    }
    split = ((*key.partition("/"), value) for key, value in state.items())
    return {f"{new.get(layer, layer)}{slash}{variable}": value for layer, slash, variable, value in split}


def natural(layer: str) -> str:
    """Keras leaves the number 0 out: `conv2d`, `conv2d_1`, ..."""
    return layer.removesuffix("_0") if re.fullmatch(UNNAMED, layer) else layer


def from_keras(array: np.ndarray, layer: nn.Module, key: str) -> Tensor:
    """Keras' array as `layer` has it, unless the number of weights differs."""
    value = torch.tensor(np.asarray(array))
    if value.ndim == 4 and is_depthwise(layer):
        value = value.permute(2, 3, 0, 1).flatten(0, 1)[:, None]
    elif value.ndim == 4:
        value = value.permute(3, 2, 0, 1)
        value = value.flatten(1) if isinstance(layer, nn.Linear) else value
    elif value.ndim == 2:
        if c := FLATTENED.get(key):
            value = value.unflatten(0, (-1, c)).transpose(0, 1).flatten(0, 1)
        value = value.T
    return value.contiguous()


def to_keras_layout(value: Tensor, layer: nn.Module, key: str, theirs: str) -> np.ndarray:
    """Our array as Keras has it: `from_keras` backwards."""
    if value.ndim == 4 and is_depthwise(layer):
        value = value[:, 0].unflatten(0, (layer.groups, -1)).permute(2, 3, 0, 1)
    elif value.ndim == 4:
        value = value.permute(2, 3, 1, 0)
    elif value.ndim == 2:
        if c := FLATTENED.get(key):
            value = value.unflatten(1, (c, -1)).transpose(1, 2).flatten(1)
        value = value.T[None, None] if theirs in CONVOLUTIONS else value.T
    return value.numpy().copy()


def is_depthwise(layer: nn.Module) -> bool:
    """A convolution in which every channel has filters of its own."""
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1
