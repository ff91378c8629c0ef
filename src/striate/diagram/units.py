"""The words of the notation: every unit with its arguments, its arithmetic on shapes and the layer it is.

Nothing here imports torch: `make` is handed `striate.layers` when a network is really built.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from striate.diagram.kinds import (
    FLAG,
    FRACTION,
    PADDING,
    PAIR,
    POOL_PADDING,
    REAL,
    SIDES,
    WHOLE,
    Args,
    Parameter,
    as_kernel,
    dense,
    doubling,
    unless_bn,
)
from striate.errors import UsageError

Shape = tuple[int, ...]  # (c, h, w), or (c,) once the image is flattened


# --- shapes ---------------------------------------------------------------------------------------


def window(a: Args) -> Any:
    """The geometry of a unit that slides over the image."""
    from striate.layers.geometry import Window

    return Window(a["kernel"], a["stride"], a["padding"], a.get("dilation", 1))


def _slide(x: Shape, a: Args) -> tuple[int, int]:
    size: tuple[int, int] = window(a).output(x[1], x[2], a.get("ceil", False))
    return size


def sides(a: Args) -> tuple[int, ...]:
    """(top, bottom, left, right) of a PAD."""
    value = a["sides"]
    if isinstance(value, int):
        return (value,) * 4
    return (value[0], value[0], value[1], value[1]) if len(value) == 2 else tuple(value)


def torch_sides(a: Args) -> tuple[int, ...]:
    """The same as torch orders them: (left, right, top, bottom)."""
    return (*sides(a)[2:], *sides(a)[:2])


def _same(x: Shape, _: Args) -> Shape:
    return x


def _conv(x: Shape, a: Args) -> Shape:
    groups = a.get("groups", 1)
    if x[0] % groups or a["filters"] % groups:
        raise UsageError(f"{x[0]} -> {a['filters']} channels do not divide into {groups} groups")
    return (a["filters"], *_slide(x, a))


def _depthwise(x: Shape, a: Args) -> Shape:
    return (x[0] * a["multiplier"], *_slide(x, a))


def _pool(x: Shape, a: Args) -> Shape:
    if a["padding"] != "same":
        top, _, left, _ = window(a).pads(1, 1)
        if 2 * top > window(a).kernel[0] or 2 * left > window(a).kernel[1]:
            raise UsageError("pooling is padded by at most half its kernel")
    return (x[0], *_slide(x, a))


def _channels(x: Shape, _: Args) -> Shape:
    return (x[0],)


def _maxout(x: Shape, a: Args) -> Shape:
    if x[0] % a["k"]:
        raise UsageError(f"{x[0]} channels do not divide into groups of {a['k']}")
    return (x[0] // a["k"], *x[1:])


def _depth_pool(x: Shape, a: Args) -> Shape:
    if x[0] % a["groups"]:
        raise UsageError(f"{x[0]} channels do not divide into {a['groups']} groups")
    return (a["groups"], *x[1:])


def _flat(x: Shape, _: Args) -> Shape:
    return (math.prod(x),)


def _units(_: Shape, a: Args) -> Shape:
    return (a["units"],)


# --- weights and biases ---------------------------------------------------------------------------


def _area(a: Args) -> int:
    return math.prod(window(a).kernel)


def _conv_weights(x: Shape, a: Args) -> int:
    return (_area(a) * (x[0] // a["groups"]) + a["bias"]) * int(a["filters"])


def _depthwise_weights(x: Shape, a: Args) -> int:
    return (_area(a) + a["bias"]) * x[0] * int(a["multiplier"])


def _separable_weights(x: Shape, a: Args) -> int:
    middle = x[0] * int(a["multiplier"])
    return _area(a) * middle + (middle + a["bias"]) * int(a["filters"])


def _dense_weights(x: Shape, a: Args) -> int:
    return (x[0] + a["bias"]) * int(a["units"])


def _squeeze_weights(x: Shape, a: Args) -> int:
    squeezed = max(x[0] // a["reduction"], 1)
    return (x[0] + 1) * squeezed + (squeezed + 1) * x[0]


def _none(x: Shape, a: Args) -> int:
    return 0


# --- the table ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unit:
    """One word. `make(layers, x, args)` is the layer for input shape x; `weights(x, args)` counts its parameters."""

    name: str
    parameters: tuple[Parameter, ...]
    make: Callable[[Any, Shape, Args], Any]
    shape: Callable[[Shape, Args], Shape] = _same
    weights: Callable[[Shape, Args], int] = _none
    wants: str = ""  # "image": (c, h, w) only, "vector": flattened first
    child: str = ""  # what its layers are called in the network: conv1, conv2, ...
    bare: int = 1  # how many arguments to_text writes without their names
    before: str = ""  # how the weights that feed this activation start

    @property
    def called(self) -> str:
        return self.child or self.name.lower()


_WINDOW = (Parameter("stride", PAIR, 1), Parameter("padding", PADDING, "same"))
_DILATION = Parameter("dilation", PAIR, 1)
_BIAS = Parameter("bias", FLAG, unless_bn)
_FILTERS = Parameter("filters", WHOLE, doubling, shown=True)
_KERNEL = Parameter("kernel", PAIR, 3)
_MULTIPLIER = Parameter("multiplier", WHOLE, 1)
_POOL = (
    Parameter("kernel", PAIR, 2),
    Parameter("stride", PAIR, as_kernel),
    Parameter("padding", POOL_PADDING, "valid"),
    Parameter("ceil", FLAG, False),
)
_P = Parameter("p", FRACTION, 0.5)
_UNITS = Parameter("units", WHOLE, dense, shown=True)


def _pools(layer: str) -> Callable[[Any, Shape, Args], Any]:
    return lambda L, x, a: getattr(L, layer)(*a.values())


def _acts(name: str, **options: str) -> Callable[[Any, Shape, Args], Any]:
    return lambda L, x, a: L.activation(name, **{theirs: a[ours] for theirs, ours in options.items()})


_ALL = (
    Unit(
        "CONV",
        (_FILTERS, _KERNEL, *_WINDOW, _DILATION, Parameter("groups", WHOLE, 1), _BIAS),
        lambda L, x, a: L.Conv2d(x[0], *a.values()),
        _conv, _conv_weights, "image", bare=2,
    ),
    Unit(
        "DWCONV",
        (_KERNEL, *_WINDOW, _DILATION, _MULTIPLIER, _BIAS),
        lambda L, x, a: L.depthwise(x[0], **{"kernel_size" if k == "kernel" else k: v for k, v in a.items()}),
        _depthwise, _depthwise_weights, "image",
    ),
    Unit(
        "SEPCONV",
        (_FILTERS, _KERNEL, *_WINDOW, _DILATION, _MULTIPLIER, _BIAS),
        lambda L, x, a: L.SeparableConv2d(x[0], *a.values()),
        _conv, _separable_weights, "image", bare=2,
    ),
    Unit(
        "BN",
        (Parameter("eps", REAL, 1e-5), Parameter("momentum", FRACTION, 0.1)),
        lambda L, x, a: (L.BatchNorm2d if len(x) == 3 else L.BatchNorm1d)(x[0], *a.values()),
        weights=lambda x, a: 2 * x[0], bare=0,
    ),
    Unit(
        "LRN",
        (Parameter("size", WHOLE, 5), Parameter("alpha", REAL, 1e-4), Parameter("beta", REAL, 0.75),
         Parameter("k", REAL, 1.0), Parameter("within", FLAG, False)),
        lambda L, x, a: L.LocalResponseNorm(*a.values()),
        wants="image",
    ),
    Unit("RELU", (), _acts("relu"), before="he_normal"),
    Unit("LRELU", (Parameter("slope", REAL, 0.01),), _acts("leaky_relu", negative_slope="slope"),
         before="he_normal"),
    Unit(
        "PRELU",
        (Parameter("shared", FLAG, False),),
        lambda L, x, a: L.activation("prelu", num_parameters=1 if a["shared"] else x[0]),
        weights=lambda x, a: 1 if a["shared"] else x[0], before="he_normal", bare=0,
    ),
    Unit("ELU", (Parameter("alpha", REAL, 1.0),), _acts("elu", alpha="alpha"), before="he_normal"),
    Unit("SELU", (), _acts("selu"), before="lecun_normal"),
    Unit("GELU", (), _acts("gelu"), before="he_normal"),
    Unit("SWISH", (), _acts("swish"), before="he_normal"),
    Unit("TANH", (), _acts("tanh"), before="glorot_uniform"),
    Unit("SIGMOID", (), _acts("sigmoid"), before="glorot_uniform"),
    Unit("RELU6", (), _acts("relu6"), before="he_normal"),
    Unit("MAXOUT", (Parameter("k", WHOLE, 2),), lambda L, x, a: L.Maxout(a["k"]), _maxout,
         before="he_normal"),
    Unit("POOL", _POOL, _pools("MaxPool2d"), _pool, wants="image"),
    Unit("AVGPOOL", (*_POOL, Parameter("count_pad", FLAG, False)), _pools("AvgPool2d"), _pool, wants="image"),
    Unit("MINPOOL", _POOL, _pools("MinPool2d"), _pool, wants="image"),
    Unit("GAP", (), lambda L, x, a: L.GlobalAvgPool(), _channels, wants="image"),
    Unit("GMP", (), lambda L, x, a: L.GlobalMaxPool(), _channels, wants="image"),
    Unit("DEPTHPOOL", (Parameter("groups", WHOLE),), lambda L, x, a: L.DepthMaxPool(a["groups"]), _depth_pool,
         wants="image"),
    Unit("SCALE", (Parameter("factor", REAL),), lambda L, x, a: L.Scale(a["factor"])),
    Unit("ZEROS", (Parameter("channels", WHOLE),), lambda L, x, a: L.PadChannels(x[0], x[0] + a["channels"]),
         lambda x, a: (x[0] + a["channels"], *x[1:]), wants="image"),
    Unit("PAD", (Parameter("sides", SIDES),), lambda L, x, a: L.ZeroPad2d(torch_sides(a)),
         lambda x, a: (x[0], x[1] + sum(sides(a)[:2]), x[2] + sum(sides(a)[2:])), wants="image"),
    Unit("FLATTEN", (), lambda L, x, a: L.Flatten(), _flat),
    Unit("FC", (_UNITS, _BIAS), lambda L, x, a: L.Linear(x[0], *a.values()), _units, _dense_weights,
         "vector"),
    Unit("DROPCONNECT", (_UNITS, _P, _BIAS), lambda L, x, a: L.DropConnectLinear(x[0], *a.values()), _units,
         _dense_weights, "vector"),
    Unit("DO", (_P,), lambda L, x, a: L.Dropout(a["p"]), child="dropout"),
    Unit("SDO", (_P,), lambda L, x, a: L.Dropout2d(a["p"]), wants="image", child="dropout"),
    Unit("DROPPATH", (Parameter("p", FRACTION),), lambda L, x, a: L.StochasticDepth(a["p"])),
    Unit("SE", (Parameter("reduction", WHOLE, 16),), lambda L, x, a: L.SqueezeExcite(x[0], a["reduction"]),
         weights=_squeeze_weights, wants="image"),
)  # fmt: skip

UNITS = {unit.name: unit for unit in _ALL}
POOLS = frozenset(("POOL", "AVGPOOL", "MINPOOL"))
DENSE = frozenset(("FC", "DROPCONNECT"))
# Words that shape the diagram and have no layer of their own.
FIXED: dict[str, tuple[str, ...]] = {"INPUT": ("h", "w", "c"), "SKIP": (), "SOFTMAX": ()}
