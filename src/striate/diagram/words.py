"""What each operation of torch and each layer of ours is called in a diagram."""

from collections.abc import Callable
from typing import Any

from torch import nn

from striate import layers
from striate.diagram.flow import Step
from striate.diagram.kinds import REQUIRED, Args
from striate.diagram.units import UNITS, Shape
from striate.errors import UsageError
from striate.layers.geometry import Window

Given = tuple[str, dict[str, Any]]  # a unit and its arguments


def _conv(a: Args, x: Shape, y: Shape) -> Given:
    depthwise = a["groups"] == x[0] > 1
    how = {"multiplier": y[0] // x[0]} if depthwise else {"filters": y[0], "groups": a["groups"]}
    given = {"dilation": a["dilation"], "bias": a["bias"] is not None, **how}
    return ("DWCONV" if depthwise else "CONV"), _windowed(a, given)


def _windowed(a: Args, given: dict[str, Any]) -> dict[str, Any]:
    return {"kernel": a["kernel_size"], "stride": a["stride"], "padding": a["pads"], **given}


def _pool(unit: str) -> Callable[[Args, Shape, Shape], Given | None]:
    def pool(a: Args, x: Shape, y: Shape) -> Given | None:
        if a["dilation"] != (1, 1) or a.get("divisor_override"):
            return None
        if a["kernel_size"] == a["stride"] == (1, 1):
            return "SKIP", {}
        count = {"count_pad": a["count_include_pad"]} if unit == "AVGPOOL" else {}
        return unit, _windowed(a, {"ceil": a["ceil_mode"], **count})

    return pool


def _adaptive(unit: str, to_pixel: str) -> Callable[[Args, Shape, Shape], Given | None]:
    def adaptive(a: Args, x: Shape, y: Shape) -> Given | None:
        if y[1:] == (1, 1):
            return to_pixel, {}
        if x == y:
            return "SKIP", {}
        if x[1] % y[1] or x[2] % y[2]:
            return None
        kernel = (x[1] // y[1], x[2] // y[2])
        return unit, {"kernel": kernel, "stride": kernel}

    return adaptive


def _over_image(whole: str, to_pixel: str) -> Callable[[Args, Shape, Shape], Given | None]:
    def reduce(a: Args, x: Shape, y: Shape) -> Given | None:
        dim = a["dim"]
        if len(x) != 3 or not isinstance(dim, tuple) or {d % 4 for d in dim} != {2, 3}:
            return None
        return (to_pixel if a["keepdim"] else whole), {}

    return reduce


def _linear(a: Args, x: Shape, y: Shape) -> Given | None:
    return ("FC", {"units": y[0], "bias": a["bias"] is not None}) if len(x) == 1 else None


def _batch_norm(a: Args, x: Shape, y: Shape) -> Given | None:
    whole = (
        a["weight"] and a["bias"] and a["running_mean"] and not a["training"] and a["momentum"] is not None
    )
    return ("BN", {"eps": a["eps"], "momentum": a["momentum"]}) if whole else None


def _pad(a: Args, x: Shape, y: Shape) -> Given | None:
    left, right, top, bottom, *channels = (*a["pad"], 0, 0, 0, 0)[: max(4, len(a["pad"]))]
    if not any(a["pad"]):
        return "SKIP", {}
    if a["mode"] != "constant" or a["value"] or len(x) != 3:
        return None
    if not channels and min(a["pad"]) >= 0:
        return "PAD", {"sides": (top, bottom, left, right)}
    appended = not any((left, right, top, bottom)) and len(channels) == 2 and channels[0] == 0
    return ("ZEROS", {"channels": channels[1]}) if appended and channels[1] > 0 else None


def _times(a: Args, x: Shape, y: Shape) -> Given | None:
    factor = a.get("other")
    number = isinstance(factor, int | float) and not isinstance(factor, bool) and x == y
    if not number:
        return None
    return ("SCALE", {"factor": factor}) if factor != 1 else ("SKIP", {})


def _dropout(unit: str) -> Callable[[Args, Shape, Shape], Given]:
    return lambda a, x, y: (unit, {"p": a["p"]}) if a["p"] else ("SKIP", {})


def _plain(unit: str, **names: str) -> Callable[[Args, Shape, Shape], Given]:
    return lambda a, x, y: (unit, {ours: a[theirs] for ours, theirs in names.items()})


def _only(unit: str, **expected: Any) -> Callable[[Args, Shape, Shape], Given | None]:
    return lambda a, x, y: (unit, {}) if all(a[k] == v for k, v in expected.items()) else None


OPERATIONS: dict[str, Callable[[Args, Shape, Shape], Given | None]] = {
    "conv2d": _conv,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "local_response_norm": _plain("LRN", size="size", alpha="alpha", beta="beta", k="k"),
    "relu": _plain("RELU"),
    "relu6": _plain("RELU6"),
    "hardtanh": _only("RELU6", min_val=0.0, max_val=6.0),
    "leaky_relu": _plain("LRELU", slope="negative_slope"),
    "prelu": lambda a, x, y: ("PRELU", {"shared": a["weight"] == (1,) and x[0] > 1}),
    "elu": _plain("ELU", alpha="alpha"),
    "selu": _plain("SELU"),
    "gelu": _only("GELU", approximate="none"),
    "silu": _plain("SWISH"),
    "tanh": _plain("TANH"),
    "sigmoid": _plain("SIGMOID"),
    "max_pool2d": _pool("POOL"),
    "avg_pool2d": _pool("AVGPOOL"),
    "adaptive_avg_pool2d": _adaptive("AVGPOOL", "MEAN"),
    "adaptive_max_pool2d": _adaptive("POOL", "MAX"),
    "mean": _over_image("GAP", "MEAN"),
    "amax": _over_image("GMP", "MAX"),
    "flatten": _plain("FLATTEN"),
    "dropout": _dropout("DO"),
    "dropout2d": _dropout("SDO"),
    "identity": _plain("SKIP"),
    "pad": _pad,
    "mul": _times,
}


def _max_pool(m: layers.MaxPool2d) -> Given:
    nothing = m.window.kernel == m.window.stride == (1, 1)
    return ("SKIP", {}) if nothing else ("POOL", _window_of(m) | {"ceil": m.ceil_mode})


def _window_of(m: Any) -> dict[str, Any]:
    return {"kernel": m.window.kernel, "stride": m.window.stride, "padding": m.window.padding}


def _our_conv(m: layers.Conv2d) -> Given:
    depthwise = m.groups == m.in_channels > 1
    given = _window_of(m) | {"dilation": m.window.dilation, "bias": m.bias is not None}
    if depthwise:
        return "DWCONV", given | {"multiplier": m.out_channels // m.in_channels}
    return "CONV", given | {"filters": m.out_channels, "groups": m.groups}


def _separable(m: layers.SeparableConv2d) -> Given:
    d, p = m.depthwise, m.pointwise
    given = _window_of(d) | {"dilation": d.window.dilation, "multiplier": d.out_channels // d.in_channels}
    return "SEPCONV", given | {"filters": p.out_channels, "bias": p.bias is not None}


MODULES: dict[type[nn.Module], Callable[[Any], Given | None]] = {
    layers.Conv2d: _our_conv,
    layers.SeparableConv2d: _separable,
    layers.MaxPool2d: _max_pool,
    layers.MinPool2d: lambda m: ("MINPOOL", _window_of(m) | {"ceil": m.ceil_mode}),
    layers.AvgPool2d: lambda m: (
        "AVGPOOL",
        _window_of(m) | {"ceil": m.ceil_mode, "count_pad": m.count_include_pad},
    ),
    layers.GlobalAvgPool: lambda m: ("GAP", {}),
    layers.GlobalMaxPool: lambda m: ("GMP", {}),
    layers.DepthMaxPool: lambda m: ("DEPTHPOOL", {"groups": m.groups}),
    layers.Maxout: lambda m: ("MAXOUT", {"k": m.groups_of}),
    layers.LocalResponseNorm: lambda m: (
        "LRN",
        {"size": m.size, "alpha": m.alpha, "beta": m.beta, "k": m.k, "within": m.within_channel},
    ),
    layers.DropConnectLinear: lambda m: (
        "DROPCONNECT",
        {"units": m.out_features, "p": m.p, "bias": m.bias is not None},
    ),
    layers.Scale: lambda m: ("SCALE", {"factor": m.factor}),
    layers.DropConnectConv2d: lambda m: None,  # in eval mode, which is traced, it looks like any convolution
    layers.StochasticDepth: lambda m: ("DROPPATH", {"p": m.p}) if m.p else ("SKIP", {}),
    layers.SqueezeExcite: lambda m: ("SE", {"reduction": _reduction(m)}),
}


def _reduction(m: layers.SqueezeExcite) -> int:
    """16 where that fits, else the smallest that gives as many squeezed channels."""
    c, squeezed = m.squeeze.in_features, m.squeeze.out_features
    return 16 if max(c // 16, 1) == squeezed else c // squeezed


def step(unit: str, given: dict[str, Any], x: Shape, y: Shape, path: str = "") -> Step:
    """A step with every argument in its unit's order and in normal form."""
    args: Args = {}
    for parameter in UNITS[unit].parameters:
        value = given.get(parameter.name, parameter.default)
        assert value is not REQUIRED
        assert not callable(value)
        args[parameter.name] = parameter.kind.read(value)
        if args[parameter.name] is None:
            raise unsayable(f"{unit} with {parameter.name} {value}", path)
    if args.get("padding") == "valid" and "count_pad" in args:
        args["count_pad"] = False  # nothing to count
    if args.get("stride") == 1 and "ceil" in args:
        args["ceil"] = False  # every window fits
    if "padding" in args:
        args["padding"] = _shortest_padding(unit, args)
    return Step(unit, args, x, y, path=path)


def _shortest_padding(unit: str, args: Args) -> Any:
    """Of the spellings that pad alike at every input size the unit's default, else same, else the numbers."""
    w = Window(args["kernel"], args["stride"], args["padding"], args.get("dilation", 1))
    same = Window(args["kernel"], args["stride"], "same", args.get("dilation", 1))
    free = all(s == 1 or k == 1 for s, k in zip(w.stride, w.kernel, strict=True))  # same at any size alike
    alike = args["padding"] == "same" or (free and w.pads(1, 1) == same.pads(1, 1))
    if free and alike and not any(w.pads(1, 1)):
        return next(p.default for p in UNITS[unit].parameters if p.name == "padding")
    return "same" if alike else args["padding"]


def unsayable(what: str, path: str, hint: str = "") -> UsageError:
    """The error for an operation that no unit stands for."""
    return UsageError(f"a diagram has no word for {what} at {path or 'the network itself'}", hint)
