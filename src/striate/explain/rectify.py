"""Other ways back through a rectifier, for guided backpropagation and the deconvnet.

Both work on the operations a network calls, not on its modules: a ReLU that is a function, is reused or works in
place is met like any other.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from striate.diagram.operations import name_of
from striate.errors import UsageError

RECTIFIERS = {"relu", "relu6", "hardtanh", "threshold", "leaky_relu", "prelu", "rrelu", "elu", "celu", "selu"}
RECTIFIERS |= {"gelu", "silu", "mish", "hardswish", "softplus"}


class _Rewired(TorchFunctionMode):
    """Raises UsageError for a network with parts that torch.jit compiled: their rectifiers can't be reached."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        for name, m in net.named_modules():
            if isinstance(m, torch.jit.ScriptModule):
                raise UsageError(
                    f"torch.jit hides the rectifiers of {name or 'the network'}: nothing can be clipped there",
                    "pass the network as it was before torch.jit, or use saliency",
                )


class Clipped(_Rewired):
    """While inside, what enters a rectifier from above is clipped at 0 and then passes as its derivative says."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if name_of(func) in RECTIFIERS and isinstance(out, Tensor) and out.requires_grad:
            out.register_hook(_positive)
        return out


class Rectified(_Rewired):
    """While inside, what enters a rectifier from above is clipped at 0 and passes, whatever went forward."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if name_of(func) not in RECTIFIERS:
            return func(*args, **kwargs)
        x, *rest = args if args else (kwargs.pop("input"),)
        with torch.no_grad():
            y = func(x.detach().clone(), *rest, **kwargs)
        in_place = kwargs.get("inplace", False) or func.__name__.endswith("_")
        return _Passed.apply(x, y, in_place)


class _Passed(torch.autograd.Function):
    """y forwards, the positive part of the gradient backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, in_place: bool) -> Tensor:
        if not in_place:
            return y.clone()
        ctx.mark_dirty(x)
        return x.copy_(y)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _positive(gradients[0]), None, None


def _positive(gradient: Tensor) -> Tensor:
    return gradient.clamp(min=0)
