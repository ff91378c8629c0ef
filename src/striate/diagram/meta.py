"""A network without values, on torch's meta device: every tensor has a shape and no data."""

import copy
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from striate.errors import UsageError


class TraceError(UsageError):
    """The network cannot be followed by shapes alone, or does not accept this input."""


def meta_copy(module: nn.Module, device: str = "meta") -> nn.Module:
    """A copy of `module` without values and hooks: parameters, buffers and tensor attributes are hollow.

    On another device than meta, call it inside a FakeTensorMode.
    """
    memo: dict[int, Any] = {}
    for path, m in module.named_modules():
        if isinstance(m, torch.jit.ScriptModule):
            raise TraceError(
                f"{path or type(module).__name__} is TorchScript, which hides its operations",
                "give the network that was scripted or traced",
            )
        held = [*m._parameters.values(), *m._buffers.values(), *m.__dict__.values()]
        for t in held:
            if isinstance(t, Tensor):
                if is_lazy(t):
                    raise TraceError(
                        f"{type(module).__name__} has lazy layers, whose sizes are unknown",
                        "call the network once on an image first",
                    )
                memo[id(t)] = _emptied(t, device)
    shadow = copy.deepcopy(module, memo)
    for m in shadow.modules():
        m._compiled_call_impl = None
        for name, hooks in m.__dict__.items():
            if name.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called")) and hooks:
                hooks.clear()
    return shadow


def _emptied(t: Tensor, device: str) -> Tensor:
    empty = torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device=device)
    return nn.Parameter(empty, t.requires_grad) if isinstance(t, nn.Parameter) else empty


def uncompiled(module: nn.Module) -> nn.Module:
    """The network beneath `torch.compile`, at any depth; what holds a compiled part is copied, its layers are not."""
    compiler = sys.modules.get("torch._dynamo.eval_frame")  # slow to load; without it, nothing is compiled
    wrapper = compiler.OptimizedModule if compiler else ()
    found: dict[nn.Module, nn.Module] = {}

    def strip(m: nn.Module) -> nn.Module:
        if m not in found:
            inner = m._orig_mod if isinstance(m, wrapper) else m
            parts = {name: child and strip(child) for name, child in inner._modules.items()}
            if parts != inner._modules:
                inner = copy.copy(inner)
                inner._modules = parts
            found[m] = inner
        return found[m]

    return strip(module) if compiler else module


def float_type(module: nn.Module) -> torch.dtype:
    """Of the weights, and so of the images that `module` takes."""
    return next((p.dtype for p in module.parameters() if p.dtype.is_floating_point), torch.float32)


def tensors(tree: Any) -> Iterator[Tensor]:
    """Every tensor in nested tuples, lists and dicts, in order."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, tuple | list):
        for item in tree:
            yield from tensors(item)
    elif isinstance(tree, dict):
        for item in tree.values():
            yield from tensors(item)
