"""One name and one set of arguments for each torch operation, however it was called."""

import ast
import functools
import inspect
import math
from collections.abc import Callable
from inspect import Parameter
from typing import Any

from torch import Tensor

# functions whose result is their argument, for what matters here
TRANSPARENT = {"contiguous", "to", "float", "double", "half", "bfloat16", "type", "type_as", "cpu", "cuda"}
TRANSPARENT |= {"detach", "clone", "data", "requires_grad", "alias"}
# functions that take only the shape of their argument
CONSTANTS = {"new_zeros", "new_ones", "new_full", "new_empty", "new_tensor"}
CONSTANTS |= {"zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "randint_like"}
# functions that take only the shape of their second argument
SHAPED_AS = {"expand_as", "view_as", "reshape_as"}
WINDOWED = {"conv2d", "conv_transpose2d", "max_pool2d", "avg_pool2d", "lp_pool2d"}
RESHAPES = {"reshape", "flatten", "squeeze"}

SYNONYMS = {
    "concat": "cat",
    "concatenate": "cat",
    "max_pool2d_with_indices": "max_pool2d",
    "adaptive_max_pool2d_with_indices": "adaptive_max_pool2d",
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "true_divide": "div",
    "rsub": "sub",
    "rdiv": "div",
    "rtruediv": "div",
    "truediv": "div",
    "itruediv": "div",
    "imul": "mul",
    "iadd": "add",
    "isub": "sub",
    "rmatmul": "matmul",
    "view": "reshape",
    "_unsafe_view": "reshape",
    "view_as": "reshape",
    "reshape_as": "reshape",
    "expand_as": "expand",
}

_CONV = "input weight bias=None stride=1 padding=0 dilation=1 groups=1"
_DECONV = "input weight bias=None stride=1 padding=0 output_padding=0 groups=1 dilation=1"
_REDUCE = "input dim=None keepdim=False"
NUMPY = {"self": "input", "axis": "dim", "keepdims": "keepdim", "x2": "other"}  # torch takes these names too
_BINARY = "input other"
# torch's built-in functions carry no signature of their own
SIGNATURES = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _CONV),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _DECONV),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "prod", "logsumexp"), _REDUCE),
    **dict.fromkeys(("argmax", "argmin", "std", "var"), _REDUCE),
    **dict.fromkeys(
        ("add", "sub", "mul", "div", "pow", "maximum", "minimum", "matmul", "bmm", "mm"), _BINARY
    ),
    "linear": "input weight bias=None",
    "max_pool2d": "input kernel_size stride=None padding=0 dilation=1 ceil_mode=False return_indices=False",
    "avg_pool2d": "input kernel_size stride=None padding=0 ceil_mode=False count_include_pad=True "
    "divisor_override=None",
    "adaptive_max_pool2d": "input output_size return_indices=False",
    "cat": "tensors dim=0",
    "stack": "tensors dim=0",
    "chunk": "input chunks dim=0",
    "tensor_split": "input indices_or_sections dim=0",
    "flatten": "input start_dim=0 end_dim=-1",
    **dict.fromkeys(("transpose", "swapaxes", "swapdims"), "input dim0 dim1"),
    **dict.fromkeys(("squeeze", "unsqueeze"), "input dim=None"),
    "softmax": "input dim=None",
    "log_softmax": "input dim=None",
    "getitem": "input index",
    "clamp": "input min=None max=None",
    "prelu": "input weight",
    "pixel_shuffle": "input upscale_factor",
    "scaled_dot_product_attention": "query key value",
}


def name_of(func: Any) -> str:
    """`relu` for relu, relu_, Tensor.relu_ and F.relu."""
    name: str = getattr(func, "__name__", type(func).__name__)
    if name == "__get__":  # an attribute such as x.T
        name = func.__self__.__name__
    if name.startswith("__"):
        name = name.strip("_")
    name = name.removesuffix("_") if len(name) > 1 else name
    return SYNONYMS.get(name, name)


@functools.cache
def _signature(name: str, func: Callable[..., Any]) -> dict[str, Any]:
    """Argument names with their defaults; a required argument has `Parameter.empty`."""
    if text := SIGNATURES.get(name):
        pairs = (word.partition("=") for word in text.split())
        return {key: ast.literal_eval(default) if default else Parameter.empty for key, _, default in pairs}
    try:
        parameters = inspect.signature(func).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {p.name: p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}


def _arguments(func: Any, name: str, args: Any, kwargs: Any) -> dict[str, Any]:
    """Arguments by name with their defaults, tensors as shapes."""
    signature = _signature(name, func)
    names = [*signature, *(f"arg{i}" for i in range(len(signature), len(args)))]
    given = dict(zip(names, args, strict=False)) | {NUMPY.get(k, k): v for k, v in kwargs.items()}
    bound = {k: _shapes(v) for k, v in (signature | given).items() if v is not Parameter.empty}
    bound.pop("_stacklevel", None)
    return bound


def _shapes(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, tuple | list):
        return tuple(map(_shapes, value))
    return value


def canonical(
    func: Any, name: str, args: Any, kwargs: Any, before: tuple[int, ...], after: tuple[int, ...]
) -> tuple[str, dict[str, Any]]:
    """One name and one set of arguments for a call that has several spellings; shapes before and after it."""
    bound = _arguments(func, name, args, kwargs)
    if name in WINDOWED:
        return name, _window(name, bound)
    if name == "permute":
        return name, {"dims": _sequence(args[1:], kwargs.get("dims"))}
    if name in ("transpose", "swapaxes", "swapdims"):
        return "transpose", bound
    if name in RESHAPES and len(before) > 2 and after == (before[0], math.prod(before[1:])):
        return "flatten", {"start_dim": 1, "end_dim": -1}
    return name, bound


def _window(name: str, args: dict[str, Any]) -> dict[str, Any]:
    kernel = args["weight"][2:] if "weight" in args else _pair(args["kernel_size"])
    stride = kernel if args["stride"] in (None, ()) else _pair(args["stride"])
    dilation = _pair(args.get("dilation", 1))
    pads = args.get("padding", 0)
    if pads == "same":  # torch: the odd pixel goes after; stride is 1
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        flat = (total[0] // 2, total[0] - total[0] // 2, total[1] // 2, total[1] - total[1] // 2)
    else:
        h, w = (0, 0) if pads == "valid" else _pair(pads)
        flat = (h, h, w, w)
    return args | {"kernel_size": kernel, "stride": stride, "dilation": dilation, "pads": flat}


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, tuple):
        return (value[0], value[-1])
    return (value, value)


def _sequence(args: Any, keyword: Any) -> tuple[int, ...]:
    """The dims of x.permute(0, 2, 1), x.permute((0, 2, 1)) and x.permute(dims=(0, 2, 1))."""
    values = keyword if keyword is not None else args[0] if len(args) == 1 else args
    return tuple(values)
