"""Receptive fields of torchvision's and timm's networks: what is told is what gradients say, the rest names a layer."""

import contextlib
import math
import re
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from striate.anatomy import Anatomy, anatomy
from striate.diagram.operations import name_of
from striate.errors import UsageError

# --- the oracle: the same network, with nothing in it that could cancel or hide a pixel ---

THROUGH = {"relu", "relu6", "leaky_relu", "prelu", "elu", "selu", "gelu", "silu", "mish", "tanh", "sigmoid"}
THROUGH |= {"hardtanh", "hardswish", "hardsigmoid", "softplus", "clamp", "dropout", "softmax", "pow", "sqrt"}
THROUGH |= {"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "normalize"}
THROUGH |= {"local_response_norm"}
POOLED = {"adaptive_avg_pool2d", "adaptive_max_pool2d", "mean", "sum", "amax", "norm", "var", "std"}


class Positive(TorchFunctionMode):
    """Activations and normalisations hand their input through, max-pooling averages, products and differences add.

    With positive weights every path then adds to the gradient of a value. What is pooled over the whole map has no
    gradient, so that what is left is the window of that value. `last` is the last result of the wanted shape.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        self.last: Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = self._positive(name_of(func), func, args, kwargs or {})
        if isinstance(out, Tensor) and tuple(out.shape) == self.shape and out.requires_grad:
            self.last = out
        return out

    def _positive(self, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        if name in THROUGH:
            return args[0]
        if name in ("mul", "sub") and all(isinstance(a, Tensor) and a.ndim > 1 for a in args):
            return args[0] + args[1]
        if name == "max_pool2d":
            return _average(*args, **kwargs)
        out = func(*args, **kwargs)
        if name in POOLED and isinstance(out, Tensor) and args[0].ndim >= 4:
            lost = sum(n > 1 for n in args[0].shape) - sum(n > 1 for n in out.shape)
            return torch.ones_like(out) if lost > 1 else out
        return out


def _average(
    x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:  # fmt: skip
    assert dilation == 1
    assert not return_indices
    return F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode)


def rows_seen(
    net: nn.Module, image: tuple[int, ...], shape: tuple[int, ...], value: tuple[int | slice, ...]
) -> list[int]:
    """The first and the last row of pixels that move the value of the last map of `shape`."""
    for p in net.parameters():
        p.requires_grad_(False).fill_(1.0 if p.ndim < 2 else p.shape[0] / p.numel())
    x = torch.ones(1, *image, dtype=torch.float64, requires_grad=True)
    with Positive(shape) as positive:
        net.double().eval()(x)
    assert positive.last is not None
    (gradient,) = torch.autograd.grad(positive.last[value].sum(), x)
    rows = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
    return [int(rows[0]), int(rows[-1])]


# --- every name ---


def build(name: str, values: bool = False) -> tuple[nn.Module, tuple[int, int, int]]:
    """`torchvision/resnet18` or `timm/resnet18`, untrained, and the image that it is published for."""
    library, _, name = name.partition("/")
    if library == "torchvision":  # its RegNets can't be built on meta
        net: nn.Module = torchvision.models.get_model(name, weights=None, **TORCHVISION.get(name, {}))
        return net, (3, 299, 299) if name == "inception_v3" else (3, 224, 224)
    with torch.device("cpu" if values else "meta"):
        net = timm.create_model(name)
    c, h, w = timm.get_pretrained_cfg(name).input_size
    return net, (c, h, w)


TORCHVISION = {name: {"init_weights": False} for name in ("googlenet", "inception_v3")}


def outcome(name: str) -> str:
    """ "right", or "refused: " and why; fails where a number is not what gradients say, or a refusal names no layer."""
    net, image = build(name)
    a = anatomy(net, image)
    if not a.receptive_field:
        assert re.search(r" at \S", a.refused), f"{name}: {a.refused}"
        return f"refused: {a.refused}"
    a, image = taller(net, a)
    assert a.last_map is not None
    node, f = a.graph.nodes[a.last_map], a.fields[a.last_map]
    assert f.local
    height, width = f.local
    rows, columns = (node.shape[f.axes.index(axis)] for axis in f.local)
    row = min(math.ceil(-height.first / height.jump), rows - 1)
    value = tuple(
        row if axis == height else columns // 2 if axis == width else slice(None) for axis in f.axes
    )
    first, last = height.first + row * height.jump, height.last + row * height.jump
    seen = rows_seen(build(name, values=True)[0], image, node.shape, value)
    if last < image[1]:
        assert seen == [first, last], (
            f"{name}: rows {seen} move a value that is said to see {first} to {last}"
        )
    else:
        assert seen[0] >= first, f"{name}: row {seen[0]} moves a value that is said to see from {first}"
    return "right" if last < image[1] else "right as far as the image goes"


def taller(net: nn.Module, a: Anatomy) -> tuple[Anatomy, tuple[int, ...]]:
    """The anatomy for an image that is higher than the field and narrow, where the network takes one."""
    assert a.extent
    assert a.jump
    height = 64 * math.ceil((a.extent[0] + 2 * a.jump[0]) / 64)
    width = 64 * math.ceil(a.jump[1] / 32)
    for wider in (width, 2 * width):
        with contextlib.suppress(UsageError):
            tall = anatomy(net, (3, height, wider))
            if tall.receptive_field:
                return tall, tall.input_shape
    return a, a.input_shape


# words for sizes, from small to large; what differs in them or in a number differs in width, depth or resolution
SMALL = (
    " zepto atto femto pico nano xxtiny xtiny tiny xxs xs mini micro s small little medium m base b large l "
)
OTHER = " t n x g h so xx xsmall xxsmall lite plus max xl xxl xlarge xxlarge huge giant gigantic "


def family(name: str) -> str:
    words = (re.sub(r"\d+(x\d+)?(gf|mf|d|k|e|p|b|s|x|m|w|t)?", "", word) for word in name.split("_"))
    return "_".join(word for word in words if word and f" {word} " not in SMALL + OTHER)


def size(name: str) -> tuple[int, list[int]]:
    words = [SMALL.index(f" {word} ") for word in name.split("_") if f" {word} " in SMALL]
    return min(words, default=len(SMALL)), [int(digits) for digits in re.findall(r"\d+", name)]


def smallest() -> list[str]:
    """Of every family in every file of torchvision and timm the smallest variant."""
    modules = {"torchvision": torchvision.models.list_models(module=torchvision.models)}
    modules |= {f"timm/{module}": timm.list_models(module=module) for module in timm.list_modules()}
    families: dict[tuple[str, str], list[str]] = {}
    for module, names in modules.items():
        for name in names:
            families.setdefault((module, family(name)), []).append(f"{module.partition('/')[0]}/{name}")
    return [min(names, key=size) for names in families.values()]


RIGHT = ["torchvision/shufflenet_v2_x0_5", "timm/repvgg_a0", "timm/skresnet18", "timm/convnext_atto"]
REFUSED = {
    "torchvision/swin_t": "positions are joined or split at features.1.0.attn (reshape)",
    "timm/dla46_c": "branches are not aligned (height): level2.tree1.bn3 (batch_norm) is centred on pixel 0 + 4i, "
    "level2.project.1 (batch_norm) on 1 + 4i, at level2.tree1 (add)",
    "timm/vit_tiny_patch16_224": "positions are joined or split at patch_embed (flatten)",
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_told_is_what_gradients_say(name: str) -> None:
    assert outcome(name) == "right"


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_names_the_layer(name: str) -> None:
    assert outcome(name) == f"refused: {REFUSED[name]}"


@pytest.mark.slow
@pytest.mark.parametrize("name", smallest())
def test_every_family(name: str) -> None:
    print(name, outcome(name))
