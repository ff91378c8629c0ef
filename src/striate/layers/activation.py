"""Activations by name: torch's own modules, a new one at every call, never in place."""

from collections.abc import Callable
from typing import Any

from torch import nn

from striate.errors import UsageError, nearest

ACTIVATIONS: dict[str, Callable[..., nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "swish": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


def activation(name: str, **options: Any) -> nn.Module:
    """The activation called `name`; `options` go to torch's constructor.

    >>> activation("leaky_relu", negative_slope=0.1)
    LeakyReLU(negative_slope=0.1)
    """
    try:
        make = ACTIVATIONS[name]
    except KeyError:
        known = ", ".join(ACTIVATIONS)
        raise UsageError(
            f"unknown activation {name!r}", hint=nearest(name, ACTIVATIONS) or f"known: {known}"
        ) from None
    return make(**options)
