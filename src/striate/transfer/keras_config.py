"""What a Keras file says of its network beside the weights: size of images, what is done to pixels, how it ends.

The configuration is read as data. Layers count in its order, those of a network inside another in their place.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from striate.errors import DataError, UsageError

# act in training alone
RANDOM = frozenset(("RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast",
                    "RandomBrightness", "GaussianNoise", "GaussianDropout"))  # fmt: skip
# the last two may merge branches
ARITHMETIC = frozenset(("TrueDivide", "Divide", "Subtract", "Add", "Multiply"))
PIXELS = frozenset(("Rescaling", "Normalization", "GetItem", "Stack", "TrueDivide", "Divide", "Subtract"))
MODELS = ("Functional", "Sequential", "Model")
WEIGHTED = ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "BatchNormalization")
NEUTRAL = RANDOM | {  # between the last layer with weights and a head of one dense layer: what our networks do as well
    "InputLayer", "Dropout", "SpatialDropout2D", "GlobalAveragePooling2D", "AveragePooling2D", "Flatten", "Reshape",
    "Activation", "ReLU", "ReLU6", "Softmax", "Add", "Concatenate", "CustomScaleLayer",
}  # fmt: skip


@dataclass(frozen=True)
class Pixels:
    """What a network does to the channels of a picture first: (x / 255 - mean) / std, in the order of `source`."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: tuple[int, ...]

    @property
    def blue_first(self) -> bool:
        """Whether it turns the channels round, as Caffe had them."""
        return self.source != tuple(range(len(self.source)))


@dataclass(frozen=True)
class Described:
    """`plain`: a mean over the last maps and one dense layer score the classes; `activation` is that layer's."""

    size: tuple[int, int] | None = None
    pixels: Pixels | None = None
    plain: bool = True
    activation: str = "linear"


def describe(config: Any, groups: tuple[str, ...], path: Path) -> Described:
    """What a configuration says; of weights alone, `config` None, the names of their groups hardly say anything."""
    if config is None:
        if "rescaling" in groups:
            raise UsageError(
                f"{path}: the network rescales pixels by what this file doesn't say",
                "save it whole, as .keras",
            )
        return Described(plain="global_max_pooling2d" not in groups)
    found = list(_leaves(config))
    h, w, c = _input(found)
    size = (h, w) if h and w else None
    return Described(size, _pixels(found, c or 3, path), _is_plain(found), _activation(found))


def _leaves(model: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for layer in model["config"]["layers"]:
        if layer["class_name"] in MODELS:
            yield from _leaves(layer)
        else:
            yield layer


def _input(found: list[Mapping[str, Any]]) -> tuple[int | None, int | None, int | None]:
    """Height, width and channels, None where any will do."""
    config = found[0]["config"] if found else {}
    shape = config.get("batch_shape") or config.get("batch_input_shape") or ()
    return tuple(shape[1:]) if len(shape) == 4 else (None, None, None)


def _is_plain(found: list[Mapping[str, Any]]) -> bool:
    """Whether nothing but a mean lies between the last map and one dense layer."""
    last = max((i for i, layer in enumerate(found) if layer["class_name"] in WEIGHTED), default=-1)
    kinds = [layer["class_name"] for layer in found[last + 1 :]]
    dense = kinds.index("Dense") if "Dense" in kinds else len(kinds)
    bent = [layer["config"].get("activation") for layer in found[last + 1 : last + 1 + dense]]
    plain = [kind for kind in kinds if kind not in NEUTRAL] in ([], ["Dense"])
    return plain and all(name in (None, "linear", "relu", "relu6") for name in bent)


def _activation(found: list[Mapping[str, Any]]) -> str:
    """The last one, of the dense layer that scores the classes or after it."""
    for layer in reversed(found):
        name = layer["class_name"].lower()
        if name in ("relu", "relu6", "softmax"):
            return name
        if name in ("dense", "activation"):
            return str(layer["config"].get("activation", "linear"))
    return "linear"


# --- what is done to pixels -----------------------------------------------------------------------


def _pixels(found: list[Mapping[str, Any]], c: int, path: Path) -> Pixels | None:
    """The arithmetic before the first layer of another kind; None where there is none."""
    # y[i] = scale[i] * x[source[i]] + offset[i]
    source, scale, offset = (
        np.arange(c),
        np.ones(c),
        np.zeros(c),
    )
    picked: list[int] = []
    done = False
    for i, layer in enumerate(found):
        kind = layer["class_name"]
        if kind == "InputLayer" or kind in RANDOM:
            continue
        if kind == "GetItem":
            picked.append(int(_arguments(layer)[1][-1]))
        elif kind == "Stack":
            source, scale, offset = source[picked], scale[picked], offset[picked]
        elif (factors := _factors(layer)) is not None:
            scale, offset = scale * factors[0], offset * factors[0] + factors[1]
        else:
            _refuse_arithmetic(found[i:], path)
            break
        done = True
    if not done:
        return None
    if sorted(source) != list(range(c)) or not np.isfinite([scale, offset]).all() or (scale <= 0).any():
        raise DataError(f"{path}: what its first layers do to pixels is no mean and no spread of channels")
    back = np.argsort(source)
    mean, std = (0.0 - offset / scale / 255)[back], (1 / scale / 255)[back]
    return Pixels(tuple(map(float, mean)), tuple(map(float, std)), tuple(map(int, source)))


def _refuse_arithmetic(inside: list[Mapping[str, Any]], path: Path) -> None:
    """DataError for what is right where pictures come in but part of no network here."""
    for layer in inside:
        kind = layer["class_name"]
        if kind in PIXELS or _factors(layer) is not None:
            raise DataError(
                f"{path}: layer {layer['config'].get('name')!r} is a {kind!r} inside the network: refused"
            )


def _factors(layer: Mapping[str, Any]) -> tuple[Any, Any] | None:
    """(a, b) of a layer that computes a * x + b; None for one that does something else."""
    kind, config = layer["class_name"], layer["config"]
    if kind == "Rescaling":
        return _number(config["scale"]), _number(config["offset"])
    if kind == "Normalization" and config.get("mean") is not None and not config.get("invert"):
        spread = np.sqrt(_number(config["variance"]))
        return 1 / spread, -_number(config["mean"]) / spread
    if kind not in ARITHMETIC:
        return None
    arguments = _arguments(layer)
    by = _number(arguments[1]) if len(arguments) == 2 else None
    if by is None:
        return None
    return {
        "TrueDivide": (1 / by, 0), "Divide": (1 / by, 0), "Subtract": (1, -by), "Add": (1, by), "Multiply": (by, 0),
    }[kind]  # fmt: skip


def _arguments(layer: Mapping[str, Any]) -> list[Any]:
    nodes = layer.get("inbound_nodes") or [{"args": []}]
    return list(nodes[0]["args"]) if isinstance(nodes[0], Mapping) else []


def _number(value: Any) -> Any:
    """A number, or one for each channel; None for a tensor that the network computes."""
    if isinstance(value, Mapping):
        value = value["config"]["value"] if value.get("class_name") == "__tensor__" else None
    return None if value is None else np.ravel(np.asarray(value, float))
