"""Each unit as a line of plain PyTorch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from striate.diagram.flow import Step
from striate.diagram.kinds import Args
from striate.diagram.units import torch_sides, window


@dataclass(frozen=True, slots=True)
class Code:
    """A constructor call with its numbers taken out: `nn.Conv2d({}, {}, {})` and (3, 64, 7)."""

    name: str  # what the layer is called: conv, bn, ...
    template: str
    values: tuple[Any, ...]
    roles: tuple[str, ...]  # what each number is: c_in, c_out, kernel_size, ...
    quiet: bool = False  # keeps the shape and reads best on the line of the layer before it

    def __str__(self) -> str:
        return self.template.format(*self.values)


def call(name: str, to: str, *given: tuple[str, Any], quiet: bool = False, **options: Any) -> Code:
    """`to(given..., option=...)`; options that are None are left out, True and False stay in the template."""
    values = [value for _, value in given]
    roles = [role for role, _ in given]
    words = ["{}"] * len(given)
    for option, value in options.items():
        if isinstance(value, bool):
            words.append(f"{option}={value}")
        elif value is not None:
            words.append(f"{option}={{}}")
            values.append(value)
            roles.append(option)
    return Code(name, f"{to}({', '.join(words)})", tuple(values), tuple(roles), quiet)


def torch_code(step: Step) -> list[Code]:
    """The layers of a step; its shapes are known, so SAME padding comes as numbers."""
    return CODE[step.unit](step, step.args)


def _unless(value: Any, default: Any) -> Any:
    return None if value == default else value


def _pads(step: Step) -> tuple[int, int, int, int]:
    pads: tuple[int, int, int, int] = window(step.args).pads(step.x[1], step.x[2])
    return pads


def _sliding(step: Step) -> tuple[list[Code], Any]:
    """The layer that pads where the convolution itself can't, and the convolution's own padding."""
    top, bottom, left, right = _pads(step)
    if (top, left) != (bottom, right):
        return [call("pad", "nn.ZeroPad2d", ("pads", (left, right, top, bottom)))], None
    return [], _unless(top if top == left else (top, left), 0)


def _conv(step: Step, a: Args) -> list[Code]:
    return _convolution(step, a, "conv", a["filters"], _unless(a["groups"], 1), a["bias"])


def _depthwise(step: Step, a: Args) -> list[Code]:
    return _convolution(step, a, "dwconv", step.y[0], step.x[0], a["bias"])


def _separable(step: Step, a: Args) -> list[Code]:
    middle = step.x[0] * a["multiplier"]
    depthwise = _convolution(step, a, "depthwise", middle, step.x[0], False)
    bias = _unless(a["bias"], True)
    channels = ("c_in", middle), ("c_out", a["filters"])
    return [*depthwise, call("pointwise", "nn.Conv2d", *channels, ("kernel_size", 1), quiet=True, bias=bias)]


def _convolution(step: Step, a: Args, name: str, c_out: int, groups: int | None, bias: bool) -> list[Code]:
    pad, padding = _sliding(step)
    conv = call(
        name,
        "nn.Conv2d",
        ("c_in", step.x[0]),
        ("c_out", c_out),
        ("kernel_size", a["kernel"]),
        quiet=bool(pad),
        stride=_unless(a["stride"], 1),
        padding=padding,
        dilation=_unless(a["dilation"], 1),
        groups=groups,
        bias=_unless(bias, True),
    )
    return [*pad, conv]


def _pool(to: str) -> Callable[[Step, Args], list[Code]]:
    def pool(step: Step, a: Args) -> list[Code]:
        top, bottom, left, right = _pads(step)
        one_more = (bottom, right) != (top, left)  # SAME's odd pixel comes after: a window more, so round up
        if one_more and a.get("count_pad"):
            zeros = call("pad", "nn.ZeroPad2d", ("pads", (left, right, top, bottom)))
            stride = _unless(a["stride"], a["kernel"])
            return [zeros, call("avgpool", to, ("kernel_size", a["kernel"]), quiet=True, stride=stride)]
        options: dict[str, Any] = {
            "stride": _unless(a["stride"], a["kernel"]),
            "padding": _unless(top if top == left else (top, left), 0),
            "ceil_mode": _unless(a["ceil"] or one_more, False),
        }
        if to == "nn.AvgPool2d" and any(_pads(step)):
            options["count_include_pad"] = _unless(a["count_pad"], True)
        name = {"nn.MaxPool2d": "pool", "nn.AvgPool2d": "avgpool"}.get(to, "minpool")
        return [call(name, to, ("kernel_size", a["kernel"]), **options)]

    return pool


def _global(name: str, to: str) -> Callable[[Step, Args], list[Code]]:
    return lambda step, a: [
        Code(name, f"{to}(1)", (), ()),
        Code("flatten", "nn.Flatten()", (), (), quiet=True),
    ]


def _batch_norm(step: Step, a: Args) -> list[Code]:
    to = "nn.BatchNorm2d" if len(step.x) == 3 else "nn.BatchNorm1d"
    eps, momentum = _unless(a["eps"], 1e-5), _unless(a["momentum"], 0.1)
    return [call("bn", to, ("c_in", step.x[0]), quiet=True, eps=eps, momentum=momentum)]


def _lrn(step: Step, a: Args) -> list[Code]:
    numbers = [(name, a[name]) for name in ("size", "alpha", "beta", "k")]
    return [
        call(
            "lrn", "LocalResponseNormWithin" if a["within"] else "nn.LocalResponseNorm", *numbers, quiet=True
        )
    ]


def _plain(
    name: str, to: str, quiet: bool = True, **options: tuple[str, Any]
) -> Callable[[Step, Args], list[Code]]:
    """Options as option=(our argument, torch's default)."""

    def plain(step: Step, a: Args) -> list[Code]:
        given = {option: _unless(a[ours], default) for option, (ours, default) in options.items()}
        return [call(name, to, quiet=quiet, **given)]

    return plain


def _with(name: str, to: str, argument: str, quiet: bool = True) -> Callable[[Step, Args], list[Code]]:
    return lambda step, a: [call(name, to, (argument, a[argument]), quiet=quiet)]


def _dense(step: Step, a: Args) -> list[Code]:
    return [
        call("fc", "nn.Linear", ("c_in", step.x[0]), ("c_out", a["units"]), bias=_unless(a["bias"], True))
    ]


def _drop_connect(step: Step, a: Args) -> list[Code]:
    given = ("c_in", step.x[0]), ("c_out", a["units"]), ("p", a["p"])
    return [call("dropconnect", "DropConnectLinear", *given, bias=_unless(a["bias"], True))]


def _prelu(step: Step, a: Args) -> list[Code]:
    return [call("prelu", "nn.PReLU", *([] if a["shared"] else [("c_in", step.x[0])]), quiet=True)]


def _squeeze(step: Step, a: Args) -> list[Code]:
    c = step.x[0]
    return [call("se", "SqueezeExcite", ("c_in", c), ("squeezed", max(c // a["reduction"], 1)), quiet=True)]


CODE: dict[str, Callable[[Step, Args], list[Code]]] = {
    "CONV": _conv,
    "DWCONV": _depthwise,
    "SEPCONV": _separable,
    "BN": _batch_norm,
    "LRN": _lrn,
    "RELU": _plain("relu", "nn.ReLU"),
    "LRELU": _plain("lrelu", "nn.LeakyReLU", negative_slope=("slope", 0.01)),
    "PRELU": _prelu,
    "ELU": _plain("elu", "nn.ELU", alpha=("alpha", 1.0)),
    "SELU": _plain("selu", "nn.SELU"),
    "GELU": _plain("gelu", "nn.GELU"),
    "SWISH": _plain("swish", "nn.SiLU"),
    "TANH": _plain("tanh", "nn.Tanh"),
    "SIGMOID": _plain("sigmoid", "nn.Sigmoid"),
    "RELU6": _plain("relu6", "nn.ReLU6"),
    "MAXOUT": _with("maxout", "Maxout", "k", quiet=False),
    "POOL": _pool("nn.MaxPool2d"),
    "AVGPOOL": _pool("nn.AvgPool2d"),
    "MINPOOL": _pool("MinPool2d"),
    "GAP": _global("gap", "nn.AdaptiveAvgPool2d"),
    "GMP": _global("gmp", "nn.AdaptiveMaxPool2d"),
    "DEPTHPOOL": _with("depthpool", "DepthMaxPool", "groups", quiet=False),
    "SCALE": _with("scale", "Scale", "factor"),
    "ZEROS": lambda step, a: [
        call("zeros", "nn.ConstantPad3d", ("pads", (0,) * 5 + (a["channels"],)), ("value", 0))
    ],
    "PAD": lambda step, a: [call("pad", "nn.ZeroPad2d", ("pads", torch_sides(a)))],
    "FLATTEN": _plain("flatten", "nn.Flatten", quiet=False),
    "FC": _dense,
    "DROPCONNECT": _drop_connect,
    "DO": _with("dropout", "nn.Dropout", "p"),
    "SDO": _with("dropout", "nn.Dropout2d", "p"),
    "DROPPATH": _with("droppath", "StochasticDepth", "p"),
    "SE": _squeeze,
}
