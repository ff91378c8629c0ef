"""Shape rules for the operations that most networks are made of, forward and backward.

torch's own rules for tensors without data are right for every operation, but many are Python that takes a
second to load and milliseconds to run. Where all is as usual these short ones answer; else torch does.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
Rule = Callable[..., Any]  # None: not the usual case, ask torch


class Hollow(TorchDispatchMode):
    """Within it, operations on tensors of the meta device go by the short rules."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to skip it, torch would first import it: a second for nothing

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        rule = RULES.get(func)
        out = rule(*args, **kwargs) if rule and _is_hollow(kwargs.get("device") or args[0]) else None
        return func(*args, **kwargs) if out is None else out


def _is_hollow(x: Any) -> bool:
    """On meta, or a FakeTensor; the constants of a forward pass have data and are computed with."""
    x = x[0] if isinstance(x, list | tuple) else x
    if isinstance(x, torch.device):
        return x.type == "meta"
    return isinstance(x, Tensor) and x.untyped_storage().device.type == "meta"


def _like(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device)


def _like_if_same(x: Tensor, dtype: Any = None, device: Any = None, **kwargs: Any) -> Tensor | None:
    return _like(x) if dtype in (None, x.dtype) and device in (None, x.device) else None


def _arange(end: Any, dtype: Any = None, device: Any = None, **kwargs: Any) -> Tensor | None:
    usual = isinstance(end, int) and end >= 0 and dtype in (None, torch.long)
    return torch.empty(end, dtype=torch.long, device=device) if usual else None


def _itself(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return x


def _binary(x: Any, y: Any, **kwargs: Any) -> Tensor | None:
    if not isinstance(x, Tensor) or x.dtype is torch.bool:
        return None
    if isinstance(y, int | float):
        return _like(x) if x.is_floating_point() or isinstance(y, int) else None
    if not isinstance(y, Tensor) or x.dtype != y.dtype:
        return None
    if x.shape == y.shape:
        return _like(x)
    longer, shorter = sorted((tuple(x.shape), tuple(y.shape)), key=len, reverse=True)
    pairs = list(zip(longer, (1,) * (len(longer) - len(shorter)) + shorter, strict=True))
    return (
        x.new_empty([max(pair) for pair in pairs]) if all(a == b or 1 in (a, b) for a, b in pairs) else None
    )


def _quotient(x: Any, y: Any, **kwargs: Any) -> Tensor | None:
    return _binary(x, y) if isinstance(x, Tensor) and x.is_floating_point() else None


def _reciprocal(x: Tensor) -> Tensor | None:
    return _like(x) if x.is_floating_point() else x.new_empty(x.shape, dtype=torch.get_default_dtype())


def _mean(x: Tensor, dim: Any, keepdim: bool = False, **kwargs: Any) -> Tensor | None:
    if not dim or kwargs.get("dtype"):
        return None
    gone = {d % x.ndim for d in dim}
    return x.new_empty([1 if d in gone else n for d, n in enumerate(x.shape) if keepdim or d not in gone])


def _convolution(x: Tensor, weight: Tensor, bias: Any, *how: Any) -> Tensor | None:
    stride, padding, dilation, transposed, _, groups = how
    if (
        transposed
        or x.ndim != weight.ndim
        or x.shape[1] != weight.shape[1] * groups
        or x.dtype != weight.dtype
    ):
        return None
    out = _slide(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    return x.new_empty((x.shape[0], weight.shape[0], *out)) if out else None


def _max_pool(
    x: Tensor, kernel: Any, stride: Any = (), padding: Any = (0,), dilation: Any = (1,), ceil: bool = False
) -> Any:
    out = _slide(x.shape[2:], kernel, stride or kernel, padding, dilation, ceil) if x.ndim == 4 else None
    shape = (*x.shape[:2], *(out or ()))
    return (x.new_empty(shape), x.new_empty(shape, dtype=torch.long)) if out else None


def _avg_pool(
    x: Tensor, kernel: Any, stride: Any = (), padding: Any = (0,), ceil: bool = False, *how: Any
) -> Tensor | None:
    out = _slide(x.shape[2:], kernel, stride or kernel, padding, (1,), ceil) if x.ndim == 4 else None
    return x.new_empty((*x.shape[:2], *out)) if out else None


def _slide(
    sizes: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool = False
) -> list[int] | None:
    """The number of windows along each side; None if something is out of the ordinary."""
    n = len(sizes)
    kernel, stride, padding, dilation = (
        list(v) * n if len(v) == 1 else list(v) for v in (kernel, stride, padding, dilation)
    )
    out = []
    for size, k, s, p, d in zip(sizes, kernel, stride, padding, dilation, strict=True):
        free = size + 2 * p - d * (k - 1) - 1
        count = free // s + 1
        if ceil and free % s and count * s < size + p:  # one more window, if it starts on the map
            count += 1
        out.append(count if free >= 0 else 0)
    return out if min(out) > 0 else None


def _addmm(bias: Tensor, x: Tensor, y: Tensor, **kwargs: Any) -> Tensor | None:
    return _mm(x, y) if bias.dtype == x.dtype and bias.shape == y.shape[1:] else None


def _mm(x: Tensor, y: Tensor) -> Tensor | None:
    fits = x.ndim == y.ndim == 2 and x.shape[1] == y.shape[0] and x.dtype == y.dtype
    return x.new_empty((x.shape[0], y.shape[1])) if fits else None


def _layer_norm(x: Tensor, shape: Any, *how: Any) -> Any:
    rest = (*x.shape[: x.ndim - len(shape)], *(1 for _ in shape))
    return x.new_empty(x.shape), x.new_empty(rest), x.new_empty(rest)


def _layer_norm_backward(
    grad: Tensor, x: Tensor, shape: Any, mean: Any, rstd: Any, weight: Any, bias: Any, needs: Any
) -> Any:
    return tuple(
        _like(t) if t is not None and need else None for t, need in zip((x, weight, bias), needs, strict=True)
    )


def _pool_backward(grad: Tensor, x: Tensor, *how: Any) -> Tensor:
    return _like(x)


def _cat(xs: Any, dim: int = 0) -> Tensor | None:
    first = xs[0]
    dim %= first.ndim
    others = {(x.dtype, *x.shape[:dim], 0, *x.shape[dim + 1 :]) for x in xs}
    total = sum(x.shape[dim] for x in xs if x.ndim == first.ndim)
    shape = (*first.shape[:dim], total, *first.shape[dim + 1 :])
    return first.new_empty(shape) if len(others) == 1 else None


def _pad(x: Tensor, pad: Any, *value: Any) -> Tensor | None:
    shape = list(x.shape)
    for i in range(len(pad) // 2):
        shape[-1 - i] += pad[2 * i] + pad[2 * i + 1]
    return x.new_empty(shape) if min(shape) > 0 else None


def _convolution_backward(grad: Tensor, x: Tensor, weight: Tensor, bias_sizes: Any, *how: Any) -> Any:
    needs_x, needs_weight, needs_bias = how[-1]
    return (
        _like(x) if needs_x else None,
        _like(weight) if needs_weight else None,
        grad.new_empty(bias_sizes) if needs_bias else None,
    )


def _batch_norm(x: Tensor, weight: Any, bias: Any, mean: Any, var: Any, training: bool, *how: Any) -> Any:
    saved = (x.shape[1],) if training else (0,)
    return _like(x), *(x.new_empty(saved, dtype=torch.float32) for _ in "mv")


def _batch_norm_backward(grad: Tensor, x: Tensor, weight: Tensor | None, *how: Any) -> Any:
    needs = how[-1]
    channels = x.new_empty((x.shape[1],), dtype=weight.dtype if weight is not None else torch.float32)
    return (
        _like(x) if needs[0] else None,
        _like(channels) if needs[1] else None,
        _like(channels) if needs[2] else None,
    )


_NAMES = "relu hardtanh silu gelu elu leaky_relu sigmoid tanh hardswish hardsigmoid softplus"
_ELEMENTWISE = [getattr(aten, name) for name in _NAMES.split()]
_BACKWARD = "threshold sigmoid tanh hardtanh silu gelu elu leaky_relu hardswish hardsigmoid softplus"
RULES: dict[Any, Rule] = {
    **{op.default: _like for op in _ELEMENTWISE},
    **{getattr(aten, f"{name}_").default: _itself for name in _NAMES.split() if hasattr(aten, f"{name}_")},
    **{getattr(aten, f"{name}_backward").default: _like for name in _BACKWARD.split()},
    aten.convolution.default: _convolution,
    aten.convolution_backward.default: _convolution_backward,
    aten.native_batch_norm.default: _batch_norm,
    aten._native_batch_norm_legit.default: _batch_norm,
    aten.native_batch_norm_backward.default: _batch_norm_backward,
    aten.max_pool2d_with_indices.default: _max_pool,
    aten.max_pool2d_with_indices_backward.default: _pool_backward,
    aten.avg_pool2d.default: _avg_pool,
    aten.avg_pool2d_backward.default: _pool_backward,
    aten._adaptive_avg_pool2d_backward.default: _pool_backward,
    aten.addmm.default: _addmm,
    aten.mm.default: _mm,
    aten.cat.default: _cat,
    aten.constant_pad_nd.default: _pad,
    aten.native_layer_norm.default: _layer_norm,
    aten.native_layer_norm_backward.default: _layer_norm_backward,
    aten.empty_like.default: _like_if_same,
    aten.ones_like.default: _like_if_same,
    aten.zeros_like.default: _like_if_same,
    aten.bernoulli_.float: _itself,
    aten.div_.Scalar: _itself,
    aten.mean.dim: _mean,
    aten.sum.dim_IntList: _mean,
    aten.add_.Tensor: _itself,
    aten.div.Scalar: _quotient,
    aten._log_softmax.default: _like,
    aten._log_softmax_backward_data.default: _like,
    aten.add.Tensor: _binary,
    aten.sub.Tensor: _binary,
    aten.mul.Tensor: _binary,
    aten.div.Tensor: _quotient,
    aten.reciprocal.default: _reciprocal,
    aten.clamp.default: _like,
    aten.arange.default: _arange,
}
