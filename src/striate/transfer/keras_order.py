"""Which layer of a Keras file is which layer of the network: by name, or as Keras does, by order alone.

Keras 3 numbers layers within their class in the order of `model.layers`, older files list them in it; names that
nobody chose change from model to model, and old files of weights have others than today's models.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import zip_longest
from pathlib import Path

import numpy as np
from torch import nn

from striate.transfer.keras import keras_keys
from striate.transfer.keras_files import KerasLayer
from striate.transfer.keras_layout import is_depthwise, renumbered
from striate.transfer.names import layers

State = dict[str, np.ndarray]


def named(found: Sequence[KerasLayer], module: nn.Module, network: str) -> State:
    """The arrays of a file as `layer/variable`, by the names that the layers of `module` have at Keras'."""
    wanted = in_order(module, network)
    state = _by_name(found)
    if state is not None and not set(list(wanted)[:-1]) - {
        key.partition("/")[0] for key in renumbered(state)
    }:
        return state
    if all(layer.kind for layer in found):
        return _by_kind(found, wanted)
    if 0 <= len(wanted) - len(found) <= 1:  # all, or all but the head
        return _flat(zip(wanted, found, strict=False))
    return state or {}


def in_order(module: nn.Module, network: str) -> dict[str, str]:
    """Keras' names of the layers that hold weights and the kind of each, in the order of `model.layers`."""
    kinds: dict[str, str] = {}
    known = layers(module)
    for ours, theirs in keras_keys(module)[1].items():
        name, _, variable = theirs.partition("/")
        kinds.setdefault(name, _kind(known[ours.rpartition(".")[0]], variable, name))
    order = _orders().get(network)
    names = list(kinds)
    return kinds if order is None else {names[i]: kinds[names[i]] for i in order}


def _kind(layer: nn.Module, variable: str, name: str) -> str:
    if isinstance(layer, nn.BatchNorm2d):
        return "batch_normalization"
    if variable.startswith(("depthwise_", "pointwise_")):
        return "separable_conv2d"
    if isinstance(layer, nn.Linear):
        return "conv2d" if name == "conv_preds" else "dense"
    return "depthwise_conv2d" if is_depthwise(layer) else "conv2d"


def _by_name(found: Sequence[KerasLayer]) -> State | None:
    if any(layer.name is None for layer in found):
        return None
    return _flat((str(layer.name), layer) for layer in found)


def _by_kind(found: Sequence[KerasLayer], wanted: Mapping[str, str]) -> State:
    """The n-th dense layer is the n-th dense layer; what is left over keeps the name that the file gives it."""
    names: dict[str | None, list[str]] = defaultdict(list)
    there: dict[str | None, list[KerasLayer]] = defaultdict(list)
    for name, kind in wanted.items():
        names[kind].append(name)
    for layer in found:
        there[layer.kind].append(layer)
    pairs = [pair for kind in there for pair in zip_longest(names[kind], there[kind]) if pair[1]]
    return _flat((name or f"{layer.kind}_{layer.number} (too many)", layer) for name, layer in pairs)


def _flat(pairs: Iterable[tuple[str, KerasLayer]]) -> State:
    return {f"{name}/{v}": array for name, layer in pairs for v, array in layer.variables.items()}


@cache
def _orders() -> dict[str, list[int]]:
    """Written by `scripts/peer_weights.py`."""
    return json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
